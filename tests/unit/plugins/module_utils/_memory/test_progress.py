# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a running guest stands: reached, moving, stalled, or beyond hope."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import progress
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Device, Domain, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.progress import Goal, Movement
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import EXACT, GIB, MIB, Tolerance
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from hypothesis import given
from hypothesis import strategies as st

WISH = Wish(alias="ua-vm0", requested=2 * GIB)
SIZES = st.integers(0, 16 * GIB)


def goal(low: int | None = 2 * GIB, high: int | None = 2 * GIB, requested: int = 2 * GIB, staged: int = 0) -> Goal:
    """A goal for the usual device: to have 2 GiB."""
    return Goal(WISH, low, high, requested, staged)


def running(current: int = 0, requested: int = 2 * GIB, **values: t.Any) -> Domain:
    """A running domain with the usual device at this actual size."""
    device = helpers.virtio_mem(requested=requested, current=current)
    return helpers.domain(live=helpers.definition(device), **values)


def having(current: int) -> Device:
    """The usual device at this actual size."""
    return helpers.virtio_mem(current=current)


# --- the goal


@pytest.mark.parametrize(
    ("low", "high", "current", "distance"),
    [
        (2, 2, 2, 0),
        (2, 2, 0, 2),
        (2, 2, 5, 3),
        (2, None, 5, 0),
        (2, None, 1, 1),
        (None, 2, 0, 0),
        (None, 2, 5, 3),
        (None, None, 7, 0),
        (0, 0, 0, 0),
        (0, 0, 4, 4),
    ],
)
def test_the_distance_counts_from_the_bound_that_is_missed(
    low: int | None, high: int | None, current: int, distance: int
) -> None:
    assert goal(low, high).distance(current) == distance


@given(low=SIZES, more=SIZES, current=SIZES)
def test_a_goal_is_reached_exactly_between_its_bounds(low: int, more: int, current: int) -> None:
    wanted = goal(low, low + more)
    assert wanted.reached(having(current), EXACT) is (low <= current <= low + more)


@given(target=SIZES, current=SIZES, tolerance=st.integers(0, 2 * GIB))
def test_the_tolerance_counts_on_both_sides(target: int, current: int, tolerance: int) -> None:
    assert goal(target, target).reached(having(current), Tolerance(bytes=tolerance)) is (
        abs(target - current) <= tolerance
    )


@pytest.mark.parametrize(("current", "reached"), [(95, True), (94, False), (105, True), (106, False)])
def test_a_percentage_is_one_of_the_target(current: int, reached: bool) -> None:
    assert goal(100 * MIB, 100 * MIB).reached(having(current * MIB), Tolerance(percent=5)) is reached


def test_a_device_that_is_not_there_has_no_size_and_may_be_what_is_wanted() -> None:
    assert not goal().reached(None, EXACT)
    gone = Goal(Wish(alias="ua-vm0"), None, None, 0, gone=True)
    assert gone.reached(None, EXACT)
    assert not gone.reached(having(0), Tolerance(percent=100))


def test_the_target_is_the_bound_that_was_declared() -> None:
    assert goal(5, 5).target == 5
    assert goal(5, None).target == 5
    assert goal(None, 5).target == 5
    assert goal(0, None).target == 0


# --- the movement


def test_a_guest_that_never_moved_did_not_respond() -> None:
    movement = Movement(0, 0, started=100.0).seen(0, 101.0).seen(0, 102.0)
    assert movement.moved is None
    assert movement.quiet_for(160.0) == 60.0
    assert movement.diagnosis(100.5) == progress.NO_RESPONSE
    assert movement.diagnosis(10_000.0) == progress.NO_RESPONSE


def test_a_guest_that_moved_is_on_its_way_until_it_is_quiet_for_too_long() -> None:
    movement = Movement(0, 0, started=100.0).seen(GIB, 105.0).seen(GIB, 109.0)
    assert movement.last == GIB
    assert movement.quiet_for(107.0) == 2.0
    assert movement.diagnosis(105.0 + progress.STALLED_AFTER) == progress.PROGRESSING
    assert movement.diagnosis(105.1 + progress.STALLED_AFTER) == progress.STALLED


def test_a_guest_that_went_back_moved() -> None:
    """On a reset of the guest all of it is unplugged and comes again."""
    movement = Movement(GIB, GIB, started=0.0).seen(0, 1.0).seen(GIB, 50.0)
    assert movement.diagnosis(51.0) == progress.PROGRESSING


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 5.0)), max_size=20))
def test_the_last_movement_is_the_last_change_that_was_seen(observations: list[tuple[int, float]]) -> None:
    movement, now, last, moved = Movement(0, 0, started=0.0), 0.0, 0, None
    for current, later in observations:
        now += later
        if current != last:
            last, moved = current, now
        movement = movement.seen(current, now)
    assert (movement.last, movement.moved, movement.first, movement.started) == (last, moved, 0, 0.0)


