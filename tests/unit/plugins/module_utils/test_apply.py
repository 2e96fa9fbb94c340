# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changing and waiting over a made-up hypervisor with its own clock: what a real one does too seldom or too slowly.

Whether the real one behaves as this one does is for the integration tests.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils import _observe
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import whole
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Order, Planned, Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.task import Patience
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.events import Event
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    CONFIG,
    LIVE,
    SCOPES,
    Declaration,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB, Tolerance
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning


@dataclass
class Guest:
    """A domain with one virtio-mem device, whose guest has these actual sizes from these times on."""

    uuid: str
    sizes: dict[float, int] = field(default_factory=dict)
    requested: int = 0
    stops: float | None = None
    refuses: str | None = None  # the scope that libvirt refuses to change

    def element(self, now: float) -> str:
        """The device as libvirt would print it now."""
        current = next((size for since, size in sorted(self.sizes.items(), reverse=True) if since <= now), 0)
        return (
            "<memory model='virtio-mem'><target>"
            f"<size unit='KiB'>{8 * GIB // KIB}</size><node>0</node><block unit='KiB'>2048</block>"
            f"<requested unit='KiB'>{self.requested // KIB}</requested>"
            f"<current unit='KiB'>{current // KIB}</current>"
            "</target><alias name='ua-vm0'/></memory>"
        )


@dataclass
class Hypervisor:
    """What `_apply` needs of a connection. Time passes only where it waits."""

    guests: dict[str, Guest]
    events: dict[float, str | None] = field(default_factory=dict)  # when something is heard of which domain
    now: float = 100.0
    log: list[str] = field(default_factory=list)
    slow: float = 0.0  # how long it takes to fetch an event
    breaks: float | None = None
    vanishes: float | None = None
    meddles: float | None = None  # when someone else asks for something else
    ends_with: str | None = None  # the connection breaks at the first change, `answered` or `unanswered`

    def clock(self) -> float:
        """The time."""
        return self.now

    def read(self, uuid: str, scopes: t.Sequence[str] = SCOPES) -> _libvirt.Reading:
        """The domain as it is now, in these scopes."""
        self.log.append("read")
        if self.breaks is not None and self.now >= self.breaks:
            raise VirtmemError("connection_lost", "The connection broke.")
        if self.vanishes is not None and self.now >= self.vanishes:
            raise VirtmemError("domain_vanished", "It is gone.")
        guest = self.guests[uuid]
        if self.meddles is not None and self.now >= self.meddles:
            guest.requested = 3 * GIB
        runs = guest.stops is None or self.now < guest.stops
        config = "<domain><memory unit='GiB'>1</memory><devices/></domain>"
        running = config.replace("<domain>", "<domain id='1'>")
        live = running.replace("<devices/>", f"<devices>{guest.element(self.now)}</devices>") if runs else None
        return _libvirt.Reading(
            name="web1",
            uuid=uuid,
            state="running" if runs else "shutoff",
            persistent=True,
            error_paused=False,
            live_xml=live if LIVE in scopes else None,
            config_xml=config if CONFIG in scopes else None,
        )

    def watch(self, uuid: str) -> None:
        """Registers for events."""
        self.log.append(f"watch {uuid}")

    def update(self, uuid: str, scope: str, element: str) -> None:
        """Changes a device."""
        self.log.append(f"update {scope}")
        if self.guests[uuid].refuses == scope:
            raise VirtmemError("libvirt_error", "refused")
        self.guests[uuid].requested = reading.read_device(element).requested or 0
        if self.ends_with is not None:
            self.breaks = self.now
        if self.ends_with == "unanswered":
            raise VirtmemError("connection_lost", "The connection broke.")

    def attach(self, uuid: str, scope: str, element: str) -> None:
        """Nothing here is planned to do this."""
        raise NotImplementedError(uuid, scope, element)

    detach = attach

    def next_event(self, timeout: float) -> Event | None:
        """Lets time pass until something is heard, or for so many seconds; what was not fetched yet waits."""
        until = self.now + max(timeout, 0)
        when = min((when for when in self.events if when <= until), default=None)
        self.now = until if when is None else max(self.now, when) + self.slow
        return None if when is None else Event(self.events.pop(when), "ua-vm0")


