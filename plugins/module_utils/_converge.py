# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Carries plans out over a hypervisor, and waits until the guests have what was planned.

Any number of domains go on at the same time. The wait is driven by libvirt's events; the live XML is the
authority, and a poll beneath makes a lost event cost one `sleep`. At the end every domain is read and planned
once more: only if nothing is left to do has it what was declared.
"""

from __future__ import annotations

import functools
import time
import typing as t
from dataclasses import dataclass, field, replace

from ._libvirt import NOT_BY_QEMU, Event, Hypervisor, Reading
from ._memory import progress, readiness, xml
from ._memory.device import CONFIG, LIVE, SCOPES, SGX_EPC, Declaration, Definition, Device, Domain, Host
from ._memory.errors import VirtmemError
from ._memory.plan import evolved, plan_domain
from ._memory.progress import Goal
from ._memory.size import EXACT, Tolerance, show
from ._memory.step import (
    ATTACH,
    DETACH,
    GROW,
    REDEFINE,
    REMOVE,
    SHRINK,
    UPDATE,
    Circumstances,
    DevicePlan,
    Plan,
    Step,
)

Clock = t.Callable[[], float]

# How often a job plans anew because of someone else's changes. Once is not enough: of two tasks that attach the same
# device, one is overtaken in the guest, and then in the configuration.
_MOST_REPLANS = 3


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Patience:
    """How long and how closely a wait looks: seconds, seconds between two polls, and what is near enough."""

    wait: bool = True
    timeout: float = 120.0
    sleep: float = 1.0
    tolerance: Tolerance = EXACT
    interrupted: t.Callable[[], bool] = _never  # whether someone wants the task to end


@dataclass(frozen=True)
class Order:
    """A domain, by name or UUID, and what its memory is to be."""

    domain: str
    declaration: Declaration


@dataclass(eq=False)
class Job:
    """One domain on its way: what was planned and done, what is seen, and what went wrong."""

    order: Order
    circumstances: Circumstances
    uuid: str = ""
    observed: Domain | None = None
    plan: Plan | None = None
    pending: list[Step] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)
    refused: VirtmemError | None = None  # why the next step was refused, which is tried again when there is more room
    retried: bool = False
    peers: t.Sequence[Job] = ()  # all jobs of the task
    barrier: Goal | None = None  # what the guest must reach before the next step
    movements: dict[Goal, progress.Movement] = field(default_factory=dict)
    replans: int = 0  # how often the domain was not as it was planned for
    planned: int = 0  # how many steps were done before the plan was made
    seen: int = 0  # how many steps were done before the running guest was last looked at
    first: Plan | None = None  # what was planned before anything was done, if that is not `plan`
    error: VirtmemError | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done in all, in this order: the plan, unless the domain changed under it."""
        return (*self.done, *self.pending)

    @property
    def devices(self) -> tuple[DevicePlan, ...]:
        """What happens to each device in all: from where the task found it to where the newest plan brings it."""
        if self.plan is None or self.first is None:
            return () if self.plan is None else self.plan.devices
        declared = len(self.order.declaration.wishes)
        began, newest = self.first.devices, self.plan.devices
        whole = [replace(new, before=old.before) for old, new in zip(began[:declared], newest[:declared])]
        # Those that had to go are planned for only as long as they are there.
        left = {_names(device): device for device in newest[declared:]}
        gone = dict.fromkeys(SCOPES)
        whole += [replace(left.pop(_names(old), old), before=old.before, after=gone) for old in began[declared:]]
        return (*whole, *left.values())

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the guest has to reach next."""
        return (self.barrier,) if self.barrier else self.known.goals

    @property
    def known(self) -> Plan:
        """The plan of a job that has one."""
        if self.plan is None:
            raise AssertionError("only jobs with a plan are carried out")
        return self.plan

    @property
    def domain(self) -> Domain:
        """The domain as it was last seen."""
        if self.observed is None:
            raise AssertionError("a job with a plan was observed")
        return self.observed

    def planned_for(self, domain: Domain) -> Plan:
        """The plan for the domain as it is now."""
        return plan_domain(domain, self.order.declaration, self.circumstances)


def _names(device: DevicePlan) -> tuple[str | None, ...]:
    """How an undeclared device is recognised in another plan."""
    return tuple(side.alias if side is not None else None for side in (device.before[LIVE], device.before[CONFIG]))


# A domain is read again before each change of it, and is nearly always as it was. Enough for a hundred domains.
_definition = functools.lru_cache(maxsize=512)(xml.read_definition)


def decode(reading: Reading) -> Domain:
    """What was read of a domain, as values.

    Raises:
        VirtmemError: `invalid_xml`.
    """

    def definition(text: str | None) -> Definition | None:
        return None if text is None else _definition(text)

    live = definition(reading.live_xml)
    # libvirt answers with the configuration where the domain has stopped meanwhile.
    stopped = live is not None and not live.active
    return Domain(
        name=reading.name,
        uuid=reading.uuid,
        state="shutoff" if stopped else reading.state,
        persistent=reading.persistent,
        error_paused=reading.error_paused,
        live=None if stopped else live,
        config=definition(reading.config_xml),
        saved=definition(reading.saved_xml),
    )


def observe(hypervisor: Hypervisor, uuid: str, scopes: t.Sequence[str] = SCOPES) -> Domain:
    """The domain as it is now.

    Raises:
        VirtmemError: it can't be read.
    """
    return decode(hypervisor.read(uuid, scopes))


# --- the change


def _changed(step: Step, what: str) -> VirtmemError:
    return VirtmemError(
        "changed_meanwhile",
        f"{what} in the {step.scope} definition by someone else after it was read.",
        {"scope": step.scope, "op": step.op},
        "See that one party alone changes the domain, and run the task again.",
    )


def _check_unchanged(job: Job, domain: Domain, step: Step) -> None:
    """The device must still be as it was when the step was planned: libvirt itself only looks at its address.

    Raises:
        VirtmemError: `changed_meanwhile`, `domain_stopped`.
    """
    definition = domain.scope(step.scope)
    if definition is None:
        raise VirtmemError(
            "domain_stopped" if step.scope == LIVE else "domain_vanished",
            f"Domain {domain.name} has no {step.scope} definition any more; it is {domain.state}.",
            {"domain": domain.name, "state": domain.state},
            "Run the task again: it begins with what is there then.",
        )
    if step.ready is not None:
        planned = job.known.domain.config
        for ready in (done.ready for done in job.done if done.ready is not None):
            planned = ready.applied(planned) if planned is not None else None
        if planned is not None and readiness.changed_meanwhile(planned, definition):
            raise _changed(step, "The room for memory devices was changed")
    elif step.before is None:
        alias = xml.read_device(step.xml).user_alias
        if alias and any(device.alias == alias for device in definition.devices):
            raise _changed(step, f"The alias {alias} was taken")
    elif not any(_is_as_before(device, step.before, step.scope) for device in definition.devices):
        raise _changed(step, f"{step.before.alias or step.before.model} was changed or removed")


def _is_as_before(device: Device, before: Device, scope: str) -> bool:
    if device.settled() != before.settled():
        return False
    # The configuration's element is written as a whole, with what this collection does not know.
    return scope == LIVE or xml.same_element(device.xml, before.xml)


def _do(hypervisor: Hypervisor, uuid: str, step: Step) -> None:
    if step.ready is not None:
        hypervisor.define(xml.make_ready(hypervisor.config_with_secrets(uuid), step.ready))
    elif step.op == REDEFINE and step.before is not None:
        hypervisor.define(xml.replace_device(hypervisor.config_with_secrets(uuid), step.before, step.xml))
    elif step.op == DETACH and step.scope == LIVE and step.before is not None:
        hypervisor.unplug(uuid, step.before.alias or "")
    else:
        call = {ATTACH: hypervisor.attach, UPDATE: hypervisor.update, DETACH: hypervisor.detach}[step.op]
        call(uuid, step.scope, step.xml)


def _take(hypervisor: Hypervisor, job: Job, step: Step, clock: Clock) -> None:
    fresh = observe(hypervisor, job.uuid, (step.scope,))
    _check_unchanged(job, fresh, step)
    if step.until is not None:
        _begin(job, step.until, fresh, clock())
    try:
        _do(hypervisor, job.uuid, step)
    except VirtmemError as error:
        if error.error_code == "connection_lost" or error.details.pop("never_answered", False):
            # The call was on its way: the daemon may have carried it out, and its answer was lost.
            error.details["unknown_scope"] = step.scope
        raise
    job.done.append(job.pending.pop(0))
    job.barrier = step.until


def _begin(job: Job, goal: Goal, domain: Domain, now: float) -> None:
    device = progress.live_device(domain, goal.wish)
    size = progress.held(device, goal)
    job.movements[goal] = progress.Movement(size, size, now)


def _interrupted(job: Job) -> VirtmemError:
    return VirtmemError(
        "task_interrupted",
        f"The task was interrupted before domain {job.domain.name} had what is declared.",
        {"domain": job.domain.name, "steps_left": len(job.pending)},
        "Run the task again, and it goes on from there.",
    )


def _completes(job: Job, step: Step) -> bool:
    """Whether the step brings to an end what was begun with the guest: it is taken though someone interrupts."""
    if not job.done:
        return False
    # A guest that has given a device back gets the one that takes its place.
    is_replacement = step.op == ATTACH and (job.done[-1].op, job.done[-1].scope) == (DETACH, LIVE)
    return step.scope == CONFIG or is_replacement


def _advance(hypervisor: Hypervisor, job: Job, rank: int, patience: Patience, clock: Clock) -> None:
    """Takes the job's steps up to this rank, or up to one that the guest must answer first."""
    while not (job.error or job.refused or job.barrier) and job.pending and job.pending[0].rank <= rank:
        if patience.interrupted() and not _completes(job, job.pending[0]):
            job.error = _interrupted(job)
            return
        _attempt(hypervisor, job, job.pending[0], clock)


