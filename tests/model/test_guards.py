# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task may not go beyond, and what it is warned of: on the model of libvirt, in the read of the plan."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import prepare
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Order, Planned
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.task import Patience
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.guards import Guards
from ansible_collections.virtmem.libvirt.plugins.module_utils._observe import Observer
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.model.tasks import GIB, MIB, dimm, libvirt, requests, vm


def judged(host: model.Libvirt, guards: Guards, **declared: Declaration) -> tuple[VirtmemError | None, list[str]]:
    """What the guards make of a task over these domains."""
    connection = model.Connection(host)
    hypervisor = t.cast("t.Any", connection)
    prepared = prepare.prepare(Observer(hypervisor), [Order(*item) for item in declared.items()], Patience())
    plans = [job.plan for job in prepared if isinstance(job, Planned)]
    assert len(plans) == len(declared)
    found = prepare.judge(hypervisor, plans, guards)
    connection.close()
    assert not connection.log
    return found


@pytest.mark.parametrize(("percent", "refused"), [(24.9, True), (25.0, False), (100.0, False), (0.0, True)])
def test_guests_shrink_by_no_more_than_a_share_of_all_devices_of_the_host(percent: float, refused: bool) -> None:
    """1 GiB of 4: two guests of the task, and one of the host's that the task is not about."""
    host = libvirt(a=[vm(requested=GIB)], b=[vm(requested=GIB)], c=[dimm("ua-d", 2 * GIB)])
    problem, notes = judged(host, Guards(max_shrink=percent), a=requests(512 * MIB), b=requests(512 * MIB))
    assert notes == []
    assert (problem is not None) == refused
    if problem is not None:
        assert problem.error_code == "guard_exceeded"
        assert problem.details == {
            "option": "guards.max_shrink",
            "shrinks": GIB,
            "total": 4 * GIB,
            "max_shrink": percent,
        }
        assert "1GiB, which is 25.0 % of the 4GiB" in problem.msg
        assert "once" in problem.hint


@pytest.mark.parametrize(
    ("had", "wanted", "refused"),
    [
        (GIB, 256 * MIB, True),
        (GIB, 512 * MIB, False),
        (256 * MIB, 128 * MIB, True),
        (128 * MIB, 256 * MIB, False),
        (256 * MIB, 256 * MIB, False),
    ],
)
def test_no_device_shrinks_below_the_least(had: int, wanted: int, refused: bool) -> None:
    host = libvirt(a=[vm(requested=had)])
    problem, _notes = judged(host, Guards(min_requested=512 * MIB), a=requests(wanted))
    assert (problem is not None) == refused
    if problem is not None:
        assert (problem.error_code, problem.details["requested"]) == ("guard_exceeded", wanted)
        assert "ua-vm0 of domain a" in problem.msg


def test_a_device_that_goes_is_no_device_that_shrinks_too_low() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    absent = Declaration((Wish(alias="ua-vm0", state="absent"),))
    assert judged(host, Guards(min_requested=512 * MIB), a=absent)[0] is None
    problem, _notes = judged(host, Guards(max_shrink=50.0), a=absent)
    assert problem is not None
    assert problem.details["shrinks"] == GIB


@pytest.mark.parametrize(("reserve", "refused"), [(GIB, False), (2 * GIB, False), (2 * GIB + MIB, True)])
def test_the_host_keeps_its_reserve(reserve: int, refused: bool) -> None:
    """8 GiB, of which two guests have 3; one is to have 3 more, and the other gives nothing back."""
    host = libvirt(a=[vm(size=4 * GIB)], b=[vm(requested=GIB)])
    host.host_total = 8 * 1024**2
    problem, notes = judged(host, Guards(host_reserve=reserve), a=requests(3 * GIB))
    assert notes == []
    assert (problem is not None) == refused
    if problem is not None:
        assert problem.error_code == "host_memory"
        assert (problem.details["growth"], problem.details["available"]) == (3 * GIB, 5 * GIB)
        assert "3GiB more" in problem.msg
        assert "5GiB of its 8GiB" in problem.msg


def test_what_one_guest_gives_back_another_may_have() -> None:
    host = libvirt(a=[vm(size=4 * GIB)], b=[vm(requested=2 * GIB)])
    host.host_total = 4 * 1024**2
    assert judged(host, Guards(host_reserve=0), a=requests(2 * GIB), b=requests(0)) == (None, [])


def test_a_growth_that_the_host_has_no_room_for_is_warned_of_without_a_guard() -> None:
    host = libvirt(a=[vm(size=4 * GIB)])
    host.host_total = 2 * 1024**2
    problem, notes = judged(host, Guards(), a=requests(4 * GIB))
    assert problem is None
    text, of_config = notes
    assert "5GiB from its next start on" in of_config
    assert "4GiB more" in text
    assert "1GiB of its 2GiB" in text
    host.stop("a")
    assert judged(host, Guards(), a=requests(GIB)) == (None, []), "a stopped domain takes nothing of the host"
    (text,) = judged(host, Guards(), a=requests(3 * GIB))[1]
    assert "4GiB from its next start on, and the whole host has 2GiB" in text


@pytest.mark.parametrize(("gib", "warned"), [(16, False), (32, True)])
def test_a_max_memory_far_beyond_the_host_is_warned_of(gib: int, warned: bool) -> None:
    host = libvirt(a=[vm()])
    host.host_total = 3 * 1024**2
    problem, notes = judged(host, Guards(), a=Declaration(max_memory=gib * GIB))
    assert problem is None
    assert [f"may get up to {gib}GiB" in text for text in notes] == ([True] if warned else [])


def test_a_domain_that_can_not_be_read_makes_the_guard_stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not counted, it can't make a share look smaller; and it does not end a task that is not about it."""
    host = libvirt(a=[vm(requested=GIB)], b=[vm(requested=GIB)], c=[dimm("ua-d", 2 * GIB)])
    read = model.Connection.read_listed

    def held_by_another_job(connection: model.Connection, listed: t.Any, guest: bool = False) -> t.Any:
        if listed.name == "c":
            raise VirtmemError("domain_busy", "Domain c did not answer.")
        return read(connection, listed, guest)

    monkeypatch.setattr(model.Connection, "read_listed", held_by_another_job)
    problem, _notes = judged(host, Guards(max_shrink=25.0), a=requests(512 * MIB), b=requests(512 * MIB))
    assert problem is not None
    assert (problem.error_code, problem.details["total"]) == ("guard_exceeded", 2 * GIB)
