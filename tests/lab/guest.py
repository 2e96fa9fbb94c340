# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's guests: their XML, their life, and what they say of themselves.

A guest with an operating system writes a line a second to its console, which libvirt keeps in a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
import typing as t
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import image
import libvirt
from daemon import Lab, LabError

KINDS = ("driver", "nodriver", "pinned", "unmovable", "offline", "mute", "empty")
END_OF_GUEST = ("destroy", "restart", "preserve")
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
    statistics: int = 0  # how often the balloon's statistics are polled, in seconds
    held: str = ""  # what the balloon holds back of the memory to boot with
    has_max_memory: bool = True
    transient: bool = False
    stopped: bool = False
    paused: bool = False
    secret: str = ""
    append: str = ""
    on_crash: str = "destroy"
    on_reboot: str = "restart"
    has_panic_device: bool = False
    definition: str = ""  # instead of all the above but for transient, stopped and paused
    devices: list[dict[str, str]] = field(default_factory=list)


# --- XML


def scaled(text: str) -> int:
    """KiB of a size such as 512MiB.

    Raises:
        LabError: it is not a size.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise LabError(f"{text} is not a size such as 512MiB.")
    powers = {"K": 0, "M": 1, "G": 2, "T": 3}
    factor: int = 1024 ** powers[(match.group(2) or "KiB")[0]]
    return int(match.group(1)) * factor


# What may be said of a device, and where its XML has it.
ATTRIBUTES = ("access", "discard")
SOURCE_SIZES = ("pagesize", "alignsize")
TARGET_SIZES = ("size", "requested", "block", "label")
OTHER_KEYS = (
    "model",
    "alias",
    "uuid",
    "nodemask",
    "path",
    "pmem",
    "node",
    "readonly",
    "dynamicmemslots",
    "slot",
    "base",
)
KEYS = (*OTHER_KEYS, *ATTRIBUTES, *SOURCE_SIZES, *TARGET_SIZES)


def _kib(name: str, keys: dict[str, str]) -> str:
    return f"<{name} unit='KiB'>{scaled(keys[name])}</{name}>" if name in keys else ""


def _text(name: str, keys: dict[str, str]) -> str:
    return f"<{name}>{escape(keys[name])}</{name}>" if name in keys else ""


def _flag(name: str, keys: dict[str, str]) -> str:
    return f"<{name}/>" if keys.get(name) == "yes" else ""


def _source(keys: dict[str, str]) -> str:
    # In libvirt's own order.
    parts = [_kib("pagesize", keys), _text("nodemask", keys), _text("path", keys), _kib("alignsize", keys)]
    parts.append(_flag("pmem", keys))
    return f"<source>{''.join(parts)}</source>" if any(parts) else ""


def _target(keys: dict[str, str], is_virtio: bool) -> str:
    slots = f" dynamicMemslots={quoteattr(keys['dynamicmemslots'])}" if "dynamicmemslots" in keys else ""
    label = f"<label>{_kib('size', {'size': keys['label']})}</label>" if "label" in keys else ""
    parts = [_kib("size", keys), _text("node", keys), label, _kib("block", keys), _kib("requested", keys)]
    parts.append(_flag("readonly", keys))
    if is_virtio and "base" in keys:
        parts.append(f"<address base={quoteattr(keys['base'])}/>")
    return f"<target{slots}>{''.join(parts)}</target>"


def _dimm_address(keys: dict[str, str]) -> str:
    given = "".join(f" {name}={quoteattr(keys[name])}" for name in ("slot", "base") if name in keys)
    return f"<address type='dimm'{given}/>" if given else ""


def device_xml(keys: dict[str, str]) -> str:
    """A memory device from plain keys.

    Raises:
        LabError: a key is unknown, or a size is not one.
    """
    if unknown := sorted(set(keys) - set(KEYS)):
        raise LabError(f"A memory device has no {', '.join(unknown)}; it may have {', '.join(sorted(KEYS))}.")
    model = keys.get("model", "virtio-mem")
    is_virtio = model.startswith("virtio")
    attributes = "".join(f" {name}={quoteattr(keys[name])}" for name in ATTRIBUTES if name in keys)
    alias = f"<alias name={quoteattr(keys['alias'])}/>" if "alias" in keys else ""
    inner = _text("uuid", keys) + _source(keys) + _target(keys, is_virtio) + alias
    address = "" if is_virtio else _dimm_address(keys)
    return f"<memory model={quoteattr(model)}{attributes}>{inner}{address}</memory>"


def _cells(wanted: Wanted) -> str:
    each = scaled(wanted.memory) // wanted.cells
    return "".join(
        f"<cell id='{number}' cpus='{number}' memory='{each}' unit='KiB'/>" for number in range(wanted.cells)
    )


def _boot(wanted: Wanted, boot: image.Image | None) -> str:
    if boot is None:
        return ""
    words = "console=ttyS0 quiet panic=1 mitigations=off nokaslr random.trust_cpu=on tsc=nowatchdog"
    # Movable memory can be taken back. On the command line it counts for the devices of the start too.
    policy = {"pinned": "online_kernel", "unmovable": "online_kernel", "offline": "offline"}.get(
        wanted.kind, "online_movable"
    )
    line = escape(f"{words} memhp_default_state={policy} lab.kind={wanted.kind} {wanted.append}".rstrip())
    return f"<kernel>{boot.kernel}</kernel><initrd>{boot.initramfs}</initrd><cmdline>{line}</cmdline>"


def _balloon(wanted: Wanted) -> str:
    period = f"<stats period='{wanted.statistics}'/>" if wanted.statistics else ""
    return f"<memballoon model='{wanted.balloon}'>{period}</memballoon>"


def _current_memory(wanted: Wanted) -> str:
    """The balloon's target, which does not count virtio-mem devices."""
    if not wanted.held:
        return ""
    dimms = sum(scaled(keys["size"]) for keys in wanted.devices if keys.get("model") == "dimm")
    return f"<currentMemory unit='KiB'>{scaled(wanted.memory) + dimms - scaled(wanted.held)}</currentMemory>"


