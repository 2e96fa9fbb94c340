# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""One domain of a task: what is declared for it, what was planned, and how far that has come.

`Order` becomes `Planned`, or `Refused`; a `Planned` that is applied becomes `Running`, the only one that changes.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from .._memory import progress
from .._memory.device import CONFIG, LIVE, SCOPES, Declaration, Domain
from .._memory.errors import VirtmemError
from .._memory.plan.domain import plan_domain
from .._memory.plan.step import Circumstances, DevicePlan, Plan, Step
from .._memory.progress import Goal
from .._memory.size import Tolerance
from .witness import PERIOD, Witness


class Order(t.NamedTuple):
    """A domain, by name or UUID, and what its memory is to be."""

    domain: str
    declaration: Declaration


@dataclass(frozen=True)
class Refused:
    """An order that nothing is done for: why, and the domain as far as it was read."""

    order: Order
    error: VirtmemError
    observed: Domain | None = None
    first: None = None
    plan: None = None
    devices: tuple[DevicePlan, ...] = ()
    steps: tuple[Step, ...] = ()
    done: tuple[Step, ...] = ()
    witness: Witness = field(default_factory=Witness)


@dataclass(frozen=True)
class Planned:
    """An order with its plan, before anything is done."""

    order: Order
    uuid: str
    circumstances: Circumstances
    plan: Plan
    witness: Witness = field(default_factory=Witness)
    error: None = None
    done: tuple[Step, ...] = ()

    @property
    def first(self) -> Plan:
        """The plan: there is no other."""
        return self.plan

    @property
    def observed(self) -> Domain:
        """The domain as it was read for the plan."""
        return self.plan.domain

    @property
    def devices(self) -> tuple[DevicePlan, ...]:
        """What happens to each device."""
        return self.plan.devices

    @property
    def steps(self) -> tuple[Step, ...]:
        """What will be done, in this order."""
        return self.plan.steps

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the guest has to reach."""
        return self.plan.goals


class Running:
    """A planned job that is being applied: what is done and what is left, what was seen last, what went wrong."""

    def __init__(self, planned: Planned) -> None:
        """Nothing is done yet."""
        self.order = planned.order
        self.uuid = planned.uuid
        self.first = planned.plan  # as it was shown, whatever is planned later
        self.plan = planned.plan
        self.circumstances = planned.circumstances
        self.observed = planned.plan.domain
        self.witness = planned.witness  # what the guest itself says
        self.pending = list(planned.plan.steps)
        self.done: list[Step] = []
        self.barrier: Goal | None = None  # what the guest must reach before the next step
        self.movements: dict[Goal, progress.Movement] = {}
        self.error: VirtmemError | None = None
        self.postponed: VirtmemError | None = None  # why the next step was refused, which is tried again later
        self.retried = False
        self.emptied = -math.inf  # when the guest was last seen to have emptied a device
        self.rests_until: float | None = None  # when the next step may be taken, if it has to wait for nothing else
        self.rested = 0.0  # seconds of such rests, which no timeout counts
        self.replans = 0  # how often the domain was not as it was planned for
        self.done_before_plan = 0  # how many steps were done before `plan` was made
        self.done_before_look = 0  # how many steps were done before the running guest was last looked at

    @property
    def is_held_up(self) -> bool:
        """Whether steps are left that can't be taken yet."""
        return self.barrier is not None or self.postponed is not None or self.rests_until is not None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done in all, in this order: the first plan, unless the domain changed under it."""
        return (*self.done, *self.pending)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the guest has to reach next."""
        return (self.barrier,) if self.barrier else self.plan.goals

    @property
    def devices(self) -> tuple[DevicePlan, ...]:
        """What happens to each device in all: from where the task found it to where the newest plan brings it."""
        if self.plan is self.first:
            return self.plan.devices
        declared = len(self.order.declaration.wishes)
        began, newest = self.first.devices, self.plan.devices
        whole = [new._replace(before=old.before) for old, new in zip(began[:declared], newest[:declared])]
        # Those that nobody declares are planned for only as long as they are there.
        left = {_names(device): device for device in newest[declared:]}
        gone = dict.fromkeys(SCOPES)
        for old in began[declared:]:
            new = left.pop(_names(old), None)
            whole.append(old._replace(after=gone) if new is None else new._replace(before=old.before))
        return (*whole, *left.values())

    def plan_for(self, domain: Domain) -> Plan:
        """The plan for the domain as it is now.

        Raises:
            VirtmemError: there is none.
        """
        return plan_domain(self._unpolled(domain), self.order.declaration, self.circumstances)

    def _unpolled(self, domain: Domain) -> Domain:
        """The domain without the polling that the task itself has switched on while it lasts."""
        live, found = domain.live, self.witness.restores
        if live is None or found is None or live.period != PERIOD:
            return domain
        return domain.with_scope(LIVE, live._replace(period=found))

    def begin(self, goal: Goal, now: float) -> None:
        """From now on, the guest is on its way to this goal."""
        size = progress.held(progress.live_device(self.observed, goal.wish), goal)
        self.movements[goal] = progress.Movement(size, size, now)

    def adopt(self, domain: Domain, plan: Plan, now: float) -> None:
        """Goes on by a new plan, for the domain as it has become."""
        self.observed, self.plan, self.pending = domain, plan, list(plan.steps)
        self.replans += 1
        self.emptied, self.rests_until = now, None
        self.done_before_plan = self.done_before_look = len(self.done)
        for goal in plan.goals:
            self.begin(goal, now)


Job = t.Union[Refused, Planned, Running]


def has_all(job: Planned | Running, tolerance: Tolerance) -> bool:
    """Whether libvirt has seen the guest reach all that it must reach next."""
    return all(goal.reached(progress.live_device(job.observed, goal.wish), tolerance) for goal in job.goals)


def _names(device: DevicePlan) -> tuple[str | None, ...]:
    """How an undeclared device is recognised in another plan."""
    sides = (device.before[LIVE], device.before[CONFIG])
    return (device.wish.alias, *(side.alias for side in sides if side is not None and not device.wish.alias))
