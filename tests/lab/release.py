# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another Debian release's root, so that the lab can run that release's libvirt and QEMU.

Built once by mmdebstrap and kept in the checkout's cache, under a name that changes with what goes in.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
import typing as t
from pathlib import Path

import archive

# The daemon and its guests; and what runs a task inside, with the release's own Python, bindings and Ansible.
_USUAL = (
    *("libvirt-daemon", "libvirt-daemon-driver-qemu", "qemu-system-x86"),
    *("ansible-core", "python3-libvirt", "python3-lxml"),
)
# The newest has guests of other architectures too, in the lab FOREIGN.
_FOREIGN = (
    *("qemu-system-arm", "qemu-system-ppc", "qemu-system-riscv", "qemu-system-s390x"),
    "qemu-efi-aarch64",
)
PACKAGES = {"trixie": _USUAL, "forky": (*_USUAL, *_FOREIGN)}
# The lab of the newest release with QEMU of every architecture. libvirt asks each QEMU that it finds what it can do,
# for seconds, so the other labs don't have this folder in their path.
FOREIGN, FOREIGN_PATH = "foreign", "/usr/foreign"
RELEASES = (*PACKAGES, FOREIGN)
# What an installation leaves and a daemon has no use for: a third of the size.
CHAFF = (
    *("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"),
    # The firmware in other wrappings.
    *("/usr/share/qemu-efi-aarch64/*", "/usr/share/AAVMF/AAVMF_CODE.secboot*"),
    *("/usr/share/AAVMF/*.ms.fd", "/usr/share/AAVMF/*snakeoil*"),
)
# With the root as its argument.
SORT_QEMUS = f"""\
set -eu
mkdir "$1{FOREIGN_PATH}"
for qemu in "$1"/usr/bin/qemu-system-*; do
    case "$qemu" in
        *-x86_64*) ;;
        *-aarch64 | *-ppc64 | *-riscv64 | *-s390x) mv "$qemu" "$1{FOREIGN_PATH}" ;;
        *) rm "$qemu" ;;
    esac
done
"""


def bootstrap(release: str, target: str, packages: t.Sequence[str], *options: str) -> None:
    """The smallest Debian of a release, with more packages.

    Without root rights it is made in a user namespace, as whose users the caller has numbers in /etc/subuid.

    Args:
        release: its name.
        target: a new folder, or what else mmdebstrap makes.
        packages: by name.
        options: of mmdebstrap.

    Raises:
        archive.ArchiveError: Debian's keys, or a package, can't be had.
    """
    archive.need_keyring()
    mirror = archive.mirror()
    print(f"Building the root of Debian {release} from {mirror}, once; this takes a minute or more.", file=sys.stderr)
    mode = "root" if os.geteuid() == 0 else "unshare"
    usual = ["--quiet", f"--mode={mode}", "--variant=minbase", "--architectures=amd64", f"--keyring={archive.KEYRING}"]
    usual += [f"--aptopt={line}" for line in archive.apt_settings().splitlines()]
    archive.run("mmdebstrap", *usual, f"--include={','.join(packages)}", *options, release, target, mirror)


@contextlib.contextmanager
def _alone(release: str) -> t.Iterator[None]:
    """Labs that come up at the same time wait for one of them to build the root."""
    with (archive.CACHE / f".{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def suite(release: str) -> str:
    """Debian's name of the release that a lab is of."""
    return "forky" if release == FOREIGN else release


def build(release: str) -> Path:
    """The root of a lab's release, from the cache where it is there already.

    Raises:
        archive.ArchiveError: it can't be built.
    """
    release = suite(release)
    recipe = hashlib.sha256(repr((PACKAGES[release], CHAFF, SORT_QEMUS)).encode()).hexdigest()[:10]
    target = archive.CACHE / f"{release}-{recipe}"
    if target.is_dir():
        return target
    archive.CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(release), tempfile.TemporaryDirectory(dir=archive.CACHE) as folder:
        if target.is_dir():  # another lab has built it meanwhile
            return target
        root = Path(folder) / "root"
        root.mkdir()
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in CHAFF]
        options.append(f"--customize-hook={SORT_QEMUS}")
        # All that is used of it, with whoever runs this as the owner.
        options += [f"--customize-hook=copy-out /usr /etc {root}", "--format=null"]
        bootstrap(release, "/dev/null", PACKAGES[release], *options)
        archive.keep(root, target)
    return target