def domain_xml(lab: Lab, wanted: Wanted, boot: image.Image | None) -> str:
    """The definition of a guest."""
    limit = f"<maxMemory slots='{wanted.slots}' unit='KiB'>{scaled(wanted.max_memory)}</maxMemory>"
    # The devices of the definition take a port each, and so does the balloon.
    models = [keys.get("model", "virtio-mem") for keys in wanted.devices]
    ports = wanted.ports + len([model for model in models if model.startswith("virtio")]) + (wanted.balloon == "virtio")
    secret = f"<graphics type='vnc' passwd={quoteattr(wanted.secret)}/>" if wanted.secret else ""
    return f"""<domain type='qemu'>
  <name>{wanted.name}</name>
  {limit if wanted.has_max_memory else ""}
  <memory unit='KiB'>{scaled(wanted.memory)}</memory>
  {_current_memory(wanted)}
  <vcpu>{wanted.cells}</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>{_boot(wanted, boot)}</os>
  <features><acpi/></features>
  <cpu mode='custom'><model>qemu64</model><numa>{_cells(wanted)}</numa></cpu>
  <on_reboot>{wanted.on_reboot}</on_reboot>
  <on_crash>{wanted.on_crash}</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <controller type='pci' index='0' model='pcie-root'/>
    {"<controller type='pci' model='pcie-root-port'/>" * ports}
    {"".join(device_xml(keys) for keys in wanted.devices)}
    <serial type='file'><source path='{console(lab, wanted.name)}'/></serial>
    {_balloon(wanted)}
    {secret}
    {"<panic model='isa'/>" if wanted.has_panic_device else ""}
  </devices>
</domain>"""


# --- life


def console(lab: Lab, name: str) -> Path:
    """The file with all that the guest has written to its console."""
    return lab.consoles / f"{name}.log"