def _attempt(hypervisor: Hypervisor, job: Job, step: Step, clock: Clock) -> None:
    try:
        _take(hypervisor, job, step, clock)
    except VirtmemError as error:
        if _wants_room(step, error) and not job.retried and any(map(_gives_back, job.peers)):
            job.refused = error
        else:
            _fail(hypervisor, job, error, clock)


def _wants_room(step: Step, error: VirtmemError) -> bool:
    """Whether QEMU refused a device that it may take when the host has more memory: it says that in words only."""
    return (step.op, step.scope) == (ATTACH, LIVE) and error.details.get("libvirt_code") == NOT_BY_QEMU


def _fail(hypervisor: Hypervisor, job: Job, error: VirtmemError, clock: Clock) -> None:
    """The next step has failed."""
    step, job.refused = job.pending[0], None
    _recover(hypervisor, job, step, error, clock)
    if job.error is not None:
        _tell_the_half(job.error, step, _guest_changed(job, step))


def _gives_back(job: Job) -> bool:
    """Whether the guest still holds memory that it is asked for, as far as was last seen."""
    goals = (*job.goals, *job.known.goals) if job.error is None and not job.known.cut else ()
    return any(
        goal.high is not None and progress.held(progress.live_device(job.domain, goal.wish), goal) > goal.high
        for goal in goals
    ) or any(goal.gone and not goal.reached(progress.live_device(job.domain, goal.wish), EXACT) for goal in goals)


