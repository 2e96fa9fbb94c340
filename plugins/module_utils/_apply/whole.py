# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The way of a task through all its domains, from their plans on: take the steps, wait, make sure of the result."""

from __future__ import annotations

import time
import typing as t

from .._memory.errors import VirtmemError
from .._memory.plan.step import GROW, REMOVE, SHRINK
from .._observe import Observer
from . import guests
from .failure import report_half_replaced
from .job import Running
from .steps import advance
from .task import Clock, Patience, Task
from .verify import refresh, verify
from .wait import has_converged, must_wait, rest_without_waiting, retry_without_waiting, wait


def apply(observer: Observer, jobs: t.Sequence[Running], patience: Patience, clock: Clock = time.monotonic) -> None:
    """Takes the steps of all plans, waits for all guests at the same time, and makes sure of the result.

    What went wrong with a domain is left in its `error`; the others go on.
    """
    task = Task(observer, jobs, patience, clock)
    try:
        _apply(task)
    finally:
        guests.end(task)


def _apply(task: Task) -> None:
    jobs, patience = task.jobs, task.patience
    guests.begin(task)
    for job in jobs:
        for goal in job.plan.goals:
            job.begin(goal, task.clock())
        if patience.wait and job.error is None and must_wait(job):
            # Before the change: the guest may have answered before a later registration is through.
            _listen(task, job)
    for rank in (SHRINK, REMOVE, GROW):
        for job in jobs:
            advance(task, job, rank)
    rest_without_waiting(task)
    retry_without_waiting(task)
    waited = _settle(task)
    for job in jobs:
        if job.error is not None or (job.plan.cut and (waited or job.done)):
            refresh(task, job)
        if job.error is not None:
            report_half_replaced(job.error, job)


def _listen(task: Task, job: Running) -> None:
    try:
        task.hypervisor.watch(job.uuid)
    except VirtmemError as error:
        job.error = error


def _settle(task: Task) -> bool:
    """Waits for the guests, and looks at all of them once more when the last one is there.

    Whoever had the memory and lost it while another was waited for (a reset, a guest that gives memory back) is
    waited for again, until the deadline. Whether there was anything to wait for.
    """
    patience, jobs = task.patience, task.jobs
    pending = [job for job in jobs if job.error is None and (job.done or not has_converged(job, patience.tolerance))]
    waited = patience.wait and bool(pending)
    while True:
        if patience.wait:
            wait(task, [job for job in pending if job.goals or job.is_held_up or job.witness.listens])
        for job in jobs:
            if job.error is None and not job.plan.cut and (waited or job.done):
                verify(task, job)
                guests.look_again(task, job)
        pending = [job for job in jobs if job.error is None and not has_converged(job, patience.tolerance)]
        if not (patience.wait and pending):
            return waited
        for job in pending:
            _listen(task, job)
        if task.clock() >= task.deadline:
            wait(task, [job for job in pending if job.error is None])
            return waited
