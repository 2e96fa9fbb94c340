# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a task that waits tells meanwhile: which guests are still on their way, and how far they are."""

from __future__ import annotations

import math
import typing as t

from .._memory import progress
from .._memory.device import LIVE
from .._memory.size import EXACT, show
from .._memory.total import plugged_of
from .job import Running
from .task import Task

# Seconds between two reports. Whoever reads them shows one every few seconds.
_PAUSE = 1.0
# From when on it is said that nothing moves, in seconds: QEMU tells of a size once a second at most.
_QUIET = 3.0


def tell(task: Task, pending: t.Sequence[Running]) -> None:
    """Tells those who listen, if there are any, how far the guests are that are still waited for."""
    now = task.clock()
    if task.patience.tells is None or now < task.tells_at:
        return
    task.tells_at = now + _PAUSE
    task.patience.tells(
        {
            "waited": round(now - task.began, 1),
            # What a guest is left alone for is not its own time, but it passes.
            "timeout": task.patience.timeout + math.ceil(max(job.rested for job in pending)),
            "guests": len(task.jobs),
            "waiting": [_way(job, now) for job in pending],
        }
    )


def next_report(task: Task) -> float:
    """When there is something to tell again, by the task's clock."""
    return math.inf if task.patience.tells is None else task.tells_at


def _way(job: Running, now: float) -> str:
    """How far a guest is, in a few words."""
    name = job.observed.name
    if job.postponed is not None:
        return f"{name} waits for memory that others give back"
    if job.rests_until is not None:
        return f"{name} has emptied {job.pending[0].alias}, which is unplugged in {job.rests_until - now:.0f} s"
    missing = {
        goal: moved
        for goal, moved in job.movements.items()
        if goal in job.goals and not goal.reached(progress.live_device(job.observed, goal.wish), EXACT)
    }
    if not missing:
        return f"{name} has the memory, and can't use it yet"
    quiet = min(moved.quiet_for(now) for moved in missing.values())
    stands = f", unmoved {quiet:.0f} s" if quiet >= _QUIET else ""
    leaving = [goal.wish.alias or goal.wish.describe() for goal in missing if goal.gone]
    if leaving:
        return f"{name} gives {', '.join(leaving)} back{stands}"
    has, wanted = _in_all(job) or _by_devices(job, missing)
    return (
        f"{name} {show(has)} of {show(wanted)}{stands}"
        if has < wanted
        else (f"{name} {show(has)} down to {show(wanted)}{stands}")
    )


def _in_all(job: Running) -> tuple[int, int] | None:
    """What the guest has and is to have in all, in bytes, if that is declared."""
    live, planned = job.observed.live, job.plan.memory
    if live is None or planned is None or LIVE not in planned.sums:
        return None
    sums = planned.sums[LIVE]
    return sums.boot + sums.dimms + plugged_of(live), sums.effective


def _by_devices(job: Running, goals: t.Iterable[progress.Goal]) -> tuple[int, int]:
    """What the devices that are on their way have, and are to have, in bytes."""
    has = wanted = 0
    for goal in goals:
        has += progress.held(progress.live_device(job.observed, goal.wish), goal)
        wanted += goal.target
    return has, wanted
