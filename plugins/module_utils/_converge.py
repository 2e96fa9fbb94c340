# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Carries plans out over a hypervisor, and waits until the guests have what was planned.

The wait is driven by libvirt's events; the live XML is the authority, and a poll beneath makes a lost event
cost one `sleep`. Any number of jobs wait at the same time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ._libvirt import Hypervisor
from ._memory import progress, xml
from ._memory.device import CONFIG, Domain
from ._memory.errors import VirtmemError
from ._memory.plan import ATTACH, REDEFINE, UPDATE, Plan, Step
from ._memory.size import EXACT, Tolerance

Clock = t.Callable[[], float]


@dataclass(frozen=True)
class Patience:
    """How long and how closely a wait looks: seconds, seconds between two polls, and what is near enough."""

    timeout: float = 120.0
    sleep: float = 1.0
    tolerance: Tolerance = EXACT


@dataclass(eq=False)
class Job:
    """One plan on its way: what was done of it, what is seen, and what went wrong."""

    uuid: str
    plan: Plan
    observed: Domain
    done: list[Step] = field(default_factory=list)
    movement: progress.Movement | None = None
    error: VirtmemError | None = None


def observe(hypervisor: Hypervisor, uuid: str) -> Domain:
    """The domain as it is now, decoded.

    Raises:
        VirtmemError: it can't be read.
    """
    reading = hypervisor.read(uuid)
    return Domain(
        name=reading.name,
        uuid=reading.uuid,
        state=reading.state,
        persistent=reading.persistent,
        error_paused=reading.error_paused,
        live=None if reading.live_xml is None else xml.read_definition(reading.live_xml),
        config=None if reading.config_xml is None else xml.read_definition(reading.config_xml),
    )


# --- the change


def _redefine(hypervisor: Hypervisor, uuid: str, step: Step) -> None:
    if step.before is None:
        raise AssertionError("a redefinition changes a device that was read")
    hypervisor.define(xml.replace_device(hypervisor.config_with_secrets(uuid), step.before, step.xml))


def _update(hypervisor: Hypervisor, uuid: str, step: Step) -> None:
    if step.scope == CONFIG and step.before is not None:
        # libvirt replaces whatever has the same address, without a look at what it is.
        xml.check_unchanged(hypervisor.read(uuid).config_xml or "<domain/>", step.before)
    hypervisor.update(uuid, step.scope, step.xml)


def _attach(hypervisor: Hypervisor, uuid: str, step: Step) -> None:
    hypervisor.attach(uuid, step.scope, step.xml)


_OPERATIONS: t.Mapping[str, t.Callable[[Hypervisor, str, Step], None]] = {
    ATTACH: _attach,
    UPDATE: _update,
    REDEFINE: _redefine,
}


def change(hypervisor: Hypervisor, job: Job, clock: Clock = time.monotonic) -> None:
    """Carries out the steps of a plan, in their order. What was done is in the job, also when a step fails.

    Raises:
        VirtmemError: a step failed; those after it were not tried.
    """
    if _must_wait(job):
        # Before the change: the guest may have answered before a later registration is through.
        hypervisor.watch(job.uuid)
    live = progress.live_device(job.observed, job.plan.goal.wish) if job.plan.goal else None
    current = (live.current if live else None) or 0
    job.movement = progress.Movement(current, current, clock())
    for step in job.plan.steps:
        _OPERATIONS[step.op](hypervisor, job.uuid, step)
        job.done.append(step)


# --- the wait


def _must_wait(job: Job) -> bool:
    """Whether the guest has to do something before the goal is reached."""
    goal = job.plan.goal
    if goal is None:
        return False
    device = progress.live_device(job.observed, goal.wish)
    return device is None or not goal.reached(device.current or 0, EXACT)


def _settled(hypervisor: Hypervisor, job: Job, tolerance: Tolerance, now: float) -> bool:
    """Looks at the job's domain once; True when there is nothing left to wait for."""
    goal = t.cast(progress.Goal, job.plan.goal)
    try:
        job.observed = observe(hypervisor, job.uuid)
        job.error = progress.pointless(job.observed, goal)
    except VirtmemError as error:
        job.error = error
    if job.error is not None:
        return True
    device = progress.live_device(job.observed, goal.wish)
    current = (device.current if device else None) or 0
    if job.movement is not None:
        job.movement = job.movement.seen(current, now)
    return goal.reached(current, tolerance)


def _give_up(job: Job, timeout: float, now: float) -> VirtmemError | None:
    goal = t.cast(progress.Goal, job.plan.goal)
    device = progress.live_device(job.observed, goal.wish)
    if device is None or job.movement is None:
        return None
    return progress.not_converged(job.observed, device, goal, job.movement, now, timeout)


def wait(
    hypervisor: Hypervisor, jobs: t.Sequence[Job], patience: Patience, clock: Clock = time.monotonic
) -> None:
    """Waits until every job's guest has reached its goal, or can't any more, or the time is over.

    What went wrong is left in `Job.error`; the other jobs go on.
    """
    started = clock()
    deadline = started + patience.timeout
    pending = [job for job in jobs if job.plan.goal is not None]
    pending = [job for job in pending if not _settled(hypervisor, job, patience.tolerance, clock())]
    next_poll = started + patience.sleep
    while pending:
        now = clock()
        if now >= deadline:
            for job in pending:
                if not _settled(hypervisor, job, patience.tolerance, now):
                    job.error = _give_up(job, patience.timeout, now)
            return
        event = hypervisor.next_event(min(next_poll, deadline) - now)
        if event is None or event.uuid is None or clock() >= next_poll:
            looked_at = pending
            next_poll = clock() + patience.sleep
        else:
            looked_at = [job for job in pending if job.uuid == event.uuid]
        settled = [job for job in looked_at if _settled(hypervisor, job, patience.tolerance, clock())]
        pending = [job for job in pending if job not in settled]
