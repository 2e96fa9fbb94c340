# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delivered means usable: what a task makes of the guest's own word, on the model of libvirt and its clock."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Job
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._report import Report
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.model.tasks import (
    GIB,
    MIB,
    codes,
    dimm,
    libvirt,
    requests,
    run,
    size,
    vm,
)

GROW = requests(GIB)
DIMM = Declaration((Wish(alias="ua-d", model="dimm", size=GIB),))


def elastic(guest: str = "driver", requested: int = 0, period: int = 0, **domains: t.Any) -> model.Libvirt:
    """A domain with a balloon whose guest behaves like this from now on."""
    host = libvirt(balloon="virtio", period=period, **(domains or {"a": [vm(requested=requested)]}))
    for machine in host.machines.values():
        machine.guest = guest
    return host


def word(job: Job) -> tuple[bool | None, str | None]:
    """What a task says of the guest."""
    return job.witness.word.verdict.usable, job.witness.word.guest.reason


def period(host: model.Libvirt, uuid: str = "a") -> str | None:
    """How often the statistics are polled."""
    stats = host.definition(uuid, model.LIVE).find("devices/memballoon/stats")
    return None if stats is None else stats.get("period")


@pytest.mark.parametrize("declaration", [GROW, DIMM], ids=["virtio-mem", "dimm"])
@pytest.mark.parametrize("polled", [0, 1, 5])
@pytest.mark.parametrize("guest", ["driver", "offline"])
def test_a_growth_is_delivered_when_the_guest_counts_it(guest: str, polled: int, declaration: Declaration) -> None:
    host = elastic(guest, period=polled)
    began = host.now
    (job,) = run(host, {"a": declaration}, timeout=30)
    total = host.mem_total(host.machines["a"]) * 1024
    assert period(host) == (str(polled) if polled else None)
    assert job.witness.word.guest.total == total
    if guest == "driver":
        assert codes([job]) == [None]
        assert word(job) == (True, None)
        assert total == 2 * GIB - 100 * MIB
        assert host.now - began < 4 + 2 * polled
        return
    assert codes([job]) == ["not_usable"]
    assert job.error is not None
    assert job.error.details["shortfall"] == GIB
    assert job.error.details["total"] == job.error.details["total_before"] == total == GIB - 100 * MIB
    assert "auto_online_blocks" in job.error.hint
    assert "memhp_default_state" in job.error.hint
    assert 30 <= host.now - began < 33
    # The next one looks too, though there is nothing to do.
    assert codes(run(host, {"a": declaration}, timeout=5)) == ["not_usable"]
    host.bring_online("a")
    assert codes(run(host, {"a": declaration}, timeout=5)) == [None]
    assert period(host) == (str(polled) if polled else None)


@pytest.mark.parametrize("polled", [0, 8])
def test_polling_that_can_not_be_set_back_is_told(polled: int) -> None:
    """Another job holds the domain when the task is through: it is green, and says what it has left on."""
    host = elastic(period=polled)
    calm = model.Connection(host)
    run(host, {"a": GROW}, calm)
    assert period(host) == (str(polled) if polled else None)

    def hold(_connection: model.Connection) -> None:
        raise model.Refused(model.TIMEOUT, "cannot acquire state change lock")

    host = elastic(period=polled)
    held = model.Connection(host, [model.Fault(calm.calls, hold)])
    report = Report(wants_diff=False, planned_only=False)
    report.jobs = run(host, {"a": GROW}, held)
    assert codes(report.jobs) == [None]
    assert period(host) == "1"
    (warning,) = report.warnings
    assert warning.endswith(f" Set it back with virsh dommemstat a --period {polled} --live.")


@pytest.mark.parametrize("verify", ["passive", "none"])
def test_who_only_listens_switches_nothing_on(verify: str) -> None:
    host = elastic("offline")
    connection = model.Connection(host, refusals={("watch", "statistics"): model.INTERNAL})
    (job,) = run(host, {"a": GROW}, verify=verify, connection=connection)
    assert codes([job]) == [None]
    usable, reason = word(job)
    assert usable is None
    assert (reason is None) == (verify == "none")
    assert verify == "none" or "Nobody polls" in str(reason)


@pytest.mark.parametrize(("verify", "code"), [("passive", "not_usable"), ("required", "not_usable"), ("none", None)])
def test_who_finds_the_statistics_polled_judges_by_them(verify: str, code: str | None) -> None:
    host = elastic("offline", period=2)
    assert codes(run(host, {"a": GROW}, verify=verify, timeout=10)) == [code]
    assert period(host) == "2"