def _guest_changed(job: Job, step: Step) -> bool:
    """Whether the running side of the device that the step is about was changed already."""
    device = next((device for device in job.known.devices if step in device.steps), None)
    sides = [*device.before.values(), *device.after.values()] if device is not None else []
    names = {side.alias for side in sides if side is not None and side.alias}
    return any(done.scope == LIVE and (done in device.steps or done.alias in names) for done in job.done if device)


def _tell_the_half(error: VirtmemError, step: Step, guest_changed: bool) -> None:
    """Says what a step that failed leaves behind, where that is not just everything as it was."""
    unknown = "unknown_scope" in error.details
    if step.scope == CONFIG and guest_changed:
        rest = "whether the configuration was is not known" if unknown else "the configuration was not"
        error.msg += f" The running guest was changed already, {rest}."
        error.hint += " Run the task again when the cause is gone; it changes the configuration alone then."
    elif unknown:
        what = "running guest" if step.scope == LIVE else "configuration"
        error.msg += f" Whether the {what} was changed is not known."


def _is_fixed(step: Step, error: VirtmemError) -> bool:
    """Whether QEMU has just shown that it can't unplug an emptied device at all, whatever its package's version."""
    device = step.before
    emptied = device is not None and device.requested == 0
    return (step.op, step.scope, emptied) == (DETACH, LIVE, True) and error.details.get("libvirt_code") == NOT_BY_QEMU


