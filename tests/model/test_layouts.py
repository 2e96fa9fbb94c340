# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole domains on the model of libvirt: steps that the guest must answer first, many domains, and other parties."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
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

ABSENT = Declaration((Wish(alias="ua-old", state="absent"),))


def noted(host: model.Libvirt) -> tuple[model.Connection, list[str]]:
    """A connection, and what is changed over it: the call, the domain, the device's size that is asked for in MiB."""
    connection = model.Connection(host)
    log: list[str] = []

    def noting(name: str, usual: t.Any) -> t.Callable[[str, str, str], None]:
        def call(uuid: str, scope: str, xml: str) -> None:
            log.append(f"{name} {scope} {uuid} {model.alias_of(model.ET.fromstring(xml))}")
            usual(uuid, scope, xml)

        return call

    for name in ("attach", "update", "detach"):
        setattr(connection, name, noting(name, getattr(connection, name)))
    unplug, define = connection.unplug, connection.define

    def unplugging(uuid: str, alias: str) -> None:
        log.append(f"unplug {uuid} {alias}")
        unplug(uuid, alias)

    def defining(xml: str) -> None:
        log.append(f"define {model.ET.fromstring(xml).findtext('uuid')}")
        define(xml)

    connection.unplug, connection.define = unplugging, defining  # type: ignore[method-assign]
    return connection, log


def test_a_removal_drains_unplugs_and_then_leaves_the_configuration() -> None:
    host = libvirt(a=[vm("ua-old", GIB)])
    connection, log = noted(host)
    [job] = run(host, {"a": ABSENT}, connection=connection)
    assert codes([job]) == [None]
    assert log == ["update live a ua-old", "unplug a ua-old", "detach config a ua-old"]
    assert [size(host, "a", "size", "ua-old", scope) for scope in model.SCOPES] == [None, None]
    assert job.observed is not None
    assert job.observed.config is not None
    assert job.observed.config.devices == ()


def test_a_replacement_attaches_when_the_old_device_is_out() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    connection, log = noted(host)
    jobs = run(host, {"a": requests(3 * GIB, size=4 * GIB, replace=True)}, connection=connection)
    assert codes(jobs) == [None]
    assert log == ["update live a ua-vm0", "unplug a ua-vm0", "attach live a ua-vm0", "define a"]
    assert size(host, "a", "current") == 3 * GIB


def test_domains_whose_guests_must_answer_first_wait_at_the_same_time() -> None:
    names = [f"d{number}" for number in range(10)]
    devices: dict[str, t.Any] = {name: [dimm("ua-old"), vm()] for name in names}
    host = libvirt(**devices)
    connection, log = noted(host)
    began = host.now
    declaration = Declaration(requests(GIB).wishes, exclusive=True)
    jobs = run(host, dict.fromkeys(names, declaration), connection=connection)
    assert codes(jobs) == [None] * 10
    assert host.now - began < 2 * host.lag + 1  # the unplug, then the growth, whatever the number of domains
    # No configuration loses the device before the guest has.
    for name in names:
        assert [entry for entry in log if f" {name} " in f"{entry} "] == [
            f"unplug {name} ua-old",
            f"detach config {name} ua-old",
            f"update live {name} ua-vm0",
            f"update config {name} ua-vm0",
        ]


def test_a_guest_that_gives_nothing_back_keeps_its_configuration() -> None:
    host = libvirt(a=[dimm("ua-old")], b=[vm()])
    host.machines["a"].guest = "nodriver"
    began = host.now
    jobs = run(host, {"a": ABSENT, "b": requests(GIB)}, timeout=5.0)
    assert codes(jobs) == ["not_converged", None]
    assert host.now - began == pytest.approx(5, abs=0.2)
    assert size(host, "a", "size", "ua-old", model.CONFIG) == GIB
    assert jobs[0].error is not None
    assert jobs[0].error.details["shortfall"] == GIB


