# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source by itself, as people have a look at it, on a real libvirtd with a real guest."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
import typing as t

import jsonschema
import pytest
from conftest import change
from faultlab import MIB, NODE_PYTHON, ROOT, Lab

FOLDER = ROOT / "extensions" / "eda"
SCHEMA = json.loads((FOLDER / "schemas" / "memory.json").read_text())


class Source:
    """The source as a process of its own, and the events that it prints."""

    def __init__(self, uri: str) -> None:
        path = FOLDER / "plugins" / "event_source" / "memory.py"
        # Not the variables of the checks: nothing may help it to find its code.
        env = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [NODE_PYTHON, str(path), uri], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=env, cwd="/"
        )
        self._lines: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put((time.monotonic(), line))

    def next(self, kind: str, patience: float = 20.0) -> tuple[float, dict[str, t.Any]]:
        """The next event of a kind, and when it came."""
        deadline = time.monotonic() + patience
        seen: list[str] = []
        while True:
            try:
                when, line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                pytest.fail(f"no event {kind} within {patience} s, but {seen}")
            event = json.loads(line)
            jsonschema.validate(event, SCHEMA)
            if event["memory"]["kind"] == kind:
                return when, event["memory"]
            seen.append(event["memory"]["kind"])


@pytest.fixture
def source(lab: Lab, guest: str) -> t.Iterator[Source]:
    """The source, connected."""
    assert guest
    source = Source(lab.uri)
    source.next("connected")
    yield source
    source.process.terminate()
    source.process.wait(20)


def test_a_request_and_its_delivery_are_told(lab: Lab, guest: str, source: Source) -> None:
    change(lab, guest, "768MiB", "--live", "--config")
    _when, event = source.next("size_changed")
    assert (event["domain"], event["alias"], event["requested"]) == (guest, "ua-vm0", 768 * MIB)
    _when, event = source.next("delivered")
    assert event["current"] == 768 * MIB
    assert lab.device(guest, "live")["current"] == 768 * MIB  # type: ignore[index]
    change(lab, guest, "512MiB", "--live", "--config")
    source.next("delivered")


def test_a_guest_that_stops_and_starts_is_told(lab: Lab, guest: str, source: Source) -> None:
    lab.virsh("destroy", guest)
    _when, event = source.next("stopped")
    assert (event["domain"], event["state"]) == (guest, "shutoff")
    lab.virsh("start", guest)
    source.next("started")
    source.next("delivered", patience=60)  # it has booted, and asked for its memory


def test_a_device_that_comes_is_told(lab: Lab, source: Source, tmp_path: t.Any) -> None:
    with lab.guest("plain", "--kind", "empty", "--stopped"):
        device = tmp_path / "dimm.xml"
        device.write_text(
            "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target>"
            "<alias name='ua-dimm0'/></memory>"
        )
        lab.virsh("start", "plain")
        source.next("started")
        lab.virsh("attach-device", "plain", str(device), "--live")
        _when, event = source.next("device_added")
        assert (event["domain"], event["alias"], event["model"]) == ("plain", "ua-dimm0", "dimm")
        _when, event = source.next("drift")
        assert (event["drift"], event["alias"], event["config"]) == ("scope", "ua-dimm0", None)
    source.next("stopped")


def test_a_daemon_that_dies_is_told_and_found_again_with_what_changed_meanwhile(
    lab: Lab, guest: str, source: Source
) -> None:
    lab.kill()
    source.next("connection_lost")
    restarted = time.monotonic()
    lab("restart")
    change(lab, guest, "768MiB", "--live", "--config")
    up = time.monotonic()
    when, event = source.next("connected")
    print(f"connected {when - up:.2f} s after the daemon was there, {when - restarted:.2f} s after its restart began")
    assert when - up < 5
    # Whether it changed before or after the look that comes first.
    _when, event = source.next("size_changed")
    assert event["requested"] == 768 * MIB
    source.next("delivered")
    change(lab, guest, "512MiB", "--live", "--config")
    source.next("delivered")
