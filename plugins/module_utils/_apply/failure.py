# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A step that failed: whether it is planned again, tried again later, or ends the job, and what it leaves behind."""

from __future__ import annotations

from .._libvirt.calls import NOT_BY_QEMU
from .._memory import progress
from .._memory.device import CONFIG, LIVE, Device, Domain
from .._memory.errors import VirtmemError
from .._memory.plan.step import ATTACH, DETACH, Plan, Step
from .._memory.size import EXACT, show
from .job import Running
from .task import Task

# How often a job plans anew because of someone else's changes. Once is not enough: of two tasks that attach the same
# device, one is overtaken in the guest, and then in the configuration.
_MOST_REPLANS = 3


# --- what is said of it


def interrupted(job: Running) -> VirtmemError:
    """The error of a task that someone has ended."""
    return VirtmemError(
        "task_interrupted",
        f"The task was interrupted before domain {job.observed.name} had what is declared.",
        {"domain": job.observed.name, "steps_left": len(job.pending)},
        "Run the task again, and it goes on from there.",
    )


def overtaken(domain: Domain, left: Plan) -> VirtmemError:
    """The error of a domain that is no longer as this task made it."""
    return VirtmemError(
        "changed_meanwhile",
        f"Someone else changed domain {domain.name} while the task ran: {len(left.steps)} steps would be needed again.",
        {"domain": domain.name, "steps_needed": [step.describe() for step in left.steps]},
        "Make sure that nothing else changes the domain, and run the task again.",
    )


def _report_half_done(error: VirtmemError, job: Running, step: Step) -> None:
    """Says what a step that failed leaves behind, if that is not just everything as it was."""
    unknown = "unknown_scope" in error.details
    if step.scope == CONFIG and _is_guest_changed(job, step):
        rest = "whether the configuration was is not known" if unknown else "the configuration was not"
        error.msg += f" The running guest was changed already, {rest}."
        error.hint += " Run the task again when the cause is gone; it changes the configuration alone then."
    elif unknown:
        what = "running guest" if step.scope == LIVE else "configuration"
        error.msg += f" Whether the {what} was changed is not known."


def _is_guest_changed(job: Running, step: Step) -> bool:
    """Whether the running side of the device that the step is about was changed already."""
    device = next((device for device in job.plan.devices if step in device.steps), None)
    sides = [*device.before.values(), *device.after.values()] if device is not None else []
    names = {side.alias for side in sides if side is not None and side.alias}
    return any(done.scope == LIVE and (done in device.steps or done.alias in names) for done in job.done if device)


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


def report_half_replaced(error: VirtmemError, job: Running) -> None:
    """Says of a device that was to be replaced what the guest is without now, and how it comes back."""
    for plan in job.first.devices:
        old, new = plan.before[LIVE], plan.after[LIVE]
        state = _half_replaced(job, old, new) if plan.wish.replace and old is not None and new is not None else None
        if state is None or old is None:
            continue
        consequence, remedy = _HALF_REPLACED[state]
        error.msg += f" {old.alias} ({show(old.size)}) was to be replaced, and {consequence}"
        error.hint = remedy if error.error_code == "task_interrupted" else f"{error.hint} {remedy}"
        error.details["half_replaced"] = {"alias": old.alias, "state": state, "device": old.describe()}
        return


def _half_replaced(job: Running, old: Device, new: Device) -> str | None:
    """How far a replacement got that was begun and not completed; None if it was not begun, or was completed."""
    done = [step for step in job.done if step.scope == LIVE]
    began = [step for step in done if step.alias == old.alias and (step.op == DETACH or step.until is not None)]
    if not began or any(step.op == ATTACH and step.after and step.after.size == new.size for step in done):
        return None
    live = job.observed.live
    if live is None:
        return None
    found = next((device for device in live.devices if device.alias == old.alias), None)
    if found is None:
        return "gone"
    if found.requested:
        return None
    return "asked_for" if found.requested is None else "emptied"


# --- what becomes of it


def wants_room(step: Step, error: VirtmemError) -> bool:
    """Whether QEMU refused a device that it may take when the host has more memory: it says that in words only."""
    return (step.op, step.scope) == (ATTACH, LIVE) and error.details.get("libvirt_code") == NOT_BY_QEMU


def gives_back(job: Running) -> bool:
    """Whether the guest still holds memory, or a device, that it is asked for, as far as was last seen."""
    if job.rests_until is not None and job.error is None:
        return True
    goals = (*job.goals, *job.plan.goals) if job.error is None and not job.plan.cut else ()
    for goal in goals:
        device = progress.live_device(job.observed, goal.wish)
        is_over = goal.high is not None and progress.held(device, goal) > goal.high
        if is_over or (goal.gone and not goal.reached(device, EXACT)):
            return True
    return False


def fail(task: Task, job: Running, error: VirtmemError) -> None:
    """The next step has failed: the job goes on by a new plan, or ends with an error that says what is left behind."""
    step, job.postponed = job.pending[0], None
    _recover(task, job, step, error)
    if job.error is not None:
        _report_half_done(job.error, job, step)


def _is_fixed(step: Step, error: VirtmemError) -> bool:
    """Whether QEMU has just shown that it can't unplug an emptied device at all, whatever its package's version."""
    device = step.before
    emptied = device is not None and device.requested == 0
    return (step.op, step.scope, emptied) == (DETACH, LIVE, True) and error.details.get("libvirt_code") == NOT_BY_QEMU


def _recover(task: Task, job: Running, step: Step, error: VirtmemError) -> None:
    """If the domain is not as it was planned for, plans again, a few times; otherwise that is the end.

    What the domain is like decides, not what the error says.
    """
    job.error = error
    if _is_fixed(step, error) and step.alias is not None:
        job.circumstances = job.circumstances._replace(fixed=job.circumstances.fixed | {step.alias})
    if error.error_code not in ("changed_meanwhile", "libvirt_error", "domain_stopped"):
        return
    try:
        fresh = task.observer.observe(job.uuid)
        plan = job.plan_for(fresh)
    except VirtmemError as found:
        if error.error_code != "libvirt_error" or found.error_code not in ("libvirt_error", "connection_lost"):
            job.error = found
        return
    same = [left.settled() for left in plan.steps] == [left.settled() for left in job.pending]
    # What libvirt refused once it refuses again. A change around the step may leave the step as it was.
    if same and error.error_code != "changed_meanwhile":
        return
    if job.replans >= _MOST_REPLANS:
        # Whatever libvirt says, this is why.
        job.error = overtaken(fresh, plan)
        return
    job.error = None
    job.adopt(fresh, plan, task.clock())