def test_the_time_is_for_the_whole_task() -> None:
    host = libvirt(a=[dimm("ua-old"), vm()], b=[dimm("ua-old"), vm()], c=[dimm("ua-old"), vm()])
    host.lag = 9.0  # 3 s for the unplug, 9 s for the growth
    began = host.now
    declaration = Declaration(requests(GIB).wishes, exclusive=True)
    jobs = run(host, dict.fromkeys("abc", declaration), timeout=6.0)
    assert codes(jobs) == ["not_converged"] * 3
    assert host.now - began == pytest.approx(6, abs=0.3)


def test_who_does_not_wait_does_all_that_needs_no_answer() -> None:
    host = libvirt(a=[dimm("ua-old"), vm()])
    host.machines["a"].guest = "nodriver"
    connection, log = noted(host)
    declaration = Declaration(requests(GIB).wishes, exclusive=True)
    [job] = run(host, {"a": declaration}, wait=False, connection=connection)
    assert codes([job]) == [None]
    assert log == ["unplug a ua-old", "update live a ua-vm0", "update config a ua-vm0"]
    assert tuple(job.steps) == tuple(job.done)


def test_no_domain_grows_before_all_have_been_asked_to_shrink() -> None:
    devices = [vm("ua-x"), vm("ua-y", GIB), vm("ua-z", GIB)]
    host = libvirt(a=devices, b=devices)
    wishes = (
        Wish(alias="ua-x", requested=GIB),
        Wish(alias="ua-y", requested=0),
        Wish(alias="ua-z", requested=512 * MIB),
    )
    connection, log = noted(host)
    jobs = run(host, dict.fromkeys("ab", Declaration(wishes)), connection=connection)
    assert codes(jobs) == [None, None]
    assert [entry for entry in log if " live " in entry] == [
        *(f"update live {name} {alias}" for name in "ab" for alias in ("ua-y", "ua-z")),
        *(f"update live {name} ua-x" for name in "ab"),
    ]


def test_one_bad_domain_keeps_all_from_being_changed() -> None:
    host = libvirt(a=[vm()], b=[])
    connection, log = noted(host)
    too_large = Declaration((Wish(alias="ua-d", model="dimm", size=64 * GIB),))
    declared = {"a": requests(GIB), "b": too_large, "c": requests(0)}
    assert codes(run(host, declared, connection=connection)) == [None, "insufficient_headroom", "domain_not_found"]
    assert log == []


def test_a_domain_is_declared_once() -> None:
    host = libvirt(a=[vm()])
    host.machines["a"].name = "other-name"
    assert codes(run(host, {"a": requests(GIB), "other-name": requests(0)})) == [None, "invalid_option"]


# --- others, at the same time


def between(connection: model.Connection, scope: str, action: t.Callable[[], None]) -> None:
    """Has something happen between the last look at this scope and the first change of it."""
    usual, left = connection.read, [True]

    def read(uuid: str, scopes: t.Collection[str] = model.SCOPES) -> t.Any:
        seen = usual(uuid, scopes)
        if tuple(scopes) == (scope,) and left[0]:
            left[0] = False
            action()
        return seen

    connection.read = read  # type: ignore[method-assign]


def test_a_step_that_fails_because_the_domain_is_another_one_is_planned_again() -> None:
    host = libvirt(a=[vm()])
    connection, log = noted(host)

    def vanish() -> None:
        for scope in model.SCOPES:
            root = host.definition("a", scope)
            t.cast("t.Any", root.find("devices")).remove(model.memories(root)[0])
            host._recount(root, scope)

    between(connection, "live", vanish)
    [job] = run(host, {"a": requests(GIB, model="virtio-mem", size=2 * GIB)}, connection=connection)
    assert codes([job]) == [None]
    assert isinstance(job, Running)
    assert job.replans
    assert log == ["update live a ua-vm0", "attach live a ua-vm0", "attach config a ua-vm0"]
    # The result has the steps that were taken, not those that failed.
    assert [step.op for step in job.steps] == ["attach", "attach"]


