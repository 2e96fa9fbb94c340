# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No more rights than needed, and a message that names the right that is missing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import ansible
import pytest
from faultlab import ALIAS, ROOT, Lab, Runner, until

DOOR = ROOT / "tests/integration/targets/memory_device_refusals/files/readonly_door.py"
# Root may open everything, unless it goes without that.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@pytest.fixture
def reading(lab: Lab, idle: str, short: Path) -> t.Iterator[str]:
    """The URI of a socket for reading only."""
    assert idle
    path = short / "read-only"
    with subprocess.Popen([sys.executable, str(DOOR), str(path), str(lab.socket)]) as door:
        until(path.exists, "the socket")
        time.sleep(0.2)
        yield f"qemu+unix:///session?socket={path}"
        path.unlink()
        door.wait(10)


def test_reading_is_enough_to_look_and_to_plan(lab: Lab, run: Runner, idle: str, reading: str) -> None:
    answer = run("memory_device_info", uri=reading, domains=[idle]).end().is_green()
    assert [device["alias"] for device in answer.output["domains"][0]["devices"]] == [ALIAS]
    plan = run(uri=reading, domain=idle, alias=ALIAS, requested="128MiB", check=True).end().is_green(changed=True)
    assert len(plan.output["steps"]) == 2
    answer = run(uri=reading, domain=idle, alias=ALIAS, requested="128MiB", wait=False).end()
    answer.failed_with("access_denied").within(0).tells_truth(lab)
    assert answer.output["changed"] is False
    assert "read-only" in answer.output["hint"]
    # And nothing to do needs no right at all.
    run(uri=reading, domain=idle, alias=ALIAS, requested="0B").end().is_green(changed=False)


@pytest.mark.quick
def test_a_socket_that_may_not_be_opened(run: Runner, short: Path) -> None:
    closed = short / "closed"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(closed))
        door.listen()
        closed.chmod(0)
        before = WITHOUT_RIGHTS if os.geteuid() == 0 else []
        device: dict[str, t.Any] = {"domain": "any", "alias": ALIAS}
        nothing: dict[str, t.Any] = {}
        for module, options in (("memory_device", device), ("memory_device_info", nothing)):
            uri = f"qemu+unix:///session?socket={closed}"
            answer = run(module, before=before, uri=uri, **options).end().failed_with("access_denied").within(0)
            assert str(closed) in answer.output["msg"]
            assert "group libvirt" in answer.output["hint"]
            assert "org.libvirt.unix.manage" in answer.output["hint"]


@pytest.fixture
def ordinary(lab: Lab, tree: Path) -> list[str]:
    """Words before a command that make it run as the lab's user, who is not root."""
    if os.geteuid() != 0:
        return []
    owner = lab.socket.stat()
    before = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    for place in (tree, Path(ansible.__file__)):
        if subprocess.run([*before, "test", "-r", str(place)], check=False).returncode != 0:
            pytest.skip(f"only root can read {place}")
    return before


@pytest.mark.quick
def test_the_module_needs_no_rights_of_root(lab: Lab, run: Runner, idle: str, ordinary: list[str]) -> None:
    """Who may use the socket may do everything; nothing else is looked at."""
    answer = run(before=ordinary, domain=idle, alias=ALIAS, requested="128MiB", wait=False).end()
    answer.is_green(changed=True).tells_truth(lab)


@pytest.mark.quick
@pytest.mark.skipif(os.geteuid() != 0, reason="only root is let in without polkit, and must look after the lab")
def test_refused_by_polkit(lab: Lab, run: Runner, idle: str, ordinary: list[str]) -> None:
    """There is no polkit on the lab that could allow it."""
    settings = lab.place / "config" / "libvirt" / "libvirtd.conf"
    settings.write_text('auth_unix_rw = "polkit"\n')
    try:
        lab("restart")
        answer = run(before=ordinary, domain=idle, alias=ALIAS, requested="128MiB").end()
        # Where the machine has no system bus, libvirt can't even ask, and says so.
        answer.failed_with("access_denied", "connection_failed").within(0)
        named = answer.output["hint"] if answer.error_code == "access_denied" else answer.output["msg"]
        assert "org.libvirt.unix.manage" in named or "system bus" in named, answer.text
        assert answer.output["changed"] is False
    finally:
        settings.unlink()
        lab("restart")
    assert lab.requested(idle) == lab.requested(idle, "config") == 0
    run(before=ordinary, domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green().tells_truth(lab)
