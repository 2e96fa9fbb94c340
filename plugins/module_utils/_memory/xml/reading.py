# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From libvirt's XML to values: a device, a definition, a host."""

from __future__ import annotations

import contextlib
import re
import typing as t

from .. import models
from ..device import Definition, Device, Host
from ..errors import unreadable
from ..models import MODELS
from ..properties import Property
from ..size import KIB, UNITS, align_up

with contextlib.suppress(ImportError):  # element.py reports it
    from lxml import etree

from .around import around_of, rooms_of
from .element import PROPERTIES_ON, every, parse, places_in, raw, split, text_of, to_bytes, to_int, value_of

if t.TYPE_CHECKING:
    Element = etree._Element  # lxml has no public name for it


# At the end of virt-11.1, s390-ccw-virtio-10.0, pseries-9.2.
_VERSION = re.compile(r"-([0-9]{1,3})\.([0-9]{1,3})$")


def _readable(model: str) -> t.Mapping[str, t.Sequence[tuple[str, str, str]]]:
    """What is to be read at which place: a property's name, its attribute if it is one, its kind."""
    return _READABLE[models.facts(model).bus]


def _by_place(properties: t.Sequence[Property]) -> t.Mapping[str, t.Sequence[tuple[str, str, str]]]:
    readable: dict[str, list[tuple[str, str, str]]] = {}
    for item in properties:
        steps, attribute = split(item.place)
        readable.setdefault(steps, []).append((item.name, attribute, item.kind))
    return readable


_READABLE = {bus: _by_place(properties) for bus, properties in PROPERTIES_ON.items()}


def _bus_address(address: Element | None) -> str | None:
    """The bus address as people write it; a DIMM's is its slot and base instead."""
    kind = address.get("type") if address is not None else None
    if address is None or kind is None or kind in ("none", "dimm"):
        return None
    if kind == "pci":
        parts = {name: to_int(address.get(name, "0"), 0) for name in ("domain", "bus", "slot", "function")}
        return "pci {domain:04x}:{bus:02x}:{slot:02x}.{function:x}".format(**parts)
    others = {str(name): str(value) for name, value in address.items() if name != "type"}
    return " ".join([kind, *(f"{name}={value}" for name, value in others.items())])


def _stranger(element: Element, position: int) -> Device:
    """A device of a model that a later libvirt has: it has what all have, as far as that can be read."""
    size = 0
    with contextlib.suppress(KeyError, ValueError):
        target = element.find("target/size")
        size = 0 if target is None else to_bytes(target)
    alias = raw(element, "alias/@name")
    return Device(element.get("model", ""), size, alias, xml=text_of(element), position=position)


def device_of(element: Element, position: int = -1) -> Device:
    """The device that an element describes; `position` is its place among those of its domain.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    if element.get("model") and element.get("model") not in MODELS:
        return _stranger(element, position)
    try:
        places = places_in(element)
        readable = _readable(element.get("model", ""))
        values = {
            name: value_of(holder, attribute, kind)
            for place, holder in places.items()
            for name, attribute, kind in readable.get(place, ())
        }
        # The second is the name before libvirt merged it, which the parser still accepts.
        current = places.get("target/current", places.get("target/actual"))
        values["current"] = None if current is None else to_bytes(current)
        values["address"] = _bus_address(places.get("address"))
    except (KeyError, ValueError) as error:
        raise unreadable(f"A memory device's XML could not be read: {error}") from error
    if values.get("size") is None or not values["model"]:
        raise unreadable("A memory device's XML has no model or no size.")
    return Device(xml=text_of(element), position=position, **values)


def read_device(text: str) -> Device:
    """The device that a `<memory>` element describes.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    return device_of(parse(text))


def _cell_memory(cell: Element) -> int:
    return align_up(to_int(cell.get("memory", "0")) * UNITS[cell.get("unit", "KiB").lower()], KIB)


def read_definition(text: str) -> Definition:
    """What a domain's XML says of its memory.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    root = parse(text)
    holder, cells = root.find("devices"), root.findall("cpu/numa/cell")
    if holder is None:
        holder = etree.Element("devices")
    aliases = set(every(holder, "*/alias/@name"))
    devices = tuple(device_of(element, position) for position, element in enumerate(holder.iterchildren("memory")))
    arch = raw(root, "os/type/@arch") or "x86_64"
    try:
        free_ports, port_room = rooms_of(holder, arch)
        memory, most, current = root.find("memory"), root.find("maxMemory"), root.find("currentMemory")
        return Definition(
            devices=devices,
            total=0 if memory is None else to_bytes(memory),
            max_memory=None if most is None else to_bytes(most),
            slots=0 if most is None else to_int(most.get("slots", "0")),
            cells=tuple(to_int(cell.get("id", str(number))) for number, cell in enumerate(cells)),
            arch=arch,
            free_ports=free_ports,
            port_room=port_room,
            acpi=root.find("features/acpi") is not None,
            current_memory=None if current is None else to_bytes(current),
            cell_sizes=tuple(map(_cell_memory, cells)),
            balloon=not any(item.get("model") == "none" for item in holder.iterchildren("memballoon")),
            period=to_int(raw(holder, "memballoon/stats/@period") or "0"),
            active=root.get("id") is not None,
            processors=to_int(raw(root, "vcpu") or "1"),
            around=around_of(root, holder, arch),
            other_aliases=frozenset(aliases.difference([item.alias for item in devices], [""])),
        )
    except (KeyError, ValueError) as error:
        raise unreadable(f"The domain's XML could not be read: {error}") from error


def read_host(text: str, domain_capabilities: str | None = None) -> Host:
    """The host's NUMA nodes and pages, and whether it has SGX.

    Args:
        text: the capabilities of the connection.
        domain_capabilities: those of its domains, if SGX matters.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    root = parse(text)
    sgx = None if domain_capabilities is None else parse(domain_capabilities).find("features/sgx[@supported='yes']")
    try:
        return Host(
            sgx=None if domain_capabilities is None else sgx is not None,
            pages={
                to_int(cell.get("id", "0")): {
                    _page_size(pages): to_int((pages.text or "").strip() or "0") for pages in cell.findall("pages")
                }
                for cell in root.findall("host/topology/cells/cell")
            },
            page_sizes=frozenset(_page_size(pages) for pages in root.findall("host/cpu/pages")),
        )
    except (KeyError, ValueError) as error:
        raise unreadable(f"The host's capabilities could not be read: {error}") from error


def newest_machine(capabilities: str) -> int | None:
    """The newest version that QEMU's machines are named after, which is its own, as libvirt writes versions.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    names = (machine.text or "" for machine in parse(capabilities).iterfind("guest/arch/machine"))
    found = [match for name in names if (match := _VERSION.search(name))]
    return max((int(item[1]) * 1_000_000 + int(item[2]) * 1_000 for item in found), default=None)


def _page_size(pages: Element) -> int:
    return to_int(pages.get("size", "0")) * UNITS[pages.get("unit", "KiB").lower()]
