# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab itself: its folders, its unprivileged user, its libvirtd.

Everything lives in one folder, and every process of the lab has that folder in its environment, so that taking
the lab down can find them all. The machine's own libvirt is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import libvirt

CHECKOUT = Path(__file__).resolve().parent.parent.parent
KVM = Path("/dev/kvm")

QEMU_CONF = """\
# Written by the lab.
stdio_handler = "file"
security_driver = "none"
namespaces = []
"""

# libvirt distrusts its cache of QEMU's capabilities where /dev/kvm can be opened but does not work, and probes again
# at every parse, for half a minute each. So the daemon gets a /dev without it.
WITHOUT_KVM = """\
set -e
new=$(mktemp -d)
mount -t tmpfs -o mode=755 dev "$new"
for node in null zero full random urandom tty ptmx; do cp -a "/dev/$node" "$new/"; done
ln -s /proc/self/fd "$new/fd"
mkdir "$new/pts" "$new/shm"
mount --bind /dev/pts "$new/pts"
mount --bind /dev/shm "$new/shm"
mount --bind "$new" /dev
exec "$@"
"""


class LabError(Exception):
    """The lab can't do what was asked; the message says why."""


@dataclass(frozen=True)
class Lab:
    """Where one lab lives and who it runs as. Another kind of lab is another way to start the daemon."""

    folder: Path
    user: str | None  # the user that it runs as, where that is not the caller

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


def this_lab() -> Lab:
    """The lab of this checkout, or of $VIRTMEM_LAB_DIR. The path is short: a socket's may have 107 characters only."""
    mark = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
    folder = Path(os.environ.get("VIRTMEM_LAB_DIR") or f"/tmp/virtmem-lab-{mark}")
    if os.geteuid() == 0:
        own = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        return Lab(folder, f"virtmem-{own}")
    return Lab(folder, None)


# --- processes


def _processes(lab: Lab) -> list[int]:
    """Every process of the lab, found by its folder in the environment (QEMU's is inherited from the daemon)."""
    mark = str(lab.folder).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(variable.startswith(b"XDG_") and mark in variable for variable in variables):
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
    return {
        "HOME": str(lab.folder),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
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


def _make_folders(lab: Lab) -> None:
    lab.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    lab.own(lab.folder)
    config = lab.folder / "config" / "libvirt"
    for folder in (lab.runtime, lab.consoles, lab.images, lab.folder / "cache", lab.folder / "data", config.parent, config):
        folder.mkdir(exist_ok=True)
        lab.own(folder)
    (config / "qemu.conf").write_text(QEMU_CONF)


def _others_may_open_kvm() -> bool:
    return KVM.exists() and bool(KVM.stat().st_mode & 0o006)


def _command(lab: Lab) -> list[str]:
    libvirtd = shutil.which("libvirtd", path="/usr/sbin:/usr/bin")
    if libvirtd is None or shutil.which("qemu-system-x86_64") is None:
        raise LabError("libvirtd or qemu-system-x86_64 is missing; run `make setup`.")
    if lab.user is None:
        return [libvirtd]
    dropped = ["setpriv", f"--reuid={lab.user}", f"--regid={lab.user}", "--clear-groups", libvirtd]
    if _others_may_open_kvm():
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", WITHOUT_KVM, "sh", *dropped]
    return dropped


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
        LabError: it can't be started.
    """
    if is_up(lab):
        return
    down(lab)
    if lab.user is not None and not _has_user(lab.user):
        useradd = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(lab.folder)]
        subprocess.run([*useradd, "--shell", "/usr/sbin/nologin", lab.user], check=True, capture_output=True)
    _make_folders(lab)
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
    lab.pid_file.write_text(str(daemon.pid))
    deadline = time.monotonic() + 30
    while not is_up(lab):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"libvirtd did not start; its last words:\n{_tail(lab.log)}")
        time.sleep(0.05)


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def tail_of_log(lab: Lab) -> str:
    """The daemon's last words."""
    return _tail(lab.log) if lab.log.is_file() else ""


# --- down


def connect(lab: Lab) -> t.Any:
    """A connection to the lab.

    Raises:
        LabError: the lab is not up.
    """
    if not is_up(lab):
        raise LabError("The lab is not up; run `make lab-up`.")
    return libvirt.open(lab.uri)


def down(lab: Lab) -> None:
    """Takes the lab away: its processes, its folder, its user. The cached image stays."""
    _end(lab)
    shutil.rmtree(lab.folder, ignore_errors=True)
    if lab.user is not None and _has_user(lab.user):
        subprocess.run(["userdel", lab.user], check=True, capture_output=True)
