# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The values the core works with: a memory device, a domain in its two scopes, and a wish.

All are frozen. Sizes are integers in bytes. A value that libvirt or the user did not give is None.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, fields, replace

from . import models, platforms
from .around import Around
from .platforms import Platform
from .properties import SELECTORS, Properties

LIVE = "live"
CONFIG = "config"
SCOPES = (LIVE, CONFIG)

PRESENT = "present"
ABSENT = "absent"

USER_ALIAS_PREFIX = "ua-"


@dataclass(frozen=True)
class Device(Properties):
    """One memory device, as one scope of a domain describes it."""

    model: str = ""
    size: int = 0
    current: int | None = None  # what the guest has of it
    address: str | None = None  # on its bus, as people write it
    # The element this was decoded from, and where it stood: what an edit starts from, no part of the value.
    xml: str = field(default="", compare=False, repr=False)
    position: int = field(default=-1, compare=False, repr=False)

    @property
    def user_alias(self) -> str | None:
        """The alias if a user gave it. A generated one changes with every boot and names nothing."""
        return self.alias if self.alias and self.alias.startswith(USER_ALIAS_PREFIX) else None

    def settled(self) -> Device:
        """The device without its actual size, which moves by itself: what two observations are compared by."""
        return replace(self, current=None)

    def describe(self) -> dict[str, t.Any]:
        """The device as results show it: what is known, under the names of the options."""
        known: dict[str, t.Any] = {}
        for name in _SHOWN:
            value = getattr(self, name)
            if value is not None:
                known[name] = format_nodeset(value) if name == "nodemask" else value
        return known


_SHOWN = tuple(item.name for item in fields(Device) if item.name not in ("xml", "position"))


class Definition(t.NamedTuple):
    """A domain's memory in one scope."""

    devices: tuple[Device, ...]
    total: int  # <memory>: the base memory and the size of every memory device
    max_memory: int | None = None
    slots: int = 0
    cells: tuple[int, ...] = ()  # the ids of the NUMA cells
    arch: str = "x86_64"
    # Hot-plug capable PCI Express ports, or slots of a machine with conventional PCI; None if it has no PCI.
    free_ports: int | None = None
    port_room: int | None = None  # how many more ports its PCI Express root takes; None if it has no such root
    other_aliases: frozenset[str] = frozenset()  # of the devices that are no memory
    acpi: bool = True  # DIMMs are plugged through it
    current_memory: int | None = None  # <currentMemory>
    cell_sizes: tuple[int, ...] = ()  # the memory of each cell of `cells`
    balloon: bool = True  # whether libvirt learns from the guest how much it uses
    period: int = 0  # how often the balloon's statistics are polled, in seconds; 0 for never
    active: bool = False  # whether this is a running guest's
    processors: int = 1  # the most that the guest can have
    around: Around = Around()  # the settings of the domain that its devices have to do with

    @property
    def platform(self) -> Platform:
        """What its architecture and machine are, for its memory devices."""
        return platforms.of(self.arch, self.around.machine, self.around.emulated)

    @property
    def base(self) -> int:
        """The memory without any device, in bytes."""
        return self.total - sum(device.size for device in self.devices)

    @property
    def cell_memory(self) -> int | None:
        """What the NUMA cells have together, in bytes; None if there are none."""
        return sum(self.cell_sizes) if self.cell_sizes else None

    def without(self, device: Device) -> Definition:
        """The definition after this device was taken out."""
        rest = list(self.devices)
        rest.remove(device)
        return self._with_devices(rest, -device.size, -1, device)

    def having(self, device: Device) -> Definition:
        """The definition after this device was put in."""
        return self._with_devices([*self.devices, device], device.size, 1, device)

    def changing(self, before: Device, after: Device) -> Definition:
        """The definition after this device became that."""
        devices = [after if device is before else device for device in self.devices]
        return self._replace(devices=tuple(devices), total=self.total + after.size - before.size)

    def _with_devices(self, devices: t.Sequence[Device], more: int, count: int, device: Device) -> Definition:
        ports = self.free_ports
        if ports is not None and models.facts(device.model).takes_port:
            # libvirt adds a port to a configuration that has none left.
            ports = max(ports - count, 0)
        return self._replace(devices=tuple(devices), total=self.total + more, free_ports=ports)


@dataclass(frozen=True)
class Statistics:
    """What a running guest's balloon driver reported last. Sizes are in bytes, None means: not reported."""

    total: int | None = None  # MemTotal
    usable: int | None = None  # MemAvailable: what it could give to programs without swapping
    balloon: int | None = None  # what the balloon leaves of the boot memory and the DIMMs
    updated: int = 0  # when, in seconds since 1970 by the hypervisor's clock; 0 for never
    minor_faults: int | None = None  # nearly always another number in a newer report
    age: float | None = field(default=None, compare=False)  # seconds, by the clock of the managed node


class Domain(t.NamedTuple):
    """A domain as it was read: who it is, and its definition in each scope that it has."""

    name: str
    uuid: str
    state: str
    persistent: bool
    live: Definition | None = None
    config: Definition | None = None
    error_paused: bool = False  # paused by something that went wrong, not by a person
    saved: Definition | None = None  # what a managed-save image brings back at the next start
    guest: Statistics | None = None  # what the running guest says of itself; None if nobody asked

    def scope(self, name: str) -> Definition | None:
        """The definition in the scope of this name."""
        return self.live if name == LIVE else self.config

    def with_scope(self, name: str, definition: Definition | None) -> Domain:
        """The domain with another definition in this scope."""
        return self._replace(live=definition) if name == LIVE else self._replace(config=definition)

    def scopes(self) -> tuple[str, ...]:
        """The scopes that this domain has, live first."""
        return tuple(name for name in SCOPES if self.scope(name) is not None)

    def describe(self) -> dict[str, t.Any]:
        """The domain as results show it."""
        return {"name": self.name, "uuid": self.uuid, "state": self.state, "persistent": self.persistent}


