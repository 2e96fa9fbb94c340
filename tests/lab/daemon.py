# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The labs themselves: their folders, their unprivileged users, their libvirtds.

The first lab runs the libvirt and the QEMU of this machine, the others those of other Debian releases.

Everything lives in one folder, and every process of the lab has that folder in its environment, so that taking
the lab down can find them all. The machine's own libvirt is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import libvirt
import release

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
KVM = Path("/dev/kvm")
# The longest path that a socket's address can hold, and how far into the folder the longest one is: the monitor of a
# guest with a name cut to 20 characters, as libvirt does.
LONGEST_SOCKET = 107
DEEPEST_SOCKET = len("/config/libvirt/qemu/lib/domain-1000-12345678901234567890/monitor.sock")

QEMU_CONF = """\
# Written by the lab.
stdio_handler = "file"
security_driver = "none"
namespaces = []
"""


class LabError(Exception):
    """The lab can't do what was asked; the message says why."""


class NeedsRoot(LabError):
    """Only root can run this lab."""


@dataclass(frozen=True)
class Lab:
    """Where one lab lives, who it runs as, and whose libvirt and QEMU it runs."""

    folder: Path
    user: str | None  # the user that it runs as, where that is not the caller
    release: str | None = None  # the Debian release, where that is not the machine's own

    @property
    def runtime(self) -> Path:
        return self.folder / "run"

    @property
    def socket(self) -> Path:
        return self.runtime / "libvirt" / "libvirt-sock"

    @property
    def consoles(self) -> Path:
        return self.folder / "console"

    @property
    def images(self) -> Path:
        return self.folder / "image"

    @property
    def files(self) -> Path:
        """Where the files behind the guests' memory are."""
        return self.folder / "memory"

    @property
    def log(self) -> Path:
        return self.folder / "libvirtd.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "libvirtd.pid"

    @property
    def uri(self) -> str:
        return f"qemu+unix:///session?socket={self.socket}"

    def own(self, path: Path) -> None:
        """Gives a file or folder to the lab's user."""
        if self.user is not None:
            shutil.chown(path, self.user, self.user)


def this_lab(name: str | None = None) -> Lab:
    """The lab of this checkout and caller, or of $VIRTMEM_LAB_DIR: the first one, or a release's."""
    root = os.geteuid() == 0
    mark = _digest(str(CHECKOUT) if root else f"{CHECKOUT} {os.geteuid()}")
    base = Path(os.environ.get("VIRTMEM_LAB_DIR") or f"/tmp/virtmem-lab-{mark}").absolute()
    folder = base if name is None else base.with_name(f"{base.name}-{name}")
    return Lab(folder, f"virtmem-{_digest(str(folder))}" if root else None, name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- processes


def _processes(lab: Lab) -> list[int]:
    """Every process of the lab, found by its folder in the environment (QEMU's is inherited from the daemon)."""
    # Not just anything that starts like the folder: another lab's folder may.
    mark = re.compile(rb"XDG_[A-Z_]+=" + re.escape(os.fsencode(lab.folder)) + rb"(/|$)")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(mark.match(variable) for variable in variables):
                found.append(int(entry.name))
    return found


def _end(lab: Lab, patience: float = 10.0) -> None:
    """Ends the lab's processes, with force if they don't go."""
    deadline = time.monotonic() + patience
    sent = signal.SIGTERM
    while processes := _processes(lab):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sent)
        if time.monotonic() > deadline:
            sent = signal.SIGKILL
        time.sleep(0.1)


# --- up