def _recover(hypervisor: Hypervisor, job: Job, step: Step, error: VirtmemError, clock: Clock) -> None:
    """A step failed: if the domain is not as it was planned for, plan again, a few times; otherwise that is the end.

    What the domain is like decides, not what the error says.
    """
    job.error = error
    if _is_fixed(step, error) and step.alias is not None:
        job.circumstances = replace(job.circumstances, fixed=job.circumstances.fixed | {step.alias})
    if error.error_code not in ("changed_meanwhile", "libvirt_error", "domain_stopped"):
        return
    try:
        fresh = observe(hypervisor, job.uuid)
        plan = job.planned_for(fresh)
    except VirtmemError as found:
        if error.error_code != "libvirt_error" or found.error_code not in ("libvirt_error", "connection_lost"):
            job.error = found
        return
    if [left.settled() for left in plan.steps] == [left.settled() for left in job.pending]:
        return
    if job.replans >= _MOST_REPLANS:
        # Whatever libvirt says, this is why.
        job.error = _overtaken(fresh, plan)
        return
    job.error = None
    _adopt(job, fresh, plan, clock())


def _adopt(job: Job, domain: Domain, plan: Plan, now: float) -> None:
    job.first = job.first or job.plan
    job.observed, job.plan, job.pending = domain, plan, list(plan.steps)
    job.replans += 1
    job.planned = job.seen = len(job.done)
    for goal in plan.goals:
        _begin(job, goal, domain, now)


# --- the wait


def _must_wait(job: Job) -> bool:
    """Whether the guest has to do something before the goals are reached."""
    if any(step.until is not None for step in job.known.steps):
        return True
    return job.domain.live is not None and any(
        not goal.reached(progress.live_device(job.domain, goal.wish), EXACT) for goal in job.known.goals
    )


def _look(hypervisor: Hypervisor, job: Job, patience: Patience, clock: Clock) -> bool:
    """Looks at the job's domain once, and takes the steps that are possible now.

    True when nothing is left to wait for.
    """
    while job.error is None:
        if job.refused is not None and not _retry(hypervisor, job, patience, clock):
            return False
        goals = job.goals
        if job.error is None and _seen_anew(hypervisor, job):
            job.error = next((error for goal in goals if (error := progress.pointless(job.domain, goal))), None)
        if job.error is not None:
            break
        tolerance = EXACT if job.barrier else patience.tolerance
        # Every goal is looked at, so that the movement of each is known.
        reached = [_reached(job, goal, tolerance, clock()) for goal in goals]
        if not all(reached):
            return False
        if job.barrier is None:
            return True
        job.barrier = None
        _advance(hypervisor, job, GROW, patience, clock)
        if job.error is None and job.barrier is None and not job.known.goals:
            return True
    return True


def _retry(hypervisor: Hypervisor, job: Job, patience: Patience, clock: Clock) -> bool:
    """Tries again what was refused, as soon as no guest has memory to give back any longer. Whether it was tried."""
    if not _seen_anew(hypervisor, job):
        return True
    if any(map(_gives_back, job.peers)):
        return False
    job.refused, job.retried = None, True
    _advance(hypervisor, job, GROW, patience, clock)
    return True


def _seen_anew(hypervisor: Hypervisor, job: Job) -> bool:
    try:
        job.observed = observe(hypervisor, job.uuid, (LIVE,))
        job.seen = len(job.done)
    except VirtmemError as error:
        job.error = error
    return job.error is None


