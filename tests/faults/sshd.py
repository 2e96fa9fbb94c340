# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An sshd of the tests' own: unpacked, never installed, on a port of 127.0.0.1, with keys that die with the test.

It runs as the user that the lab's daemon runs as, and lets in that user only; such a server has no terminals. Root can
have one that runs as root, and has.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from faultlab import LAB, Lab

sys.path.insert(0, str(LAB.parent))

import archive

# What Debian's sshd is linked with and other programs hardly ever are.
LIBRARIES = ("libwrap0", "libnsl2")
_PRIVATE = ("unshare", "--mount", "--propagation", "private", str(LAB.with_name("own_etc.sh")))


def _command() -> list[str]:
    """How sshd is called: the machine's, or that of Debian's package, which is kept with the lab's other things."""
    if installed := shutil.which("sshd", path="/usr/sbin"):
        return [installed]
    folder = archive.CACHE / "sshd-unpacked"
    if not folder.is_dir():
        new = folder.with_suffix(f".{os.getpid()}")
        new.mkdir(parents=True)
        packages = archive.Archive("openssh-server", new)
        for package in ("openssh-server", *LIBRARIES):
            packages.unpack(package, new)
        new.rename(folder)
    return [str(folder / "usr/sbin/sshd")]


def _libraries() -> str:
    folders = (archive.CACHE / "sshd-unpacked").glob("*/lib/*-linux-gnu")
    return ":".join(str(folder) for folder in [*folders, *(archive.CACHE / "sshd-unpacked").glob("lib/*-linux-gnu")])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _keys(folder: Path) -> None:
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())


def _as_user(user: pwd.struct_passwd) -> list[str]:
    """Words before a command that make it run as the user, who has a shell there if nowhere else."""
    if os.geteuid() != 0:
        return []
    shell = f"sed -i '/^{user.pw_name}:/s,[^:]*$,/bin/sh,' /etc/passwd"
    dropped = f"setpriv --reuid={user.pw_uid} --regid={user.pw_gid} --clear-groups"
    return [*_PRIVATE, "sh", "-c", f'{shell} && exec {dropped} "$@"', "sh"]


def _as_root() -> list[str]:
    """Words before a command that give it what a server of root's needs, and what it writes, for itself."""
    account = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin"
    made = (
        f"echo {account} >> /etc/passwd",
        "mount -t tmpfs none /var/log && : > /var/log/lastlog",
        "mount -t tmpfs none /run && mkdir -m 755 /run/sshd",
    )
    return [*_PRIVATE, "sh", "-c", f'{" && ".join(made)} && exec "$@"', "sh"]


@contextlib.contextmanager
def serving(lab: Lab, folder: Path, as_root: bool = False) -> t.Iterator[str]:
    """A URI that reaches the lab's daemon over ssh, as long as the block lasts.

    Args:
        lab: the lab.
        folder: an empty folder that is open to everybody.
        as_root: whether the server is root's, and lets in root.
    """
    user = pwd.getpwuid(0 if as_root else lab.socket.stat().st_uid)
    port = _free_port()
    _keys(folder)
    if os.geteuid() == 0:
        shutil.chown(folder / "host", user.pw_uid, user.pw_gid)
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
        # As the session of a user who may use this daemon.
        "SetEnv": f"XDG_RUNTIME_DIR={lab.place / 'run'}",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    # Whatever the caller's own settings are, none of them counts.
    ssh = folder / "ssh"
    options = f"-F none -o UserKnownHostsFile={folder / 'known_hosts'} -o StrictHostKeyChecking=yes -o BatchMode=yes"
    ssh.write_text(f'#!/bin/sh\nexec ssh {options} "$@"\n')
    ssh.chmod(0o755)
    with (folder / "sshd.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(_as_root() if as_root else _as_user(user)),
                *_command(),
                "-D",
                "-e",
                "-f",
                str(folder / "sshd_config"),
            ],
            env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": _libraries()},
            cwd="/",
            stderr=log,
        )
    try:
        _wait(port, process, folder / "sshd.log")
        yield f"qemu+ssh://{user.pw_name}@127.0.0.1:{port}/session?keyfile={folder / 'user'}&command={ssh}"
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