@pytest.mark.parametrize("guest", ["driver", "offline"])
def test_memory_that_goes_online_late_is_waited_for(guest: str) -> None:
    host = elastic("offline")
    if guest == "offline":
        host.later(12.0, lambda: host.bring_online("a"))
    else:
        host.bring_online("a")
    began = host.now
    (job,) = run(host, {"a": GROW})
    assert (codes([job]), word(job)) == ([None], (True, None))
    assert host.now - began == pytest.approx(13 if guest == "offline" else 2, abs=1.5)


def test_a_part_that_stays_offline_is_too_little() -> None:
    host = elastic("driver")
    machine = host.machines["a"]
    host.later(0.5, lambda: setattr(machine, "offline", 64 * 1024))
    (job,) = run(host, {"a": GROW}, timeout=10)
    assert codes([job]) == ["not_usable"]
    assert job.error is not None
    assert job.error.details["shortfall"] == 64 * MIB
    assert "64MiB" in job.error.msg


@pytest.mark.parametrize("verify", ["auto", "passive", "required"])
@pytest.mark.parametrize("why", ["no balloon", "mute", "paused"])
def test_who_has_no_word_of_the_guest_says_so(why: str, verify: str) -> None:
    host = libvirt(balloon="none" if why == "no balloon" else "virtio", a=[vm()])
    machine = host.machines["a"]
    if why == "mute":
        machine.talks, machine.said = False, type(machine.said)()
    if why == "paused":
        host.suspend("a")
        host.later(1.0, lambda: host.resume("a"))
    began = host.now
    (job,) = run(host, {"a": GROW}, verify=verify)
    if verify == "required":
        assert codes([job]) == ["not_verified"]
        assert size(host, "a", "requested") == 0, "nothing is asked of a guest whose word is needed and missing"
        assert size(host, "a", "requested", scope=model.CONFIG) == 0
    elif (why, verify) == ("paused", "auto"):
        assert (codes([job]), word(job)) == ([None], (True, None)), "it is heard as soon as it runs again"
    else:
        assert codes([job]) == [None]
        assert word(job)[0] is None
        assert {"no balloon": "no balloon", "mute": "virtio_balloon", "paused": "Nobody"}[why] in str(word(job)[1])
    # At most two periods more.
    assert host.now - began < 6
    assert period(host) is None


def test_a_guest_that_falls_silent_is_not_waited_for() -> None:
    host = elastic()
    machine = host.machines["a"]
    host.later(1.0, lambda: setattr(machine, "talks", False))
    for verify, code in (("auto", None), ("required", "not_verified")):
        machine.talks = True
        host.later(1.0, lambda: setattr(machine, "talks", False))
        began = host.now
        (job,) = run(host, {"a": requests(GIB if verify == "auto" else 0)}, verify=verify)
        assert codes([job]) == [code]
        assert word(job)[0] is None
        assert "old" in str(word(job)[1])
        assert host.now - began < 6


@pytest.mark.parametrize("guest", ["driver", "offline"])
def test_a_balloon_that_moves_meanwhile_changes_nothing(guest: str) -> None:
    host = elastic(guest)
    machine = host.machines["a"]
    for second in range(1, 9):
        host.later(second / 2, lambda held=second * 20 * 1024: setattr(machine, "held", held))  # type: ignore[misc]
    (job,) = run(host, {"a": GROW}, timeout=10)
    assert codes([job]) == [None if guest == "driver" else "not_usable"]


def test_a_guest_that_reboots_is_judged_by_what_it_is_then() -> None:
    """Another kernel may keep more for itself."""
    host = elastic("nodriver")
    machine = host.machines["a"]

    def reboot() -> None:
        machine.guest, machine.kept = "driver", 180 * 1024
        host.reset("a")

    host.later(3.0, reboot)
    (job,) = run(host, {"a": GROW})
    assert (codes([job]), word(job)) == ([None], (True, None))


@pytest.mark.parametrize("guest", ["driver", "offline"])
def test_who_shrinks_is_done_when_libvirt_says_so(guest: str) -> None:
    host = elastic(guest, requested=GIB)
    (job,) = run(host, {"a": requests(256 * MIB)}, timeout=10)
    assert (codes([job]), word(job)) == ([None], (True, None))


def test_a_device_in_the_place_of_another_needs_a_new_report() -> None:
    """The sum is as before, so an old report would do if nobody looked at its age."""
    host = elastic(a=[dimm("ua-d")])
    host.machines["a"].guest = "offline"
    wish = Wish(alias="ua-d", model="dimm", size=GIB, access="shared", replace=True)
    assert codes(run(host, {"a": Declaration((wish,))}, timeout=8)) == ["not_usable"]