# --- the outcome


def test_what_is_to_be_absent_has_converged_when_it_is_gone() -> None:
    absent = Wish(alias="ua-vm0", state="absent")
    assert progress.outcome(None, None, absent, EXACT) == (True, 0)
    assert progress.outcome(having(GIB), None, absent, EXACT) == (False, GIB)
    assert progress.outcome(helpers.dimm(), None, absent, EXACT) == (False, helpers.dimm().size)


@pytest.mark.parametrize(
    ("device", "wanted", "declared", "expected"),
    [
        (None, None, 5 * MIB, (False, 5 * MIB)),
        (helpers.dimm(), None, GIB, (True, 0)),
        (helpers.virtio_mem(requested=GIB, current=GIB), None, GIB, (True, 0)),
        (helpers.virtio_mem(requested=GIB, current=0), None, GIB, (False, GIB)),
        (helpers.virtio_mem(requested=0, current=GIB), None, 0, (False, GIB)),
        (helpers.virtio_mem(requested=2 * GIB, current=2 * GIB), goal(), 2 * GIB, (True, 0)),
        (helpers.virtio_mem(requested=2 * GIB, current=GIB), goal(), 2 * GIB, (False, GIB)),
        (helpers.virtio_mem(requested=2 * GIB, current=2 * GIB), goal(staged=GIB), 3 * GIB, (False, GIB)),
        (helpers.virtio_mem(requested=4 * GIB, current=4 * GIB), goal(high=None), 2 * GIB, (True, 0)),
    ],
)
def test_the_outcome_tells_what_lies_between(
    device: Device | None, wanted: Goal | None, declared: int, expected: tuple[bool, int]
) -> None:
    assert progress.outcome(device, wanted, Wish(requested=declared), EXACT) == expected


def test_within_the_tolerance_it_converged_and_the_shortfall_is_told() -> None:
    device = helpers.virtio_mem(requested=2 * GIB, current=2 * GIB - MIB)
    assert progress.outcome(device, goal(), Wish(requested=2 * GIB), Tolerance(bytes=MIB)) == (True, MIB)


# --- pointless


def test_while_there_is_hope_nothing_is_said() -> None:
    assert progress.pointless(running(), goal()) is None
    assert progress.pointless(running(state="paused"), goal()) is None


@pytest.mark.parametrize(
    ("domain", "error_code"),
    [
        (helpers.domain(config=helpers.definition(helpers.virtio_mem())), "domain_stopped"),
        (running(state="paused", error_paused=True), "domain_paused"),
        (helpers.domain(live=helpers.definition()), "device_vanished"),
        (running(requested=3 * GIB), "changed_meanwhile"),
        (running(requested=0), "changed_meanwhile"),
    ],
)
def test_where_waiting_cannot_help_the_reason_is_told(domain: Domain, error_code: str) -> None:
    error = progress.pointless(domain, goal())
    assert error is not None
    assert error.error_code == error_code
    assert error.details["domain"] == "web1"
    assert error.details["state"] == domain.state
    assert error.details["requested"] == 2 * GIB
    assert error.hint


def test_who_meddled_is_told_with_both_sizes() -> None:
    error = progress.pointless(running(requested=3 * GIB), goal())
    assert error is not None
    assert error.details["requested_now"] == 3 * GIB
    assert "3GiB" in error.msg
    assert "2GiB" in error.msg


@pytest.mark.parametrize("values", [{"state": "crashed"}, {"state": "paused", "error_paused": True}])
def test_a_guest_that_has_everything_already_need_not_answer(values: dict[str, t.Any]) -> None:
    assert progress.pointless(running(2 * GIB, **values), goal()) is None
    error = progress.pointless(running(GIB, **values), goal())
    assert error is not None
    assert error.error_code == f"domain_{values['state']}"


# --- the timeout


def end(current: int, wanted: Goal, movement: Movement, now: float, **values: t.Any) -> t.Any:
    """The error of a wait that ended so."""
    domain = running(current, requested=wanted.requested, **values)
    device = progress.live_device(domain, WISH)
    assert device is not None
    return progress.not_converged(domain, device, wanted, movement, now, 120)


@pytest.mark.parametrize(
    ("movement", "now", "diagnosis"),
    [
        (Movement(0, 0, 0.0), 120.0, "no_response"),
        (Movement(0, GIB, 0.0, moved=30.0), 120.0, "stalled"),
        (Movement(0, GIB, 0.0, moved=119.0), 120.0, "progressing"),
    ],
)
def test_a_timeout_tells_how_it_went(movement: Movement, now: float, diagnosis: str) -> None:
    error = end(movement.last, goal(), movement, now)
    assert error.error_code == "not_converged"
    assert error.details == {
        "requested": 2 * GIB,
        "current": movement.last,
        "shortfall": 2 * GIB - movement.last,
        "since_last_movement": round(movement.quiet_for(now), 1),
        "diagnosis": diagnosis,
        "wait_timeout": 120,
        "state": "running",
    }
    assert "lacks" in error.msg
    assert diagnosis in error.msg