PATIENCE = Patience(timeout=60.0, sleep=1.0)


def hypervisor(*guests: Guest, **values: t.Any) -> Hypervisor:
    """A hypervisor with these guests."""
    return Hypervisor({guest.uuid: guest for guest in guests}, **values)


def start(host: Hypervisor, requested: int = 2 * GIB) -> list[Running]:
    """A job for each guest."""
    jobs = []
    for uuid in host.guests:
        observed = _observe.Observer(t.cast("t.Any", host)).observe(uuid)
        wish = Wish(alias="ua-vm0", requested=requested, scope="live")
        plan = planning.planned(observed, wish)
        order = Order(uuid, Declaration((wish,)))
        jobs.append(Running(Planned(order, uuid, planning.CIRCUMSTANCES, plan)))
    host.log.clear()
    return jobs


def carry_out(host: Hypervisor, jobs: list[Running], patience: Patience = PATIENCE) -> float:
    """Changes, waits, and tells how long it took."""
    began = host.now
    whole.apply(t.cast("t.Any", host), jobs, patience, host.clock)
    return round(host.now - began, 6)


def test_an_event_ends_the_wait_at_once() -> None:
    host = hypervisor(Guest("a", {103.25: 2 * GIB}), events={103.25: "a"})
    jobs = start(host)
    assert carry_out(host, jobs) == 3.25
    assert jobs[0].error is None


@pytest.mark.parametrize("sleep", [1, 5])
def test_a_lost_event_costs_one_poll(sleep: int) -> None:
    host = hypervisor(Guest("a", {103.25: 2 * GIB}))
    jobs = start(host)
    took = carry_out(host, jobs, Patience(timeout=60, sleep=sleep))
    assert 3.25 <= took <= 3.25 + sleep
    assert jobs[0].error is None


def test_what_was_there_before_the_wait_needs_none() -> None:
    host = hypervisor(Guest("a", {0: 2 * GIB}))
    jobs = start(host)
    assert carry_out(host, jobs, Patience(timeout=0)) == 0
    assert jobs[0].error is None


def test_a_guest_that_never_moves_takes_the_whole_time_and_no_more() -> None:
    host = hypervisor(Guest("a"))
    jobs = start(host)
    assert carry_out(host, jobs, Patience(timeout=7.5, sleep=2)) == 7.5
    error = jobs[0].error
    assert error is not None
    assert error.error_code == "not_converged"
    assert error.details["diagnosis"] == "no_response"
    assert error.details["shortfall"] == 2 * GIB
    assert error.details["since_last_movement"] == 7.5


def test_a_guest_that_stops_half_way_is_told_so() -> None:
    host = hypervisor(Guest("a", {101: GIB}), events={101: "a"})
    jobs = start(host)
    assert carry_out(host, jobs) == 60
    error = jobs[0].error
    assert error is not None
    assert error.details["diagnosis"] == "stalled"
    assert error.details["current"] == GIB
    assert error.details["since_last_movement"] == 59


def test_the_last_look_is_at_the_deadline() -> None:
    host = hypervisor(Guest("a", {160: 2 * GIB}))
    jobs = start(host)
    assert carry_out(host, jobs, Patience(timeout=60, sleep=45)) == 60
    assert jobs[0].error is None


def test_events_that_mean_nothing_end_nothing() -> None:
    noise: dict[float, str | None] = {100 + tick / 10: "a" if tick % 2 else "a stranger" for tick in range(1, 100)}
    host = hypervisor(Guest("a", {109.0: 2 * GIB}), events=noise)
    jobs = start(host)
    assert 9.0 <= carry_out(host, jobs) <= 9.2
    assert jobs[0].error is None


