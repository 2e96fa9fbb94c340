# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Conversion between libvirt's XML and the values of `device`. No policy lives here.

The only user of lxml. An element that exists is edited where it stands and never rebuilt, so whatever
this collection does not know (or a later libvirt adds) survives.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import traceback
import typing as t
from dataclasses import replace

from . import models
from .device import Definition, Device, Host, Readiness, format_nodeset, parse_nodeset
from .errors import VirtmemError
from .models import MODELS
from .properties import ADDRESS, FLAG, NODESET, NUMBER, PROPERTIES, SIZE, TEXT, YES_NO, Property
from .size import KIB, UNITS, align_up

try:
    from lxml import etree
except ImportError:
    LXML_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    LXML_IMPORT_ERROR = None

if t.TYPE_CHECKING:
    Element = etree._Element  # lxml has no public name for it

# A DIMM's place in guest memory is its bus address; a virtio device has a PCI address and a place in memory.
_PLACES = {
    models.MODULE: {"slot": "address/@slot", "base": "address/@base"},
    models.PCI: {"base": "target/address/@base"},
    models.NOWHERE: {},
}

# What only one scope of one boot knows: never carried to another scope.
_SCOPE_LOCAL = ("address", "target/address", "target/current", "target/actual")

_EXPRESS_PORTS = ("pcie-root-port", "pcie-switch-downstream-port")


def _on_bus(bus: str) -> tuple[Property, ...]:
    """The properties that a device on this bus can have, with their places."""
    placed = (replace(row, place=row.place or _PLACES[bus].get(row.name, "")) for row in PROPERTIES.values())
    return tuple(row for row in placed if row.place)


_PROPERTIES = {bus: _on_bus(bus) for bus in _PLACES}


def _properties(model: str) -> tuple[Property, ...]:
    return _PROPERTIES[models.facts(model).bus]


# --- reading


@functools.cache
def _parser() -> etree.XMLParser:
    """Reads without network, files, entities or unlimited growth. One for all, since making it costs time."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, strip_cdata=False)


def _parse(text: str) -> Element:
    """The root element."""
    try:
        root = etree.fromstring(text.encode(), _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise VirtmemError("invalid_xml", f"libvirt's XML could not be read: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise VirtmemError("invalid_xml", "libvirt's XML has a document type, which libvirt never writes.")
    return root


def _text(element: Element) -> str:
    """The element as text, without the namespaces and the white space of where it stood."""
    if element.nsmap:
        element = copy.deepcopy(element)
        etree.cleanup_namespaces(element)
    return etree.tostring(element, encoding="unicode", with_tail=False)


@functools.cache
def _split(path: str) -> tuple[str, str]:
    """Where the holder of a property stands, and the attribute's name if it is one."""
    steps, _at, attribute = path.partition("@")
    return steps.rstrip("/"), attribute


def _raw(element: Element, path: str) -> str | None:
    steps, attribute = _split(path)
    holder = element.find(steps) if steps else element
    if holder is None:
        return None
    return holder.get(attribute) if attribute else (holder.text or "").strip()


Places = dict[str, "Element"]


def _places(element: Element) -> Places:
    """What stands where below a device's element, the first of each; to search for every property takes far longer."""
    places: Places = {"": element}
    for child in element:
        if places.setdefault(str(child.tag), child) is child:
            for grandchild in child:
                path = f"{child.tag}/{grandchild.tag}"
                if places.setdefault(path, grandchild) is grandchild:
                    for last in grandchild:
                        places.setdefault(f"{path}/{last.tag}", last)
    return places


_LONGEST_NUMBER = 40  # characters; libvirt's numbers have 64 bits


def _int(text: str, base: int = 10) -> int:
    """The number that is written here. An enormous one never becomes an int, which could not be printed again."""
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"{text[:_LONGEST_NUMBER]}... is no number of libvirt's")
    return int(text, base)


def _bytes(element: Element) -> int:
    """The bytes of a scaled element. Without a unit it is KiB; any unit rounds up to KiB (virDomainParseMemory)."""
    value = _int((element.text or "").strip()) * UNITS[element.get("unit", "KiB").lower()]
    return align_up(value, KIB)