def test_each_diagnosis_has_a_hint_of_its_own() -> None:
    ends = [
        end(0, goal(), Movement(0, 0, 0.0), 120.0),
        end(GIB, goal(), Movement(0, GIB, 0.0, moved=1.0), 120.0),
        end(GIB, goal(), Movement(0, GIB, 0.0, moved=119.0), 120.0),
        end(0, goal(), Movement(0, 0, 0.0), 120.0, state="paused"),
    ]
    assert len({error.hint for error in ends}) == 4
    assert "virtio_mem" in ends[0].hint
    assert "resume" in ends[3].hint


def test_a_guest_that_has_some_of_the_memory_has_a_driver() -> None:
    """A second task on a device that is stuck sees it move no more than the first did at its end."""
    error = end(GIB, goal(), Movement(GIB, GIB, 0.0), 120.0)
    assert error.details["diagnosis"] == "stalled"
    assert "auto_online_blocks" in error.hint
    assert "memhp_default_state" in error.hint


@pytest.mark.parametrize(("values", "named"), [({}, False), ({"pagesize": 4096}, False), ({"pagesize": 2 * MIB}, True)])
def test_a_pool_of_the_host_that_may_be_empty_is_named(values: dict[str, t.Any], named: bool) -> None:
    live = helpers.definition(helpers.virtio_mem(requested=2 * GIB, current=GIB, **values))
    domain = helpers.domain(live)
    error = progress.not_converged(domain, live.devices[0], goal(), Movement(GIB, GIB, 0.0), 120.0, 120)
    assert ("pages of 2MiB" in error.hint and "freepages" in error.hint) == named


def test_a_guest_that_keeps_too_much_is_not_said_to_lack_something() -> None:
    error = end(3 * GIB, goal(0, 0, 0), Movement(4 * GIB, 3 * GIB, 0.0, moved=1.0), 120.0)
    assert "still holds 3GiB" in error.msg
    assert error.details["shortfall"] == 3 * GIB


def test_the_live_device_is_the_one_of_the_running_guest() -> None:
    definition = helpers.definition(helpers.virtio_mem())
    assert progress.live_device(helpers.domain(config=definition), WISH) is None
    assert progress.live_device(helpers.domain(live=definition), WISH) == definition.devices[0]


# --- what mutants of this file survived


GONE = goal(None, None, 0)._replace(gone=True)


def test_nothing_declared_and_nothing_there_lacks_nothing() -> None:
    assert progress.outcome(None, None, None, EXACT) == (False, 0)
    assert progress.outcome(None, None, Wish(alias="ua-x", model="nvdimm"), EXACT) == (False, 0)


def test_a_device_that_must_go_holds_all_that_it_has() -> None:
    assert progress.held(None, GONE) == 0
    assert progress.held(helpers.dimm(), GONE) == GIB
    assert progress.held(helpers.dimm(), goal()) == 0
    assert progress.held(having(512 * MIB), GONE) == 512 * MIB


def test_why_waiting_can_not_help_is_a_sentence() -> None:
    stopped = progress.pointless(helpers.domain(config=helpers.definition()), goal())
    assert stopped is not None
    assert "Domain web1 stopped (shutoff)" in stopped.msg
    left = progress.pointless(helpers.domain(helpers.definition()), goal())
    assert left is not None
    assert "alias ua-vm0" in left.msg
    assert "domain web1" in left.msg


def test_a_device_that_must_go_and_is_there_is_waited_for() -> None:
    there = helpers.domain(helpers.definition(helpers.virtio_mem(requested=0, current=0)))
    assert progress.pointless(there, GONE) is None
    # Nobody has requested anything of a device that has no requested size.
    module = helpers.domain(helpers.definition(helpers.dimm(alias="ua-vm0")))
    assert progress.pointless(module, GONE) is None


@pytest.mark.parametrize(("alias", "name"), [("ua-d0", "ua-d0"), (None, "dimm")])
def test_a_device_that_did_not_go_is_named(alias: str | None, name: str) -> None:
    device = helpers.dimm(alias=alias)
    domain = helpers.domain(helpers.definition(device))
    error = progress.not_converged(domain, device, GONE, Movement(GIB, GIB, 0.0), 12.34, 12.5)
    assert error.msg.startswith(f"{name} (1GiB) is still in the guest 12.5 s after")
    assert error.details["since_last_movement"] == 12.3
    assert error.details["shortfall"] == GIB
