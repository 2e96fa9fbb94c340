# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all fault tests stand on: a lab whose daemon and guests may be killed, and modules that run as under Ansible.

`-m quick` takes a sample, in about two minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faultlab import ALIAS, Lab, Runner, tree_of_collection
from proxy import Proxy


def pytest_configure(config: pytest.Config) -> None:
    """Marks are made known here, since the tests are run from a copy without a settings file for pytest."""
    config.addinivalue_line("markers", "quick: of the part that every run of the checks takes")


@pytest.fixture(scope="session")
def lab() -> t.Iterator[Lab]:
    """A lab of these tests' own, or the one in $VIRTMEM_FAULTS_LAB, which stays up."""
    kept = os.environ.get("VIRTMEM_FAULTS_LAB")
    lab = Lab(Path(kept or f"/tmp/vf-{os.getpid()}"))
    lab("up")
    try:
        yield lab
    finally:
        if not kept:
            lab("down")


@pytest.fixture(scope="session")
def tree() -> t.Iterator[Path]:
    """A folder in which Ansible finds the collection, as it is now."""
    with tree_of_collection() as folder:
        yield folder


@pytest.fixture(scope="session")
def run(lab: Lab, tree: Path) -> Runner:
    """Starts modules on the lab."""
    return Runner(lab.uri, tree)


@pytest.fixture
def short() -> t.Iterator[Path]:
    """A folder whose path is short enough for sockets, and open to everybody."""
    folder = Path(tempfile.mkdtemp(prefix="vf-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def idle(lab: Lab) -> t.Iterator[str]:
    """The name of a guest without an operating system, which answers nothing, with a virtio-mem device."""
    lab.heal()
    with lab.guest("idle", "--kind", "empty", "--device", virtio_mem()) as name:
        yield name
        lab.heal()


@pytest.fixture(scope="session")
def _booted(lab: Lab) -> t.Iterator[list[str]]:
    """The guest of `guest`, once it has booted; it lives until a test has used it up."""
    names: list[str] = []
    yield names
    lab("delete", "linux")


@pytest.fixture
def guest(lab: Lab, _booted: list[str], run: Runner) -> t.Iterator[str]:
    """The name of a real guest with a driver and a virtio-mem device of which it has nothing yet."""
    lab.heal()
    if not _booted or not lab.is_running(_booted[0]):
        lab("guest", "linux", "--device", virtio_mem())
        _booted[:] = ["linux"]
    yield "linux"
    lab.heal()
    with contextlib.suppress(AssertionError):
        if lab.state("linux") == "paused":
            lab.virsh("resume", "linux")
    if not lab.is_running("linux"):
        return
    answer = run(domain="linux", alias=ALIAS, requested="0B", wait_timeout=40).end()
    if answer.error_code or len(lab.devices("linux", "live")) != 1:
        lab("delete", "linux")


def virtio_mem(**more: str) -> str:
    """The device of most guests, as the lab's command line wants it."""
    keys = {"model": "virtio-mem", "alias": ALIAS, "size": "1GiB", "requested": "0", "block": "2MiB", "node": "0"}
    return ",".join(f"{key}={value}" for key, value in {**keys, **more}.items())


def ansible(tree: Path) -> dict[str, str]:
    """The variables of a process of Ansible's that finds the collection, and leaves nothing behind."""
    home = tree / "home"
    return {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(tree),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_REMOTE_TMP": str(home / "remote"),
        "ANSIBLE_ASYNC_DIR": str(home / "async"),
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_PIPELINING": "False",  # a module is known by the name of its file
    }


@pytest.fixture
def play(tree: Path, lab: Lab, short: Path) -> t.Callable[..., subprocess.Popen[str]]:
    """Starts a play of one task with the module memory_device, in a process group of its own."""

    def start(arguments: dict[str, t.Any], task: dict[str, t.Any] | None = None, *options: str) -> t.Any:
        tasks = [{"virtmem.libvirt.memory_device": {"uri": lab.uri, **arguments}, "name": "The task", **(task or {})}]
        variables = {"ansible_python_interpreter": "/usr/bin/python3", "ansible_connection": "local"}
        book = [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]
        (short / "play.json").write_text(json.dumps(book))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), *options, str(short / "play.json")]
        return subprocess.Popen(
            command,
            env=ansible(tree),
            cwd=short,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture
def proxy(lab: Lab, short: Path) -> t.Iterator[Proxy]:
    """A socket between the module and the daemon."""
    between = Proxy(short / "proxy", lab.socket)
    yield between
    between.close()