@pytest.mark.parametrize("polled", [0, 2])
@pytest.mark.parametrize(("offline", "usable"), [(0, True), (200 * MIB, None), (800 * MIB, False)])
def test_a_task_that_finds_nothing_to_do_judges_by_what_kernels_keep(
    offline: int, usable: bool | None, polled: int
) -> None:
    host = elastic(requested=GIB, period=polled)
    host.machines["a"].offline = offline // 1024
    host.advance(host.now + 10)
    (job,) = run(host, {"a": GROW}, timeout=5)
    assert codes([job]) == ["not_usable" if usable is False else None]
    assert word(job)[0] is usable
    assert usable is not None or "may keep that much" in str(word(job)[1])
    assert not job.done
    assert period(host) == (str(polled) if polled else None)


def test_check_mode_and_a_guest_in_order_are_left_alone() -> None:
    host = elastic()
    assert codes(run(host, {"a": GROW})) == [None]
    # What the guest said last accounts for all that is plugged.
    connection = model.Connection(host, refusals={("watch", "statistics"): model.INTERNAL})
    (job,) = run(host, {"a": GROW}, connection=connection)
    usable, reason = word(job)
    assert codes([job]) == [None]
    assert usable is None
    assert "Nobody polls" in str(reason)


@pytest.mark.parametrize("how", ["interrupted", "failed", "killed", "timeout"])
def test_the_polling_is_as_it_was_whatever_becomes_of_the_task(how: str) -> None:
    host = elastic("nodriver" if how == "timeout" else "offline")
    connection = model.Connection(host)
    if how == "failed":
        connection = model.Connection(host, refusals={("update", "live"): model.INTERNAL})
    if how == "interrupted":
        host.later(2.0, lambda: _interrupt(connection))
    if how == "killed":
        connection = model.Connection(host, faults=[model.Fault(30, _kill)])
    try:
        (job,) = run(host, {"a": GROW}, connection=connection, timeout=5)
        assert codes([job])[0] in ("task_interrupted", "libvirt_error", "not_converged")
    except model.Killed:
        assert period(host) == "1"  # harms nobody, and the next task takes it for what it finds
        return
    assert how != "killed"
    assert period(host) is None


def _interrupt(connection: model.Connection) -> None:
    connection.interrupted = True
    connection.wake()


def _kill(_connection: model.Connection) -> None:
    raise model.Killed


def test_polling_that_someone_else_has_set_meanwhile_is_theirs() -> None:
    host = elastic()
    host.later(0.5, lambda: host.poll_statistics("a", model.LIVE, 7))
    assert codes(run(host, {"a": GROW}))[0] is None
    assert period(host) == "7"


@pytest.mark.parametrize("verify", ["auto", "required"])
def test_a_libvirt_that_refuses_to_poll_leaves_the_guest_without_a_word(verify: str) -> None:
    host = elastic()
    connection = model.Connection(host, refusals={("watch", "statistics"): model.INTERNAL})
    (job,) = run(host, {"a": GROW}, connection=connection, verify=verify)
    assert codes([job]) == [None if verify == "auto" else "not_verified"]
    assert word(job)[0] is None
    assert size(host, "a", "requested") == (GIB if verify == "auto" else 0)


def test_each_guest_of_a_layout_speaks_for_itself() -> None:
    host = elastic(a=[vm()], b=[vm()], c=[vm()])
    host.machines["b"].guest = "offline"
    jobs = run(host, dict.fromkeys("abc", GROW), timeout=6)
    assert codes(jobs) == [None, "not_usable", None]
    assert [word(job)[0] for job in jobs] == [True, False, True]
    assert [period(host, name) for name in "abc"] == [None] * 3


def test_nobody_waits_for_a_word_who_does_not_wait_for_the_memory() -> None:
    host = elastic("offline", period=1)
    (job,) = run(host, {"a": GROW}, wait=False)
    assert codes([job]) == [None]
    assert host.now % 1000 < 20


