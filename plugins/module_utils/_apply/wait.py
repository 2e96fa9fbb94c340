# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Waits until the guests have what is declared, all at the same time.

libvirt's events drive the wait, and the live XML is the authority; a poll beneath makes a lost event cost one `sleep`.
"""

from __future__ import annotations

import math
import typing as t

from .._libvirt.events import REBOOTED, REJECTED, Event
from .._memory import progress
from .._memory.device import LIVE
from .._memory.errors import VirtmemError
from .._memory.plan.step import GROW
from .._memory.progress import Goal
from .._memory.size import EXACT, Tolerance
from .failure import fail, gives_back, interrupted
from .guests import add_word, is_settled, problem
from .job import Running, has_all
from .steps import advance
from .task import Task
from .tell import next_report, tell


def must_wait(job: Running) -> bool:
    """Whether the guest has to do something before the goals are reached."""
    if any(step.until is not None for step in job.plan.steps):
        return True
    return job.observed.live is not None and not has_all(job, EXACT)


def has_converged(job: Running, tolerance: Tolerance) -> bool:
    """Whether the guest has all that is declared, and can use it, as far as was last seen."""
    is_there = not job.is_held_up and has_all(job, tolerance)
    return is_there and not (job.witness.listens and job.witness.word.verdict.usable is False)


def wait(task: Task, jobs: t.Iterable[Running]) -> None:
    """Waits until each guest has what is declared, or can no longer get it, or the deadline is there."""
    pending = [job for job in jobs if not _look(task, job)]
    next_poll = task.clock() + task.patience.sleep
    while pending:
        now = task.clock()
        if task.patience.interrupted():
            for job in pending:
                job.error = interrupted(job)
            return
        pending = [job for job in pending if now < _deadline(task, job) or not _ends(task, job)]
        if not pending:
            return
        tell(task, pending)
        due = min(next_report(task), *(min(_due(job), _deadline(task, job)) for job in pending))
        event = task.hypervisor.next_event(min(next_poll, due) - now)
        now, looked_at = task.clock(), pending
        if now >= next_poll or (event is not None and event.uuid is None):
            next_poll = now + task.patience.sleep
        else:
            heard = None if event is None else event.uuid
            looked_at = [job for job in pending if job.uuid == heard or _due(job) <= now]
        settled = [job for job in looked_at if _look(task, job, event)]
        pending = [job for job in pending if job not in settled]


def _due(job: Running) -> float:
    """When to look at the job's domain next, whatever is heard of it."""
    return min(job.witness.due, math.inf if job.rests_until is None else job.rests_until)


def _deadline(task: Task, job: Running) -> float:
    """Until when this guest is waited for: what it was left alone for is not its own time."""
    deadline = task.deadline + job.rested
    return deadline if job.rests_until is None else max(deadline, job.rests_until)


def _ends(task: Task, job: Running) -> bool:
    """Looks once more at a guest whose time is over. Whether the wait for it ends with that."""
    if _look(task, job):
        return True
    if task.clock() < _deadline(task, job):  # it has just emptied a device
        return False
    _stop_waiting(task, job)
    return True


def _look(task: Task, job: Running, event: Event | None = None) -> bool:
    """Looks at the job's domain once, and takes the steps that are possible now.

    True when nothing is left to wait for.
    """
    if event is not None and job.uuid == event.uuid:
        job.error = _rejection(job, event)
        if event.what == REBOOTED:
            job.witness.before = None  # another kernel may have booted, which keeps more for itself
    while job.error is None:
        if not _goes_on(task, job):
            return False
        goals = job.goals
        if job.error is None and _observe(task, job):
            job.error = next((error for goal in goals if (error := progress.pointless(job.observed, goal))), None)
        if job.error is not None:
            break
        tolerance = EXACT if job.barrier else task.patience.tolerance
        # Every goal is looked at, so that the movement of each is known.
        missing = [goal for goal in goals if not _is_reached(task, job, goal, tolerance)]
        if missing:
            job.witness.rewind()
            return False
        if job.barrier is None:
            return is_settled(task, job)
        _pass(task, job, job.barrier)
        if job.error is None and not job.is_held_up and not job.plan.goals:
            return is_settled(task, job)
    return True


def _pass(task: Task, job: Running, barrier: Goal) -> None:
    """Takes the steps that waited for what the guest has reached now."""
    if not barrier.gone:
        job.emptied = task.clock()
    job.barrier = None
    advance(task, job, GROW)


def _goes_on(task: Task, job: Running) -> bool:
    """Takes the step that was refused before, or that was too early, if its time has come. Whether none is left."""
    if job.postponed is not None and not _retry(task, job):
        return False
    if job.rests_until is not None:
        advance(task, job, GROW)
    return job.rests_until is None


def _observe(task: Task, job: Running) -> bool:
    """Looks at the running guest. Whether it could be seen."""
    try:
        job.observed = task.observer.observe(job.uuid, (LIVE,))
        job.done_before_look = len(job.done)
    except VirtmemError as error:
        job.error = error
    return job.error is None


def _is_reached(task: Task, job: Running, goal: Goal, tolerance: Tolerance) -> bool:
    device, now = progress.live_device(job.observed, goal.wish), task.clock()
    if goal not in job.movements:
        job.begin(goal, now)
    job.movements[goal] = job.movements[goal].seen(progress.held(device, goal), now)
    return goal.reached(device, tolerance)


def _rejection(job: Running, event: Event) -> VirtmemError | None:
    """The error if the event says that the guest won't give back the device that the job waits to see gone."""
    if event.what != REJECTED or job.barrier is None or not job.barrier.gone:
        return None
    device = progress.live_device(job.observed, job.barrier.wish)
    if device is None or device.alias != event.alias:
        return None
    # The request is void: nothing was changed by it.
    if job.done and job.done[-1].until == job.barrier:
        job.pending.insert(0, job.done.pop())
    return progress.rejected(job.observed, device)


def _retry(task: Task, job: Running) -> bool:
    """Tries again what was refused, as soon as no guest has memory to give back any longer. Whether it was tried."""
    if not _observe(task, job):
        return True
    if any(map(gives_back, task.jobs)):
        return False
    job.postponed, job.retried = None, True
    advance(task, job, GROW)
    return True


def rest_without_waiting(task: Task) -> None:
    """A task that waits for no guest takes the steps that only time was missing for."""
    while not task.patience.wait:
        resting = [job for job in task.jobs if job.rests_until is not None and job.error is None]
        if not resting:
            return
        task.hypervisor.next_event(min(map(_due, resting)) - task.clock())
        for job in resting:
            advance(task, job, GROW)


def retry_without_waiting(task: Task) -> None:
    """What was refused fails if nobody waits for the memory that others give back."""
    for job in task.jobs:
        if job.postponed is not None and not task.patience.wait:
            fail(task, job, job.postponed)
            advance(task, job, GROW)


def _stop_waiting(task: Task, job: Running) -> None:
    """The deadline is there, and the guest has not what is declared."""
    timeout = task.patience.timeout
    if job.postponed is not None:
        job.error = job.postponed
        job.error.msg += f" The memory that other guests were to give back did not come within {timeout:g} s."
        return
    tolerance = EXACT if job.barrier else task.patience.tolerance
    for goal in job.goals:
        device = progress.live_device(job.observed, goal.wish)
        if device is not None and not goal.reached(device, tolerance):
            movement = job.movements[goal]
            job.error = progress.not_converged(job.observed, device, goal, movement, task.clock(), timeout)
            add_word(task, job, job.error)
            return
    job.error = problem(job, task.patience)
