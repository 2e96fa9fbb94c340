# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The moment between a virtio-mem device that is empty and its unplug, on the model of libvirt and its clock.

A guest of the model hangs for good, as Linux does, if it is asked for a device whose memory it still takes away.
"""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.progress import REST
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.model.tasks import GIB, codes, dimm, libvirt, requests, run, size, vm
from ansible_collections.virtmem.libvirt.tests.model.test_waiting import about, silent

ABSENT = Declaration((Wish(alias="ua-vm0", state="absent"),))
BOTH_WAYS = pytest.mark.parametrize("wait", [True, False])


def is_there(host: model.Libvirt, name: str) -> bool:
    """Whether the running guest has the device."""
    return size(host, name, "size") is not None


def test_the_model_hangs_where_linux_does() -> None:
    host = libvirt(a=[vm(requested=GIB), dimm("ua-d0")])
    run(host, {"a": requests(0)})
    host.unplug("a", "ua-vm0")
    host.advance(host.now + 60)
    host.unplug("a", "ua-d0")
    host.advance(host.now + 60)
    assert [model.alias_of(item) for item in model.memories(host.definition("a", model.LIVE))] == ["ua-vm0", "ua-d0"]


@BOTH_WAYS
def test_a_device_that_another_task_has_just_emptied(wait: bool) -> None:
    host = libvirt(a=[vm(requested=GIB)])
    assert codes(run(host, {"a": requests(0)})) == [None]
    began = host.now
    [job] = run(host, {"a": ABSENT}, wait=wait)
    assert codes([job]) == [None]
    assert host.now - began == about(REST + (host.lag / 3 if wait else 0))
    host.advance(host.now + host.lag)
    assert (is_there(host, "a"), host.machines["a"].hangs) == (False, False)


def test_events_do_not_shorten_it() -> None:
    host = libvirt(a=[vm()])
    for tick in range(100):
        host.later(tick / 50, lambda: host.tell("a"))
    began = host.now
    connection = model.Connection(host)
    unplugged: list[float] = []
    usual = connection.unplug

    def unplug(uuid: str, alias: str) -> None:
        unplugged.append(host.now - began)
        usual(uuid, alias)

    connection.unplug = unplug  # type: ignore[method-assign]
    assert codes(run(host, {"a": ABSENT}, connection=connection)) == [None]
    assert unplugged == [about(REST)]


def test_a_seldom_look_does_not_lengthen_it() -> None:
    host = libvirt(a=[vm()])
    began = host.now
    assert codes(run(host, {"a": ABSENT}, sleep=30.0)) == [None]
    assert host.now - began == about(REST + host.lag / 3)


def test_a_dimm_needs_none() -> None:
    host = libvirt(a=[dimm("ua-vm0")])
    began = host.now
    assert codes(run(host, {"a": ABSENT})) == [None]
    assert host.now - began == about(host.lag / 3)


def test_many_guests_have_it_at_the_same_time() -> None:
    names = [f"d{number}" for number in range(10)]
    devices: dict[str, t.Any] = {name: [vm(requested=GIB)] for name in names}
    host = libvirt(**devices)
    began = host.now
    assert codes(run(host, dict.fromkeys(names, ABSENT))) == [None] * 10
    assert host.now - began == pytest.approx(host.lag + REST + host.lag / 3, abs=1)
    assert not any(host.machines[name].hangs for name in names)


def test_it_is_not_taken_from_the_time_to_answer() -> None:
    host = silent("a")
    host.machines["a"].guest = "nodriver"
    connection = model.Connection(host)
    began = host.now
    [job] = run(host, {"a": ABSENT}, connection=connection, timeout=1)
    assert (codes([job]), connection.log) == (["not_converged"], [("unplug", "ua-vm0")])
    assert host.now - began == about(REST + 1)
    assert job.error is not None
    assert "virtio_mem_remove" in job.error.hint
    assert job.error.details["wait_timeout"] == 1


def test_a_device_that_is_found_empty_by_the_last_look_still_goes() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    connection = model.Connection(host, loses_events=True)
    began = host.now
    [job] = run(host, {"a": ABSENT}, connection=connection, timeout=2, sleep=30)
    assert [(step.op, step.scope) for step in job.done][:2] == [("update", "live"), ("detach", "live")]
    assert host.now - began == about(2 + REST)
    host.advance(host.now + host.lag)
    assert (is_there(host, "a"), host.machines["a"].hangs) == (False, False)


@BOTH_WAYS
def test_who_interrupts_it_has_changed_nothing(wait: bool) -> None:
    host = libvirt(a=[vm()])
    connection = model.Connection(host)

    def interrupt() -> None:
        connection.interrupted = True
        connection.wake()

    host.later(0.5, interrupt)
    began = host.now
    [job] = run(host, {"a": ABSENT}, connection=connection, wait=wait)
    assert (codes([job]), connection.log) == (["task_interrupted"], [])
    assert host.now - began == about(0.5)
    assert (job.steps, list(job.done)) == (job.steps, [])


@BOTH_WAYS
def test_what_happens_meanwhile_is_seen(wait: bool) -> None:
    host = libvirt(a=[vm()], b=[vm()])
    host.later(0.5, lambda: host.stop("a"))
    jobs = run(host, {"a": ABSENT, "b": ABSENT}, wait=wait)
    # A guest that is off has no device to give back, and the configuration of the one is as declared at once.
    assert jobs[1].error is None
    assert [size(host, "a", "size", scope=model.CONFIG), host.machines["a"].live] == [None, None]
    assert [step.scope for step in jobs[0].done] == ["config"]


def test_who_fills_it_meanwhile_has_it_emptied_again() -> None:
    host = libvirt(a=[vm()])

    def fill() -> None:
        run(host, {"a": requests(GIB, scope="live")}, wait=False)

    host.later(1.0, fill)
    [job] = run(host, {"a": ABSENT})
    assert codes([job]) == [None]
    assert (is_there(host, "a"), host.machines["a"].hangs) == (False, False)
    assert [(step.op, step.scope) for step in job.done] == [
        ("update", "live"),
        ("detach", "live"),
        ("detach", "config"),
    ]


def test_other_guests_grow_meanwhile() -> None:
    host = libvirt(a=[vm()], b=[vm()])
    connection = model.Connection(host)
    grew: list[float] = []
    usual, began = connection.update, host.now

    def update(uuid: str, scope: str, xml: str) -> None:
        grew.append(host.now - began)
        usual(uuid, scope, xml)

    connection.update = update  # type: ignore[method-assign]
    assert codes(run(host, {"a": ABSENT, "b": requests(GIB)}, connection=connection)) == [None, None]
    assert max(grew) < 1


def test_a_device_that_somebody_else_empties_while_another_one_goes() -> None:
    host = libvirt(a=[vm("ua-x", GIB), vm(requested=GIB)])
    host.lag = 6.0

    def empty() -> None:
        run(host, {"a": requests(0, scope="live")}, wait=False)

    host.later(3.95, empty)  # it is empty just before its own turn comes
    wishes = (Wish(alias="ua-x", state="absent"), *ABSENT.wishes)
    [job] = run(host, {"a": Declaration(wishes)}, timeout=60)
    assert codes([job]) == [None]
    assert host.machines["a"].hangs is False
    assert model.memories(host.definition("a", model.LIVE)) == []
    assert t.cast("Running", job).replans == 1


def test_a_device_that_waits_for_room_waits_for_those_that_are_about_to_go() -> None:
    host = libvirt(a=[vm()], b=[])
    connection = model.Connection(host, refusals={("attach", "live"): model.INTERNAL})
    host.later(1.0, connection.refusals.clear)  # type: ignore[attr-defined]
    grows = Declaration((Wish(alias="ua-d0", model="dimm", size=GIB, node=0),))
    assert codes(run(host, {"a": ABSENT, "b": grows}, connection=connection)) == [None, None]
