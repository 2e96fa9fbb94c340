# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a task waits, on the model of libvirt and its clock: how long, for whom, and what it says when it was in vain."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Job, Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import Tolerance
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.model.tasks import GIB, MIB, codes, libvirt, requests, run, size, vm

GROW = requests(2 * GIB)


def silent(*names: str, **requested: int) -> model.Libvirt:
    """Domains whose guests do nothing by themselves, each with a device of which it has what is requested."""
    devices: dict[str, t.Any] = {name: [vm(requested=requested.get(name, 0))] for name in names}
    host = libvirt(**devices)
    for name in names:
        host.machines[name].guest = "nodriver"
    return host


def gets(host: model.Libvirt, name: str, after: float, bytes_: int, tells: bool = True) -> None:
    """The guest has so much of its device after so many seconds, and libvirt says so, or does not."""

    def move() -> None:
        live = host.machines[name].live
        for device in model.memories(live) if live is not None else ():
            model.set_number(t.cast("t.Any", device.find("target")), "current", bytes_ // 1024)
        if tells:
            host.tell(name, "ua-vm0")

    host.later(after, move)


def timed(host: model.Libvirt, *names: str, **how: t.Any) -> tuple[float, t.Sequence[Job]]:
    """A task that wants all these domains to grow, and how long it took."""
    began = host.now
    jobs = run(host, dict.fromkeys(names, GROW), **how)
    return host.now - began, jobs


def about(seconds: float) -> t.Any:
    """So many seconds, and the calls on the way."""
    return pytest.approx(seconds, abs=0.15)


def test_an_event_ends_the_wait_at_once() -> None:
    host = silent("a")
    gets(host, "a", 3.25, 2 * GIB)
    took, jobs = timed(host, "a", sleep=30.0)
    assert (took, codes(jobs)) == (about(3.25), [None])


@pytest.mark.parametrize("sleep", [1, 5])
def test_a_lost_event_costs_one_poll(sleep: int) -> None:
    host = silent("a")
    gets(host, "a", 3.25, 2 * GIB, tells=False)
    took, jobs = timed(host, "a", sleep=sleep)
    assert 3.25 <= took <= 3.5 + sleep
    assert codes(jobs) == [None]


def test_what_was_there_before_the_wait_needs_none() -> None:
    host = silent("a")
    gets(host, "a", 0.0, 2 * GIB)
    took, jobs = timed(host, "a", timeout=0)
    assert (took, codes(jobs)) == (about(0), [None])


def test_a_guest_that_never_moves_takes_the_whole_time_and_no_more() -> None:
    took, [job] = timed(silent("a"), "a", timeout=7.5, sleep=2)
    assert (took, codes([job])) == (about(7.5), ["not_converged"])
    assert job.error is not None
    assert job.error.details["diagnosis"] == "no_response"
    assert job.error.details["shortfall"] == 2 * GIB
    assert job.error.details["since_last_movement"] == about(7.5)


def test_a_guest_that_stops_half_way_is_said_to() -> None:
    host = silent("a")
    gets(host, "a", 1.0, GIB)
    took, [job] = timed(host, "a", timeout=60)
    assert took == about(60)
    assert job.error is not None
    assert job.error.details["diagnosis"] == "stalled"
    assert job.error.details["current"] == GIB
    assert job.error.details["since_last_movement"] == about(59)


def test_the_last_look_is_at_the_deadline() -> None:
    host = silent("a")
    gets(host, "a", 59.9, 2 * GIB, tells=False)
    took, jobs = timed(host, "a", timeout=60, sleep=45)
    assert (took, codes(jobs)) == (about(60), [None])


def test_events_that_mean_nothing_end_nothing() -> None:
    host = silent("a", "stranger")
    for tick in range(1, 100):
        host.later(tick / 10, lambda tick=tick: host.tell("a" if tick % 2 else "stranger"))  # type: ignore[misc]
    gets(host, "a", 9.0, 2 * GIB)
    took, jobs = timed(host, "a")
    assert (took, codes(jobs)) == (about(9), [None])


def test_a_flood_of_events_does_not_starve_the_poll() -> None:
    host = silent("a")
    for tick in range(1, 2000):
        host.later(tick / 100, lambda: host.tell("a"))
    connection = model.Connection(host)
    gets(host, "a", 3.25, 2 * GIB, tells=False)
    took, jobs = timed(host, "a", connection=connection)
    assert took <= 4.4
    assert codes(jobs) == [None]


def test_a_connection_that_breaks_ends_the_wait() -> None:
    host = silent("a")
    connection = model.Connection(host)

    def drop() -> None:
        connection.broken = True
        connection.wake()

    host.later(2.5, drop)
    took, jobs = timed(host, "a", connection=connection)
    assert (took, codes(jobs)) == (about(2.5), ["connection_lost"])
    # What was answered before is in the result.
    assert jobs[0].observed is not None
    assert jobs[0].observed.live is not None
    assert [(device.requested, device.current) for device in jobs[0].observed.live.devices] == [(2 * GIB, 0)]


def test_of_a_domain_that_is_gone_nothing_is_left_in_the_result() -> None:
    host = silent("a")

    def vanish() -> None:
        host.machines["a"].config = None
        host.stop("a")

    host.later(2.5, vanish)
    took, [job] = timed(host, "a")
    assert (took, codes([job])) == (about(2.5), ["domain_vanished"])
    assert job.observed is not None
    assert (job.observed.live, job.observed.config, job.observed.state) == (None, None, "shutoff")


@pytest.mark.parametrize("after", [True, False])
def test_a_change_whose_answer_was_lost_is_reported_as_unknown(after: bool) -> None:
    host = silent("a")

    def drop(connection: model.Connection) -> None:
        connection.broken = True

    # versions, find, read; watch; read, update.
    connection = model.Connection(host, [model.Fault(6, drop, after)])
    [job] = run(host, {"a": GROW}, connection=connection)
    assert codes([job]) == ["connection_lost"]
    assert job.error is not None
    assert job.error.details["unknown_scope"] == "live"
    assert "Whether the running guest was changed is not known." in job.error.msg
    assert not job.done
    assert size(host, "a", "requested") == (2 * GIB if after else 0)


def test_someone_who_asks_for_something_else_ends_the_wait() -> None:
    host = silent("a")

    def other() -> None:
        run(host, {"a": requests(GIB, scope="live")}, wait=False)

    host.later(2.5, other)
    took, jobs = timed(host, "a")
    assert took <= 3.7
    assert codes(jobs) == ["changed_meanwhile"]


def test_near_enough_is_enough() -> None:
    host = silent("a")
    gets(host, "a", 1.0, 2 * GIB - 64 * MIB)
    took, jobs = timed(host, "a", tolerance=Tolerance(bytes=64 * MIB))
    assert (took, codes(jobs)) == (about(1), [None])


def test_many_domains_take_as_long_as_the_slowest() -> None:
    names = [f"d{number}" for number in range(1, 21)]
    host = silent(*names)
    for number, name in enumerate(names, 1):
        gets(host, name, float(number), 2 * GIB)
    took, jobs = timed(host, *names)
    assert 20 <= took < 21
    assert codes(jobs) == [None] * 20


def test_one_domain_that_fails_leaves_the_others_alone() -> None:
    host = silent("well", "stops", "never")
    gets(host, "well", 4.0, 2 * GIB)
    host.later(2.0, lambda: host.stop("stops"))
    took, jobs = timed(host, "well", "stops", "never", timeout=10)
    assert (took, codes(jobs)) == (about(10), [None, "domain_stopped", "not_converged"])


def test_who_listens_does_so_before_the_change() -> None:
    host = silent("a")
    connection = model.Connection(host)
    watched: list[set[str]] = []
    usual = connection.update

    def update(uuid: str, scope: str, xml: str) -> None:
        watched.append(set(connection.watched))
        usual(uuid, scope, xml)

    connection.update = update  # type: ignore[method-assign]
    run(host, {"a": GROW}, timeout=1, connection=connection)
    assert watched[0] == {"a"}


def test_who_does_not_wait_does_not_listen_either() -> None:
    host = silent("a")
    connection = model.Connection(host)
    [job] = run(host, {"a": GROW}, wait=False, connection=connection)
    assert (codes([job]), connection.watched) == ([None], set())
    assert connection.log == [("update", "live"), ("update", "config")]


def test_a_wait_that_is_resumed_changes_nothing() -> None:
    host = silent("a")
    run(host, {"a": GROW}, timeout=1)
    gets(host, "a", 3.0, 2 * GIB)
    connection = model.Connection(host)
    took, [job] = timed(host, "a", connection=connection)
    assert (took, codes([job]), connection.log) == (about(3), [None], [])
    assert (job.steps, list(job.done)) == ((), [])


def test_a_guest_that_has_everything_is_read_once() -> None:
    host = silent("a", a=2 * GIB)
    gets(host, "a", 0.0, 2 * GIB)
    connection = model.Connection(host)
    took, jobs = timed(host, "a", connection=connection)
    assert (took, codes(jobs)) == (about(0), [None])
    assert connection.calls == 3  # versions, find, read


def test_what_libvirt_refused_is_not_done() -> None:
    host = silent("a", "b")
    connection = model.Connection(host, refusals={("update", "config"): model.SYSTEM_ERROR})
    gets(host, "a", 1.0, 2 * GIB)
    [job] = run(host, {"a": GROW}, connection=connection)
    assert codes([job]) == ["libvirt_error"]
    assert [(step.op, step.scope) for step in job.done] == [("update", "live")]
    assert job.error is not None
    assert "The running guest was changed already, the configuration was not." in job.error.msg


@pytest.mark.parametrize(("others", "comes_through"), [(1, True), (3, True), (4, False), (50, False)])
def test_a_task_that_is_overtaken_plans_anew_a_few_times(others: int, comes_through: bool) -> None:
    """Others change what is requested, so many times just before this one would."""
    host = silent("a")
    connection = model.Connection(host)
    left = [others]
    usual = connection.read

    def read(uuid: str, scopes: t.Collection[str] = model.SCOPES) -> t.Any:
        # A look at a single scope is the one before a change.
        if tuple(scopes) == ("live",) and left[0] and not connection.log:
            left[0] -= 1
            for scope in model.SCOPES:
                (device,) = model.memories(host.definition("a", scope))
                asked = model.number(device, "target/requested") or 0
                model.set_number(t.cast("t.Any", device.find("target")), "requested", asked + 2048)
        return usual(uuid, scopes)

    connection.read = read  # type: ignore[method-assign]
    gets(host, "a", 1.0, 2 * GIB)
    [job] = run(host, {"a": GROW}, connection=connection)
    assert connection.log.count(("update", "live")) == comes_through
    assert codes([job]) == [None if comes_through else "changed_meanwhile"]
    if job.error is not None:
        assert job.error.details["steps_needed"]
    assert isinstance(job, Running)
    assert job.replans == min(others, 3)
