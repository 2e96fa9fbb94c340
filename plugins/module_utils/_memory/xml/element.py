# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Elements of libvirt's XML: parsed without risk, their values by place and kind.

The folder is the only user of lxml.
"""

from __future__ import annotations

import copy
import functools
import traceback
import typing as t

from .. import models
from ..device import parse_nodeset
from ..errors import unreadable
from ..properties import ADDRESS, FLAG, NODESET, NUMBER, PROPERTIES, SIZE, TEXT, YES_NO, Property
from ..size import KIB, UNITS, align_up

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


def _on_bus(bus: str) -> tuple[Property, ...]:
    """The properties that a device on this bus can have, with their places."""
    placed = (row._replace(place=row.place or _PLACES[bus].get(row.name, "")) for row in PROPERTIES.values())
    return tuple(row for row in placed if row.place)


PROPERTIES_ON = {bus: _on_bus(bus) for bus in _PLACES}


def properties_of(model: str) -> tuple[Property, ...]:
    """The properties that a device of this model can have, with their places."""
    return PROPERTIES_ON[models.facts(model).bus]


@functools.cache
def _parser() -> etree.XMLParser:
    """Reads without network, files, entities or unlimited growth. One for all, since making it costs time."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, strip_cdata=False)


def parse(text: str) -> Element:
    """The root element."""
    try:
        root = etree.fromstring(text.encode(), _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise unreadable(f"libvirt's XML could not be read: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise unreadable("libvirt's XML has a document type, which libvirt never writes.")
    return root


def text_of(element: Element) -> str:
    """The element as text, without the namespaces and the white space of where it stood."""
    if element.nsmap:
        element = copy.deepcopy(element)
        etree.cleanup_namespaces(element)
    return etree.tostring(element, encoding="unicode", with_tail=False)


@functools.cache
def split(path: str) -> tuple[str, str]:
    """Where the holder of a property stands, and the attribute's name if it is one."""
    steps, _at, attribute = path.partition("@")
    return steps.rstrip("/"), attribute


def raw(element: Element, path: str) -> str | None:
    """What stands at this place: an attribute, or the text of an element; None if it is not there."""
    steps, attribute = split(path)
    holder = element.find(steps) if steps else element
    if holder is None:
        return None
    return holder.get(attribute) if attribute else (holder.text or "").strip()


@functools.cache
def _compiled(path: str) -> etree.XPath:
    return etree.XPath(path, smart_strings=False)


def every(element: Element, path: str) -> list[t.Any]:
    """All elements, or values of attributes, that an XPath finds. A walk over the elements takes ten times as long."""
    return t.cast(list[t.Any], _compiled(path)(element))


Places = dict[str, "Element"]


def places_in(element: Element) -> Places:
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


def to_int(text: str, base: int = 10) -> int:
    """The number that is written here. An enormous one never becomes an int, which could not be printed again."""
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"{text[:_LONGEST_NUMBER]}... is no number of libvirt's")
    return int(text, base)


def to_bytes(element: Element) -> int:
    """The bytes of a scaled element. Without a unit it is KiB; any unit rounds up to KiB (virDomainParseMemory)."""
    value = to_int((element.text or "").strip()) * UNITS[element.get("unit", "KiB").lower()]
    return align_up(value, KIB)


_READ: t.Mapping[str, t.Callable[[str], t.Any]] = {
    TEXT: str,
    NUMBER: to_int,
    ADDRESS: functools.partial(to_int, base=0),
    YES_NO: "yes".__eq__,
    NODESET: parse_nodeset,
}


def value_of(holder: Element, attribute: str, kind: str) -> t.Any:
    """The value of a property, from the element or the attribute that holds it."""
    if kind == SIZE:
        return to_bytes(holder)
    if kind == FLAG:
        return True
    text = holder.get(attribute) if attribute else (holder.text or "").strip()
    return None if text is None else _READ[kind](text)
