# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Takes the steps of a plan, one after the other: read, check that the domain is as planned for, act, record."""

from __future__ import annotations

from .._libvirt.connection import Hypervisor
from .._memory import guest
from .._memory.device import CONFIG, LIVE, Device, Domain
from .._memory.errors import VirtmemError
from .._memory.plan import readiness
from .._memory.plan.step import ATTACH, DETACH, REDEFINE, UPDATE, Step
from .._memory.progress import REST
from .._memory.xml import reading, writing
from .failure import fail, gives_back, interrupted, wants_room
from .job import Running
from .task import Task


def advance(task: Task, job: Running, rank: int) -> None:
    """Takes the job's steps up to this rank, or up to one that the guest must answer, or come to rest, first."""
    while not (job.error or job.postponed or job.barrier) and job.pending and job.pending[0].rank <= rank:
        if task.patience.interrupted() and not _completes(job, job.pending[0]):
            job.error = interrupted(job)
            return
        if _rests(task, job, job.pending[0]):
            return
        _attempt(task, job, job.pending[0])


def _completes(job: Running, step: Step) -> bool:
    """Whether the step brings to an end what was begun with the guest: it is taken though someone interrupts."""
    if not job.done:
        return False
    # A guest that has given a device back gets the one that takes its place.
    is_replacement = step.op == ATTACH and (job.done[-1].op, job.done[-1].scope) == (DETACH, LIVE)
    return step.scope == CONFIG or is_replacement


def _rests(task: Task, job: Running, step: Step) -> bool:
    """Whether it is too early for the step: until when is noted in the job."""
    if not step.needs_rest:
        return False
    now = task.clock()
    if job.rests_until is None:
        # One that is empty from the start may be so since a moment before.
        job.rests_until = max(task.began, job.emptied) + REST
        job.rested += max(job.rests_until - now, 0.0)
    if now < job.rests_until:
        return True
    job.rests_until = None
    return False


def _attempt(task: Task, job: Running, step: Step) -> None:
    try:
        take(task, job, step)
    except VirtmemError as error:
        if wants_room(step, error) and not job.retried and any(map(gives_back, task.jobs)):
            job.postponed = error
        else:
            fail(task, job, error)


def take(task: Task, job: Running, step: Step) -> None:
    """Takes one step: the first of those that are pending.

    Raises:
        VirtmemError: it was not taken, or (with `details.unknown_scope`) it is unknown whether it was.
    """
    fresh = task.observer.observe(job.uuid, (step.scope,))
    _check_unchanged(job, fresh, step)
    if step.until is not None:
        job.observed = fresh
        job.begin(step.until, task.clock())
    try:
        _act(task.hypervisor, job.uuid, step, fresh)
    except VirtmemError as error:
        if error.error_code == "connection_lost" or error.details.pop("never_answered", False):
            # The call was on its way: the daemon may have made the change, and its answer was lost.
            error.details["unknown_scope"] = step.scope
        raise
    job.done.append(job.pending.pop(0))
    if step.scope == LIVE and step.period is not None and job.witness.polled:
        job.witness.restores = step.period  # what the task's own polling ends with
    job.barrier = step.until


# --- check


def _check_unchanged(job: Running, domain: Domain, step: Step) -> None:
    """The device must still be as it was when the step was planned: libvirt itself only looks at its address.

    Raises:
        VirtmemError: `changed_meanwhile`, `domain_stopped`, `domain_vanished`.
    """
    definition = domain.scope(step.scope)
    if definition is None:
        raise VirtmemError(
            "domain_stopped" if step.scope == LIVE else "domain_vanished",
            f"Domain {domain.name} no longer has a {step.scope} definition; it is {domain.state}.",
            {"domain": domain.name, "state": domain.state},
            "Run the task again: it begins with what is there then.",
        )
    if step.period is not None:
        return  # whatever it was: the last to set it wins
    if step.ready is not None:
        planned = job.plan.domain.config
        for ready in (done.ready for done in job.done if done.ready is not None):
            planned = ready.applied(planned) if planned is not None else None
        if planned is not None and readiness.changed_meanwhile(planned, definition):
            raise _changed(step, "The room for memory devices was changed")
    elif step.before is None:
        alias = reading.read_device(step.xml).user_alias
        if alias and any(device.alias == alias for device in definition.devices):
            raise _changed(step, f"The alias {alias} was taken")
    elif not any(_is_as_before(device, step.before, step.scope) for device in definition.devices):
        raise _changed(step, f"{step.before.alias or step.before.model} was changed or removed")


def _is_as_before(device: Device, before: Device, scope: str) -> bool:
    if device.settled() != before.settled():
        return False
    # The configuration's element is written as a whole, with what this collection does not know.
    return scope == LIVE or writing.same_element(device.xml, before.xml)


def _changed(step: Step, what: str) -> VirtmemError:
    return VirtmemError(
        "changed_meanwhile",
        f"{what} in the {step.scope} definition by someone else after it was read.",
        {"scope": step.scope, "op": step.op},
        "Make sure that nothing else changes the domain, and run the task again.",
    )


# --- act


def _act(hypervisor: Hypervisor, uuid: str, step: Step, fresh: Domain) -> None:
    limit = _limit_to_keep(fresh, step)
    if step.period is not None:
        hypervisor.poll_statistics(uuid, step.scope, step.period)
    elif step.ready is not None:
        hypervisor.define(writing.make_ready(hypervisor.config_with_secrets(uuid), step.ready))
    elif step.op == REDEFINE and step.before is not None:
        hypervisor.define(writing.replace_device(hypervisor.config_with_secrets(uuid), step.before, step.xml))
    elif limit is not None and step.op == ATTACH:
        hypervisor.define(writing.add_device(hypervisor.config_with_secrets(uuid), step.xml, limit))
    elif limit is not None and step.before is not None:
        hypervisor.define(writing.remove_device(hypervisor.config_with_secrets(uuid), step.before, limit))
    elif step.op == DETACH and step.scope == LIVE and step.before is not None:
        hypervisor.unplug(uuid, step.before.alias or "")
    else:
        call = {ATTACH: hypervisor.attach, UPDATE: hypervisor.update, DETACH: hypervisor.detach}[step.op]
        call(uuid, step.scope, step.xml)


def _limit_to_keep(fresh: Domain, step: Step) -> int | None:
    """What a limit of the balloon must be after a device came or went, if libvirt itself would lose it."""
    device = step.after if step.op == ATTACH else step.before
    if step.op not in (ATTACH, DETACH) or step.scope != CONFIG or fresh.config is None or device is None:
        return None
    return guest.kept_limit(fresh.config, device, step.op == ATTACH)
