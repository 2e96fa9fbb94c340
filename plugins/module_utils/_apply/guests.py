# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The guests' own word: whether each can use what it has plugged, by the statistics of its balloon.

If nobody polls them, as in most guests of plain libvirt, they are polled as long as the task lasts.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._memory import guest, models
from .._memory.device import LIVE, Domain
from .._memory.errors import VirtmemError
from .._memory.guest import AUTO, REQUIRED, Verdict, Word
from .hearing import SLOW, asks, changes_guest, must_listen
from .job import Running
from .task import Patience, Task
from .witness import FIRST_PAUSE, PERIOD, Witness

# How long to wait between two looks for a newer report at most.
_LONGEST_PAUSE = 0.5
# A report may be this much later than the polling has it, in seconds.
_LATE = 0.5


# --- before the steps


def begin(task: Task) -> None:
    """Switches the polling on for all guests that are to be listened to, and hears how much memory they have now."""
    listeners = []
    for job in task.jobs:
        if not must_listen(job, task.patience):
            continue
        if _switch_on(task, job):
            listeners.append(job)
    _await_reports(task, listeners)
    for job in listeners:
        if job.error is None:
            _set_out(task, job)


def _switch_on(task: Task, job: Running) -> bool:
    """Has the statistics polled unless someone else does it. Whether there is use in listening."""
    live = job.observed.live
    if live is None or 0 < live.period <= SLOW or task.patience.verify not in (AUTO, REQUIRED):
        return True
    job.witness.restores = live.period  # even if the answer is lost
    return _poll(task, job, PERIOD)


def _poll(task: Task, job: Running, *periods: int) -> bool:
    """Has the statistics polled so often, one after the other. Whether libvirt does it."""
    try:
        for seconds in periods:
            task.hypervisor.poll_statistics(job.uuid, LIVE, seconds)
    except VirtmemError as error:
        _lose(job, error, task.patience)
        return False
    return True


def _lose(job: Running, error: VirtmemError, patience: Patience) -> None:
    """The guest can't be listened to. Only who requires its word fails for that, or who has lost everything."""
    job.witness.listens = False
    reason = error.msg
    job.witness.word = Word(job.witness.word.guest._replace(reason=reason), Verdict(reason=reason))
    if error.error_code == "connection_lost":
        job.error = error
    elif patience.verify == REQUIRED:
        job.error = guest.not_verified(job.observed, reason)


def _await_reports(task: Task, jobs: t.Sequence[Running]) -> None:
    """Waits for a report of now from each of the guests, for two periods at most."""
    began = task.clock()
    # One that is paused may be resumed later, and be heard then.
    pending = [job for job in jobs if job.witness.polled and guest.mute(job.observed) is None]
    pause = FIRST_PAUSE
    while pending:
        now = task.clock()
        if now >= min(began + 2 * PERIOD, task.deadline) or task.patience.interrupted():
            return
        task.hypervisor.next_event(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE / 4)
        pending = [job for job in pending if not _read(task, job)]


def _read(task: Task, job: Running) -> bool:
    """Reads the newest report. Whether it is another one than before, or there is no use in waiting for it."""
    witness = job.witness
    try:
        said = task.hypervisor.statistics(job.uuid)
    except VirtmemError as error:
        _lose(job, error, task.patience)
        return True
    if said == witness.said:
        witness.said = said  # it has become older
        return False
    witness.said, witness.heard, witness.listens = said, task.clock(), True
    return True


def _set_out(task: Task, job: Running) -> None:
    """From here on the guest's total must grow by what is plugged."""
    witness = job.witness
    live = job.observed.live
    if guest.mute(job.observed) is not None:
        witness.listens = live is not None
        return
    # Whoever else polls has made sure of a report that is new enough.
    witness.listens = witness.listens or (live is not None and not witness.polled)
    if not witness.listens or witness.said.total is None:
        witness.listens = False
        witness.word = guest.hear(job.observed, witness.said)
        if task.patience.verify == REQUIRED:
            job.error = guest.not_verified(job.observed, witness.word.verdict.reason or guest.SILENT)
        return
    if witness.polled:  # that took its time
        try:
            job.observed = task.observer.observe(job.uuid)
        except VirtmemError:
            return  # the next step says so
    witness.word = guest.hear(job.observed, witness.said, fresh=True)
    if changes_guest(job) and not _is_moving(job.observed):
        witness.before = witness.word.account


def _is_moving(domain: Domain) -> bool:
    """Whether the guest is on its way: what libvirt knows of its sizes is up to a second late then."""
    devices = domain.live.devices if domain.live is not None else ()
    return any(device.current != device.requested for device in devices if models.facts(device.model).resizable)


# --- during the wait


