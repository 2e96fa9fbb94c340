# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quick start, command by command as it is printed, on a plain libvirt host with a guest of virt-install.

The witness is the guest's own MemTotal, which it writes to its serial console every second.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
import time
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(os.environ["VIRTMEM_LAB_PY"]).parent))

import image

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = (ROOT / "docs" / "docsite" / "rst" / "guide_quickstart.rst").read_text(encoding="utf-8")
MIB, GIB = 1024**2, 1024**3
# What a kernel keeps for itself, and never counts.
OWN = 400 * MIB

# A guest of 2 GiB. Its disk is the lab's image, and its processor is emulated.
INSTALL = shlex.split(
    "virt-install --name=web1 --memory=2048 --vcpus=1 --virt-type=qemu --import --disk=none --network=none "
    "--graphics=none --noautoconsole --osinfo=detect=off,require=off"
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a libvirt of the system's own")


class Host:
    """A plain libvirt host, and the folder in which its owner works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        here = Path(__file__).parent
        scripts = [str(here.parent / "lab" / "own_etc.sh"), str(here / "plain_host.sh")]
        words = ["unshare", "--mount", "--propagation", "private", *scripts]
        with (folder / "libvirtd.log").open("w") as log:
            self.daemon = subprocess.Popen([*words, str(folder)], stdout=log, stderr=log, cwd="/")

    def run(self, *words: str, fails: bool = False) -> str:
        """What a command prints that is run there."""
        done = subprocess.run(
            ["nsenter", f"--target={self.daemon.pid}", "--mount", f"--wdns={self.folder}", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={
                **os.environ,
                "HOME": str(self.folder),
                "ANSIBLE_HOME": str(self.folder / "ansible"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_NOCOLOR": "1",
                "VIRTMEM_PROGRESS": "always",  # as on a terminal
            },
        )
        assert fails or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def total(self) -> int:
        """What the guest itself counts, in bytes; 0 if it has not booted."""
        console = self.folder / "console"
        text = console.read_text(errors="replace") if console.exists() else ""
        found = re.findall(r"mem_total_kib=(\d+) .*end$", text, re.MULTILINE)
        return int(found[-1]) * 1024 if found else 0

    def until(self, is_so: t.Callable[[], bool], what: str) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + 90
        while not is_so():
            assert time.monotonic() < deadline, f"{what}: {self.total() // MIB} MiB"
            time.sleep(0.2)

    def end(self) -> None:
        """Leaves nothing behind."""
        self.run("virsh", "destroy", "web1", fails=True)
        self.daemon.terminate()
        self.daemon.wait(60)


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    """With the guest web1, which has 2 GiB and no room for more."""
    boot = image.build()
    made = Host(tmp_path)
    try:
        made.until(lambda: "QEMU" in made.run("virsh", "version", fails=True), "the daemon")
        arguments = "console=ttyS0 quiet panic=1 mitigations=off nokaslr memhp_default_state=online_movable"
        made.run(
            *INSTALL,
            f"--boot=kernel={boot.kernel},initrd={boot.initramfs},kernel_args={arguments}",
            f"--serial=file,path={tmp_path / 'console'}",
        )
        made.until(lambda: made.total() > 0, "the first boot")
        yield made
    finally:
        made.end()


def commands() -> list[str]:
    """The command lines of the guide, in their order."""
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?:(?: +.*)?\n)+)", GUIDE, re.MULTILINE)
    return [line.strip()[2:] for block in blocks for line in block.splitlines() if line.strip().startswith("$ ")]


def playbook() -> str:
    """The file that the guide has its reader write."""
    found = re.search(r"^\.\. code-block:: yaml\n\n((?:(?: +.*)?\n)+)", GUIDE, re.MULTILINE)
    assert found
    return textwrap.dedent(found.group(1))


def test_as_it_is_printed(host: Host) -> None:
    """But for what a lab can't do: Galaxy has the collection, web1 is reached by ssh, and it hears the power button."""
    (host.folder / "memory.yml").write_text(playbook())
    done: list[str] = []
    answers: dict[str, str] = {}
    for command in commands():
        words = shlex.split(command)
        if words[0] == "ansible-galaxy" or "web1.example.com," in words:
            continue
        if words[:2] == ["virsh", "shutdown"]:
            host.run(*words)  # nobody listens to it in a guest that is a kernel and a shell
            words = ["virsh", "destroy", words[2]]
        if words[:2] == ["virsh", "start"]:
            (host.folder / "console").unlink()
        before = host.total()
        answers[command] = host.run(*words)
        done.append(command)
        if "--check" in words:
            assert host.total() == before
    assert len(done) == 5, done
    assert '"effective": 2147483648' in answers[done[0]]
    assert "changed=1" in answers[done[1]]
    assert "changed=1" in answers[done[2]]
    assert "staged: [localhost] => web1: maxMemory is" in answers[done[2]]
    host.until(lambda: 4 * GIB - OWN < host.total() <= 4 * GIB, "4 GiB after the start")

    sizes = re.findall(r"Write ``memory: (\d+)GiB``", GUIDE)
    assert sizes == ["8", "5"]
    for size in sizes:
        text = playbook().replace("memory: 4GiB", f"memory: {size}GiB")
        (host.folder / "memory.yml").write_text(text)
        assert "changed=1" in host.run("ansible-playbook", "memory.yml")
        # The task is green, so the guest has it: there is nothing left to wait for but its next word.
        host.until(lambda size=size: int(size) * GIB - OWN < host.total() <= int(size) * GIB, size)  # type: ignore[misc]
        assert "changed=0" in host.run("ansible-playbook", "memory.yml")
