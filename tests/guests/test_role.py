# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role guest on a stock Debian that really runs: before, in check mode, for real, again, and at the next boots.

The witness is the guest's own /proc/meminfo, over ssh. Only root can build the guest's disk.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

import archive
import debian
import pytest

LAB = Path(archive.__file__).with_name("lab.py")
MIB = 1024**2
ROLE = Path(__file__).parent.parent.parent / "roles" / "guest"
BOOT = 300.0  # a whole systemd under emulation, on a machine that does other things too


@dataclass
class Guest:
    """A Debian on a lab of these tests' own."""

    folder: Path
    system: debian.System
    port: int

    def lab(self, *arguments: str) -> str:
        environment = {**os.environ, "VIRTMEM_LAB_DIR": str(self.folder / "lab")}
        command = ["/usr/bin/python3", str(LAB), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def boot(self, words: str = "", requested: int = 0) -> None:
        """Boots it, from cold, with these words on its kernel's command line; returns when it can be entered."""
        definition = self.folder / "guest.xml"
        definition.write_text(debian.domain_xml("debian", self.system, self.port, words, str(requested // 1024)))
        self.lab("guest", "debian", "--define", str(definition))
        deadline = time.monotonic() + BOOT
        while self.ssh("true").returncode != 0:
            assert time.monotonic() < deadline, "It can't be entered."
            time.sleep(2)

    def ssh(self, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        options = [
            "-q",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ConnectTimeout=20",
        ]
        call = ["ssh", *options, "-i", str(self.system.key), "-p", str(self.port), "root@127.0.0.1", command]
        return subprocess.run(call, input=text, capture_output=True, text=True, check=False)

    def ask(self, command: str, text: str = "") -> str:
        done = self.ssh(command, text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def total(self) -> int:
        """MemTotal, in bytes."""
        return int(self.ask("awk '/^MemTotal:/ {print $2}' /proc/meminfo")) * 1024

    def look(self) -> dict[str, str]:
        """What the role sees of it."""
        lines = self.ask("sh -s now", (ROLE / "files" / "look.sh").read_text()).splitlines()
        return dict(t.cast("tuple[str, str]", tuple(line.split("=", 1))) for line in lines)

    def ansible(self, *command: str) -> str:
        """The output of a command of Ansible's for the guest, or for the lab; what fails fails the test."""
        home = self.folder / "home"
        inventory = self.folder / "inventory.yml"
        inventory.write_text(f"""\
all:
  hosts:
    debian: {{ansible_host: 127.0.0.1, ansible_port: {self.port}, ansible_user: root,
             ansible_python_interpreter: /usr/bin/python3, ansible_ssh_private_key_file: {self.system.key},
             ansible_ssh_common_args: -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null}}
    here: {{ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}}
""")
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(Path(__file__).parents[5]),
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_REMOTE_TMP": "/tmp/virtmem-role",
            "ANSIBLE_TIMEOUT": "60",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_NOCOLOR": "1",
        }
        program = Path(sys.executable).with_name(command[0])
        call = [str(program), "-i", str(inventory), *command[1:]]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def take_initramfs(self) -> None:
        """The next boots are with the initramfs that its own system has made."""
        built = self.folder / "made.img"
        built.write_bytes(base64.b64decode(self.ask("base64 /boot/initrd.img-$(uname -r)")))
        built.chmod(0o666)
        self.system = replace(self.system, initramfs=built)

    def play(self, *options: str) -> str:
        """The output of the playbook for the guest."""
        return self.ansible("ansible-playbook", "virtmem.libvirt.prepare_guest", "-e", "guest_hosts=debian", *options)

    def prepare(self, *options: str) -> int:
        """Runs the playbook for the guest; returns how many tasks changed something."""
        recap = re.search(r"^debian +: ok=\d+ +changed=(\d+)", self.play(*options), re.MULTILINE)
        assert recap
        return int(recap.group(1))

    def give(self, requested: str) -> str:
        """A task of a user's that gives the guest memory and requires its own word."""
        uri = self.lab("uri")
        words = f"uri={uri} domain=debian alias=ua-vm0 requested={requested} verify=required wait_timeout=40"
        return self.ansible("ansible", "here", "-m", "virtmem.libvirt.memory_device", "-a", words)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def guest() -> t.Iterator[Guest]:
    """A stock Debian 12, running."""
    if os.geteuid() != 0:
        pytest.skip("only root can build its disk")
    try:
        built = debian.build("bookworm")
    except archive.ArchiveError as error:
        pytest.fail(str(error))
    folder = Path(tempfile.mkdtemp(prefix="vg-", dir="/tmp"))  # a short path, for its sockets
    folder.chmod(0o755)
    parts = ("kernel", "initramfs", "disk", "key")
    system = replace(built, **{part: folder / getattr(built, part).name for part in parts})
    for part in parts:
        copy = Path(getattr(system, part))
        subprocess.run(["cp", "--sparse=always", getattr(built, part), copy], check=True)
        copy.chmod(0o600 if part == "key" else 0o666)
    one = Guest(folder, system, _free_port())
    one.lab("up")
    try:
        one.boot()
        yield one
    finally:
        one.lab("down")
        shutil.rmtree(folder)


def test_a_stock_debian_can_use_what_it_is_given_and_at_every_boot_too(guest: Guest) -> None:
    """One story, since a boot takes a minute."""
    stock = guest.total()
    assert guest.look()["policy"] == "offline"
    with pytest.raises(AssertionError, match="not_usable"):
        guest.give("512MiB")
    assert guest.total() == stock

    # Check mode changes nothing, and says that the run does.
    before = guest.look()
    assert int(before["offline"]) > 0
    shown = guest.play("--check", "--diff")
    assert "/sys/devices/system/memory/auto_online_blocks: offline -> online_movable" in shown
    assert '+GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX memhp_default_state=online_movable"' in shown
    assert guest.look() == before
    expected = guest.prepare("--check")

    assert guest.prepare() == expected
    assert guest.total() == stock + 512 * MIB
    now = guest.look()
    assert (now["policy"], now["offline"], now["menu"]) == (
        *("online_movable", "0"),
        "memhp_default_state=online_movable",
    )
    assert guest.prepare() == 0
    assert '"usable": true' in guest.give("1GiB")
    assert guest.total() == stock + 1024 * MIB

    # The next boot, by the words of GRUB's menu. The initramfs that was made has the driver.
    guest.ask("touch /etc/initramfs-tools/modules")  # as if it had not been made to the end
    assert guest.prepare() == 1
    guest.take_initramfs()
    menu = guest.ask("grep -m 1 '^[[:space:]]*linux' /boot/grub/grub.cfg").split()
    assert "virtio_mem" in guest.ask("lsinitramfs /boot/initrd.img-$(uname -r)")
    guest.boot(" ".join(word for word in menu if word.startswith("mem")), requested=1024 * MIB)
    assert guest.total() == stock + 1024 * MIB

    # The same by udev, without any word for the kernel, and for much memory.
    assert guest.prepare("-e", "guest_boot_method=udev", "-e", "guest_max_memory=64GiB") >= 2
    seen = guest.look()
    assert (seen["online_policy"], seen["menu"]) == ("auto-movable", "")
    assert guest.prepare("-e", "guest_boot_method=udev", "-e", "guest_max_memory=64GiB") == 0
    guest.boot(requested=1024 * MIB)
    deadline = time.monotonic() + 60
    while guest.total() < stock + 1024 * MIB and time.monotonic() < deadline:
        time.sleep(2)
    seen = guest.look()
    assert (seen["policy"], seen["online_policy"], seen["offline"]) == ("offline", "auto-movable", "0")
    assert guest.total() == stock + 1024 * MIB


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("guest_max_memory=64", "Write for example guest_max_memory: 64GiB"),
        ("guest_boot_method=grub guest_online_policy=sometimes", "sometimes"),
    ],
)
def test_what_can_not_be_read_is_refused_before_anything_is_changed(guest: Guest, declared: str, reason: str) -> None:
    before = guest.look()
    with pytest.raises(AssertionError, match=reason):
        guest.prepare("-e", declared)
    assert guest.look() == before