def _reached(job: Job, goal: Goal, tolerance: Tolerance, now: float) -> bool:
    device = progress.live_device(job.domain, goal.wish)
    if goal not in job.movements:
        _begin(job, goal, job.domain, now)
    job.movements[goal] = job.movements[goal].seen(progress.held(device, goal), now)
    return goal.reached(device, tolerance)


def _give_up(job: Job, patience: Patience, now: float) -> None:
    if job.refused is not None:
        job.error = job.refused
        job.error.msg += f" The memory that other guests were to give back did not come within {patience.timeout:g} s."
        return
    tolerance = EXACT if job.barrier else patience.tolerance
    for goal in job.goals:
        device = progress.live_device(job.domain, goal.wish)
        if device is not None and not goal.reached(device, tolerance):
            job.error = progress.not_converged(job.domain, device, goal, job.movements[goal], now, patience.timeout)
            return


def _rejection(job: Job, event: Event) -> VirtmemError | None:
    """The error if the event says that the guest won't give back the device that the job waits to see gone."""
    if not event.rejected or job.barrier is None or not job.barrier.gone:
        return None
    device: Device | None = progress.live_device(job.domain, job.barrier.wish)
    return progress.rejected(job.domain, device) if device is not None and device.alias == event.alias else None


def _wait(hypervisor: Hypervisor, jobs: t.Sequence[Job], patience: Patience, deadline: float, clock: Clock) -> None:
    """Waits until every guest has what is declared, or can't have it any longer, or the deadline is there."""
    pending = [job for job in jobs if not _look(hypervisor, job, patience, clock)]
    next_poll = clock() + patience.sleep
    while pending:
        now = clock()
        if patience.interrupted():
            for job in pending:
                job.error = _interrupted(job)
            return
        if now >= deadline:
            for job in pending:
                if not _look(hypervisor, job, patience, clock):
                    _give_up(job, patience, clock())
            return
        event = hypervisor.next_event(min(next_poll, deadline) - now)
        looked_at = pending
        if event is None or event.uuid is None or clock() >= next_poll:
            next_poll = clock() + patience.sleep
        else:
            looked_at = [job for job in pending if job.uuid == event.uuid]
        settled = [job for job in looked_at if _hear(hypervisor, job, event, patience, clock)]
        pending = [job for job in pending if job not in settled]


def _is_there(job: Job, patience: Patience) -> bool:
    """Whether the guest has all that is declared, as far as was last seen."""
    return not (job.barrier or job.refused) and all(
        goal.reached(progress.live_device(job.domain, goal.wish), patience.tolerance) for goal in job.goals
    )


def _hear(hypervisor: Hypervisor, job: Job, event: Event | None, patience: Patience, clock: Clock) -> bool:
    if event is not None and job.uuid == event.uuid:
        job.error = _rejection(job, event)
    return _look(hypervisor, job, patience, clock)


# --- the whole


def prepare(hypervisor: Hypervisor, orders: t.Sequence[Order], patience: Patience) -> list[Job]:
    """Reads every domain and plans for it. Nothing is changed; what speaks against a plan is in `Job.error`.

    Raises:
        VirtmemError: the hypervisor itself does not answer.
    """
    circumstances = _circumstances(hypervisor, orders, patience)
    jobs: list[Job] = []
    for order in orders:
        job = Job(order, circumstances, peers=jobs)
        _guarded(job, functools.partial(_plan, hypervisor, job, [other.uuid for other in jobs]))
        jobs.append(job)
    return jobs


def _plan(hypervisor: Hypervisor, job: Job, others: t.Collection[str]) -> None:
    job.uuid = hypervisor.find(job.order.domain)
    if job.uuid in others:
        raise VirtmemError(
            "invalid_option",
            f"domains: {job.order.domain} is declared more than once.",
            {"option": "domains", "value": job.order.domain, "uuid": job.uuid},
            "Declare each domain once, with all its devices.",
        )
    job.observed = observe(hypervisor, job.uuid)
    job.plan = job.planned_for(job.observed)
    job.pending = list(job.plan.steps)