def _image_for_the_user(lab: Lab) -> image.Image:
    """The image in a place that the lab's user can read, which the checkout need not be."""
    built = image.build()
    name = built.kernel.parent.name
    copies = image.Image(lab.images / f"{name}.vmlinuz", lab.images / f"{name}.initramfs")
    for source, copy in ((built.kernel, copies.kernel), (built.initramfs, copies.initramfs)):
        if not copy.exists():
            new = copy.with_suffix(f".{os.getpid()}-{threading.get_ident()}")  # guests may be created at the same time
            shutil.copyfile(source, new)
            new.replace(copy)
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


def memory_file(lab: Lab, name: str, size: str) -> Path:
    """A sparse file for a device that keeps its content in one; an existing one stays as it is.

    Raises:
        LabError: the size is not one.
    """
    path = lab.files / name
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(scaled(size) * 1024)
        lab.own(path)
    return path


def _with_file(lab: Lab, keys: dict[str, str]) -> dict[str, str]:
    """The device with its file in the lab's folder, where it has one that is named without a folder."""
    if "path" not in keys or "/" in keys["path"]:
        return keys
    return {**keys, "path": str(memory_file(lab, keys["path"], keys["size"]))}


def delete_many(lab: Lab, connection: t.Any, names: list[str]) -> None:
    """Ends guests and forgets them, at the same time: libvirt waits two seconds for each."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: delete(lab, connection, name), names))


def create(lab: Lab, connection: t.Any, wanted: Wanted) -> t.Any:
    """A new guest in the place of one with the same name; returns when it is ready.

    Raises:
        LabError: it does not boot.
        libvirt.libvirtError: libvirt refuses it.
    """
    delete(lab, connection, wanted.name)
    has_system = wanted.kind != "empty" and not wanted.definition
    boot = _image_for_the_user(lab) if has_system else None
    wanted = replace(wanted, devices=[_with_file(lab, keys) for keys in wanted.devices])
    definition = wanted.definition or domain_xml(lab, wanted, boot)
    start_flags = libvirt.VIR_DOMAIN_START_PAUSED if wanted.paused else 0
    if wanted.transient:
        domain = connection.createXML(definition, start_flags)
    else:
        domain = connection.defineXML(definition)
        if not wanted.stopped:
            domain.createWithFlags(start_flags)
    if has_system and not wanted.stopped and not wanted.paused:
        _wait_until_ready(lab, domain)
        if wanted.kind != "nodriver":
            _wait_for_its_memory(domain)
    return domain


def create_many(lab: Lab, connection: t.Any, wanted: Wanted, count: int) -> list[t.Any]:
    """Guests NAME1, NAME2 ..., as many at a time as there are processors.

    Raises:
        LabError, libvirt.libvirtError: as with one guest.
    """
    each = [replace(wanted, name=f"{wanted.name}{number}") for number in range(1, count + 1)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda one: create(lab, connection, one), each))


def _wait_until_ready(lab: Lab, domain: t.Any) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT
    while newest(lab, domain.name()) is None:
        if time.monotonic() > deadline or not domain.isActive():
            words = console(lab, domain.name()).read_text(errors="replace").splitlines()[-15:]
            raise LabError(f"{domain.name()} did not boot; its last words:\n" + "\n".join(words))
        time.sleep(0.1)


def _wait_for_its_memory(domain: t.Any) -> None:
    """A guest is up before its driver has plugged all that it was booted with, and then moves under a test's feet."""
    deadline = time.monotonic() + BOOT_TIMEOUT
    while domain.isActive():
        targets = ET.fromstring(domain.XMLDesc(0)).findall("devices/memory[@model='virtio-mem']/target")
        if all(target.findtext("requested") == target.findtext("current") for target in targets):
            return
        if time.monotonic() > deadline:
            raise LabError(f"{domain.name()} did not take the memory that it was booted with.")
        time.sleep(0.1)


# --- what it says


def newest(lab: Lab, name: str) -> dict[str, str] | None:
    """The guest's newest report, None if it has made none yet."""
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
        "nodes": [int(kib) * 1024 for kib in words["nodes_kib"].split(",") if kib],
    }