@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("wanted", [0, 1, 5])
@pytest.mark.parametrize("grows", [True, False])
def test_a_declared_period_is_set_in_both_scopes_at_once(before: int, wanted: int, grows: bool) -> None:
    host = elastic(period=before)
    wishes = GROW.wishes if grows else ()
    declaration = Declaration(wishes, statistics_period=wanted)
    (job,) = run(host, {"a": declaration})
    assert codes([job]) == [None]
    stored = host.definition("a", model.CONFIG).find("devices/memballoon/stats")
    assert period(host) == (str(wanted) if wanted else None)
    assert (stored is not None and stored.get("period")) == (str(wanted) if wanted else False)
    shown = [(step.op, step.scope) for step in job.first.steps if step.op == "prepare"] if job.first else []
    assert shown == ([("prepare", "live"), ("prepare", "config")] if before != wanted else [])
    (again,) = run(host, {"a": declaration})
    assert (codes([again]), len(again.done)) == ([None], 0)


def test_a_period_needs_a_balloon() -> None:
    host = libvirt(a=[vm()])
    (job,) = run(host, {"a": Declaration(GROW.wishes, statistics_period=5)})
    assert codes([job]) == ["invalid_option"]
    assert job.error is not None
    assert "no balloon" in job.error.msg
    assert size(host, "a", "requested") == 0


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_guest_that_loses_its_memory_while_another_is_waited_for_is_not_green(comes_back: bool) -> None:
    """libvirt's sizes are as before: only the guest knows that its memory went offline again."""
    host = elastic(a=[vm()], b=[vm()])
    host.machines["b"].guest = "nodriver"
    first = host.machines["a"]
    host.later(6.0, lambda: setattr(first, "offline", 512 * 1024))

    def wakes() -> None:
        host.machines["b"].guest = "driver"
        host.answer("b")

    host.later(8.0, wakes)
    if comes_back:
        host.later(14.0, lambda: host.bring_online("a"))
    jobs = run(host, {"a": GROW, "b": GROW}, timeout=20)
    assert codes(jobs) == [None if comes_back else "not_usable", None]


@pytest.mark.parametrize("guest", ["driver", "offline"])
def test_whoever_polls_too_seldom_is_helped_out_while_the_task_lasts(guest: str) -> None:
    host = elastic(guest, period=60)
    began = host.now
    (job,) = run(host, {"a": GROW}, timeout=20)
    assert codes([job]) == [None if guest == "driver" else "not_usable"]
    assert word(job)[0] is (guest == "driver")
    assert guest == "offline" or host.now - began < 5
    assert period(host) == "60"


@pytest.mark.parametrize("guest", ["driver", "offline"])
def test_who_only_listens_and_hears_too_seldom_says_so(guest: str) -> None:
    """No report came while the task waited: it says nothing for the guest, and nothing against it."""
    host = elastic(guest, period=60)
    host.advance(host.now + 20)
    (job,) = run(host, {"a": GROW}, timeout=20, verify="passive")
    assert codes([job]) == [None]
    assert word(job)[0] is None
    assert "every 60 s" in str(word(job)[1])
    assert period(host) == "60"


def test_polling_that_another_task_ends_goes_on() -> None:
    host = elastic("offline")
    host.poll_statistics("a", model.LIVE, 1)
    host.advance(host.now + 2)
    host.later(4.0, lambda: host.poll_statistics("a", model.LIVE, 0))
    host.later(10.0, lambda: host.bring_online("a"))
    (job,) = run(host, {"a": GROW}, timeout=30, verify="required")
    assert (codes([job]), word(job)) == ([None], (True, None))
    assert period(host) is None


def test_a_guest_that_stopped_at_what_stays_offline_is_told_so() -> None:
    host = elastic("offline")
    (job,) = run(host, {"a": requests(2 * GIB)}, timeout=15)
    assert codes([job]) == ["not_converged"]
    assert job.error is not None
    assert job.error.details["diagnosis"] == "stalled"
    assert job.error.details["not_usable"] == job.error.details["plugged"] == GIB
    assert "can't use 1GiB of the 1GiB that are plugged" in job.error.msg
    assert "memhp_default_state" in job.error.hint
    slow = elastic("nodriver")
    (job,) = run(slow, {"a": requests(2 * GIB)}, timeout=15)
    assert job.error is not None
    assert job.error.details["diagnosis"] == "no_response"
    assert "virtio_mem" in job.error.hint


@pytest.mark.parametrize("timeout", [3.0, 1.52])
def test_a_report_of_the_moment_before_is_nothing_against_the_guest(timeout: float) -> None:
    """The guest is there just before the deadline, and its last report is of when it was half there."""
    host = elastic(period=1)
    host.advance(host.now + 0.55)
    (job,) = run(host, {"a": GROW}, timeout=timeout)
    assert codes([job]) == [None]
    assert word(job)[0] in ((True,) if timeout > 2 else (True, None))
