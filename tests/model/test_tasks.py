# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single tasks on the model of libvirt, over one domain or several, to which one certain thing happens.

What happens in any order is for test_promises.py; here is what a person would want to read as a story.
"""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Job
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.model.tasks import (
    GIB,
    MIB,
    NEW,
    OLD,
    codes,
    dimm,
    libvirt,
    requests,
    run,
    size,
    vm,
)

# --- who was there must still be there when the task ends


def _reset(host: model.Libvirt, uuid: str, paused: bool) -> None:
    if paused:
        host.suspend(uuid)
    host.reset(uuid)


LOSSES: dict[str, tuple[t.Callable[[model.Libvirt], None], str | None]] = {
    "reset, and it stays paused": (lambda host: _reset(host, "a", paused=True), "not_converged"),
    "reset, and it boots again": (lambda host: _reset(host, "a", paused=False), None),
    "stopped": (lambda host: host.stop("a"), "domain_stopped"),
    "stopped by a fault": (lambda host: host.suspend("a", error=True), None),  # it keeps what it has
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("had_it", [False, True])
def test_a_guest_that_loses_its_memory_while_another_is_waited_for_is_not_green(loss: str, had_it: bool) -> None:
    action, expected = LOSSES[loss]
    host = libvirt(a=[vm(requested=GIB if had_it else 0)], b=[vm()])
    host.machines["b"].guest = "nodriver"
    began = host.now
    host.later(8.0, lambda: action(host))
    jobs = run(host, {"a": requests(GIB), "b": requests(GIB)}, timeout=12.0)
    assert codes(jobs) == [expected, "not_converged"]
    assert host.now - began < 13
    if expected is None:
        assert size(host, "a", "current") == GIB
    if expected == "not_converged":
        assert jobs[0].error is not None
        assert jobs[0].error.details["shortfall"] == GIB
        assert jobs[0].error.hint


def test_a_guest_that_falls_back_at_the_very_end_is_waited_for() -> None:
    host = libvirt(a=[vm()], b=[vm()])
    host.machines["b"].guest = "nodriver"
    began = host.now

    def wakes() -> None:
        host.machines["b"].guest = "driver"
        host.reset("a")
        host.machines["a"].state = "paused"
        host.answer("b")

    host.later(10.0, wakes)
    host.later(20.0, lambda: host.resume("a"))
    jobs = run(host, {"a": requests(GIB), "b": requests(GIB)})
    assert codes(jobs) == [None, None]
    assert 20 < host.now - began < 25
    assert [size(host, name, "current") for name in "ab"] == [GIB, GIB]


def test_who_does_not_wait_is_not_made_to() -> None:
    host = libvirt(a=[vm()])
    host.machines["a"].guest = "nodriver"
    began = host.now
    assert codes(run(host, {"a": requests(GIB)}, wait=False)) == [None]
    assert host.now - began < 1


# --- a call that libvirt refuses


def test_what_is_refused_is_tried_once_though_the_guest_moves() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    host.lag = 60.0
    first = requests(2 * GIB)
    run(host, {"a": first}, wait=False)
    # It has half of it between the plan and the refusal.
    host.advance((host.next_due() or 0) - 0.007)
    connection = model.Connection(host, refusals={("update", "live"): model.INTERNAL})
    jobs = run(host, {"a": requests(GIB)}, connection=connection)
    assert codes(jobs) == ["libvirt_error"]
    assert connection.log == [("update", "live")]
    assert size(host, "a", "current") == GIB * 3 // 2


def test_a_refused_unplug_of_an_emptied_device_is_not_tried_again() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    connection = model.Connection(host, refusals={("unplug", "ua-vm0"): model.OPERATION_FAILED})
    jobs = run(host, {"a": Declaration((Wish(alias="ua-vm0", state="absent", scope="live"),))}, connection=connection)
    assert codes(jobs) == ["libvirt_error"]
    assert connection.log == [("update", "live"), ("unplug", "ua-vm0")]


# --- what belongs to one device


def test_only_a_device_whose_running_side_was_changed_is_said_to_be() -> None:
    host = libvirt(a=[vm("ua-a"), vm("ua-b")])
    wishes = (Wish(alias="ua-a", requested=GIB), Wish(alias="ua-b", requested=GIB, scope="config"))

    def refuse_second(connection: model.Connection) -> None:
        if sum(entry == ("update", "config") for entry in connection.log):
            raise model.Refused(model.INTERNAL, "made to fail")

    faults = [model.Fault(at, refuse_second) for at in range(1, 40)]
    jobs = run(host, {"a": Declaration(wishes)}, connection=model.Connection(host, faults))
    assert codes(jobs) == ["libvirt_error"]
    assert jobs[0].error is not None
    assert "running guest was changed" not in jobs[0].error.msg
    assert size(host, "a", "requested", "ua-b", model.CONFIG) == 0


# --- someone else at the same time


def test_what_is_written_back_is_among_the_steps() -> None:
    host = libvirt(a=[vm()], b=[vm()])
    connection = model.Connection(host)

    def other() -> None:
        host.machines["b"].guest = "driver"
        host.answer("b")
        other_task = model.Connection(host)
        run(host, {"a": requests(512 * MIB, scope="live")}, wait=False, connection=other_task)

    host.machines["b"].guest = "nodriver"
    host.later(10.0, other)
    jobs = run(host, {"a": requests(GIB), "b": requests(GIB)}, connection=connection)
    assert codes(jobs) == ["changed_meanwhile", None]
    assert size(host, "a", "requested", scope=model.CONFIG) == 512 * MIB
    done = [(step.op, step.scope, step.after.requested if step.after else None) for step in jobs[0].done]
    assert done == [("update", "live", GIB), ("update", "config", GIB), ("update", "config", 512 * MIB)]
    assert jobs[0].steps == tuple(jobs[0].done)
    assert len(connection.log) == len(jobs[0].done) + len(jobs[1].done)


def test_a_result_begins_where_the_task_began_though_it_was_planned_twice() -> None:
    host = libvirt(a=[vm(), dimm("ua-old")])
    declaration = Declaration((Wish(alias="ua-vm0", requested=GIB),), exclusive=True)
    connection = model.Connection(host)
    undone = []

    def undo() -> None:
        text = vm(requested=0)
        found = next(i for i in model.memories(host.definition("a", "config")) if model.alias_of(i) == "ua-vm0")
        model.set_number(t.cast("t.Any", found.find("target")), "requested", 0)
        undone.append(text)

    host.later(1.2, undo)
    jobs = run(host, {"a": declaration}, connection=connection)
    assert codes(jobs) == [None]
    assert undone
    vm_plan, dimm_plan = jobs[0].devices
    for scope in (model.LIVE, model.CONFIG):
        before, after = (getattr(vm_plan, side)[scope] for side in ("before", "after"))
        assert (before.requested, after.requested) == (0, GIB), scope
        old = dimm_plan.before[scope]
        assert old is not None
        assert old.alias == "ua-old"
        assert dimm_plan.after[scope] is None


# --- a device that is replaced


@pytest.mark.parametrize("had", [512 * MIB, 1536 * MIB])
@pytest.mark.parametrize(("resize", "allowed"), [("any", (-1, 1)), ("grow", (1,)), ("shrink", (-1,)), ("never", ())])
def test_a_replaced_device_keeps_what_resize_keeps(had: int, resize: str, allowed: tuple[int, ...]) -> None:
    host = libvirt(a=[vm(requested=had)])
    declaration = requests(GIB, size=4 * GIB, resize=resize, replace=True)
    jobs = run(host, {"a": declaration})
    assert codes(jobs) == [None]
    expected = GIB if (1 if had < GIB else -1) in allowed else had
    for scope in model.SCOPES:
        assert (size(host, "a", "size", scope=scope), size(host, "a", "requested", scope=scope)) == (4 * GIB, expected)
    assert size(host, "a", "current") == expected
    assert run(host, {"a": declaration})[0].steps == ()


@pytest.mark.parametrize("resize", ["grow", "never"])
def test_what_a_smaller_device_could_not_keep_is_an_error(resize: str) -> None:
    host = libvirt(a=[vm(requested=1536 * MIB)])
    before = model.dumped(host.definition("a", model.LIVE))
    jobs = run(host, {"a": requests(512 * MIB, size=GIB, resize=resize, replace=True)})
    assert codes(jobs) == ["requested_exceeds_size"]
    assert jobs[0].error is not None
    assert "resize" in jobs[0].error.msg + jobs[0].error.hint
    assert model.dumped(host.definition("a", model.LIVE)) == before


REPLACED = {
    "virtio-mem": (vm(requested=GIB), Wish(alias="ua-vm0", size=4 * GIB, requested=GIB, replace=True)),
    "dimm": (dimm("ua-vm0"), Wish(alias="ua-vm0", size=2 * GIB, replace=True)),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_a_replacement_that_libvirt_does_not_take_is_said_to_be_half(kind: str) -> None:
    element, wish = REPLACED[kind]
    host = libvirt(a=[element])
    connection = model.Connection(host, refusals={("attach", "live"): model.INTERNAL})
    (job,) = run(host, {"a": Declaration((wish,))}, connection=connection)
    assert codes([job]) == ["libvirt_error"]
    assert size(host, "a", "size") is None
    _says_half(job, "gone")
    # What it says is true: the next task attaches it.
    assert codes(run(host, {"a": Declaration((wish,))})) == [None]
    assert [size(host, "a", "size", scope=scope) for scope in model.SCOPES] == [wish.size] * 2


def _says_half(job: Job, state: str) -> None:
    error = job.error
    assert error is not None
    half = error.details["half_replaced"]
    assert (half["alias"], half["state"]) == ("ua-vm0", state)
    assert "ua-vm0" in error.msg
    assert "is without" in error.msg
    assert "again" in error.hint
    assert "Nothing is left half done" not in error.hint


@pytest.mark.parametrize("how", ["interrupted", "timeout"])
def test_a_replacement_that_ends_while_it_is_emptied_is_said_to_be_half(how: str) -> None:
    element, wish = REPLACED["virtio-mem"]
    host = libvirt(a=[element])
    host.machines["a"].guest = "nodriver"
    connection = model.Connection(host)

    def interrupt() -> None:
        connection.interrupted = True
        connection.wake()

    if how == "interrupted":
        host.later(5.0, interrupt)
    (job,) = run(host, {"a": Declaration((wish,))}, connection=connection)
    assert codes([job]) == ["task_interrupted" if how == "interrupted" else "not_converged"]
    assert size(host, "a", "requested") == 0
    _says_half(job, "emptied")
    host.machines["a"].guest = "driver"
    host.answer("a")
    assert codes(run(host, {"a": Declaration((wish,))})) == [None]
    assert [size(host, "a", "requested", scope=scope) for scope in model.SCOPES] == [GIB] * 2


def test_what_resize_keeps_is_kept_over_a_replacement_that_was_interrupted() -> None:
    host = libvirt(a=[vm(requested=1536 * MIB)])
    host.machines["a"].guest = "nodriver"
    declaration = requests(GIB, size=4 * GIB, resize="grow", replace=True)
    assert codes(run(host, {"a": declaration})) == ["not_converged"]
    host.machines["a"].guest = "driver"
    host.answer("a")
    assert codes(run(host, {"a": declaration})) == [None]
    assert [size(host, "a", "requested", scope=scope) for scope in model.SCOPES] == [1536 * MIB] * 2


def test_a_dimm_that_the_guest_was_asked_for_may_still_go() -> None:
    element, wish = REPLACED["dimm"]
    host = libvirt(a=[element])
    host.machines["a"].guest = "nodriver"
    (job,) = run(host, {"a": Declaration((wish,))})
    assert codes([job]) == ["not_converged"]
    assert job.error is not None
    assert job.error.details["half_replaced"]["state"] == "asked_for"
    assert "may still" in job.error.msg


def test_a_guest_that_stops_in_the_middle_of_a_replacement_is_not_half_replaced() -> None:
    """The next start brings what the configuration has: nothing is missing."""
    element, wish = REPLACED["virtio-mem"]
    host = libvirt(a=[element])
    host.machines["a"].guest = "nodriver"
    host.later(3.0, lambda: host.stop("a"))
    (job,) = run(host, {"a": Declaration((wish,))})
    assert codes([job])[0] in (None, "domain_stopped")
    assert job.error is None or "half_replaced" not in job.error.details


def test_a_device_that_someone_else_gives_memory_again_is_not_half_replaced() -> None:
    element, wish = REPLACED["virtio-mem"]
    host = libvirt(a=[element])
    host.machines["a"].guest = "nodriver"

    def request() -> None:
        for device in model.memories(host.definition("a", model.LIVE)):
            model.set_number(t.cast("t.Any", device.find("target")), "requested", 512 * 1024)
        host.tell("a")

    host.later(3.0, request)
    (job,) = run(host, {"a": Declaration((wish,))})
    assert codes([job]) == ["changed_meanwhile"]
    assert job.error is not None
    assert "half_replaced" not in job.error.details


def test_more_and_less_room_at_once_are_two_steps() -> None:
    """The second is checked against the configuration as the first one left it."""
    host = libvirt(a=[vm()])
    (job,) = run(host, {"a": Declaration(max_memory=32 * GIB, slots=4)})
    assert codes([job]) == [None]
    assert len(job.done) == 2
    limit = host.definition("a", model.CONFIG).find("maxMemory")
    assert limit is not None
    assert (limit.get("slots"), model.number(host.definition("a", model.CONFIG), "maxMemory")) == ("4", 32 * 1024**2)


def test_who_interrupts_leaves_no_guest_without_its_device() -> None:
    element, wish = REPLACED["dimm"]
    host = libvirt(a=[element])
    connection = model.Connection(host)

    def interrupt() -> None:
        # At the very moment at which the guest has given it back.
        if size(host, "a", "size") is None:
            connection.interrupted = True
        else:
            host.later(0.01, interrupt)

    interrupt()
    jobs = run(host, {"a": Declaration((wish,))}, connection=connection)
    assert size(host, "a", "size") == wish.size
    assert codes(jobs) in ([None], ["task_interrupted"])


def test_a_guest_of_an_older_qemu_keeps_its_emptied_device_until_the_restart() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    host.machines["a"].qemu = OLD.hypervisor
    declaration = Declaration((Wish(alias="ua-vm0", state="absent"),))
    (job,) = run(host, {"a": declaration})
    assert codes([job]) == [None]
    assert [(step.op, step.scope) for step in job.done] == [("update", "live"), ("detach", "config")]
    assert job.plan is not None
    assert "ua-vm0" in job.plan.restart_reasons[0]
    assert [size(host, "a", "current"), size(host, "a", "size", scope=model.CONFIG)] == [0, None]
    (again,) = run(host, {"a": declaration})
    assert (again.error, again.done) == (None, [])
    host.stop("a")
    host.start("a")
    assert size(host, "a", "size") is None


@pytest.mark.parametrize("scope", ["live", "both"])
def test_a_guest_of_an_older_qemu_that_must_lose_its_device_at_once(scope: str) -> None:
    host = libvirt(a=[vm(requested=GIB)])
    host.machines["a"].qemu = OLD.hypervisor
    jobs = run(host, {"a": Declaration((Wish(alias="ua-vm0", state="absent", scope=scope),))})
    assert codes(jobs) == ["needs_restart"]
    assert size(host, "a", "size", scope=model.CONFIG) is not None


def test_a_device_of_an_older_qemu_gets_its_memory_back_instead_of_a_replacement() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    host.machines["a"].qemu = OLD.hypervisor
    (job,) = run(host, {"a": requests(1536 * MIB, size=4 * GIB, replace=True)})
    assert codes([job]) == [None]
    assert [size(host, "a", what) for what in ("size", "current")] == [2 * GIB, 1536 * MIB]
    assert [size(host, "a", what, scope=model.CONFIG) for what in ("size", "requested")] == [4 * GIB, 1536 * MIB]
    assert job.plan is not None
    assert job.plan.restart_reasons


# --- a host without room


NEW_DIMM = Declaration((Wish(alias="ua-d", model="dimm", size=GIB),))


def test_who_is_refused_for_want_of_memory_gets_what_others_give_back() -> None:
    host = libvirt(a=[], b=[vm(requested=2 * GIB)])
    host.host_memory = 2 * GIB // 1024
    jobs = run(host, {"a": NEW_DIMM, "b": requests(GIB)})
    assert codes(jobs) == [None, None]
    assert (size(host, "a", "size", "ua-d"), size(host, "b", "current")) == (GIB, GIB)
    assert host.now < 1020


def test_the_same_within_one_guest() -> None:
    host = libvirt(a=[vm(requested=2 * GIB)])
    host.host_memory = 2 * GIB // 1024
    declaration = Declaration((*NEW_DIMM.wishes, *requests(GIB).wishes))
    assert codes(run(host, {"a": declaration})) == [None]
    assert run(host, {"a": declaration})[0].steps == ()


@pytest.mark.parametrize("wait", [True, False])
def test_who_is_refused_and_nobody_gives_memory_back_is_not_kept_waiting(wait: bool) -> None:
    host = libvirt(a=[], b=[vm(requested=2 * GIB)])
    host.host_memory = 2 * GIB // 1024
    began = host.now
    declared = {"a": NEW_DIMM, "b": requests(GIB)} if not wait else {"a": NEW_DIMM}
    jobs = run(host, declared, wait=wait)
    assert codes(jobs)[0] == "libvirt_error"
    assert host.now - began < 1
    assert size(host, "a", "size", "ua-d", model.CONFIG) is None


def test_who_waits_in_vain_for_the_memory_of_others_has_libvirts_own_error() -> None:
    host = libvirt(a=[], b=[vm(requested=2 * GIB)])
    host.host_memory = 2 * GIB // 1024
    host.machines["b"].guest = "nodriver"
    began = host.now
    jobs = run(host, {"a": NEW_DIMM, "b": requests(GIB)})
    assert codes(jobs) == ["libvirt_error", "not_converged"]
    assert jobs[0].error is not None
    assert "Cannot allocate memory" in jobs[0].error.msg
    assert "give back" in jobs[0].error.msg
    assert 30 <= host.now - began < 31


# --- what a new device gets


PAGES = {"KiB": 4, "MiB": 2, "GiB": 1}
HOST = (
    f"<capabilities><host><cpu>{''.join(f'<pages unit={unit!r} size={str(n)!r}/>' for unit, n in PAGES.items())}</cpu>"
    "<topology><cells><cell id='0'>"
    f"{''.join(f'<pages unit={unit!r} size={str(n)!r}>4096</pages>' for unit, n in PAGES.items())}"
    "</cell></cells></topology></host></capabilities>"
)


@pytest.mark.parametrize(("pagesize", "block"), [(4096, 2 * MIB), (2 * MIB, 2 * MIB), (GIB, GIB), (None, 2 * MIB)])
def test_a_new_device_has_blocks_of_its_huge_pages(pagesize: int | None, block: int) -> None:
    host = libvirt(a=[])
    host.capabilities = HOST
    wish = Wish(alias="ua-new", model="virtio-mem", size=2 * GIB, requested=GIB, pagesize=pagesize)
    assert codes(run(host, {"a": Declaration((wish,))})) == [None]
    assert size(host, "a", "block", "ua-new") == block


def test_a_device_of_a_model_of_tomorrow_can_be_removed_and_not_changed() -> None:
    host = libvirt(a=[dimm("ua-d")])
    for scope in model.SCOPES:
        (device,) = model.memories(host.definition("a", scope))
        device.set("model", "cxl")
    (job,) = run(host, {"a": Declaration((Wish(alias="ua-d", size=2 * GIB),))})
    assert codes([job]) == ["unsupported"]
    assert job.error is not None
    assert "cxl" in job.error.msg
    (job,) = run(host, {"a": Declaration((Wish(alias="ua-d", state="absent"),))})
    assert codes([job]) == [None]
    assert (size(host, "a", "size", "ua-d"), size(host, "a", "size", "ua-d", model.CONFIG)) == (GIB, None)
    assert job.plan is not None
    assert "cxl" in job.plan.restart_reasons[0]


# --- guests that can't answer


def test_a_guest_that_sleeps_is_said_to_at_once_and_asked_for_nothing() -> None:
    host = libvirt(a=[vm(), dimm("ua-d")])
    host.machines["a"].state = "pmsuspended"
    began = host.now
    for declaration in (requests(GIB), Declaration((Wish(alias="ua-d", state="absent"),))):
        connection = model.Connection(host)
        (job,) = run(host, {"a": declaration}, connection=connection)
        assert codes([job]) == ["domain_paused"]
        assert job.error is not None
        assert "virsh dompmwakeup a" in job.error.hint
        assert not connection.log
    assert host.now - began < 1
    # What needs no answer of the guest is done.
    assert codes(run(host, {"a": requests(GIB, scope="config")})) == [None]


def test_a_guest_that_falls_asleep_during_the_wait_ends_it() -> None:
    host = libvirt(a=[vm()])
    host.lag = 100.0

    def sleep() -> None:
        host.machines["a"].state = "pmsuspended"
        host.tell("a")

    host.later(3.0, sleep)
    began = host.now
    assert codes(run(host, {"a": requests(GIB)})) == ["domain_paused"]
    assert host.now - began < 4


# --- interruptions, and domains that change between two steps


def at_call(number: int, action: t.Callable[[model.Connection], None], host: model.Libvirt) -> model.Connection:
    """A connection to which something happens at its n-th call."""
    return model.Connection(host, [model.Fault(number, action)])


def interrupt(connection: model.Connection) -> None:
    """As Ctrl-C does."""
    connection.interrupted = True
    connection.wake()


@pytest.mark.parametrize("call", range(3, 9))
def test_an_interruption_at_any_call_leaves_both_sides_the_same(call: int) -> None:
    host = libvirt(a=[vm()])
    host.machines["a"].guest = "nodriver"
    (job,) = run(host, {"a": requests(GIB)}, connection=at_call(call, interrupt, host))
    assert codes([job]) == ["task_interrupted"]
    sides = {size(host, "a", "requested", scope=scope) for scope in model.SCOPES}
    assert sides in ({0}, {GIB})
    assert bool(job.done) == (sides == {GIB})


@pytest.mark.parametrize("call", range(4, 9))
def test_a_domain_that_stops_between_two_steps_gets_the_rest(call: int) -> None:
    host = libvirt(a=[vm()])
    (job,) = run(host, {"a": requests(GIB)}, connection=at_call(call, lambda _c: host.stop("a"), host))
    assert codes([job])[0] in (None, "domain_stopped")
    assert codes(run(host, {"a": requests(GIB)})) == [None]
    assert size(host, "a", "requested", scope=model.CONFIG) == GIB


def _raise_limit(host: model.Libvirt) -> None:
    model.set_number(host.definition("a", model.CONFIG), "maxMemory", 64 * 1024**2)


def test_room_that_someone_else_changed_meanwhile_is_planned_for_anew() -> None:
    host = libvirt(a=[vm()])
    declaration = Declaration(slots=12)
    connection = at_call(4, lambda _c: _raise_limit(host), host)
    (job,) = run(host, {"a": declaration}, connection=connection)
    assert codes([job]) == [None]
    limit = host.definition("a", model.CONFIG).find("maxMemory")
    assert limit is not None
    assert (limit.get("slots"), model.number(host.definition("a", model.CONFIG), "maxMemory")) == ("12", 64 * 1024**2)


def test_a_guest_that_refuses_to_give_a_device_back_ends_the_wait() -> None:
    host = libvirt(a=[dimm("ua-d")])
    host.machines["a"].guest = "pinned"
    began = host.now
    jobs = run(host, {"a": Declaration((Wish(alias="ua-d", state="absent"),))})
    assert codes(jobs) == ["guest_rejected_unplug"]
    assert host.now - began < 5
    assert size(host, "a", "size", "ua-d", model.CONFIG) == GIB


@pytest.mark.parametrize("call", range(3, 14))
def test_a_connection_that_breaks_at_any_call_is_said_to(call: int) -> None:
    host = libvirt(a=[vm()])

    def break_it(connection: model.Connection) -> None:
        connection.broken = True
        connection.wake()

    (job,) = run(host, {"a": requests(GIB)}, connection=at_call(call, break_it, host))
    assert codes([job])[0] in (None, "connection_lost")
    assert codes(run(host, {"a": requests(GIB)})) == [None]


def test_a_change_that_is_undone_again_and_again_is_someone_elses() -> None:
    host = libvirt(a=[vm()])
    connection = model.Connection(host)

    def undo() -> None:
        for scope in model.SCOPES:
            for device in model.memories(host.definition("a", scope)):
                model.set_number(t.cast("t.Any", device.find("target")), "requested", 0)
        host.later(0.003, undo)

    host.later(0.004, undo)
    (job,) = run(host, {"a": requests(GIB)}, connection=connection, timeout=3.0)
    assert codes([job]) == ["changed_meanwhile"]
    assert job.error is not None
    assert "nothing else" in job.error.hint or "one party" in job.error.hint


@pytest.mark.parametrize("whose", [model.LIVE, model.CONFIG])
def test_what_someone_else_undid_and_can_not_be_written_again_is_said(whose: str) -> None:
    """The disk is full when the task looks once more, and finds that it was not the last to change the domain."""
    host = libvirt(a=[vm(requested=512 * MIB)])
    host.machines["a"].guest = "nodriver"

    def someone_else() -> None:
        for device in model.memories(host.definition("a", model.LIVE)):
            model.set_number(t.cast("t.Any", device.find("target")), "current", 1024**2)
        host.tell("a")
        for device in model.memories(host.definition("a", whose)):
            model.set_number(t.cast("t.Any", device.find("target")), "requested", 256 * 1024)
        host.config_refused = True

    connection = model.Connection(host)
    read, looks = connection.read, 0

    def reads(uuid: str, scopes: t.Collection[str] = model.SCOPES) -> t.Any:
        nonlocal looks
        looks += set(scopes) == set(model.SCOPES)
        # The first look is the plan's, the second is that after the wait.
        if looks == 2:
            someone_else()
            looks += 1
        return read(uuid, scopes)

    connection.read = reads  # type: ignore[method-assign]
    host.later(2.0, lambda: gets_all(host))
    (job,) = run(host, {"a": requests(GIB)}, connection=connection)
    assert job.error is not None
    if whose == model.LIVE:
        assert codes([job]) == ["changed_meanwhile"]
        assert "The configuration still has what this task wrote" in job.error.msg
    else:
        assert codes([job]) == ["libvirt_error"]
    assert size(host, "a", "requested", scope=model.CONFIG) == (GIB if whose == model.LIVE else 256 * MIB)


def gets_all(host: model.Libvirt) -> None:
    """The guest has what is requested of it."""
    for device in model.memories(host.definition("a", model.LIVE)):
        target = t.cast("t.Any", device.find("target"))
        model.set_number(target, "current", model.number(device, "target/requested") or 0)
    host.tell("a")


LIMIT = 700 * 1024  # KiB, of 1 GiB of boot memory


@pytest.mark.parametrize("versions", [OLD, NEW])
@pytest.mark.parametrize(
    ("there", "wish", "left"),
    [
        ([], Wish(alias="ua-vm0", model="virtio-mem", size=2 * GIB, requested=GIB), LIMIT),
        ([vm()], Wish(alias="ua-vm0", state="absent"), LIMIT),
        ([], Wish(alias="ua-d", model="dimm", size=GIB), LIMIT + 1024**2),
        ([dimm("ua-d")], Wish(alias="ua-d", state="absent"), LIMIT),
        ([vm()], Wish(alias="ua-vm0", requested=GIB), LIMIT),
    ],
)
def test_a_limit_of_the_balloon_outlives_a_device_that_comes_or_goes(
    versions: t.Any, there: list[str], wish: Wish, left: int
) -> None:
    """At boot it is the balloon's target, which counts boot memory and DIMMs alone."""
    host = libvirt(versions, balloon="virtio", a=there)
    host.stop("a")
    dimms = sum(GIB // 1024 for text in there if "dimm" in text)
    model.set_number(host.definition("a", model.CONFIG), "currentMemory", LIMIT + (dimms if there else 0))
    (job,) = run(host, {"a": Declaration((wish,))})
    assert codes([job]) == [None]
    assert len(job.done) == 1
    assert model.number(host.definition("a", model.CONFIG), "currentMemory") == left
    assert run(host, {"a": Declaration((wish,))})[0].steps == ()


def test_a_guest_that_refuses_changes_nothing() -> None:
    host = libvirt(a=[dimm("ua-d")])
    host.machines["a"].guest = "pinned"
    (job,) = run(host, {"a": Declaration((Wish(alias="ua-d", state="absent"),))})
    assert codes([job]) == ["guest_rejected_unplug"]
    assert job.done == []
    assert [(step.op, step.scope) for step in job.steps] == [("detach", "live"), ("detach", "config")]
