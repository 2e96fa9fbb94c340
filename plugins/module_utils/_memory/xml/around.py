# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From libvirt's XML: what stands around the memory devices, and how many of them the buses have room for."""

from __future__ import annotations

import contextlib
import typing as t

from .. import platforms
from ..around import Around, HugePages
from ..device import parse_nodeset
from ..size import UNITS

with contextlib.suppress(ImportError):  # element.py reports it
    from lxml import etree

from .element import every, raw, to_bytes, to_int

if t.TYPE_CHECKING:
    Element = etree._Element  # lxml has no public name for it

# QEMU gives its own models of processors as many (TCG_PHYS_ADDR_BITS).
_USUAL_BITS = 40
# What a guest has without a word of it, and the names of AMD's.
_USUAL_PROCESSOR = "qemu64"
_OF_AMD = ("qemu64", "qemu32", "phenom", "athlon", "Opteron", "EPYC")
# A guest's processor that has what the host's has.
_OF_THE_HOST = ("host-passthrough", "maximum")
_PASSED_THROUGH = "hostdev[@type='pci' or @type='mdev'] | interface[@type='hostdev']"

_CONVENTIONAL_BUSES = ("pci-root", "pci-bridge")
# The host bridge and the chipset of a pc have these slots of its first bus.
_SET_ASIDE = frozenset({0, 1})
_SLOTS_OF_A_BUS = 32

_HOT_PLUG_PORTS = ("pcie-root-port", "pcie-switch-downstream-port")
# libvirt puts eight ports into a slot of the root. The first slot is the host bridge's, the last the chipset's.
_ROOT_SLOTS = frozenset(range(1, 31))
_PORTS_IN_A_SLOT = 8


def around_of(root: Element, devices: Element, arch: str) -> Around:
    """What stands around the memory of a domain."""
    # The first of each; to search for everything takes longer than all the rest.
    top: dict[t.Any, Element] = {child.tag: child for child in reversed(root)}
    nothing = etree.Element("nothing")
    system, cpu, memory = (top.get(name, nothing) for name in ("os", "cpu", "memoryBacking"))
    hard, security = top.get("memtune", nothing).find("hard_limit"), top.get("launchSecurity")
    emulated = root.get("type") == "qemu"
    return Around(
        machine=raw(system, "type/@machine") or "",
        emulated=emulated,
        has_uefi=system.get("firmware") == "efi" or raw(system, "loader/@type") == "pflash",
        address_bits=_address_bits(cpu, emulated) if arch == "x86_64" else None,
        is_amd=(raw(cpu, "model") or _USUAL_PROCESSOR).startswith(_OF_AMD),
        huge_pages=tuple(_huge_pages(memory)),
        locked=memory.find("locked") is not None,
        launch_security=None if security is None else security.get("type", ""),
        hard_limit=None if hard is None else to_bytes(hard),
        strict_nodes=_strict_nodes(top.get("numatune", nothing), cpu),
        passed_through=len(every(devices, _PASSED_THROUGH)),
    )


def _address_bits(cpu: Element, emulated: bool) -> int | None:
    given = cpu.find("maxphysaddr")
    if given is not None and given.get("mode") == "emulate" and given.get("bits"):
        return to_int(given.get("bits", "0"))
    if given is not None or cpu.get("mode") in _OF_THE_HOST:
        return None
    # With a hypervisor in the kernel, machine types of distributions take the host's.
    return _USUAL_BITS if emulated else None


def _huge_pages(memory: Element) -> t.Iterator[HugePages]:
    holder = memory.find("hugepages")
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


def _strict_nodes(tune: Element, cpu: Element) -> dict[int, tuple[int, ...]]:
    """The host's nodes that a cell's memory must come from. What numad chooses is not known here."""
    found: dict[int, tuple[int, ...]] = {}
    whole = tune.find("memory")
    if whole is not None and whole.get("mode", "strict") == "strict" and whole.get("nodeset"):
        nodes = parse_nodeset(whole.get("nodeset", ""))
        cells = cpu.findall("numa/cell")
        found = {to_int(cell.get("id", str(number))): nodes for number, cell in enumerate(cells)}
    for item in tune.findall("memnode"):
        if item.get("mode") == "strict":
            found[to_int(item.get("cellid", "0"))] = parse_nodeset(item.get("nodeset", "0"))
        else:
            found.pop(to_int(item.get("cellid", "0")), None)
    return found


def rooms_of(devices: Element, arch: str) -> tuple[int | None, int | None]:
    """How many more devices the buses take, and how many more ports.

    Returns:
        How many hot-plug ports or, with conventional PCI, slots are free; None if devices go nowhere near PCI. And how
        many more ports the PCI Express root takes; None if there is no such root.
    """
    has_pci = platforms.of(arch).pci
    controllers: dict[str, list[Element]] = {}
    for item in devices.iterchildren("controller"):
        if item.get("type") == "pci":
            controllers.setdefault(item.get("model", ""), []).append(item)
    # An address below `<source>` is one of the host's.
    addresses = set(map(_bus_and_slot, every(devices, "*/address[@type='pci']")))
    if "pcie-root" in controllers:
        ports = controllers.get("pcie-root-port", [])
        return _free_ports(controllers, addresses) if has_pci else None, _port_room(ports, addresses)
    return _free_slots(controllers, addresses) if has_pci and "pci-root" in controllers else None, None


def _bus_and_slot(address: Element) -> tuple[int, int]:
    return to_int(address.get("bus", "0"), 0), to_int(address.get("slot", "0"), 0)


def _index(controller: Element) -> int:
    return to_int(controller.get("index", "0"), 0)


_Controllers = t.Mapping[str, t.Sequence["Element"]]  # by model
_Places = t.Collection[tuple[int, int]]  # bus and slot of everything on the guest's PCI buses


def _free_ports(controllers: _Controllers, addresses: _Places) -> int:
    """How many PCI Express ports could take a hot-plugged device.

    libvirt adds ports for a persistent device by itself, but never to a running guest.
    """
    ports = {
        _index(port)
        for model in _HOT_PLUG_PORTS
        for port in controllers.get(model, ())
        if not any(target.get("hotplug") == "off" for target in port.iterchildren("target"))
    }
    return len(ports - {bus for bus, _slot in addresses})


def _port_room(ports: t.Sequence[Element], addresses: _Places) -> int:
    """How many more ports the PCI Express root takes.

    Tried with libvirt 9.0 and 11.3: 240 if nothing else is on the root, then "a PCI slot is needed".
    """
    placed = (_bus_and_slot(address) for port in ports for address in port.iterchildren("address"))
    with_ports = {slot for bus, slot in placed if bus == 0}
    taken = {slot for bus, slot in addresses if bus == 0} - with_ports
    return max(len(_ROOT_SLOTS - taken) * _PORTS_IN_A_SLOT - len(ports), 0)


def _free_slots(controllers: _Controllers, addresses: _Places) -> int:
    """How many slots of conventional PCI buses are free."""
    buses = {_index(item) for model in _CONVENTIONAL_BUSES for item in controllers.get(model, ())}
    taken = {(bus, slot) for bus, slot in addresses if bus in buses} | {(0, slot) for slot in _SET_ASIDE}
    # The first slot of a bridge is its own (SHPC).
    taken |= {(bus, 0) for bus in buses}
    return max(len(buses) * _SLOTS_OF_A_BUS - len(taken), 0)