_READ: t.Mapping[str, t.Callable[[str], t.Any]] = {
    TEXT: str,
    NUMBER: _int,
    ADDRESS: functools.partial(_int, base=0),
    YES_NO: "yes".__eq__,
    NODESET: parse_nodeset,
}


def _value(holder: Element, attribute: str, kind: str) -> t.Any:
    if kind == SIZE:
        return _bytes(holder)
    if kind == FLAG:
        return True
    text = holder.get(attribute) if attribute else (holder.text or "").strip()
    return None if text is None else _READ[kind](text)


def _readable(model: str) -> t.Mapping[str, t.Sequence[tuple[str, str, str]]]:
    """What is to be read at which place: a property's name, its attribute if it is one, its kind."""
    return _READABLE[models.facts(model).bus]


def _by_place(properties: t.Sequence[Property]) -> t.Mapping[str, t.Sequence[tuple[str, str, str]]]:
    readable: dict[str, list[tuple[str, str, str]]] = {}
    for item in properties:
        steps, attribute = _split(item.place)
        readable.setdefault(steps, []).append((item.name, attribute, item.kind))
    return readable


_READABLE = {bus: _by_place(properties) for bus, properties in _PROPERTIES.items()}


def _bus_address(address: Element | None) -> str | None:
    """The bus address as people write it; a DIMM's is its slot and base instead."""
    kind = address.get("type") if address is not None else None
    if address is None or kind is None or kind in ("none", "dimm"):
        return None
    if kind == "pci":
        parts = {name: _int(address.get(name, "0"), 0) for name in ("domain", "bus", "slot", "function")}
        return "pci {domain:04x}:{bus:02x}:{slot:02x}.{function:x}".format(**parts)
    others = {str(name): str(value) for name, value in address.items() if name != "type"}
    return " ".join([kind, *(f"{name}={value}" for name, value in others.items())])


def _stranger(element: Element, position: int) -> Device:
    """A device of a model that a later libvirt has: it has what all have, as far as that can be read."""
    size = 0
    with contextlib.suppress(KeyError, ValueError):
        target = element.find("target/size")
        size = 0 if target is None else _bytes(target)
    alias = _raw(element, "alias/@name")
    return Device(element.get("model", ""), size, alias, xml=_text(element), position=position)


def _device(element: Element, position: int = -1) -> Device:
    if element.get("model") and element.get("model") not in MODELS:
        return _stranger(element, position)
    try:
        places = _places(element)
        readable = _readable(element.get("model", ""))
        values = {
            name: _value(holder, attribute, kind)
            for place, holder in places.items()
            for name, attribute, kind in readable.get(place, ())
        }
        # The second is the name before libvirt merged it, which the parser still accepts.
        current = places.get("target/current", places.get("target/actual"))
        values["current"] = None if current is None else _bytes(current)
        values["address"] = _bus_address(places.get("address"))
    except (KeyError, ValueError) as error:
        raise VirtmemError("invalid_xml", f"A memory device's XML could not be read: {error}") from error
    if values.get("size") is None or not values["model"]:
        raise VirtmemError("invalid_xml", "A memory device's XML has no model or no size.")
    return Device(xml=_text(element), position=position, **values)


