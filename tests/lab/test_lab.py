# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of the labs themselves, through their command line and virsh: `pytest tests/lab`, in about a minute.

They bring up labs of their own. What needs root, or the right to make namespaces, is skipped without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from daemon import may_make_namespaces

# The checkout's, where these tests run from a copy: it keeps what took long to make.
COMMAND = ("/usr/bin/python3", os.environ.get("VIRTMEM_LAB_PY") or str(Path(__file__).with_name("lab.py")))
GIB = 1024**2  # in KiB, as libvirt has it
HERE = "this machine's"
VIRTIO_MEM = "model=virtio-mem,alias=ua-vm0,size=2GiB,requested=0,block=2MiB,node=0"


@dataclass(frozen=True)
class Commands:
    """One lab's commands."""

    base: Path
    release: str

    @property
    def folder(self) -> Path:
        return self.base if self.release == HERE else self.base.with_name(f"{self.base.name}-{self.release}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        release = () if self.release == HERE else ("--release", self.release)
        environment = {**os.environ, "VIRTMEM_LAB_DIR": str(self.base)}
        return subprocess.run(
            [*COMMAND, *release, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def report(self, name: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = json.loads(self("guestinfo", name))
        return found

    def hears(self, name: str, what: str) -> t.Any:
        """One of the things that the guest reports; None while it is mute, as it may be on a busy machine."""
        done = self.run("guestinfo", name)
        return json.loads(done.stdout)[what] if done.returncode == 0 else None

    def device(self, name: str, alias: str) -> ElementTree.Element | None:
        devices = ElementTree.fromstring(self("virsh", "dumpxml", name)).iterfind("devices/memory")
        return next((one for one in devices if one.find("alias").get("name") == alias), None)  # type: ignore[union-attr]

    def current(self, name: str) -> int:
        device = self.device(name, "ua-vm0")
        assert device is not None
        return int(device.findtext("target/current") or "")

    def request(self, name: str, size: str) -> None:
        self("virsh", "update-memory-device", name, "--alias", "ua-vm0", "--requested-size", size)


def until(is_so: t.Callable[[], bool], patience: float = 60) -> None:
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.2)


def _steady(value: t.Callable[[], int], for_seconds: float = 2.5) -> int:
    """A value that has not moved for a while; QEMU tells of a movement once a second."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < for_seconds:
        now = value()
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.2)
    return last


def _entries(folder: Path) -> t.Iterator[Path]:
    """What /proc has of a lab's processes."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it may be gone by now
            if entry.name.isdigit() and f"={folder}/".encode() in (entry / "environ").read_bytes():
                yield entry


def _processes(folder: Path) -> list[str]:
    found = []
    for entry in _entries(folder):
        with contextlib.suppress(OSError):
            found.append((entry / "comm").read_text().strip())
    return found


def _users(folder: Path) -> list[str]:
    return [user.pw_name for user in pwd.getpwall() if user.pw_dir == str(folder)]


NEEDS_NAMESPACES = pytest.mark.skipif(os.geteuid() != 0 and not may_make_namespaces(), reason="needs namespaces")
EACH = [HERE, *(pytest.param(name, marks=NEEDS_NAMESPACES) for name in ("trixie", "forky"))]
# What is asked of the guests and not of libvirt is asked once.
ONE = pytest.mark.parametrize("lab", [HERE], indirect=True, scope="module")


@pytest.fixture(params=EACH)
def new(request: pytest.FixtureRequest) -> t.Iterator[Commands]:
    """Each lab in turn, not up."""
    lab = Commands(Path(f"/tmp/vl-n-{os.getpid()}"), request.param)
    yield lab
    lab("down")


@pytest.fixture(scope="module", params=EACH)
def lab(request: pytest.FixtureRequest) -> t.Iterator[Commands]:
    """Each lab in turn, up, with guests that are named like their kinds."""
    lab = Commands(Path(f"/tmp/vl-{os.getpid()}"), request.param)
    kinds = ["driver", "empty", *(("nodriver", "pinned", "unmovable") if request.param == HERE else ())]
    try:
        lab("up")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda kind: lab("guest", kind, "--kind", kind, "--device", VIRTIO_MEM), kinds))
        yield lab
    finally:
        lab("down")


def test_up_and_down_twice_leave_nothing(new: Commands) -> None:
    first = new("up")
    process = (new.folder / "libvirtd.pid").read_text()
    assert new("up") == first
    assert (new.folder / "libvirtd.pid").read_text() == process
    assert first.strip() == f"qemu+unix:///session?socket={new.folder}/run/libvirt/libvirt-sock"
    new("guest", "one", "--kind", "empty")
    assert sorted(_processes(new.folder)) == ["libvirtd", "qemu-system-x86"]
    for _time in range(2):
        new("down")
        assert not new.folder.exists()
        assert not _processes(new.folder)
        assert not _users(new.folder)
        assert str(new.folder) not in Path("/proc/self/mountinfo").read_text()


def test_the_daemon_has_no_root_rights_and_no_kvm(new: Commands) -> None:
    new("up")
    process = Path("/proc") / (new.folder / "libvirtd.pid").read_text()
    assert process.stat().st_uid != 0
    capabilities = re.search(r"^CapEff:\s*(\w+)", (process / "status").read_text(), re.MULTILINE)
    assert capabilities is not None
    assert int(capabilities.group(1), 16) == 0


def test_up_cleans_up_after_a_crash(new: Commands) -> None:
    new("up")
    new("guest", "one", "--kind", "empty")
    os.kill(int((new.folder / "libvirtd.pid").read_text()), signal.SIGKILL)
    new("up")
    assert new("list") == ""
    assert _processes(new.folder) == ["libvirtd"]


@NEEDS_NAMESPACES
def test_one_lab_down_leaves_the_other_up() -> None:
    here, other = (Commands(Path(f"/tmp/vl-b-{os.getpid()}"), release) for release in (HERE, "trixie"))
    try:
        here("up")
        other("up")
        other("guest", "one", "--kind", "empty")
        here("down")
        assert other("list") == "one running\n"
    finally:
        here("down")
        other("down")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount without a user namespace")
def test_an_etc_of_its_own_stays_though_users_come_and_go_outside(tmp_path: Path) -> None:
    """`Outside` is a namespace too, so that the machine's own users are left alone."""
    own = f"unshare --mount --propagation private {Path(COMMAND[1]).with_name('own_etc.sh')} sh -euc"
    inside = "echo mine >> /etc/passwd; touch ready; until [ -e replaced ]; do sleep 0.1; done; tail -n 1 /etc/passwd"
    replaced = "{ cat /etc/passwd; echo other; } > /etc/passwd+; mv /etc/passwd+ /etc/passwd; touch replaced"
    outside = f"{own} '{inside}' & until [ -e ready ]; do sleep 0.1; done; {replaced}; wait; tail -n 1 /etc/passwd"
    done = subprocess.run(
        [*own.split(), outside], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.stdout.split(), done.stderr) == (["mine", "other"], "")
    assert "other" not in Path("/etc/passwd").read_text().split()


@pytest.fixture
def other() -> t.Iterator[tuple[list[str], Path]]:
    """What runs a command as a normal user with numbers in /etc/subuid, and a checkout of the lab that is theirs."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a user")
    name, folder = f"vl-{os.getpid()}", Path(f"/tmp/vl-o-{os.getpid()}")
    shutil.copytree(Path(COMMAND[1]).parent, folder / "tests" / "lab")
    try:
        subprocess.run(["useradd", "--home-dir", str(folder), "--no-create-home", name], check=True)
        subprocess.run(["chown", "--recursive", name, str(folder)], check=True)
        yield ["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups", "env", f"HOME={folder}"], folder
    finally:
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(folder)


def test_a_user_without_root_has_the_labs_of_other_releases(other: tuple[list[str], Path]) -> None:
    """The first time takes a minute: the root is made in a user namespace."""
    user, folder = other

    def lab(*arguments: str) -> str:
        command = [
            *user,
            f"VIRTMEM_LAB_DIR={folder}/l",
            COMMAND[0],
            f"{folder}/tests/lab/lab.py",
            "--release",
            "trixie",
        ]
        return subprocess.run([*command, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout

    try:
        lab("up")
        lab("guest", "g", "--device", VIRTIO_MEM)
        at_boot = json.loads(lab("guestinfo", "g"))["mem_total"]
        lab("virsh", "update-memory-device", "g", "--alias", "ua-vm0", "--requested-size", "1GiB")
        until(lambda: bool(json.loads(lab("guestinfo", "g"))["mem_total"] == at_boot + 1024**3))
        owner = pwd.getpwnam(f"vl-{os.getpid()}").pw_uid
        assert {entry.stat().st_uid for entry in _entries(folder / "l-trixie")} == {owner}
        assert "trixie" in lab("inside", "cat", "/etc/os-release")
    finally:
        lab("down")


def test_who_may_make_no_namespaces_is_told_so(other: tuple[list[str], Path]) -> None:
    user, folder = other
    (folder / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (folder / "unshare").chmod(0o755)
    command = [*user, f"PATH={folder}:{os.environ['PATH']}", COMMAND[0], f"{folder}/tests/lab/lab.py"]
    done = subprocess.run([*command, "--release", "trixie", "up"], capture_output=True, text=True, check=False)
    assert done.returncode == 77
    assert "needs root here" in done.stderr


def test_the_guest_sees_what_libvirt_says(lab: Commands) -> None:
    at_boot = lab.report("driver")["mem_total"]
    lab.request("driver", "1GiB")
    until(lambda: lab.current("driver") == GIB)
    until(lambda: bool(lab.hears("driver", "mem_total") == at_boot + 1024**3))
    lab.request("driver", "0")
    until(lambda: lab.current("driver") == 0)
    until(lambda: bool(lab.hears("driver", "mem_total") == at_boot))


def test_virtio_mem_can_be_unplugged_where_qemu_can(lab: Commands) -> None:
    version = re.search(r"hypervisor: QEMU (\d+)\.(\d+)", lab("virsh", "version"))
    assert version is not None
    assert lab.current("driver") == 0
    done = lab.run("virsh", "detach-device-alias", "driver", "ua-vm0", "--live")
    assert (done.returncode == 0) == (tuple(map(int, version.groups())) >= (8, 1))
    if done.returncode == 0:
        until(lambda: lab.device("driver", "ua-vm0") is None)


@ONE
def test_without_the_driver_nothing_moves(lab: Commands) -> None:
    assert lab.report("nodriver")["driver"] is False
    for name in ("nodriver", "empty"):
        lab.request(name, "1GiB")
    assert _steady(lambda: lab.current("nodriver") + lab.current("empty")) == 0


@ONE
def test_pinned_memory_is_given_back_in_part(lab: Commands) -> None:
    lab.request("pinned", "1GiB")
    until(lambda: bool(lab.hears("pinned", "pinned") == 1024**3 // 2))
    until(lambda: lab.current("pinned") == GIB)
    lab.request("pinned", "0")
    assert GIB // 2 <= _steady(lambda: lab.current("pinned")) < GIB


@ONE
@pytest.mark.parametrize(
    ("name", "answer"),
    [("driver", "gives it back"), ("unmovable", "refuses"), ("empty", "never answers")],
)
def test_a_dimm_is_given_back_or_not(lab: Commands, tmp_path: Path, name: str, answer: str) -> None:
    target = "<target><size unit='MiB'>512</size><node>0</node></target>"
    xml = tmp_path / "dimm.xml"
    xml.write_text(f"<memory model='dimm'>{target}<alias name='ua-d0'/></memory>")
    lab("virsh", "attach-device", name, str(xml), "--live")
    if answer == "refuses":
        until(lambda: bool(lab.hears(name, "pinned")))
    elif answer == "gives it back":
        until(lambda: bool((lab.hears(name, "mem_total") or 0) > 900 * 1024**2))
    device = lab.device(name, "ua-d0")
    assert device is not None
    xml.write_text(ElementTree.tostring(device, encoding="unicode"))
    done = lab.run("virsh", "detach-device", name, str(xml), "--live")
    assert ("rejected" in done.stderr) == (answer == "refuses")
    assert (done.returncode == 0) == (answer != "refuses")
    assert (lab.device(name, "ua-d0") is None) == (answer == "gives it back")


def test_every_key_of_a_device_arrives(lab: Commands) -> None:
    given = {
        "dimm": "size=256MiB,node=0,slot=3,base=0x100000000,access=private,discard=yes,nodemask=0,pagesize=4KiB",
        "nvdimm": "size=256MiB,node=0,path=nv,label=2MiB,alignsize=2MiB,readonly=yes",
        "virtio-pmem": "size=256MiB,path=pm",
    }
    words = [word for model, keys in given.items() for word in ("--device", f"model={model},{keys}")]
    lab("guest", "models", "--kind", "empty", "--stopped", *words)
    definition = ElementTree.fromstring(lab("virsh", "dumpxml", "models"))
    dimm, nvdimm, pmem = definition.iterfind("devices/memory")
    assert (dimm.get("access"), dimm.get("discard")) == ("private", "yes")
    assert (dimm.findtext("source/nodemask"), dimm.findtext("source/pagesize")) == ("0", "4")
    assert dimm.find("address").attrib == {"type": "dimm", "slot": "3", "base": "0x100000000"}  # type: ignore[union-attr]
    assert nvdimm.find("target/readonly") is not None
    assert (nvdimm.findtext("source/alignsize"), nvdimm.findtext("target/label/size")) == ("2048", "2048")
    for device, name in ((nvdimm, "nv"), (pmem, "pm")):
        path = Path(device.findtext("source/path") or "")
        assert path == lab.folder / "memory" / name
        assert path.stat().st_size == 256 * 1024**2


@ONE
def test_an_unknown_key_is_refused(lab: Commands) -> None:
    done = lab.run("guest", "wrong", "--stopped", "--device", "model=dimm,size=1GiB,colour=red")
    assert done.returncode == 1
    assert "colour" in done.stderr


@ONE
def test_a_given_definition_is_taken_as_it_is(lab: Commands, tmp_path: Path) -> None:
    definition = (
        "<domain type='qemu'><name>given</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"
    )
    file = tmp_path / "given.xml"
    file.write_text(definition)
    lab("guest", "given", "--define", str(file), "--paused")
    assert lab("virsh", "domstate", "given").strip() == "paused"
    assert "other" in lab.run("guest", "other", "--define", str(file)).stderr


@ONE
def test_a_panic_and_a_reboot_come_on_demand(lab: Commands) -> None:
    device = VIRTIO_MEM.replace("requested=0", "requested=256MiB")
    panics = ("panics", "--panic-device", "--on-crash", "preserve")
    reboots = ("reboots", "--append", "lab.reboot=1", "--on-reboot", "destroy", "--device", device)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda words: lab("guest", *words), (panics, reboots)))
    lab("virsh", "inject-nmi", "panics")
    until(lambda: lab("virsh", "domstate", "panics").strip() == "crashed")
    until(lambda: lab("virsh", "domstate", "reboots").strip() == "shut off")


def test_guests_survive_a_restart_of_the_daemon(lab: Commands) -> None:
    before = (lab.folder / "libvirtd.pid").read_text()
    lab("restart")
    assert (lab.folder / "libvirtd.pid").read_text() != before
    assert lab.report("driver")["kind"] == "driver"
    assert lab("virsh", "domstate", "driver").strip() == "running"


@ONE
def test_many_guests_at_once(lab: Commands) -> None:
    made = [json.loads(line)["name"] for line in lab("guests", "many-", "3", "--paused").splitlines()]
    assert made == ["many-1", "many-2", "many-3"]
    lab("delete", *made)
    assert "many-" not in lab("list")


def test_sgx_can_be_defined(new: Commands) -> None:
    device = "model=sgx-epc,size=64MiB,node=0,nodemask=0"
    new("up")
    assert new.run("guest", "sgx", "--kind", "empty", "--stopped", "--device", device).returncode == 1
    new("sgx")
    new("guest", "sgx", "--kind", "empty", "--stopped", "--device", device)
    assert "sgx-epc" in new("virsh", "dumpxml", "sgx")
