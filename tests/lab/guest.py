# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's guests: their XML, their life, and what they say of themselves.

A guest with an operating system writes a line a second to its console, which libvirt keeps in a file.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import image
import libvirt
from daemon import Lab, LabError

KINDS = ("driver", "nodriver", "pinned", "empty")
BOOT_TIMEOUT = 90.0
SILENT_AFTER = 5.0

_REPORT = re.compile(r"^lab: (.*) end\s*$")
_SIZE = re.compile(r"(\d+)\s*([KMGT]i?B)?")


@dataclass(frozen=True)
class Wanted:
    """What a guest is to be like."""

    name: str
    kind: str = "driver"
    memory: str = "512MiB"
    max_memory: str = "16GiB"
    slots: int = 16
    ports: int = 8
    cells: int = 1
    balloon: str = "none"
    has_max_memory: bool = True
    transient: bool = False
    stopped: bool = False
    paused: bool = False
    secret: str = ""
    devices: list[dict[str, str]] = field(default_factory=list)


# --- XML


def scaled(text: str) -> int:
    """KiB of a size such as 512MiB.

    Raises:
        LabError: it is none.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise LabError(f"{text} is not a size such as 512MiB.")
    powers = {"K": 0, "M": 1, "G": 2, "T": 3}
    return int(match.group(1)) * 1024 ** powers[(match.group(2) or "KiB")[0]]


def device_xml(keys: dict[str, str]) -> str:
    """A memory device from plain keys such as model, alias, size, requested, block, node, pagesize, path."""
    sizes = {name: scaled(keys[name]) for name in ("size", "requested", "block", "pagesize") if name in keys}
    source = "".join(
        [
            f"<pagesize unit='KiB'>{sizes['pagesize']}</pagesize>" if "pagesize" in keys else "",
            f"<path>{keys['path']}</path>" if "path" in keys else "",
        ]
    )
    target = "".join(
        [
            f"<size unit='KiB'>{sizes['size']}</size>",
            f"<node>{keys['node']}</node>" if "node" in keys else "",
            f"<block unit='KiB'>{sizes['block']}</block>" if "block" in keys else "",
            f"<requested unit='KiB'>{sizes['requested']}</requested>" if "requested" in keys else "",
        ]
    )
    alias = f"<alias name={quoteattr(keys['alias'])}/>" if "alias" in keys else ""
    model = quoteattr(keys.get("model", "virtio-mem"))
    return f"<memory model={model}>{f'<source>{source}</source>' if source else ''}<target>{target}</target>{alias}</memory>"


def _cells(wanted: Wanted) -> str:
    each = scaled(wanted.memory) // wanted.cells
    return "".join(
        f"<cell id='{number}' cpus='{number}' memory='{each}' unit='KiB'/>" for number in range(wanted.cells)
    )


def _boot(wanted: Wanted, boot: image.Image | None) -> str:
    if boot is None:
        return ""
    line = f"console=ttyS0 quiet panic=1 mitigations=off nokaslr random.trust_cpu=on tsc=nowatchdog lab.kind={wanted.kind}"
    return f"<kernel>{boot.kernel}</kernel><initrd>{boot.initramfs}</initrd><cmdline>{line}</cmdline>"


def domain_xml(lab: Lab, wanted: Wanted, boot: image.Image | None) -> str:
    """The definition of a guest."""
    limit = f"<maxMemory slots='{wanted.slots}' unit='KiB'>{scaled(wanted.max_memory)}</maxMemory>"
    # One port more than the devices of the definition take: libvirt gives the balloon one of them.
    ports = wanted.ports + len([keys for keys in wanted.devices if keys.get("model", "virtio-mem").startswith("virtio")])
    ports += wanted.balloon == "virtio"
    secret = f"<graphics type='vnc' passwd={quoteattr(wanted.secret)}/>" if wanted.secret else ""
    return f"""<domain type='qemu'>
  <name>{wanted.name}</name>
  {limit if wanted.has_max_memory else ""}
  <memory unit='KiB'>{scaled(wanted.memory)}</memory>
  <vcpu>{wanted.cells}</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>{_boot(wanted, boot)}</os>
  <features><acpi/></features>
  <cpu mode='custom'><model>qemu64</model><numa>{_cells(wanted)}</numa></cpu>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <controller type='pci' index='0' model='pcie-root'/>
    {"<controller type='pci' model='pcie-root-port'/>" * ports}
    {"".join(device_xml(keys) for keys in wanted.devices)}
    <serial type='file'><source path='{console(lab, wanted.name)}'/></serial>
    <memballoon model='{wanted.balloon}'/>
    {secret}
  </devices>
