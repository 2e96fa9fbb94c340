# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From values to libvirt's XML: a new device, a changed one in its place, a domain that is made ready.

What is edited keeps everything that this collection does not know.
"""

from __future__ import annotations

import contextlib
import typing as t

from ..device import Device, Readiness, format_nodeset
from ..errors import VirtmemError, unreadable
from ..properties import ADDRESS, FLAG, NODESET, SIZE, YES_NO, Property
from ..size import KIB, align_up

with contextlib.suppress(ImportError):  # element.py reports it
    from lxml import etree

from .element import parse, places_in, properties_of, raw, split, text_of, to_bytes, value_of
from .reading import device_of

if t.TYPE_CHECKING:
    Element = etree._Element  # lxml has no public name for it


# What only one scope of one boot knows: never carried to another scope.
_SCOPE_LOCAL = ("address", "target/address", "target/current", "target/actual")


def _written(value: t.Any, kind: str) -> str:
    if kind == SIZE:
        return str(align_up(value, KIB) // KIB)
    if kind == ADDRESS:
        return hex(value)
    if kind == YES_NO:
        return "yes" if value else "no"
    return format_nodeset(value) if kind == NODESET else str(value)


def _child(parent: Element, tag: str) -> Element:
    """The child of this tag, made if it is missing, in the indentation of its siblings."""
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
    """Writes one property, and nothing at all if it has the value already."""
    steps, attribute = split(item.place)
    holder = places_in(element).get(steps)
    # What can't be read is another value: a model of tomorrow may have anything there.
    with contextlib.suppress(KeyError, ValueError):
        if (None if holder is None else value_of(holder, attribute, item.kind)) == value:
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
    for item in properties_of(str(values.get("model") or element.get("model", ""))):
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
    return text_of(element)


def edit_device(text: str, values: t.Mapping[str, t.Any]) -> str:
    """The same element with these properties changed, everything else untouched."""
    element = parse(text)
    _apply(element, values)
    return text_of(element)


def twin_device(text: str, values: t.Mapping[str, t.Any]) -> str:
    """The element of the same device for the other scope: without what only the first scope knows."""
    element = parse(text)
    for path in _SCOPE_LOCAL:
        _drop(element, path)
    alias = raw(element, "alias/@name")
    if alias and not alias.startswith("ua-"):
        _drop(element, "alias")
    _apply(element, values)
    return text_of(element)


def _canonical(element: Element) -> str:
    return etree.tostring(parse(text_of(element)), method="c14n").decode()


def indented(text: str) -> str:
    """The element for people to read: its own indentation instead of that of where it stood."""
    element = parse(text)
    etree.indent(element)
    return etree.tostring(element, encoding="unicode")


def same_element(text: str, other: str) -> bool:
    """Whether two elements say the same, what this collection does not know included."""
    return _canonical(parse(text)) == _canonical(parse(other))


def _unchanged(root: Element, before: Device) -> Element:
    """The element of a device that was read earlier, if it is still as it was then.

    Raises:
        VirtmemError: `changed_meanwhile`.
    """
    wanted = _canonical(parse(before.xml))
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
    root = parse(domain)
    old = _unchanged(root, before)
    new = parse(after)
    new.tail = old.tail
    t.cast("Element", old.getparent()).replace(old, new)
    _grow_totals(root, device_of(new).size - before.size)
    return etree.tostring(root, encoding="unicode")


def add_device(domain: str, new: str, current: int) -> str:
    """The domain's XML with one memory device more, and this `<currentMemory>` in bytes."""
    root = parse(domain)
    devices = _child(root, "devices")
    element = parse(new)
    others = devices.findall("memory")
    place = devices.index(others[-1]) + 1 if others else len(devices)
    if place:
        element.tail = devices[place - 1].tail
        if place == len(devices):
            devices[place - 1].tail = devices.text
    devices.insert(place, element)
    _set_totals(root, device_of(element).size, current)
    return etree.tostring(root, encoding="unicode")


def remove_device(domain: str, before: Device, current: int) -> str:
    """The domain's XML with one memory device less, found by its whole element, and this `<currentMemory>` in bytes.

    Raises:
        VirtmemError: `changed_meanwhile`.
    """
    root = parse(domain)
    old = _unchanged(root, before)
    t.cast("Element", old.getparent()).remove(old)
    _set_totals(root, -before.size, current)
    return etree.tostring(root, encoding="unicode")


def _set_totals(root: Element, grown: int, current: int) -> None:
    _grow_totals(root, grown)
    target = _child(root, "currentMemory")
    target.text = _written(current, SIZE)
    target.set("unit", "KiB")


def _grow_totals(root: Element, grown: int) -> None:
    # libvirt recomputes <memory> if there are NUMA cells, but leaves <currentMemory> as it is, and a
    # value that is too small becomes the balloon's target at the next boot.
    for tag in ("memory", "currentMemory") if grown else ():
        total = root.find(tag)
        if total is None:
            continue
        try:
            now = to_bytes(total)
        except (KeyError, ValueError) as error:
            raise unreadable(f"The domain's <{tag}> could not be read: {error}") from error
        total.text = _written(max(0, now + grown), SIZE)
        total.set("unit", "KiB")


# What a domain's definition has before what, as far as it matters here; libvirt reads any order, people prefer its own.
_BEFORE = {
    "maxMemory": ("memory",),
    "features": ("cpu", "clock", "on_poweroff", "devices"),
    "cpu": ("clock", "devices"),
}


def _section(root: Element, tag: str) -> Element:
    """The child of the domain with this tag, made in the place of libvirt's own order if it is missing."""
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
    root = parse(domain)
    _make_ready(root, lacking)
    return etree.tostring(root, encoding="unicode")


def readiness(lacking: Readiness) -> str:
    """Only what `make_ready` changes, as the skeleton of a domain: what a step shows."""
    root = etree.Element("domain")
    _make_ready(root, lacking)
    etree.indent(root)
    return text_of(root)


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
    if lacking.period is not None:
        balloon = _child(_child(root, "devices"), "memballoon")
        _child(balloon, "stats").set("period", str(lacking.period))
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