def read_device(text: str) -> Device:
    """The device that a `<memory>` element describes.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    return _device(_parse(text))


def _free_ports(devices: Element) -> int | None:
    """How many PCI Express ports could take a hot-plugged device; None where the machine is no PCI Express one.

    libvirt adds ports for a persistent device by itself, but never to a running guest.
    """
    controllers = [item for item in devices.iterchildren("controller") if item.get("type") == "pci"]
    if not any(item.get("model") == "pcie-root" for item in controllers):
        return None
    ports = {
        _int(item.get("index", "0"), 0)
        for item in controllers
        if item.get("model") in _EXPRESS_PORTS
        and not any(target.get("hotplug") == "off" for target in item.iterchildren("target"))
    }
    return len(ports - {bus for bus, _slot in _guest_addresses(devices)})


def _guest_addresses(devices: Element) -> t.Iterator[tuple[int, int]]:
    """Bus and slot of everything on the guest's PCI buses. An address below `<source>` is one of the host's."""
    for device in devices:
        for address in device.iterchildren("address"):
            if address.get("type") == "pci":
                yield _int(address.get("bus", "0"), 0), _int(address.get("slot", "0"), 0)


# libvirt puts eight ports into a slot of the root. The first slot is the host bridge's, the last the chipset's.
_PORTS_IN_A_SLOT = 8
_ROOT_SLOTS = frozenset(range(1, 31))


def _port_room(devices: Element) -> int | None:
    """How many more ports the PCI Express root takes; None where there is no root.

    Tried with libvirt 9.0 and 11.3: 240 where nothing else is on the root, then "a PCI slot is needed".
    """
    controllers = [item for item in devices.iterchildren("controller") if item.get("type") == "pci"]
    if not any(item.get("model") == "pcie-root" for item in controllers):
        return None
    ports = [item for item in controllers if item.get("model") == "pcie-root-port"]
    on_root = {slot for bus, slot in _guest_addresses(devices) if bus == 0}
    with_ports = {
        _int(address.get("slot", "0"), 0)
        for port in ports
        for address in port.iterchildren("address")
        if _int(address.get("bus", "0"), 0) == 0
    }
    return max(len(_ROOT_SLOTS - (on_root - with_ports)) * _PORTS_IN_A_SLOT - len(ports), 0)


def _cell_memory(cell: Element) -> int:
    return align_up(_int(cell.get("memory", "0")) * UNITS[cell.get("unit", "KiB").lower()], KIB)


def read_definition(text: str) -> Definition:
    """What a domain's XML says of its memory.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    root = _parse(text)
    holder, cells = root.find("devices"), root.findall("cpu/numa/cell")
    if holder is None:
        holder = etree.Element("devices")
    aliases = {alias.get("name", "") for item in holder for alias in item.iterchildren("alias")}
    devices = tuple(_device(element, position) for position, element in enumerate(holder.iterchildren("memory")))
    try:
        memory, most, current = root.find("memory"), root.find("maxMemory"), root.find("currentMemory")
        return Definition(
            devices=devices,
            total=0 if memory is None else _bytes(memory),
            max_memory=None if most is None else _bytes(most),
            slots=0 if most is None else _int(most.get("slots", "0")),
            cells=tuple(_int(cell.get("id", str(number))) for number, cell in enumerate(cells)),
            arch=_raw(root, "os/type/@arch") or "x86_64",
            free_ports=_free_ports(holder),
            port_room=_port_room(holder),
            acpi=root.find("features/acpi") is not None,
            current_memory=None if current is None else _bytes(current),
            cell_memory=sum(map(_cell_memory, cells)) if cells else None,
            balloon=not any(item.get("model") == "none" for item in holder.iterchildren("memballoon")),
            active=root.get("id") is not None,
            processors=_int(_raw(root, "vcpu") or "1"),
            other_aliases=frozenset(aliases - {item.alias for item in devices} - {""}),
        )
    except (KeyError, ValueError) as error:
        raise VirtmemError("invalid_xml", f"The domain's XML could not be read: {error}") from error


def read_host(text: str, domain_capabilities: str | None = None) -> Host:
    """The host's NUMA nodes and pages, and whether it has SGX.

    Args:
        text: the capabilities of the connection.
        domain_capabilities: those of its domains, where SGX matters.

    Raises:
        VirtmemError: `invalid_xml`.
    """
    root = _parse(text)
    sgx = None if domain_capabilities is None else _parse(domain_capabilities).find("features/sgx[@supported='yes']")
    try:
        return Host(
            sgx=None if domain_capabilities is None else sgx is not None,
            pages={
                _int(cell.get("id", "0")): {
                    _page_size(pages): _int((pages.text or "").strip() or "0") for pages in cell.findall("pages")
                }
                for cell in root.findall("host/topology/cells/cell")
            },
            page_sizes=frozenset(_page_size(pages) for pages in root.findall("host/cpu/pages")),
        )
    except (KeyError, ValueError) as error:
        raise VirtmemError("invalid_xml", f"The host's capabilities could not be read: {error}") from error


