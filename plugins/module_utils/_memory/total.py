# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a guest has in all: its boot memory, its DIMMs, and what is requested of its virtio-mem devices."""

from __future__ import annotations

import typing as t

from . import models
from .device import Definition, Device


class Sums(t.NamedTuple):
    """What a guest has in all, in one scope. In bytes."""

    boot: int
    dimms: int
    fixed: int  # requested of the virtio-mem devices that do not take part
    requested: int  # of those that do

    @property
    def effective(self) -> int:
        """All of it."""
        return self.boot + self.dimms + self.fixed + self.requested

    def describe(self) -> dict[str, int]:
        """The sums as results show them."""
        return {"effective": self.effective, **self._asdict()}


class GuestMemory(t.NamedTuple):
    """A guest's memory as it was planned: what is declared, and what each scope has of it afterwards."""

    declared: int
    sums: t.Mapping[str, Sums]
    reasons: tuple[str, ...] = ()  # why the running guest has less, or more, until its restart


def total_of(definition: Definition) -> int:
    """What a guest has in all: boot memory, DIMMs, and what is requested of virtio-mem devices, in bytes."""
    return sums_of(definition).effective


def plugged_of(definition: Definition) -> int:
    """What a running guest has of its virtio-mem devices, in bytes."""
    return sum(device.current or 0 for device in definition.devices if models.facts(device.model).resizable)


def sums_of(definition: Definition, sharing: t.Collection[Device] = ()) -> Sums:
    """What a guest has in all, where these devices take part in what is declared of it."""
    dimms = fixed = requested = 0
    for device in definition.devices:
        facts = models.facts(device.model)
        if facts.resizable and device in sharing:
            requested += device.requested or 0
        elif facts.resizable:
            fixed += device.requested or 0
        elif facts.is_memory:
            dimms += device.size
    return Sums(sum(boot_of(definition).values()), dimms, fixed, requested)


def boot_of(definition: Definition) -> dict[int, int]:
    """The boot memory of each cell; without cells, one node has all of it."""
    return dict(zip(definition.cells, definition.cell_sizes)) if definition.cell_sizes else {0: definition.base}