</domain>"""


# --- life


def console(lab: Lab, name: str) -> Path:
    """The file with all that the guest has written to its console."""
    return lab.consoles / f"{name}.log"


def _image_for_the_user(lab: Lab) -> image.Image:
    """The image in a place that the lab's user can read, which the checkout need not be."""
    built = image.build()
    copies = image.Image(lab.images / built.kernel.name, lab.images / f"{built.initramfs.parent.name}.initramfs")
    for source, copy in ((built.kernel, copies.kernel), (built.initramfs, copies.initramfs)):
        if not copy.exists():
            shutil.copyfile(source, copy.with_suffix(".new"))
            copy.with_suffix(".new").replace(copy)
    return copies


def delete(lab: Lab, connection: t.Any, name: str) -> None:
    """Ends a guest and forgets it."""
    with contextlib.suppress(libvirt.libvirtError):
        domain = connection.lookupByName(name)
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroy()
        with contextlib.suppress(libvirt.libvirtError):
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    console(lab, name).unlink(missing_ok=True)


def create(lab: Lab, connection: t.Any, wanted: Wanted) -> t.Any:
    """A new guest in the place of one with the same name; returns when it is ready.

    Raises:
        LabError: it does not boot.
        libvirt.libvirtError: libvirt refuses it.
    """
    delete(lab, connection, wanted.name)
    boot = None if wanted.kind == "empty" else _image_for_the_user(lab)
    definition = domain_xml(lab, wanted, boot)
    start_flags = libvirt.VIR_DOMAIN_START_PAUSED if wanted.paused else 0
    if wanted.transient:
        domain = connection.createXML(definition, start_flags)
    else:
        domain = connection.defineXML(definition)
        if not wanted.stopped:
            domain.createWithFlags(start_flags)
    if boot is not None and not wanted.stopped and not wanted.paused:
        _wait_until_ready(lab, domain)
    return domain


def _wait_until_ready(lab: Lab, domain: t.Any) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT
    while newest(lab, domain.name()) is None:
        if time.monotonic() > deadline or not domain.isActive():
            words = console(lab, domain.name()).read_text(errors="replace").splitlines()[-15:]
            raise LabError(f"{domain.name()} did not boot; its last words:\n" + "\n".join(words))
        time.sleep(0.1)


# --- what it says


def newest(lab: Lab, name: str) -> dict[str, str] | None:
    """The guest's newest report, None where it has made none yet."""
    path = console(lab, name)
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    reports = [match.group(1) for line in lines if (match := _REPORT.match(line))]
    return dict(word.split("=", 1) for word in reports[-1].split()) if reports else None


def report(lab: Lab, name: str) -> dict[str, t.Any]:
    """What the guest says of itself now: sizes in bytes.

    Raises:
        LabError: it has no operating system, or has been silent for too long.
    """
    words = newest(lab, name)
    if words is None:
        raise LabError(f"{name} has reported nothing; it has no operating system, or has not booted yet.")
    silent = time.time() - console(lab, name).stat().st_mtime
    if silent > SILENT_AFTER:
        raise LabError(f"{name} has been silent for {silent:.0f} s.")
    return {
        "kind": words["kind"],
        "count": int(words["count"]),
        "mem_total": int(words["mem_total_kib"]) * 1024,
        "policy": words["policy"],
        "driver": words["driver"] == "yes",
        "pinned": int(words["pinned_kib"]) * 1024,
    }