def is_settled(task: Task, job: Running) -> bool:
    """Whether the guest says that it can use what it has, or does not say anything any longer.

    Called when libvirt's sizes are as they must be.
    """
    witness, live = job.witness, job.observed.live
    if not witness.listens or live is None:
        return True
    now = task.clock()
    _read(task, job)
    if witness.since is None:
        # The newest report may be of a moment before: only the next one counts.
        witness.since, witness.said_since = now, witness.said
        _ask_anew(task, job)
    elif not live.period:  # another task has ended, which polled them
        _switch_on(task, job)
    if not witness.listens or job.error is not None:
        return True
    witness.word = guest.hear(job.observed, witness.said, witness.before, fresh=True)
    if witness.word.verdict.usable is not False and (_has_grown(witness) or not witness.is_outdated):
        return True
    period = live.period or PERIOD
    quiet = now - max(witness.heard, witness.since)
    if quiet > 2 * period + _LATE:
        _stop_listening(job, quiet, period, task.patience)
        return True
    witness.due = now + witness.pause
    witness.pause = min(witness.pause * 1.5, _LONGEST_PAUSE)
    return False


def look_again(task: Task, job: Running) -> None:
    """Hears a guest once more that could use what it has, while others were waited for: it may have lost it since."""
    witness = job.witness
    if not witness.listens or witness.since is None or len(task.jobs) == 1:
        return
    _read(task, job)
    if witness.listens:
        witness.word = guest.hear(job.observed, witness.said, witness.before, fresh=True)


def _ask_anew(task: Task, job: Running) -> None:
    """QEMU asks the guest at once when the polling is switched on, and otherwise at the end of the period."""
    live = job.observed.live
    if live is not None and not live.period:
        _switch_on(task, job)
    if not job.witness.polled or live is None or live.period != PERIOD:
        return  # it is someone else's
    _poll(task, job, 0, PERIOD)


def _has_grown(witness: Witness) -> bool:
    """Whether the total itself shows that the report is of now: none before could be so large."""
    now, before = witness.word.account, witness.before
    return now is not None and before is not None and now.plugged > before.plugged


def _stop_listening(job: Running, quiet: float, period: int, patience: Patience) -> None:
    """The guest says nothing any longer, for or against it."""
    witness, reason = job.witness, guest.stale(quiet, period)
    witness.listens = False
    witness.word = witness.word._replace(
        guest=witness.word.guest._replace(reason=reason), verdict=Verdict(reason=reason)
    )
    if patience.verify == REQUIRED:
        job.error = guest.not_verified(job.observed, reason)


def problem(job: Running, patience: Patience) -> VirtmemError | None:
    """Why the guest does not have what is declared though libvirt says so, or None."""
    word, witness = job.witness.word, job.witness
    if not witness.listens or word.verdict.usable is not False or word.account is None:
        return None
    if witness.is_outdated and changes_guest(job):
        # Whoever polls does it too seldom for this wait.
        live = job.observed.live
        _stop_listening(job, witness.said.age or 0.0, live.period if live is not None else 0, patience)
        return job.error
    return guest.not_usable(job.observed, word.account, job.witness.before, word.verdict, patience.timeout)


def add_word(task: Task, job: Running, error: VirtmemError) -> None:
    """Adds to the error of a guest that stopped half way what the guest itself says, if that is the cause.

    A virtio-mem driver plugs up to 1 GiB of memory that nobody brings online, and stops there.
    """
    witness = job.witness
    if not witness.listens or job.observed.live is None or guest.mute(job.observed) is not None:
        return
    _read(task, job)
    witness.word = guest.hear(job.observed, witness.said, witness.before, fresh=True)
    word = witness.word
    if word.verdict.usable is False and word.account is not None and word.account.plugged:
        guest.explain_offline(error, word.account, word.verdict)


# --- after the task


def end(task: Task) -> None:
    """Sets the polling back as it was, and hears the last word of those that were not listened to."""
    for job in task.jobs:
        if job.witness.polled:
            _switch_off(task, job)
        elif job.done and job.witness.since is None and asks(job.plan, task.patience):
            with contextlib.suppress(VirtmemError):  # it is only told
                _hear_last(task, job)


def _switch_off(task: Task, job: Running) -> None:
    """Sets the polling back, or notes why it stays on, which harms nobody, and which nobody has asked for."""
    try:
        live = task.observer.observe(job.uuid, (LIVE,)).live
        # Someone else may have set it meanwhile, and a guest that was started anew has what is configured.
        if live is not None and live.period == PERIOD:
            task.hypervisor.poll_statistics(job.uuid, LIVE, job.witness.restores or 0)
    except VirtmemError as error:
        if error.error_code != "domain_vanished":
            job.witness.left_on = error.msg


def _hear_last(task: Task, job: Running) -> None:
    if guest.mute(job.observed) is None:
        job.witness.said = task.hypervisor.statistics(job.uuid)
        job.witness.word = guest.hear(job.observed, job.witness.said)