def _circumstances(hypervisor: Hypervisor, orders: t.Sequence[Order], patience: Patience) -> Circumstances:
    """What plans on this hypervisor depend on. The host is only asked for what a wish needs of it."""
    wishes = [wish for order in orders for wish in order.declaration.wishes]
    sgx = any(wish.model == SGX_EPC for wish in wishes)
    host: Host | None = None
    if sgx or any(wish.nodemask is not None or wish.pagesize is not None for wish in wishes):
        host = xml.read_host(hypervisor.capabilities(), hypervisor.domain_capabilities() if sgx else None)
    return Circumstances(hypervisor.versions(), host, patience.wait)


def carry_out(hypervisor: Hypervisor, jobs: t.Sequence[Job], patience: Patience, clock: Clock = time.monotonic) -> None:
    """Takes the steps of all plans, waits for all guests at the same time, and makes sure of the result.

    What went wrong with a domain is left in `Job.error`; the others go on.
    """
    for job in jobs:
        for goal in job.known.goals:
            _begin(job, goal, job.domain, clock())
        if patience.wait and _must_wait(job):
            # Before the change: the guest may have answered before a later registration is through.
            _guarded(job, functools.partial(hypervisor.watch, job.uuid))
    deadline = clock() + patience.timeout
    for rank in (SHRINK, REMOVE, GROW):
        for job in jobs:
            _advance(hypervisor, job, rank, patience, clock)
    waited = _settle(hypervisor, jobs, patience, deadline, clock)
    for job in jobs:
        if job.error is not None or (job.known.cut and (waited or job.done)):
            _refresh(hypervisor, job)
        if job.error is not None:
            _report_half_replaced(job.error, job)


# How far a replacement got: what the guest is without then, and how it comes back.
_HALF_REPLACED = {
    "asked_for": (
        "the guest was asked to give it back. It may still do so, and is without it then.",
        "Run the task again to complete the replacement.",
    ),
    "emptied": (
        "0 is requested of it, to empty it first: the guest is without its memory.",
        "Run the task again to complete the replacement; without replace, the device gets what is declared.",
    ),
    "gone": (
        "it has left the guest, but the new device was not attached: the guest is without it.",
        "Run the task again when the cause is gone, and it attaches the new one. The next start of the domain brings "
        "what its configuration has.",
    ),
}


def _report_half_replaced(error: VirtmemError, job: Job) -> None:
    """Says of a device that was to be replaced what the guest is without now, and how it comes back."""
    for plan in (job.first or job.known).devices:
        old, new = plan.before[LIVE], plan.after[LIVE]
        state = _half_replaced(job, old, new) if plan.wish.replace and old is not None and new is not None else None
        if state is None or old is None:
            continue
        consequence, remedy = _HALF_REPLACED[state]
        error.msg += f" {old.alias} ({show(old.size)}) was to be replaced, and {consequence}"
        error.hint = remedy if error.error_code == "task_interrupted" else f"{error.hint} {remedy}"
        error.details["half_replaced"] = {"alias": old.alias, "state": state, "device": old.describe()}
        return


def _half_replaced(job: Job, old: Device, new: Device) -> str | None:
    """How far a replacement got that was begun and not completed; None if it was not begun, or was completed."""
    done = [step for step in job.done if step.scope == LIVE]
    began = [step for step in done if step.alias == old.alias and (step.op == DETACH or step.until is not None)]
    if not began or any(step.op == ATTACH and step.after and step.after.size == new.size for step in done):
        return None
    live = job.domain.live
    found = next((device for device in live.devices if device.alias == old.alias), None) if live is not None else None
    if found is None:
        return "gone" if live is not None else None
    if found.requested:
        return None
    return "asked_for" if found.requested is None else "emptied"