def test_a_flood_of_other_domains_events_does_not_starve_the_poll() -> None:
    noise: dict[float, str | None] = {100 + tick / 100: "a stranger" for tick in range(1, 2000)}
    host = hypervisor(Guest("a", {103.25: 2 * GIB}), events=noise, slow=0.011)
    jobs = start(host)
    assert carry_out(host, jobs) <= 4.3
    assert host.log.count("read") < 10


def test_a_domain_that_stops_ends_its_wait() -> None:
    host = hypervisor(Guest("a", stops=105.5), events={105.5: "a"})
    jobs = start(host)
    assert carry_out(host, jobs) == 5.5
    assert jobs[0].error is not None
    assert jobs[0].error.error_code == "domain_stopped"


def test_a_connection_that_breaks_ends_the_wait() -> None:
    host = hypervisor(Guest("a"), events={102.5: None}, breaks=102.5)
    jobs = start(host)
    assert carry_out(host, jobs) == 2.5
    assert jobs[0].error is not None
    assert jobs[0].error.error_code == "connection_lost"


def test_of_a_domain_that_is_gone_nothing_is_left_in_the_result() -> None:
    host = hypervisor(Guest("a"), events={102.5: "a"}, vanishes=102.5)
    jobs = start(host)
    assert carry_out(host, jobs) == 2.5
    assert jobs[0].error is not None
    assert jobs[0].error.error_code == "domain_vanished"
    assert (jobs[0].observed.live, jobs[0].observed.config, jobs[0].observed.state) == (None, None, "shutoff")


def test_what_was_answered_before_the_connection_broke_is_in_the_result() -> None:
    host = hypervisor(Guest("a"), ends_with="answered")
    jobs = start(host)
    carry_out(host, jobs)
    live = jobs[0].observed.live
    assert live is not None
    assert [(device.requested, device.current) for device in live.devices] == [(2 * GIB, 0)]
    assert len(jobs[0].done) == 1
    assert jobs[0].error is not None
    assert "unknown_scope" not in jobs[0].error.details


def test_a_change_whose_answer_was_lost_is_told_as_unknown() -> None:
    host = hypervisor(Guest("a"), ends_with="unanswered")
    jobs = start(host)
    carry_out(host, jobs)
    error = jobs[0].error
    assert error is not None
    assert (error.error_code, error.details["unknown_scope"]) == ("connection_lost", LIVE)
    assert error.msg.endswith("Whether the running guest was changed is not known.")
    assert not jobs[0].done


def test_someone_who_asks_for_something_else_ends_the_wait() -> None:
    host = hypervisor(Guest("a"), meddles=102.5)
    jobs = start(host)
    assert carry_out(host, jobs) == 3
    assert jobs[0].error is not None
    assert jobs[0].error.error_code == "changed_meanwhile"


def test_near_enough_is_enough() -> None:
    host = hypervisor(Guest("a", {101: 2 * GIB - 64 * MIB}), events={101: "a"})
    jobs = start(host)
    assert carry_out(host, jobs, Patience(timeout=60, sleep=1, tolerance=Tolerance(bytes=64 * MIB))) == 1
    assert jobs[0].error is None


def test_many_jobs_take_as_long_as_the_slowest() -> None:
    guests = [Guest(f"{number}", {100 + number: 2 * GIB}) for number in range(1, 21)]
    host = hypervisor(*guests, events={100 + number: f"{number}" for number in range(1, 21)})
    jobs = start(host)
    assert carry_out(host, jobs) == 20
    assert all(job.error is None for job in jobs)


def test_one_job_that_fails_leaves_the_others_alone() -> None:
    host = hypervisor(
        Guest("well", {104: 2 * GIB}),
        Guest("stops", stops=102),
        Guest("never"),
        events={102: "stops", 104: "well"},
    )
    jobs = start(host)
    assert carry_out(host, jobs, Patience(timeout=10, sleep=1)) == 10
    assert [job.error and job.error.error_code for job in jobs] == [None, "domain_stopped", "not_converged"]


