# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another Debian release's root, so that the lab can run that release's libvirt and QEMU.

Built once by debootstrap and kept in the checkout's cache, under a name that changes with what goes in.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
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
SCRIPTS = Path("/usr/share/debootstrap/scripts")
# What an installation leaves and a daemon has no use for: a third of the size.
CHAFF = (
    *("boot", "dev", "home", "media", "mnt", "opt", "root", "srv", "tmp"),
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"),
    *("var/cache", "var/lib/apt/lists", "var/log"),
    # The firmware in other wrappings.
    "usr/share/qemu-efi-aarch64",
)

INSTALL = """\
set -eu
root=$1
shift
mount -t proc proc "$root/proc"
# Nothing that a package brings is to be started.
printf '#!/bin/sh\\nexit 101\\n' > "$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get -qq update
chroot "$root" apt-get -qq --yes --no-install-recommends install "$@"
mkdir "$root/usr/foreign"
for qemu in "$root"/usr/bin/qemu-system-*; do
    case "$qemu" in
        *-x86_64*) ;;
        *-aarch64 | *-ppc64 | *-riscv64 | *-s390x) mv "$qemu" "$root/usr/foreign" ;;
        *) rm "$qemu" ;;
    esac
done
rm -f "$root"/usr/share/AAVMF/AAVMF_CODE.secboot* "$root"/usr/share/AAVMF/*.ms.fd "$root"/usr/share/AAVMF/*snakeoil*
"""


def run_in_private(*command: str) -> None:
    """Runs a command whose mounts nobody else sees, and which can't outlive it."""
    archive.run("unshare", "--mount", "--propagation", "private", *command)


def debootstrap(release: str, root: Path, *packages: str) -> None:
    """The smallest Debian of a release, with more packages, in a new folder.

    Raises:
        archive.ArchiveError: Debian's keys, or a package, can't be had.
    """
    archive.need_keyring()
    mirror = archive.mirror()
    print(f"Building the root of Debian {release} from {mirror}, once; this takes a minute or more.", file=sys.stderr)
    options = ["--variant=minbase", "--arch=amd64", f"--keyring={archive.KEYRING}"]
    options += [f"--include={','.join(packages)}"] if packages else []  # an empty list it does not know
    # A debootstrap that is older than the release has no script for it; all of today's are the same one.
    script = () if (SCRIPTS / release).exists() else (str(SCRIPTS / "sid"),)
    run_in_private("debootstrap", *options, release, str(root), mirror, *script)


def _let_apt_reach_its_sources(root: Path) -> None:
    (root / "etc/apt/apt.conf.d/99lab").write_text(archive.apt_settings())
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(certificates, root / "etc/ssl/certs/ca-certificates.crt")


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
    recipe = hashlib.sha256(repr((PACKAGES[release], CHAFF, INSTALL)).encode()).hexdigest()[:10]
    target = archive.CACHE / f"{release}-{recipe}"
    if target.is_dir():
        return target
    archive.CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(release), tempfile.TemporaryDirectory(dir=archive.CACHE) as folder:
        if target.is_dir():  # another lab has built it meanwhile
            return target
        root = Path(folder) / "root"
        debootstrap(release, root)
        _let_apt_reach_its_sources(root)
        run_in_private("sh", "-c", INSTALL, "sh", str(root), *PACKAGES[release])
        for name in CHAFF:
            shutil.rmtree(root / name, ignore_errors=name.startswith("usr/"))
        archive.keep(root, target)
    return target