class Host(t.NamedTuple):
    """What the hypervisor's machine has for its guests."""

    # NUMA node -> size of a page in bytes -> how many pages of that size the node's pool has
    pages: t.Mapping[int, t.Mapping[int, int]]
    page_sizes: frozenset[int]  # what the processor and kernel support, whether a pool has any or not
    # NUMA node -> size of a page -> how many pages of its pool are free; None if nobody asked
    free: t.Mapping[int, t.Mapping[int, int]] | None = None
    sgx: bool | None = None  # whether it can give guests SGX memory; None if nobody asked

    @property
    def smallest_page(self) -> int:
        """The ordinary page, in bytes: all memory that is in no pool of larger ones comes in it."""
        return min(self.page_sizes, default=4096)


class HostMemory(t.NamedTuple):
    """The memory of the hypervisor's machine, in bytes."""

    total: int
    available: int  # what can be used without taking it from anybody
    nodes: t.Mapping[int, tuple[int, int]] = {}  # NUMA node -> total, free
    # NUMA node -> size of a page -> how many pages of that size the node's pool has free
    free_pages: t.Mapping[int, t.Mapping[int, int]] = {}


@dataclass(frozen=True)
class Wish(Properties):
    """One device as a user declares it. None means: not given, so never compared."""

    state: str = PRESENT
    scope: str = "auto"
    resize: str = "any"
    replace: bool = False
    adopt: bool | None = None  # whether a device without a user alias may get this one; None: nobody has said
    live_requested: int | None = None  # what is requested in the running guest, where that is another number

    def of_running(self) -> Wish:
        """The wish as the running guest has it."""
        return self if self.live_requested is None else replace(self, requested=self.live_requested)

    def describe(self) -> str:
        """How a message names the device that is wished for."""
        if self.alias:
            return f"alias {self.alias}"
        chosen = [f"{name} {getattr(self, name)}" for name in SELECTORS if getattr(self, name) is not None]
        return ", ".join(chosen)


class Declaration(t.NamedTuple):
    """What a domain's memory is to be. Sizes are in bytes, None means: not given."""

    wishes: tuple[Wish, ...] = ()
    exclusive: bool = False  # no other devices than these
    memory: int | None = None  # what the guest is to have in all: boot memory, DIMMs and virtio-mem
    resize: str = "any"  # the directions in which that may move
    max_memory: int | None = None
    slots: int | None = None
    spare_ports: int | None = None
    statistics_period: int | None = None  # how often the balloon's statistics are polled, in seconds; 0 for never

    @property
    def readies(self) -> bool:
        """Whether the domain itself is to be changed, not only its devices."""
        return any(value is not None for value in (self.max_memory, self.slots, self.spare_ports))


class Readiness(t.NamedTuple):
    """What a persistent definition lacks to take the declared devices. None and zero mean: nothing."""

    max_memory: int | None = None
    slots: int | None = None
    cell_memory: int | None = None  # of the first NUMA cell, which holds all the memory and all the processors
    cell_processors: int = 0
    ports: int = 0  # how many hot-plug ports are added
    acpi: bool = False
    period: int | None = None  # of the balloon's statistics, which needs no new definition: a step of its own

    def adds(self) -> list[str]:
        """The names of what it brings, as results show them."""
        brings = {
            "max_memory": self.max_memory is not None,
            "slots": self.slots is not None,
            "numa_cell": self.cell_memory is not None,
            "ports": self.ports > 0,
            "acpi": self.acpi,
            "statistics_period": self.period is not None,
        }
        return [name for name, brought in brings.items() if brought]

    def less(self, definition: Definition) -> Readiness:
        """The part of it that takes room away from the definition."""
        limit, slots = definition.max_memory or 0, definition.slots
        return Readiness(
            max_memory=self.max_memory if self.max_memory is not None and self.max_memory < limit else None,
            slots=self.slots if self.slots is not None and self.slots < slots else None,
        )

    def beside(self, part: Readiness) -> Readiness:
        """The rest of it."""
        return self._replace(
            max_memory=self.max_memory if part.max_memory is None else None,
            slots=self.slots if part.slots is None else None,
        )

    def applied(self, definition: Definition) -> Definition:
        """The definition that has it."""
        ports, room = definition.free_ports, definition.port_room
        return definition._replace(
            max_memory=definition.max_memory if self.max_memory is None else self.max_memory,
            slots=definition.slots if self.slots is None else self.slots,
            cells=definition.cells if self.cell_memory is None else (0,),
            cell_sizes=definition.cell_sizes if self.cell_memory is None else (self.cell_memory,),
            free_ports=(ports or 0) + self.ports if self.ports else ports,
            port_room=None if room is None else max(room - self.ports, 0),
            acpi=definition.acpi or self.acpi,
            period=definition.period if self.period is None else self.period,
        )


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
        # Very long numbers never become an int.
        low, high = (int(number.lstrip("0")[:9] or "0") for number in (first, last or first))
        if low > high or high > 4095:
            raise ValueError(text)
        chosen = range(low, high + 1)
        if exclude:
            nodes.difference_update(chosen)
        else:
            nodes.update(chosen)
    if not nodes:
        raise ValueError(text)
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
