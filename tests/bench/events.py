# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source and the rulebook `repair`: how soon, at what price."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import time
import typing as t
from pathlib import Path

import definitions
import plays
from rows import Row
from workshop import COLLECTION, NODE_PYTHON, TREE

HERE = Path(__file__).parent
GUEST, ALIAS = "bench-events", "ua-vm0"
SOURCE = TREE / "ansible_collections/virtmem/libvirt/extensions/eda/plugins/event_source/memory.py"
CHANGES, REPAIRS = 50, 20
# In seconds.
TARGET_TOLD, TARGET_REPAIRED = 0.05, 5.0
# How long the idle source is looked at, in seconds: a survey lies in it.
IDLE = 60.0
DOMAINS = 100


def _late(seconds: t.Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


def _told(place: plays.Place) -> list[Row]:
    command = [str(place.python), str(HERE / "told.py"), place.lab.uri, GUEST, ALIAS, str(CHANGES)]
    done = subprocess.run(command, env=place.modules(), stdout=subprocess.PIPE, text=True, check=True)
    delays = json.loads(done.stdout)
    what = f"libvirt's event to the rulebook's queue, 95th of 100 ({len(delays)} events)"
    return [Row(what, _late(delays), "50 ms", TARGET_TOLD, 1.0)]


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _idle(place: plays.Place) -> list[Row]:
    """The source beside domains to which nothing happens; the driver is in its process, and costs it something too."""
    node = place.folder / "idle.xml"
    definitions.write(node, DOMAINS)
    command = [str(NODE_PYTHON), str(SOURCE), f"test://{node}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as source:
        time.sleep(10)  # connecting costs something once
        before = _cpu(source.pid)
        time.sleep(IDLE)
        used = _cpu(source.pid) - before
        source.send_signal(signal.SIGINT)
    what = f"the event source with {DOMAINS} idle domains, processor time of an hour"
    return [Row(what, used * 3600 / IDLE, "an hour", 3600)]


class _Guest:
    """What is requested of the guest, and what it has."""

    def __init__(self, place: plays.Place) -> None:
        self._virsh = ["virsh", "-c", place.lab.uri]

    def change(self) -> None:
        change = ["update-memory-device", GUEST, "--alias", ALIAS, "--requested-size", "384MiB", "--live", "--config"]
        subprocess.run([*self._virsh, *change], check=True, stdout=subprocess.DEVNULL)

    def _has(self, name: str) -> int:
        done = subprocess.run([*self._virsh, "dumpxml", GUEST], check=True, stdout=subprocess.PIPE, text=True)
        found = re.search(rf"<{name} unit='KiB'>(\d+)<", done.stdout)
        return int(found[1]) if found else 0

    def until(self, name: str) -> float:
        """When it is as declared."""
        end = time.monotonic() + 60
        while self._has(name) != 128 * 1024:
            if time.monotonic() > end:
                raise plays.labs.LabError(f"{name} of the guest is not as declared again after a minute.")
            time.sleep(0.02)
        return time.monotonic()


def _files(place: plays.Place) -> tuple[Path, Path]:
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": str(place.python),
        "sizing_uri": place.lab.uri,
        "sizing_max_shrink": 100,  # this one guest is all that the host has
        "sizing_domains": [{"name": GUEST, "devices": [{"alias": ALIAS, "requested": "128MiB"}]}],
    }
    inventory, variables = place.folder / "inventory.yml", place.folder / "variables.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {"hv1": host}}}))
    variables.write_text(json.dumps({"memory_uris": place.lab.uri}))
    return inventory, variables


def _repaired(place: plays.Place) -> list[Row]:
    inventory, variables = _files(place)
    guest = _Guest(place)
    venv = place.shop.venv("rulebook", NODE_PYTHON, "controller", "rulebook", "unit", system=True)
    env = {**place.shop.environment(venv), "ANSIBLE_PIPELINING": "False"}  # as for those who set nothing
    command = ["--inventory", str(inventory)]
    play = [str(venv / "bin/ansible-playbook"), "virtmem.libvirt.repair", *command, "-e", f"memory_uri={place.lab.uri}"]
    quiet: dict[str, t.Any] = {"env": env, "cwd": COLLECTION, "stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    alone, whole, following = [], [], []
    for _number in range(5):
        guest.change()
        began = time.monotonic()
        with subprocess.Popen(play, **quiet):
            alone.append(guest.until("requested") - began)
    rulebook = [str(venv / "bin/ansible-rulebook"), "--rulebook", "virtmem.libvirt.repair", *command]
    with subprocess.Popen([*rulebook, "--vars", str(variables)], start_new_session=True, **quiet) as process:
        try:
            time.sleep(20)
            for _number in range(REPAIRS):
                began = time.monotonic()
                guest.change()
                requested = guest.until("requested")
                whole.append(guest.until("current") - began)
                following.append(began + whole[-1] - requested)
                time.sleep(8)  # the run that finds nothing to do
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    return [
        Row(
            f"a change by virsh to the guest as declared, 95th of 100 ({REPAIRS})",
            _late(whole),
            "5 s",
            TARGET_REPAIRED,
            1.0,
        ),
        Row(
            "of it, the playbook until it has asked the guest, alone",
            statistics.median(alone),
            "all",
            statistics.median(whole),
        ),
        Row("of it, the guest", statistics.median(following), "all", statistics.median(whole)),
    ]


def bench(place: plays.Place) -> list[Row]:
    """All of it."""
    device = f"model=virtio-mem,alias={ALIAS},size=1GiB,requested=128MiB,block=2MiB,node=0"
    place.lab.run("guest", GUEST, "--memory", "256MiB", "--device", device)
    return _told(place) + _repaired(place) + _idle(place)