def changes(host: Hypervisor) -> list[str]:
    """What was done, without the looks."""
    return [entry for entry in host.log if entry != "read"]


def test_who_listens_does_so_before_the_change() -> None:
    host = hypervisor(Guest("a"), Guest("b"))
    carry_out(host, start(host))
    assert changes(host) == ["watch a", "watch b", "update live", "update live"]


def test_a_wait_that_is_resumed_changes_nothing() -> None:
    host = hypervisor(Guest("a", {103: 2 * GIB}, requested=2 * GIB), events={103: "a"})
    jobs = start(host)
    assert jobs[0].plan.steps == ()
    assert carry_out(host, jobs) == 3
    assert changes(host) == ["watch a"]
    assert jobs[0].error is None
    assert not jobs[0].done


def test_a_guest_that_has_everything_is_not_read_again() -> None:
    host = hypervisor(Guest("a", {99: 2 * GIB}, requested=2 * GIB))
    jobs = start(host)
    assert carry_out(host, jobs) == 0
    assert (jobs[0].error, host.log) == (None, [])


def test_what_someone_undoes_after_a_wait_without_a_step_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    host = hypervisor(Guest("a", {101: 2 * GIB}, requested=2 * GIB))
    jobs = start(host)
    assert jobs[0].plan.steps == ()
    usual, reads = host.read, []

    def read(uuid: str, scopes: t.Sequence[str] = SCOPES) -> _libvirt.Reading:
        if host.now >= 101:
            reads.append(uuid)
        # After the look that finds everything as it should be.
        host.guests["a"].requested = GIB if len(reads) > 1 else 2 * GIB
        return usual(uuid, scopes)

    monkeypatch.setattr(host, "read", read)
    carry_out(host, jobs)
    assert len(reads) > 1
    assert jobs[0].error is not None
    assert jobs[0].error.error_code == "changed_meanwhile"


def test_what_libvirt_refused_is_not_done() -> None:
    host = hypervisor(Guest("a", refuses=LIVE), Guest("b", {103: 2 * GIB}), events={103: "b"})
    jobs = start(host)
    assert carry_out(host, jobs) == 3
    assert [job.error and job.error.error_code for job in jobs] == ["libvirt_error", None]
    assert [len(job.done) for job in jobs] == [0, 1]
    assert host.guests["a"].requested == 0


def test_who_does_not_wait_does_not_listen_either() -> None:
    host = hypervisor(Guest("a"))
    jobs = start(host)
    assert carry_out(host, jobs, Patience(wait=False)) == 0
    assert changes(host) == ["update live"]
    assert jobs[0].error is None


@dataclass
class Crowd(Hypervisor):
    """Others change what is requested, so many times just before this one would."""

    others: int = 0

    def read(self, uuid: str, scopes: t.Sequence[str] = SCOPES) -> _libvirt.Reading:
        # A look at a single scope is the one before a change.
        if tuple(scopes) == (LIVE,) and self.others and not any(line.startswith("update") for line in self.log):
            self.others -= 1
            self.guests[uuid].requested += 2 * MIB
        return super().read(uuid, scopes)


@pytest.mark.parametrize(("others", "comes_through"), [(1, True), (3, True), (4, False), (50, False)])
def test_a_task_that_is_overtaken_plans_anew_a_few_times(others: int, comes_through: bool) -> None:
    host = Crowd({"a": Guest("a", {0: 2 * GIB})}, others=others)
    jobs = start(host)
    carry_out(host, jobs)
    assert host.log.count("update live") == comes_through
    if comes_through:
        assert jobs[0].error is None
        assert host.guests["a"].requested == 2 * GIB
    else:
        assert jobs[0].error is not None
        assert jobs[0].error.error_code == "changed_meanwhile"
        assert len(jobs[0].error.details["steps_needed"]) == 1
