# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Whether a guest's own word matters to a task, and what it has said before the task does anything."""

from __future__ import annotations

from .._libvirt.connection import Hypervisor
from .._memory import guest
from .._memory.device import LIVE, Statistics
from .._memory.guest import AUTO, NONE, REQUIRED
from .._memory.plan.step import Plan
from .job import Planned, Running
from .task import Patience
from .witness import Witness

# Whoever polls less often than this is taken for someone who does not, as long as a task lasts.
SLOW = 5


def asks(plan: Plan, patience: Patience) -> bool:
    """Whether the guest's own word matters to this plan: it is about memory of the running guest."""
    if patience.verify == NONE or plan.domain.live is None:
        return False
    return any(LIVE in device.scopes and device.is_memory for device in plan.devices)


def first_word(hypervisor: Hypervisor, uuid: str, plan: Plan, patience: Patience) -> Witness:
    """What the guest has said so far. Nothing is switched on for it.

    Raises:
        VirtmemError: `not_verified`, or as `Hypervisor.statistics`.
    """
    if not asks(plan, patience):
        return Witness()
    reason = guest.mute(plan.domain)
    if reason is not None and patience.verify == REQUIRED:
        raise guest.not_verified(plan.domain, reason)
    said = hypervisor.statistics(uuid) if reason is None else None
    return Witness(word=guest.hear(plan.domain, said), said=said or Statistics())


def must_listen(job: Planned | Running, patience: Patience) -> bool:
    """Whether the wait lasts until the guest itself says that it can use what it has."""
    witness, live = job.witness, job.observed.live
    if job.error or live is None or not live.balloon or not patience.wait or not asks(job.plan, patience):
        return False
    if patience.verify not in (AUTO, REQUIRED):
        return guest.is_fresh(witness.said, live.period)
    if 0 < live.period <= SLOW and guest.is_fresh(witness.said, live.period):
        return True
    if changes_guest(job) or patience.verify == REQUIRED:
        return True
    # Nothing to do, and the last report, however old, does not account for what is plugged: a task before this one may
    # have ended because of it.
    counted = guest.account(live, witness.said)
    return counted is not None and guest.judge(counted).usable is not True


def changes_guest(job: Planned | Running) -> bool:
    """Whether a step of its plan changes what the running guest has."""
    return any(step.scope == LIVE and step.ready is None for step in job.plan.steps)
