# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Plans as data: the steps, what they are for one device, and what they are for a domain.

The same objects are shown in check mode and carried out in a run.
"""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, replace

from .. import models, support
from ..device import CONFIG, LIVE, Definition, Device, Domain, Host, Readiness, Wish
from ..progress import Goal
from ..properties import SIZES
from ..size import show
from ..total import GuestMemory
from ..xml import reading, writing

ATTACH = "attach"
UPDATE = "update"  # of `requested`, the one property that can change without a new definition
REDEFINE = "redefine"
PREPARE = "prepare"  # of the domain itself, so that it can take devices
DETACH = "detach"

# The order in which a domain's devices are planned and changed: first what makes room.
SHRINK, REMOVE, GROW = range(3)


class Circumstances(t.NamedTuple):
    """What a plan depends on beside the domain and the wishes."""

    versions: support.Versions
    host: Host | None = None  # needed if a wish names host nodes or pages
    wait: bool = True  # without, a plan ends where the guest would have to answer first
    # The aliases of running devices that QEMU did not unplug. The version is that of the host's package; a guest may
    # run in an older one, since before an update.
    fixed: frozenset[str] = frozenset()

    def can_unplug(self, device: Device) -> bool:
        """Whether the running guest can be asked to give this device back."""
        return device.alias not in self.fixed and support.can_unplug(device.model, self.versions)


@dataclass(frozen=True)
class Step:
    """One change of one scope: what is done with which element."""

    op: str
    scope: str
    xml: str
    before: Device | None = None  # the device as it was read, which must still be there when the step is carried out
    until: Goal | None = None  # what the guest must reach before the next step of its domain
    rank: int = GROW
    ready: Readiness | None = None  # a redefinition of the domain itself, not of a device

    def describe(self) -> dict[str, t.Any]:
        """The step as results show it."""
        adds = {} if self.ready is None else {"adds": self.ready.adds()}
        return {"op": self.op, "scope": self.scope, "xml": writing.indented(self.xml), **adds}

    def settled(self) -> tuple[object, ...]:
        """What is done to what, without what moves by itself: steps of two plans are compared by this."""
        # A configuration's element is written as a whole, with what this collection does not know.
        element = self.xml if self.scope == CONFIG else None
        sides = tuple(side.settled() if side is not None else None for side in (self.before, self.after))
        return (self.op, self.scope, sides, self.ready, element)

    @property
    def period(self) -> int | None:
        """How often the balloon's statistics are to be polled, if that is what the step sets."""
        return None if self.ready is None else self.ready.period

    @property
    def needs_rest(self) -> bool:
        """Whether the guest is asked for a device that it has emptied, which must be `progress.REST` ago."""
        device = self.before
        return (self.op, self.scope) == (DETACH, LIVE) and device is not None and models.facts(device.model).resizable

    @property
    def alias(self) -> str | None:
        """The name of the device, in its scope, that the step is about; None if it is about the domain."""
        return next((side.alias for side in (self.before, self.after) if side is not None and side.alias), None)

    @functools.cached_property
    def after(self) -> Device | None:
        """The device that the step leaves."""
        if self.op == DETACH or self.ready is not None:
            return None
        device = reading.read_device(self.xml)
        # What the guest has is what it has: a plan delivers nothing.
        current = None if self.scope == CONFIG else self.before.current if self.before else 0
        return replace(device, current=current if models.facts(device.model).resizable else None)


class DevicePlan(t.NamedTuple):
    """What happens to one device, and how it is before and after."""

    wish: Wish
    scopes: tuple[str, ...]
    steps: tuple[Step, ...]
    before: t.Mapping[str, Device | None]
    after: t.Mapping[str, Device | None]
    goal: Goal | None = None  # what the running guest must reach in the end
    restart_reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cut: bool = False  # the guest has to answer yet, and nobody waits for it
    undeclared: bool = False  # it must go because nobody declares it

    @property
    def is_memory(self) -> bool:
        """Whether the guest's kernel has it, or is to have it, as ordinary memory."""
        sides = [*self.before.values(), *self.after.values()]
        names = [side.model for side in sides if side is not None] or [self.wish.model or ""]
        return any(models.facts(model).is_memory for model in names)

    def diff(self) -> dict[str, t.Any]:
        """Before and after, live and config side by side, with sizes as people write them."""
        return {"before": _sides(self.before), "after": _sides(self.after)}


class Plan(t.NamedTuple):
    """Everything that will happen to one domain."""

    domain: Domain
    devices: tuple[DevicePlan, ...]  # in the order in which they are declared, then those that must go
    steps: tuple[Step, ...]  # in the order in which they are taken
    config: Definition | None = None  # the configuration as the steps leave it
    readiness_reasons: tuple[str, ...] = ()
    readiness_warnings: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()  # the devices that are there, and that nobody declares
    memory: GuestMemory | None = None  # the guest's memory in all, if that is declared

    @property
    def changed(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.steps)

    @property
    def cut(self) -> bool:
        """Whether more is left to do than the task waits for."""
        return any(device.cut for device in self.devices)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the running guest must reach in the end."""
        return tuple(device.goal for device in self.devices if device.goal is not None)

    @property
    def restart_reasons(self) -> tuple[str, ...]:
        """What can only become real at the next boot."""
        told = [reason for device in self.devices for reason in device.restart_reasons]
        return (*self.readiness_reasons, *(self.memory.reasons if self.memory else ()), *told)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know all the same."""
        return (*self.readiness_warnings, *(text for device in self.devices for text in device.warnings))


def _sides(devices: t.Mapping[str, Device | None]) -> dict[str, t.Any]:
    return {scope: None if device is None else readable(device) for scope, device in devices.items()}


def readable(device: Device) -> dict[str, t.Any]:
    """The declared side of a device, with sizes as people write them."""
    # The actual size moves by itself and addresses are libvirt's: neither is something that a task declares.
    declared = {name: value for name, value in device.describe().items() if name not in ("current", "address")}
    return {name: show(value) if name in SIZES else value for name, value in declared.items()}
