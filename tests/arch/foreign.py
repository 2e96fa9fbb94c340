# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests of other architectures: what their definitions are like, as people have them who never thought of hot-plug."""

from __future__ import annotations

import contextlib
import shutil
import typing as t
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import image
import libvirt
from faultlab import Lab

FIRMWARE = "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd"


@dataclass(frozen=True)
class Kind:
    """A kind of guest.

    Args:
        arch: libvirt's name of the architecture.
        machine: QEMU's.
        models: the models of memory devices that it can have.
        qemu: how the emulator's name ends.
        uefi: whether it boots by UEFI.
        processor: the model, where the usual one boots no Linux.
        console: what Linux calls the device that it writes to.
    """

    arch: str
    machine: str
    models: tuple[str, ...]
    qemu: str
    uefi: bool = False
    processor: str = ""
    console: str = ""


KINDS = {
    "arm": Kind("aarch64", "virt", ("virtio-mem",), "aarch64", False, "cortex-a57", "ttyAMA0"),
    "arm-uefi": Kind("aarch64", "virt", ("dimm", "nvdimm", "virtio-mem"), "aarch64", True, "cortex-a57", "ttyAMA0"),
    "pseries": Kind("ppc64le", "pseries", ("dimm", "nvdimm"), "ppc64", console="hvc0"),
    "s390": Kind("s390x", "s390-ccw-virtio", ("virtio-mem",), "s390x", console="ttysclp0"),
    "riscv": Kind("riscv64", "virt", (), "riscv64"),
}


def definition(name: str, kind: Kind, boot: str = "", devices: str = "") -> str:
    """The definition of a guest without a word about hot-plug."""
    loader = f"<loader readonly='yes' type='pflash' format='raw'>{FIRMWARE}</loader>" if kind.uefi else ""
    processor = f"<cpu mode='custom'><model>{kind.processor}</model></cpu>" if kind.processor else ""
    return f"""<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>1024</memory>
  <vcpu>1</vcpu>
  <os><type arch='{kind.arch}' machine='{kind.machine}'>hvm</type>{loader}{boot}</os>
  {processor}
  <devices><emulator>/usr/foreign/qemu-system-{kind.qemu}</emulator>{devices}</devices>
</domain>"""


def _readable(lab: Lab, path: Path, name: str) -> Path:
    """A copy that the lab's user can read."""
    copy = lab.place / "image" / name
    if not copy.exists():
        shutil.copyfile(path, copy)
    return copy


@contextlib.contextmanager
def booting(lab: Lab, name: str, kind: Kind) -> t.Iterator[str]:
    """A stopped guest that can boot Debian's kernel, and then reports like the lab's own."""
    built = image.build(kind.arch)
    words = f"console={kind.console} lab.console={kind.console} quiet panic=1 memhp_default_state=online_movable"
    boot = (
        f"<kernel>{_readable(lab, built.kernel, f'{kind.arch}.vmlinuz')}</kernel>"
        f"<initrd>{_readable(lab, built.initramfs, f'{kind.arch}.initramfs')}</initrd><cmdline>{words}</cmdline>"
    )
    target = "<target type='sclp'/>" if kind.arch == "s390x" else ""
    log = lab.place / "console" / f"{name}.log"
    port = f"<console type='file'><source path='{log}'/>{target}</console>"
    try:
        with defined(lab, name, definition(name, kind, boot, port)):
            yield name
    finally:
        log.unlink(missing_ok=True)


@contextlib.contextmanager
def defined(lab: Lab, name: str, text: str) -> t.Iterator[str]:
    """A domain that is there for the block only, stopped at first."""
    with contextlib.closing(libvirt.open(lab.uri)) as connection:
        domain = connection.defineXML(text)
        try:
            yield name
        finally:
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


def stored(lab: Lab, name: str) -> str:
    """A domain's persistent definition."""
    xml = lab.xml(name, "config")
    assert xml is not None
    return ElementTree.tostring(xml, encoding="unicode")
