# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of Event-Driven Ansible stand on: labs whose daemon may be killed, and the real ansible-rulebook."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from faultlab import NODE_PYTHON, Lab, until

DEVICE = "model=virtio-mem,alias=ua-vm0,size=2GiB,requested=512MiB,block=2MiB,node=0"
# A rulebook takes some seconds until its Java is there.
BEGINS = 90.0


def _lab(name: str) -> t.Iterator[Lab]:
    lab = Lab(Path(f"/tmp/ve-{name}-{os.getpid()}"))
    lab("up")
    try:
        yield lab
    finally:
        lab("down")


@pytest.fixture(scope="session")
def lab() -> t.Iterator[Lab]:
    """A lab of these tests' own."""
    yield from _lab("a")


@pytest.fixture(scope="session")
def other_lab() -> t.Iterator[Lab]:
    """Another hypervisor on the same machine."""
    yield from _lab("b")


def change(lab: Lab, name: str, size: str, *scopes: str) -> float:
    """Changes a guest by virsh; when that was done."""
    lab.virsh("update-memory-device", name, "--alias", "ua-vm0", "--requested-size", size, *scopes)
    return time.monotonic()


@pytest.fixture(scope="session")
def booted(lab: Lab) -> t.Iterator[str]:
    """A guest of 512 MiB, with as much requested of a device of 2 GiB."""
    with lab.guest("web1", "--balloon", "virtio", "--device", DEVICE) as name:
        yield name


@pytest.fixture
def guest(lab: Lab, booted: str) -> t.Iterator[str]:
    """That guest; what a test that failed has left of it would make the next ones fail too."""
    yield booted
    change(lab, booted, "512MiB", "--live", "--config")


class Rulebook:
    """A rulebook of the collection that runs."""

    def __init__(self, folder: Path, name: str, hosts: dict[str, t.Any], variables: dict[str, t.Any]) -> None:
        self.log = folder / f"{name}.log"
        inventory, given = folder / "inventory.yml", folder / "variables.yml"
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        given.write_text(json.dumps(variables))
        command = ["ansible-rulebook", "--rulebook", f"virtmem.libvirt.{name}", "--inventory", str(inventory)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--vars", str(given)],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def text(self) -> str:
        """All that it has printed."""
        return self.log.read_text()

    def runs(self, host: str) -> int:
        """How many playbooks have ended that repaired a host; the first three tasks only find out which one it is."""
        found = re.findall(rf"^(?:\x1b\[[0-9;]*m)?{host}\b.*ok=(\d+)", self.text, re.MULTILINE)
        return sum(int(tasks) > 3 for tasks in found)

    def is_idle(self, seconds: float = 3.0) -> bool:
        """Whether it has printed nothing for a while: a repair is followed by a run that finds nothing to do."""
        return time.time() - self.log.stat().st_mtime > seconds

    def settle(self) -> None:
        """Waits until it does nothing."""
        until(self.is_idle, "a rulebook that does nothing", BEGINS)

    def end(self) -> None:
        """Ends it, with the playbooks that it runs."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Begin(t.Protocol):
    """Begins a rulebook."""

    def __call__(self, name: str, hosts: dict[str, t.Any], **variables: t.Any) -> Rulebook:
        """With the hosts of the inventory, and these variables."""


@pytest.fixture
def begin(tmp_path: Path) -> t.Iterator[Begin]:
    """Begins rulebooks, and ends them."""
    begun: list[Rulebook] = []

    def call(name: str, hosts: dict[str, t.Any], **variables: t.Any) -> Rulebook:
        begun.append(Rulebook(tmp_path, name, hosts, variables))
        return begun[-1]

    yield call
    for rulebook in begun:
        print(rulebook.text[-20000:])
        rulebook.end()


def host(lab: Lab, *domains: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    """The variables of a hypervisor that is on this machine."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": NODE_PYTHON, "sizing_uri": lab.uri}
    return {**here, "sizing_domains": list(domains), **more}