def _settle(hypervisor: Hypervisor, jobs: t.Sequence[Job], patience: Patience, deadline: float, clock: Clock) -> bool:
    """Waits for the guests, and looks at all of them once more when the last one is there.

    Whoever had the memory and lost it while another was waited for (a reset, a guest that gives memory back) is
    waited for again, until the deadline. Whether there was anything to wait for.
    """
    for job in jobs:
        if job.refused is not None and not patience.wait:
            _fail(hypervisor, job, job.refused, clock)
            _advance(hypervisor, job, GROW, patience, clock)
    pending = [job for job in jobs if job.error is None and (job.done or not _is_there(job, patience))]
    waited = patience.wait and bool(pending)
    while True:
        if patience.wait:
            _wait(hypervisor, [job for job in pending if job.goals or job.refused], patience, deadline, clock)
        for job in jobs:
            if job.error is None and not job.known.cut and (waited or job.done):
                _verify(hypervisor, job, patience, clock)
        pending = [job for job in jobs if job.error is None and not _is_there(job, patience)]
        if not (patience.wait and pending):
            return waited
        for job in pending:
            _guarded(job, functools.partial(hypervisor.watch, job.uuid))
        if clock() >= deadline:
            _wait(hypervisor, [job for job in pending if job.error is None], patience, deadline, clock)
            return waited


def _guarded(job: Job, action: t.Callable[[], None]) -> None:
    try:
        action()
    except VirtmemError as error:
        job.error = error


def _overtaken(domain: Domain, left: Plan) -> VirtmemError:
    return VirtmemError(
        "changed_meanwhile",
        f"Someone else changed domain {domain.name} while the task ran: {len(left.steps)} steps would be needed again.",
        {"domain": domain.name, "steps_needed": [step.describe() for step in left.steps]},
        "See that one party alone changes the domain, and run the task again.",
    )


def _verify(hypervisor: Hypervisor, job: Job, patience: Patience, clock: Clock) -> None:
    """Plans once more from a fresh read; what is left to do is what someone else undid meanwhile.

    The last to change the running guest wins, and its configuration must be the winner's too, never a mixture.
    """
    for _attempt in range(2):
        try:
            fresh = observe(hypervisor, job.uuid)
            left = job.planned_for(fresh)
        except VirtmemError as error:
            job.error = error
            return
        if not left.steps:
            job.observed = fresh
            return
        if any(step.scope == LIVE for step in left.steps):
            break
        _adopt(job, fresh, left, clock())
        _advance(hypervisor, job, GROW, patience, clock)
        if job.error is not None:
            return
    job.error = _overtaken(fresh, left)
    _follow_the_guest(hypervisor, job, fresh, clock)


def _follow_the_guest(hypervisor: Hypervisor, job: Job, domain: Domain, clock: Clock) -> None:
    """Another task changed the guest last: the configuration that this one wrote goes back to what the guest has."""
    written = {step.before.alias for step in job.done if step.scope == CONFIG and step.op == UPDATE and step.before}
    wishes = []
    for device in job.known.devices:
        live = progress.live_device(domain, device.wish)
        if live is not None and live.requested is not None and live.user_alias in written:
            wish = replace(device.wish, alias=live.alias, requested=live.requested, scope=CONFIG, resize="any")
            wishes.append(wish)
    overtaken = job.error
    try:
        steps = plan_domain(domain, Declaration(tuple(wishes)), job.circumstances).steps if wishes else ()
        job.pending = list(steps)
        for step in steps:
            _take(hypervisor, job, step, clock)
    except VirtmemError as error:
        job.pending = []
        if overtaken is not None:
            overtaken.msg += f" The configuration still has what this task wrote: {error.msg}"


def _refresh(hypervisor: Hypervisor, job: Job) -> None:
    """Reads once more, so that the result tells what is, not what was planned.

    Where even that fails, each scope is what the steps that were taken made of it. A wait reads the guest only.
    """
    try:
        job.observed = observe(hypervisor, job.uuid)
    except VirtmemError as error:
        if error.error_code == "domain_vanished":
            job.observed = replace(job.domain, state="shutoff", persistent=False, live=None, config=None, saved=None)
            return
        # A device that the guest was only asked for is still there.
        steps = [step for step in job.done[job.planned :] if step.until is None or not step.until.gone]
        foreseen = evolved(job.known.domain, steps)
        is_newer = any(step.scope == LIVE for step in job.done[job.seen :])
        live = foreseen if is_newer and job.domain.live is not None else job.domain
        job.observed = live.with_scope(CONFIG, foreseen.config)
