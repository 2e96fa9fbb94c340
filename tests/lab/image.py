# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's kernel and initramfs: Debian's own kernel package and busybox, unpacked, never installed.

Cached in the checkout, under a name that changes with the kernel, the init script and this file.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "lab"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
# The driver and the bus it sits on; what they need is found in the kernel's own modules.dep.
MODULES = ("virtio_pci", "virtio_mem")


class ImageError(Exception):
    """The image could not be built; the message says what to do."""


@dataclass(frozen=True)
class Image:
    """A bootable pair of files."""

    kernel: Path
    initramfs: Path


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise ImageError(f"{command[0]} is missing; run `make setup`.") from error
    except subprocess.CalledProcessError as error:
        raise ImageError(f"{' '.join(command)} failed: {error.stderr.strip()[-500:]}") from error


def _kernel_package() -> str:
    """The package with the kernel itself, which the cloud kernel's meta package depends on."""
    for line in _run("apt-cache", "depends", "--important", KERNEL_PACKAGE).splitlines():
        kind, _colon, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name
    raise ImageError(f"apt knows no {KERNEL_PACKAGE}; run apt-get update.")


def _unpack(package: str, into: Path) -> None:
    _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, cwd=into)
    archive = next(into.glob(f"{package}_*.deb"))
    _run("dpkg-deb", "-x", str(archive), str(into))
    archive.unlink()


def _in_order(modules_dep: Path) -> list[str]:
    """The modules with all that they need, each after what it needs."""
    needs: dict[str, list[str]] = {}
    for line in modules_dep.read_text().splitlines():
        module, _colon, others = line.partition(":")
        needs[module] = others.split()
    by_name = {Path(module).name.split(".")[0]: module for module in needs}
    order: list[str] = []
    for name in MODULES:
        if name not in by_name:
            raise ImageError(f"The kernel has no module {name}.")
        # modules.dep lists a module's needs in the reverse order of loading.
        for module in [*reversed(needs[by_name[name]]), by_name[name]]:
            if module not in order:
                order.append(module)
    return order


def _read_module(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def _entry(name: str, mode: int, data: bytes = b"") -> bytes:
    """One member of a cpio archive in the format `newc`, the only one that the kernel reads."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % value for value in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def _archive(busybox: bytes, modules: dict[str, bytes]) -> bytes:
    members = [_entry(name, 0o040755) for name in ("bin", "dev", "modules", "proc", "sys")]
    members.append(_entry("bin/busybox", 0o100755, busybox))
    members.append(_entry("init", 0o100755, (HERE / "init").read_bytes()))
    members.extend(_entry(f"modules/{name}", 0o100644, data) for name, data in modules.items())
    members.append(_entry("modules/order", 0o100644, "".join(f"{name}\n" for name in modules).encode()))
    members.append(_entry("TRAILER!!!", 0))
    return b"".join(members)


def build() -> Image:
    """The image, from the cache where it is there already.

    Raises:
        ImageError: a package can't be had.
    """
    package = _kernel_package()
    version = package.removeprefix("linux-image-")
    recipe = hashlib.sha256((HERE / "init").read_bytes() + Path(__file__).read_bytes()).hexdigest()[:10]
    target = CACHE / f"{version}-{recipe}"
    image = Image(target / "vmlinuz", target / "initramfs")
    if target.is_dir():
        return image
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = Path(folder) / "root"
        root.mkdir()
        _unpack(package, root)
        _unpack("busybox-static", root)
        tree = root / "lib" / "modules" / version
        if not tree.is_dir():  # with a merged /usr
            tree = root / "usr" / "lib" / "modules" / version
        if not (tree / "modules.dep").is_file():
            _run("/sbin/depmod", "-b", str(tree.parent.parent.parent), version)
        modules = {
            Path(module).name.removesuffix(".xz"): _read_module(tree / module) for module in _in_order(tree / "modules.dep")
        }
        busybox = next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.is_file())
        built = Path(folder) / "built"
        built.mkdir()
        (built / "initramfs").write_bytes(_archive(busybox.read_bytes(), modules))
        shutil.copyfile(root / "boot" / f"vmlinuz-{version}", built / "vmlinuz")
        try:
            os.rename(built, target)
        except OSError:
            # Another run was faster; its result is the same.
            if not target.is_dir():
                raise
    return image


def forget() -> None:
    """Empties the cache."""
    shutil.rmtree(CACHE, ignore_errors=True)