def _page_size(pages: Element) -> int:
    return _int(pages.get("size", "0")) * UNITS[pages.get("unit", "KiB").lower()]


# --- writing


def _written(value: t.Any, kind: str) -> str:
    if kind == SIZE:
        return str(align_up(value, KIB) // KIB)
    if kind == ADDRESS:
        return hex(value)
    if kind == YES_NO:
        return "yes" if value else "no"
    return format_nodeset(value) if kind == NODESET else str(value)


def _child(parent: Element, tag: str) -> Element:
    """The child of this tag, made where it is missing, in the indentation of its siblings."""
    child = parent.find(tag)
    if child is None:
        child = etree.Element(tag)
        if len(parent):
            child.tail = parent[-1].tail
            parent[-1].tail = parent.text
        parent.append(child)
    return child


def _drop(element: Element, path: str) -> None:
    """Removes what is at the path, and the line it stood on."""
    for child in element.findall(path):
        parent, before = t.cast("Element", child.getparent()), child.getprevious()
        if before is not None:
            before.tail = child.tail if child.getnext() is None else before.tail
        elif child.getnext() is None:
            parent.text = None
        parent.remove(child)


def _set(element: Element, item: Property, value: t.Any) -> None:
    """Writes one property, and nothing at all where it has the value already."""
    steps, attribute = _split(item.place)
    holder = _places(element).get(steps)
    # What can't be read is another value: a model of tomorrow may have anything there.
    with contextlib.suppress(KeyError, ValueError):
        if (None if holder is None else _value(holder, attribute, item.kind)) == value:
            return
    if item.kind == FLAG and not value:
        _drop(element, item.place)
        return
    holder = element
    for tag in steps.split("/") if steps else ():
        holder = _child(holder, tag)
    if attribute:
        holder.set(attribute, _written(value, item.kind))
        if holder.tag == "address" and holder.getparent() is element:
            holder.set("type", "dimm")
    elif item.kind != FLAG:
        holder.text = _written(value, item.kind)
        if item.kind == SIZE:
            holder.set("unit", "KiB")


def _apply(element: Element, values: t.Mapping[str, t.Any]) -> None:
    for item in _properties(str(values.get("model") or element.get("model", ""))):
        if item.name in values:
            _set(element, item, values[item.name])


def new_device(values: t.Mapping[str, t.Any]) -> str:
    """The element of a device that does not exist yet.

    Args:
        values: property values by the names of `Device`, with at least model and size.
    """
    element = etree.Element("memory")
    _apply(element, values)
    etree.indent(element)
    return _text(element)


def edit_device(text: str, values: t.Mapping[str, t.Any]) -> str:
    """The same element with these properties changed, everything else untouched."""
    element = _parse(text)
    _apply(element, values)
    return _text(element)


def twin_device(text: str, values: t.Mapping[str, t.Any]) -> str:
    """The element of the same device for the other scope: without what only the first scope knows."""
    element = _parse(text)
    for path in _SCOPE_LOCAL:
        _drop(element, path)
    alias = _raw(element, "alias/@name")
    if alias and not alias.startswith("ua-"):
        _drop(element, "alias")
    _apply(element, values)
    return _text(element)


def _canonical(element: Element) -> str:
    return etree.tostring(_parse(_text(element)), method="c14n").decode()


def indented(text: str) -> str:
    """The element for people to read: its own indentation instead of that of where it stood."""
    element = _parse(text)
    etree.indent(element)
    return etree.tostring(element, encoding="unicode")


def same_element(text: str, other: str) -> bool:
    """Whether two elements say the same, what this collection does not know included."""
    return _canonical(_parse(text)) == _canonical(_parse(other))


def _unchanged(root: Element, before: Device) -> Element:
    """The element of a device that was read earlier, if it is still as it was then.

    Raises:
        VirtmemError: `changed_meanwhile`.
    """
    wanted = _canonical(_parse(before.xml))
    elements = root.findall("devices/memory")
    same = [position for position, element in enumerate(elements) if _canonical(element) == wanted]
    if not same:
        raise VirtmemError(
            "changed_meanwhile",
            "The device was changed by someone else after it was read; its configuration was not written.",
            hint="Run the task again.",
        )
    # Two devices may be alike to the letter; the one at the place where it was read is as good as the other.
    return elements[before.position if before.position in same else same[0]]


def replace_device(domain: str, before: Device, after: str) -> str:
    """The domain's XML with one memory device replaced in place, and the totals as an attach would leave them.

    The device is found by its whole element, so one that changed since it was read is not hit.

    Raises:
        VirtmemError: `changed_meanwhile`.
    """
    root = _parse(domain)
    old = _unchanged(root, before)
    new = _parse(after)
    new.tail = old.tail
    t.cast("Element", old.getparent()).replace(old, new)
    _grow_totals(root, _device(new).size - before.size)
    return etree.tostring(root, encoding="unicode")


def _grow_totals(root: Element, grown: int) -> None:
    # libvirt recomputes <memory> where there are NUMA cells, but leaves <currentMemory> as it is, and a
    # value that is too small becomes the balloon's target at the next boot.
    for tag in ("memory", "currentMemory") if grown else ():
        total = root.find(tag)
        if total is None:
            continue
        try:
            now = _bytes(total)
        except (KeyError, ValueError) as error:
            raise VirtmemError("invalid_xml", f"The domain's <{tag}> could not be read: {error}") from error
        total.text = _written(max(0, now + grown), SIZE)
        total.set("unit", "KiB")


# What a domain's definition has before what, as far as it matters here; libvirt reads any order, people prefer its own.
_BEFORE = {
    "maxMemory": ("memory",),
    "features": ("cpu", "clock", "on_poweroff", "devices"),
    "cpu": ("clock", "devices"),
}


def _section(root: Element, tag: str) -> Element:
    """The child of the domain with this tag, made where libvirt prints it if it is missing."""
    section = root.find(tag)
    if section is None:
        section = etree.Element(tag)
        later = next((item for name in _BEFORE[tag] if (item := root.find(name)) is not None), None)
        if later is None:
            root.append(section)
        else:
            section.tail = root.text
            later.addprevious(section)
    return section


def make_ready(domain: str, lacking: Readiness) -> str:
    """The domain's XML with what it lacks to take memory devices, everything else untouched."""
    root = _parse(domain)
    _make_ready(root, lacking)
    return etree.tostring(root, encoding="unicode")


def readiness(lacking: Readiness) -> str:
    """Only what `make_ready` changes, as the skeleton of a domain: what a step shows."""
    root = etree.Element("domain")
    _make_ready(root, lacking)
    etree.indent(root)
    return _text(root)


def _make_ready(root: Element, lacking: Readiness) -> None:
    if lacking.max_memory is not None or lacking.slots is not None:
        limit = _section(root, "maxMemory")
        if lacking.max_memory is not None:
            limit.text = _written(lacking.max_memory, SIZE)
            limit.set("unit", "KiB")
        if lacking.slots is not None:
            limit.set("slots", str(lacking.slots))
    if lacking.acpi:
        _child(_section(root, "features"), "acpi")
    if lacking.cell_memory is not None:
        processors = lacking.cell_processors
        cell = _child(_child(_section(root, "cpu"), "numa"), "cell")
        cell.set("id", "0")
        cell.set("cpus", f"0-{processors - 1}" if processors > 1 else "0")
        cell.set("memory", _written(lacking.cell_memory, SIZE))
        cell.set("unit", "KiB")
    if lacking.ports:
        _add_ports(_child(root, "devices"), lacking.ports)


def _add_ports(devices: Element, count: int) -> None:
    """Adds hot-plug ports behind the other controllers; libvirt gives each its index and address."""
    controllers = devices.findall("controller")
    place = devices.index(controllers[-1]) + 1 if controllers else len(devices)
    ports = [etree.Element("controller", type="pci", model="pcie-root-port") for _number in range(count)]
    if place:
        before = devices[place - 1]
        # What stands behind an element is its own: the last one's leads to the end of its parent.
        ports[-1].tail, before.tail = before.tail, devices.text if place == len(devices) else before.tail
        for port in ports[:-1]:
            port.tail = before.tail
    # One by one behind its neighbour, each would get the white space of all before it, and double it.
    devices[place:place] = ports
