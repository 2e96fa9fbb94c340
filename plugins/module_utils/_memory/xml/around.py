# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From libvirt's XML: what stands around the memory devices, and how many of them the buses have room for."""

from __future__ import annotations

import contextlib
import typing as t

from ..around import Around, HugePages
from ..device import parse_nodeset
from ..size import UNITS

with contextlib.suppress(ImportError):  # element.py reports it
    from lxml import etree

from .element import raw, to_bytes, to_int

if t.TYPE_CHECKING:
    Element = etree._Element  # lxml has no public name for it

# QEMU gives its own models of processors as many (TCG_PHYS_ADDR_BITS).
_USUAL_BITS = 40
# What a guest has without a word of it, and the names of AMD's.
_USUAL_PROCESSOR = "qemu64"
_OF_AMD = ("qemu64", "qemu32", "phenom", "athlon", "Opteron", "EPYC")
# A guest's processor that has what the host's has.
_OF_THE_HOST = ("host-passthrough", "maximum")
# The host bridge and the chipset of a pc have these slots of its first bus.
_SET_ASIDE = frozenset({0, 1})
_SLOTS_OF_A_BUS = 32


def around_of(root: Element, arch: str) -> Around:
    """What stands around the memory of a domain."""
    hard, security = root.find("memtune/hard_limit"), root.find("launchSecurity")
    devices = root.find("devices")
    hosts = (
        [] if devices is None else devices.findall("hostdev[@type='pci']") + devices.findall("hostdev[@type='mdev']")
    )
    interfaces = [] if devices is None else devices.findall("interface[@type='hostdev']")
    return Around(
        machine=raw(root, "os/type/@machine") or "",
        emulated=root.get("type") == "qemu",
        has_uefi=raw(root, "os/@firmware") == "efi" or raw(root, "os/loader/@type") == "pflash",
        address_bits=_address_bits(root) if arch == "x86_64" else None,
        is_amd=(raw(root, "cpu/model") or _USUAL_PROCESSOR).startswith(_OF_AMD),
        huge_pages=tuple(_huge_pages(root)),
        locked=root.find("memoryBacking/locked") is not None,
        launch_security=None if security is None else security.get("type", ""),
        hard_limit=None if hard is None else to_bytes(hard),
        strict_nodes=_strict_nodes(root),
        passed_through=len(hosts) + len(interfaces),
    )


def _address_bits(root: Element) -> int | None:
    given = root.find("cpu/maxphysaddr")
    if given is not None and given.get("mode") == "emulate" and given.get("bits"):
        return to_int(given.get("bits", "0"))
    cpu = root.find("cpu")
    if given is not None or (cpu is not None and cpu.get("mode") in _OF_THE_HOST):
        return None
    # With a hypervisor in the kernel, machine types of distributions take the host's.
    return _USUAL_BITS if root.get("type") == "qemu" else None


def _huge_pages(root: Element) -> t.Iterator[HugePages]:
    holder = root.find("memoryBacking/hugepages")
    if holder is None:
        return
    pages = holder.findall("page")
    if not pages:
        yield HugePages()
    for page in pages:
        size, cells = page.get("size"), page.get("nodeset")
        yield HugePages(
            None if size is None else to_int(size) * UNITS[page.get("unit", "KiB").lower()],
            None if cells is None else parse_nodeset(cells),
        )


def _strict_nodes(root: Element) -> dict[int, tuple[int, ...]]:
    """The host's nodes that a cell's memory must come from. What numad chooses is not known here."""
    found: dict[int, tuple[int, ...]] = {}
    every = root.find("numatune/memory")
    if every is not None and every.get("mode", "strict") == "strict" and every.get("nodeset"):
        nodes = parse_nodeset(every.get("nodeset", ""))
        cells = root.findall("cpu/numa/cell")
        found = {to_int(cell.get("id", str(number))): nodes for number, cell in enumerate(cells)}
    for item in root.findall("numatune/memnode"):
        if item.get("mode") == "strict":
            found[to_int(item.get("cellid", "0"))] = parse_nodeset(item.get("nodeset", "0"))
        else:
            found.pop(to_int(item.get("cellid", "0")), None)
    return found


def free_slots(devices: Element, addresses: t.Iterable[tuple[int, int]]) -> int | None:
    """How many slots of conventional PCI buses are free; None if the machine has no such root.

    Args:
        devices: the domain's devices.
        addresses: bus and slot of everything on the guest's PCI buses.
    """
    controllers = [item for item in devices.iterchildren("controller") if item.get("type") == "pci"]
    if not any(item.get("model") == "pci-root" for item in controllers):
        return None
    buses = {
        to_int(item.get("index", "0"), 0) for item in controllers if item.get("model") in ("pci-root", "pci-bridge")
    }
    taken = {(bus, slot) for bus, slot in addresses if bus in buses} | {(0, slot) for slot in _SET_ASIDE}
    # The first slot of a bridge is its own (SHPC).
    taken |= {(bus, 0) for bus in buses}
    return max(len(buses) * _SLOTS_OF_A_BUS - len(taken), 0)
