# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The properties of a memory device: one table, of which every list of properties is a column.

A new property is a row here and a field of `Properties`; no column has a default, so none can be forgotten.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

# How a property is written: as text, as a size with a unit, as a number, as a hexadecimal address, as
# yes or no, as an element that is there or not, as a set of host nodes.
TEXT, SIZE, NUMBER, ADDRESS, YES_NO, FLAG, NODESET = "text", "size", "number", "address", "yes-no", "flag", "nodeset"


class Property(t.NamedTuple):
    """What there is to know of one property, whatever the model.

    Args:
        name: of the field of `Properties`.
        kind: how it is written.
        place: where it stands in the element (`@` marks an attribute); "" if that depends on the model.
        option: what users call it.
        selects: whether it can name a device. The others can be declared, but do not select: a changed size in a
            declaration must find the device, not attach a second one.
        compared: whether the running guest and the configuration should have the same; a device's place is its own
            scope's. These are also the options that declare a device.
        alike: whether the two sides of one device have the same, whatever libvirt adds to the running one.
        mutable: whether a running device can be given another one without becoming another device.
    """

    name: str
    kind: str
    place: str
    option: str
    selects: bool
    compared: bool
    alike: bool
    mutable: bool


def _row(text: str) -> Property:
    name, kind, place, option, *marks = text.split()
    columns = ("selects", "compared", "alike", "mutable")
    if len(marks) != len(columns) or any(mark not in (column, "-") for column, mark in zip(columns, marks)):
        raise ValueError(f"not a row of the table: {text}")
    values = {column: mark == column for column, mark in zip(columns, marks)}
    return Property(name, kind, "" if place == "-" else place, option, **values)


# In the order in which libvirt formats them. `-` is no.
_TABLE = """
model             text     @model                     model             selects  compared  alike  -
access            text     @access                    access            -        compared  -      -
discard           yes-no   @discard                   discard           -        compared  -      -
uuid              text     uuid                       uuid              -        compared  -      -
nodemask          nodeset  source/nodemask            source.nodemask   -        compared  alike  -
pagesize          size     source/pagesize            source.pagesize   -        compared  alike  -
path              text     source/path                source.path       selects  compared  alike  -
alignsize         size     source/alignsize           source.alignsize  -        compared  -      -
pmem              flag     source/pmem                source.pmem       -        compared  -      -
dynamic_memslots  yes-no   target/@dynamicMemslots    dynamic_memslots  -        compared  -      -
size              size     target/size                size              -        compared  alike  -
node              number   target/node                node              selects  compared  alike  -
label_size        size     target/label/size          label_size        -        compared  alike  -
readonly          flag     target/readonly            readonly          -        compared  -      -
block             size     target/block               block             -        compared  alike  -
requested         size     target/requested           requested         -        compared  -      mutable
alias             text     alias/@name                alias             -        -         -      -
slot              number   -                          slot              selects  -         -      -
base              address  -                          base              selects  -         -      -
"""
PROPERTIES: t.Mapping[str, Property] = {row.name: row for row in map(_row, _TABLE.strip().splitlines())}

NAMES = tuple(PROPERTIES)
SIZES = frozenset(name for name, row in PROPERTIES.items() if row.kind == SIZE)
FLAGS = frozenset(name for name, row in PROPERTIES.items() if row.kind == FLAG)
SELECTORS = tuple(name for name, row in PROPERTIES.items() if row.selects)
COMPARED = tuple(name for name, row in PROPERTIES.items() if row.compared)
ALIKE = tuple(name for name, row in PROPERTIES.items() if row.alike)
MUTABLE = tuple(name for name, row in PROPERTIES.items() if row.mutable)


@dataclass(frozen=True)
class Properties:
    """The values of a device, or those that are declared for one. Sizes are in bytes, None means: not given."""

    model: str | None = None
    size: int | None = None
    alias: str | None = None
    node: int | None = None
    block: int | None = None
    requested: int | None = None
    access: str | None = None
    discard: bool | None = None
    uuid: str | None = None
    dynamic_memslots: bool | None = None
    path: str | None = None
    nodemask: tuple[int, ...] | None = None
    pagesize: int | None = None
    alignsize: int | None = None
    pmem: bool | None = None
    label_size: int | None = None
    readonly: bool | None = None
    slot: int | None = None
    base: int | None = None

    def given(self) -> dict[str, t.Any]:
        """The properties that there are, by name, in the order of the table."""
        values = ((name, getattr(self, name)) for name in NAMES)
        return {name: value for name, value in values if value is not None}


def option_name(name: str) -> str:
    """What users call a property: `source.path` for path."""
    row = PROPERTIES.get(name)
    return name if row is None else row.option
