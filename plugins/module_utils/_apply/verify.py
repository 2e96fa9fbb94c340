# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""After the wait: whether each domain is as declared, by a fresh look and a plan that has nothing left to do."""

from __future__ import annotations

from dataclasses import replace

from .._memory import progress
from .._memory.device import CONFIG, LIVE, Declaration, Domain
from .._memory.errors import VirtmemError
from .._memory.plan.domain import evolved, plan_domain
from .._memory.plan.step import GROW, UPDATE
from .failure import overtaken
from .job import Running
from .steps import advance, take
from .task import Task


def verify(task: Task, job: Running) -> None:
    """Plans once more from a fresh look; what is left to do is what someone else undid meanwhile.

    The last to change the running guest wins, and its configuration must be the winner's too, never a mixture.
    """
    for _attempt in range(2):
        try:
            fresh = task.observer.observe(job.uuid)
            left = job.plan_for(fresh)
        except VirtmemError as error:
            job.error = error
            return
        if not left.steps:
            job.observed = fresh
            return
        if any(step.scope == LIVE for step in left.steps):
            break
        job.adopt(fresh, left, task.clock())
        advance(task, job, GROW)
        if job.error is not None:
            return
    job.error = overtaken(fresh, left)
    _follow_the_guest(task, job, fresh, job.error)


def _follow_the_guest(task: Task, job: Running, domain: Domain, error: VirtmemError) -> None:
    """Another task changed the guest last: the configuration that this one wrote goes back to what the guest has."""
    written = {step.before.alias for step in job.done if step.scope == CONFIG and step.op == UPDATE and step.before}
    wishes = []
    for device in job.plan.devices:
        live = progress.live_device(domain, device.wish)
        if live is not None and live.requested is not None and live.user_alias in written:
            wish = replace(device.wish, alias=live.alias, requested=live.requested, scope=CONFIG, resize="any")
            wishes.append(wish)
    try:
        steps = plan_domain(domain, Declaration(tuple(wishes)), job.circumstances).steps if wishes else ()
        job.pending = list(steps)
        for step in steps:
            take(task, job, step)
    except VirtmemError as problem:
        job.pending = []
        error.msg += f" The configuration still has what this task wrote: {problem.msg}"


def refresh(task: Task, job: Running) -> None:
    """Looks once more, so that the result reports what is, not what was planned.

    If even that fails, each scope is what the steps that were taken made of it. A wait looks at the guest only.
    """
    try:
        job.observed = task.observer.observe(job.uuid)
    except VirtmemError as error:
        if error.error_code == "domain_vanished":
            state = job.observed._replace(state="shutoff", persistent=False, saved=None)
            job.observed = state.with_scope(LIVE, None).with_scope(CONFIG, None)
            return
        # A device that the guest was only asked for is still there.
        done = [step for step in job.done[job.done_before_plan :] if step.until is None or not step.until.gone]
        foreseen = evolved(job.plan.domain, done)
        is_newer = any(step.scope == LIVE for step in job.done[job.done_before_look :])
        live = foreseen if is_newer and job.observed.live is not None else job.observed
        job.observed = live.with_scope(CONFIG, foreseen.config)
