# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's kernel and initramfs: Debian's own kernel package and busybox, unpacked, never installed.

Cached in the checkout, under a name that changes with the init script and this file. A newer kernel is used only when
the cache has been emptied, so that no network is needed meanwhile.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import archive

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Flavour:
    """What the guests of an architecture boot: Debian's name of it, the kernel's package, the modules to load.

    Those are the bus, the drivers on it, and the device that tells QEMU of a panic; what they need is in modules.dep.
    """

    debian: str
    package: str
    modules: tuple[str, ...]


FLAVOURS = {
    "x86_64": Flavour(
        "amd64", "linux-image-cloud-amd64", ("virtio_pci", "virtio_balloon", "virtio_mem", "pvpanic-mmio")
    ),
    "aarch64": Flavour("arm64", "linux-image-cloud-arm64", ("virtio_pci", "virtio_balloon", "virtio_mem")),
    # Debian's kernels of these two have no virtio_mem.
    "ppc64le": Flavour("ppc64el", "linux-image-powerpc64le", ("virtio_pci", "virtio_balloon")),
    "s390x": Flavour("s390x", "linux-image-s390x", ("virtio_balloon",)),
}


@dataclass(frozen=True)
class Image:
    """A bootable pair of files."""

    kernel: Path
    initramfs: Path


def _kernel_package(packages: archive.Archive, meta: str) -> str:
    """The package with the kernel itself, which a meta package depends on."""
    for name in packages.needs(meta):
        if name.startswith("linux-image-"):
            return name
    raise archive.ArchiveError(f"{meta} needs no kernel; run apt-get update.")


def _in_order(modules_dep: Path, modules: tuple[str, ...]) -> list[str]:
    """The modules with all that they need, each after what it needs."""
    needs: dict[str, list[str]] = {}
    for line in modules_dep.read_text().splitlines():
        module, _colon, others = line.partition(":")
        needs[module] = others.split()
    by_name = {Path(module).name.split(".")[0]: module for module in needs}
    listed = modules_dep.with_name("modules.builtin")
    builtin = listed.read_text().split() if listed.is_file() else []
    there_anyway = {Path(line).name.split(".")[0] for line in builtin}
    order: list[str] = []
    for name in modules:
        if name in there_anyway:
            continue
        if name not in by_name:
            raise archive.ArchiveError(f"The kernel has no module {name}.")
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
    members.append(_entry("bin/sh", 0o120777, b"busybox"))  # a link
    members.append(_entry("init", 0o100755, (HERE / "init").read_bytes()))
    members.extend(_entry(f"modules/{name}", 0o100644, data) for name, data in modules.items())
    members.append(_entry("modules/order", 0o100644, "".join(f"{name}\n" for name in modules).encode()))
    members.append(_entry("TRAILER!!!", 0))
    return b"".join(members)


def build(arch: str = "x86_64") -> Image:
    """The image for an architecture of FLAVOURS, from the cache where it is there already.

    Raises:
        archive.ArchiveError: a package can't be had.
    """
    recipe = hashlib.sha256((HERE / "init").read_bytes() + Path(__file__).read_bytes()).hexdigest()[:10]
    for folder in sorted(archive.CACHE.glob(f"guest-*-{arch}-{recipe}"), reverse=True):
        return _image_in(folder)
    archive.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.CACHE) as scratch:
        built = Path(scratch) / "built"
        built.mkdir()
        version = _build_into(built, Path(scratch), FLAVOURS[arch])
        target = archive.CACHE / f"guest-{version}-{arch}-{recipe}"
        archive.keep(built, target)
    return _image_in(target)


def _image_in(folder: Path) -> Image:
    return Image(folder / "vmlinuz", folder / "initramfs")


def _build_into(built: Path, scratch: Path, flavour: Flavour) -> str:
    """Makes the image's files; returns the kernel's version."""
    (scratch / "apt").mkdir()
    packages = archive.Archive(flavour.package, scratch / "apt", flavour.debian)
    package = _kernel_package(packages, flavour.package)
    version = package.removeprefix("linux-image-")
    root = scratch / "root"
    root.mkdir()
    packages.unpack(package, root)
    # From Debian 14 on the package is empty; these have the kernel, its modules, and the list of what is built in.
    for part in packages.needs(package):
        if part in (f"linux-{what}-{version}" for what in ("base", "binary", "modules")):
            packages.unpack(part, root)
    packages.unpack("busybox-static", root)
    tree = root / "lib" / "modules" / version
    if not tree.is_dir():  # with a merged /usr
        tree = root / "usr" / "lib" / "modules" / version
    if not (tree / "modules.dep").is_file():
        archive.run("/sbin/depmod", "-b", str(tree.parent.parent.parent), version)
    order = _in_order(tree / "modules.dep", flavour.modules)
    modules = {Path(module).name.removesuffix(".xz"): _read_module(tree / module) for module in order}
    busybox = next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.is_file())
    (built / "initramfs").write_bytes(_archive(busybox.read_bytes(), modules))
    # That of ppc64le is not compressed.
    places = (root / "boot" / f"vmlinuz-{version}", root / "boot" / f"vmlinux-{version}", tree / "vmlinuz")
    kernel = next(path for path in places if path.is_file())
    shutil.copyfile(kernel, built / "vmlinuz")
    return version