def test_what_is_refused_for_one_domain_leaves_the_others_alone() -> None:
    host = libvirt(a=[vm()], b=[vm()])
    connection, log = noted(host)
    usual = connection.update

    def update(uuid: str, scope: str, xml: str) -> None:
        if uuid == "a":
            connection.refusals = {("update", scope): model.INTERNAL}
        usual(uuid, scope, xml)

    def forgetting(uuid: str, scope: str, xml: str) -> None:
        try:
            update(uuid, scope, xml)
        finally:
            connection.refusals = {}

    connection.update = forgetting  # type: ignore[method-assign]
    jobs = run(host, dict.fromkeys("ab", requests(GIB)), connection=connection)
    assert codes(jobs) == ["libvirt_error", None]
    assert [size(host, name, "requested", scope=scope) for name in "ab" for scope in model.SCOPES] == [0, 0, GIB, GIB]
    assert log == ["update live a ua-vm0", "update live b ua-vm0", "update config b ua-vm0"]


@pytest.mark.parametrize("scope", model.SCOPES)
def test_an_alias_that_someone_took_meanwhile_is_not_given_twice(scope: str) -> None:
    host = libvirt(a=[])
    connection, _log = noted(host)
    taken = dimm("ua-vm0") if scope == model.CONFIG else vm(requested=GIB)

    def take(_connection: model.Connection) -> None:
        host.attach("a", scope, taken)
        if scope == model.LIVE:
            host.advance(host.now + host.lag)

    connection.faults = [model.Fault(4, take)]  # after versions, find and read: between the plan and the first step
    [job] = run(host, {"a": requests(GIB, model="virtio-mem", size=2 * GIB)}, connection=connection)
    aliases = [model.alias_of(item) for item in model.memories(host.definition("a", scope))]
    assert aliases == ["ua-vm0"]
    assert codes([job])[0] == ("alias_conflict" if scope == model.CONFIG else None)


def test_a_domain_is_read_no_more_often_than_needed() -> None:
    host = libvirt(a=[vm()])
    host.machines["a"].guest = "nodriver"
    connection, log = noted(host)
    run(host, {"a": requests(GIB)}, wait=False, connection=connection)
    # The versions, the name; once to plan, once before each of two steps, once to see what came of it.
    assert connection.calls - len(log) == 2 + 4


def test_a_device_that_becomes_smaller_makes_room_for_the_others_first() -> None:
    # 16 GiB are all that the domain may have: 1 GiB to boot with, and one device of 8 GiB.
    host = libvirt(a=[dimm("ua-c", 8 * GIB)])
    wishes = (
        Wish(alias="ua-d", model="dimm", size=12 * GIB),
        Wish(alias="ua-c", model="dimm", size=GIB, replace=True),
    )
    declared = {"a": Declaration(wishes)}
    assert codes(run(host, declared)) == [None]
    sizes = [size(host, "a", "size", alias, scope) for alias in ("ua-c", "ua-d") for scope in model.SCOPES]
    assert sizes == [GIB, GIB, 12 * GIB, 12 * GIB]
    assert run(host, declared)[0].steps == ()


def test_what_is_there_and_not_declared_is_named() -> None:
    """One may be a declared device under the name that it had before: it is not attached once more unseen."""
    host = libvirt(a=[vm("ua-old", GIB), vm("ua-kept")])
    wishes = (Wish(alias="ua-new", model="virtio-mem", size=2 * GIB, requested=GIB), Wish(alias="ua-kept", requested=0))
    (job,) = run(host, {"a": Declaration(wishes)})
    assert job.first is not None
    assert job.first.undeclared == ("ua-old",)
    (job,) = run(host, {"a": Declaration(wishes, exclusive=True)})
    assert job.first is not None
    assert job.first.undeclared == ()
