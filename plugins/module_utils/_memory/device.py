# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The values the core works with: a memory device, a domain in its two scopes, and a wish.

All are frozen. Sizes are integers in bytes. A value that libvirt or the user did not give is None.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, fields

LIVE = "live"
CONFIG = "config"
SCOPES = (LIVE, CONFIG)

VIRTIO_MEM = "virtio-mem"

USER_ALIAS_PREFIX = "ua-"

# What makes a device this one and no other. The rest can be declared for it, but does not select it:
# a changed size in a declaration must find the device, not attach a second one.
SELECTORS = ("model", "node", "path", "slot", "base")

# The properties that only libvirt sets, or that depend on the scope.
_OBSERVED_ONLY = ("current", "address", "xml", "position")


@dataclass(frozen=True)
class Device:
    """One memory device, as one scope of a domain describes it."""

    model: str
    size: int
    alias: str | None = None
    node: int | None = None
    block: int | None = None
    requested: int | None = None
    current: int | None = None
    access: str | None = None
    discard: str | None = None
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
    address: str | None = None
    # The element this was decoded from, and where it stood: what an edit starts from, no part of the value.
    xml: str = field(default="", compare=False, repr=False)
    position: int = field(default=-1, compare=False, repr=False)

    @property
    def user_alias(self) -> str | None:
        """The alias if a user gave it. A generated one changes with every boot and names nothing."""
        return self.alias if self.alias and self.alias.startswith(USER_ALIAS_PREFIX) else None

    def describe(self) -> dict[str, t.Any]:
        """The device as results show it: what is known, under the names of the options."""
        known: dict[str, t.Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("xml", "position") or value is None:
                continue
            known[item.name] = format_nodeset(value) if item.name == "nodemask" else value
        return known


@dataclass(frozen=True)
class Definition:
    """A domain's memory in one scope."""

    devices: tuple[Device, ...]
    total: int  # <memory>: the base memory and the size of every memory device
    max_memory: int | None = None
    slots: int = 0
    cells: tuple[int, ...] = ()  # the ids of the NUMA cells
    arch: str = "x86_64"
    free_ports: int | None = None  # hot-plug capable PCI Express ports; None where the machine has no such limit
    other_aliases: frozenset[str] = frozenset()  # of the devices that are no memory


@dataclass(frozen=True)
class Domain:
    """A domain as it was read: who it is, and its definition in each scope that it has."""

    name: str
    uuid: str
    state: str
    persistent: bool
    live: Definition | None = None
    config: Definition | None = None
    error_paused: bool = False  # paused by something that went wrong, not by a person

    def scope(self, name: str) -> Definition | None:
        """The definition in the scope of this name."""
        return self.live if name == LIVE else self.config

    def scopes(self) -> tuple[str, ...]:
        """The scopes that this domain has, live first."""
        return tuple(name for name in SCOPES if self.scope(name) is not None)

    def describe(self) -> dict[str, t.Any]:
        """The domain as results show it."""
        return {"name": self.name, "uuid": self.uuid, "state": self.state, "persistent": self.persistent}


@dataclass(frozen=True)
class Wish:
    """One device as a user declares it. None means: not given, so never compared."""

    alias: str | None = None
    model: str | None = None
    size: int | None = None
    requested: int | None = None
    block: int | None = None
    node: int | None = None
    nodemask: tuple[int, ...] | None = None
    pagesize: int | None = None
    path: str | None = None
    slot: int | None = None
    base: int | None = None
    scope: str = "auto"
    resize: str = "any"

    def given(self) -> dict[str, t.Any]:
        """The declared properties of the device, by the names of `Device`."""
        values = {item.name: getattr(self, item.name) for item in fields(Device) if hasattr(self, item.name)}
        return {name: value for name, value in values.items() if value is not None}

    def describe(self) -> str:
        """How a message names the device that is wished for."""
        if self.alias:
            return f"alias {self.alias}"
        chosen = [f"{name} {getattr(self, name)}" for name in SELECTORS if getattr(self, name) is not None]
        return ", ".join(chosen)


def parse_nodeset(text: str) -> tuple[int, ...]:
    """The host NUMA nodes of a libvirt node set such as `0-2,5` or `0-3,^1`, sorted.

    Raises:
        ValueError: the text is no node set, or has a node above 4095.
    """
    nodes: set[int] = set()
    for part in text.replace(" ", "").split(","):
        exclude = part.startswith("^")
        first, dash, last = part[exclude:].partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(text)
        low, high = int(first[:9]), int((last or first)[:9])
        if low > high or high > 4095:
            raise ValueError(text)
        chosen = range(low, high + 1)
        if exclude:
            nodes.difference_update(chosen)
        else:
            nodes.update(chosen)
    return tuple(sorted(nodes))


def format_nodeset(nodes: t.Sequence[int]) -> str:
    """A node set as libvirt writes it, with runs joined: `0-2,5`."""
    runs: list[list[int]] = []
    for node in nodes:
        if runs and node == runs[-1][1] + 1:
            runs[-1][1] = node
        else:
            runs.append([node, node])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