def _environment(lab: Lab) -> dict[str, str]:
    more = f":{release.FOREIGN_PATH}" if lab.release == release.FOREIGN else ""
    return {
        "HOME": str(lab.folder),
        "PATH": f"/usr/sbin:/usr/bin:/sbin:/bin{more}",
        "LC_ALL": "C.UTF-8",  # Ansible, inside a lab, takes no other
        "XDG_RUNTIME_DIR": str(lab.runtime),
        "XDG_CONFIG_HOME": str(lab.folder / "config"),
        "XDG_CACHE_HOME": str(lab.folder / "cache"),
        "XDG_DATA_HOME": str(lab.folder / "data"),
    }


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _change_users(*command: str) -> None:
    """Adds or removes a user. These commands don't wait for each other, and another lab may be at it too."""
    deadline = time.monotonic() + 10
    while (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode != 0:
        if "lock" not in done.stderr or time.monotonic() > deadline:
            raise LabError(f"{command[0]} failed: {done.stderr.strip()}")
        time.sleep(0.1)


def _make_folders(lab: Lab) -> None:
    lab.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    lab.own(lab.folder)
    config = lab.folder / "config" / "libvirt"
    plain = (lab.runtime, lab.consoles, lab.images, lab.files, lab.folder / "cache", lab.folder / "data")
    for folder in (*plain, config.parent, config):
        folder.mkdir(exist_ok=True)
        lab.own(folder)
    (config / "qemu.conf").write_text(QEMU_CONF)


def _can_open_kvm(lab: Lab) -> bool:
    if lab.user is None:
        return os.access(KVM, os.R_OK | os.W_OK)
    return KVM.exists() and bool(KVM.stat().st_mode & 0o006)


# A user namespace of a normal user.
_AS_ITS_ROOT = ("unshare", "--user", "--map-root-user")


def may_make_namespaces() -> bool:
    """Whether a normal user may, which depends on the distribution."""
    asked = subprocess.run([*_AS_ITS_ROOT, "--mount", "true"], capture_output=True, check=False)
    return asked.returncode == 0


def _libvirtd() -> str:
    libvirtd = shutil.which("libvirtd", path="/usr/sbin:/usr/bin")
    if libvirtd is None or shutil.which("qemu-system-x86_64") is None:
        raise LabError("libvirtd or qemu-system-x86_64 is missing; run `make setup`.")
    return libvirtd


def _command(lab: Lab) -> list[str]:
    """What starts the daemon: itself, as the lab's user, behind enter.sh where its surroundings are not to be ours."""
    if lab.release is not None:
        return _inside(lab, "/usr/sbin/libvirtd")
    if _can_open_kvm(lab) and (lab.user is not None or may_make_namespaces()):
        return _inside(lab, _libvirtd())
    return [_libvirtd()] if lab.user is None else [*_dropped(lab.user), _libvirtd()]


def _dropped(name: str) -> list[str]:
    user = pwd.getpwnam(name)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _inside(lab: Lab, *command: str) -> list[str]:
    """A command as the lab's user, in a mount namespace of its own, in a release's root or the machine's."""
    if lab.user is not None:
        private, back = ["unshare"], _dropped(lab.user)
    else:
        # As root of a user namespace it may mount; as itself again, in one more, libvirtd is a session daemon.
        private = [*_AS_ITS_ROOT]
        back = ["unshare", "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
    root = "" if lab.release is None else str(release.build(lab.release))
    enter = [*private, "--mount", "--propagation", "private", str(HERE / "enter.sh")]
    return [*enter, str(lab.folder), root, *back, *command]


def inside(lab: Lab, command: t.Sequence[str]) -> int:
    """Runs a command where the lab's daemon is, as its user: with its release's programs, where it has a release.

    Returns:
        What it exited with.

    Raises:
        LabError: the lab is not up.
    """
    connect(lab).close()
    if lab.release is not None:
        command = _inside(lab, *command)
    elif lab.user is not None:
        command = [*_dropped(lab.user), *command]
    return subprocess.run(command, cwd="/", env=_environment(lab), stdin=subprocess.DEVNULL, check=False).returncode


def is_up(lab: Lab) -> bool:
    """Whether the lab's daemon answers."""
    if not lab.socket.exists():
        return False
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        libvirt.open(lab.uri).close()
    except libvirt.libvirtError:
        return False
    return True


def up(lab: Lab) -> None:
    """Starts the daemon, unless it runs. What a crash has left is cleaned up first.

    Raises:
        NeedsRoot: it can't be run by this user.
        LabError: it can't be started.
    """
    if lab.release is not None and lab.user is None and not may_make_namespaces():
        raise NeedsRoot(f"The lab of {lab.release} needs root here: others may make no user namespaces.")
    if len(str(lab.folder)) + DEEPEST_SOCKET > LONGEST_SOCKET:
        raise LabError(f"{lab.folder} is too long a path: its sockets would not fit into {LONGEST_SOCKET} characters.")
    if is_up(lab):
        return
    down(lab)
    if lab.user is not None and not _has_user(lab.user):
        useradd = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(lab.folder)]
        _change_users(*useradd, "--shell", "/usr/sbin/nologin", lab.user)
    _make_folders(lab)
    _start(lab)


def _start(lab: Lab) -> None:
    with lab.log.open("ab") as log:
        daemon = subprocess.Popen(
            _command(lab),
            cwd="/",
            env=_environment(lab),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # All that stands in front of the daemon becomes it in the end, so this is its number too.
    lab.pid_file.write_text(str(daemon.pid))
    deadline = time.monotonic() + 30
    while not is_up(lab):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"libvirtd did not start; its last words:\n{_tail(lab.log)}")
        time.sleep(0.05)


@contextlib.contextmanager
def stopped(lab: Lab, how: int = signal.SIGTERM) -> t.Iterator[None]:
    """Ends the daemon meanwhile, if it has not ended itself; the guests go on, and the daemon finds them again.

    Raises:
        LabError: the lab is not up, or does not start again.
    """
    if not lab.pid_file.is_file():
        raise _not_up(lab)
    process = int(lab.pid_file.read_text())
    if process in _processes(lab):
        os.kill(process, how)
    while process in _processes(lab):
        time.sleep(0.05)
    yield
    _start(lab)


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def tail_of_log(lab: Lab) -> str:
    """The daemon's last words."""
    return _tail(lab.log) if lab.log.is_file() else ""


def connect(lab: Lab) -> t.Any:
    """A connection to the lab.

    Raises:
        LabError: the lab is not up.
    """
    if not is_up(lab):
        raise _not_up(lab)
    return libvirt.open(lab.uri)


def _not_up(lab: Lab) -> LabError:
    what = "make lab-up" if lab.release is None else f"lab.py --release {lab.release} up"
    return LabError(f"The lab is not up; run `{what}`.")


# --- down


def down(lab: Lab) -> None:
    """Takes the lab away: its processes, its folder, its user. What is cached stays.

    Raises:
        LabError: the folder is somebody else's.
    """
    _end(lab)
    shutil.rmtree(lab.folder, ignore_errors=True)
    if lab.folder.exists():
        raise LabError(f"{lab.folder} can't be removed; it belongs to {lab.folder.owner()}.")
    if lab.user is not None and _has_user(lab.user):
        _change_users("userdel", lab.user)
