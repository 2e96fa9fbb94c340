# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans of whole domains: many devices of all models, `exclusive`, the order of the steps, room, and readiness."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import identity
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    ABSENT,
    CONFIG,
    LIVE,
    Declaration,
    Definition,
    Device,
    Domain,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES, VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.step import (
    DETACH,
    GROW,
    REMOVE,
    SHRINK,
    UPDATE,
    Plan,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning
from hypothesis import given
from hypothesis import strategies as st

# --- any domain with devices of any model, any declaration for it


def device(model: str, alias: str | None, live: bool, slot: int, **values: t.Any) -> Device:
    """A device as one scope of a domain shows it."""
    generated = f"{model.replace('-', '')}{slot}" if live else None
    common = {"alias": alias or generated, "size": GIB, **values}
    if model == "virtio-mem":
        usual = {"requested": 512 * MIB, "current": 512 * MIB if live else None, "address": f"pci 0000:0{slot}:00.0"}
        return helpers.virtio_mem(**{**usual, **common})
    path = f"/memory/{alias or slot}"
    if model == "virtio-pmem":
        return helpers.dimm(model=model, path=path, node=None, address=f"pci 0000:0{slot}:00.0", **common)
    return helpers.dimm(model=model, path=path if model == "nvdimm" else None, slot=slot, **common)


MODELS = ["dimm", "nvdimm", "virtio-mem", "virtio-pmem"]
NAMES = ["ua-a", "ua-b", "ua-c"]


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """A domain, running or not, with up to three devices, each in both scopes or in one of them."""
    running, persistent = draw(st.sampled_from([(True, True), (True, True), (False, True), (True, False)]))
    sides: dict[str, list[Device]] = {LIVE: [], CONFIG: []}
    for slot, alias in enumerate(draw(st.lists(st.sampled_from([*NAMES, None]), max_size=3, unique=True))):
        model = draw(st.sampled_from(MODELS))
        scopes = draw(st.sampled_from([(LIVE, CONFIG), (LIVE, CONFIG), (LIVE, CONFIG), (LIVE,), (CONFIG,)]))
        for scope in scopes:
            sides[scope].append(device(model, alias, scope == LIVE, slot))
    room = draw(st.sampled_from([64 * GIB, 64 * GIB, 5 * GIB, None]))
    ports = draw(st.sampled_from([None, 0, 1, 3]))

    def definition(scope: str) -> Definition:
        # A domain that has devices has room for them.
        limit = room if room is not None or not sides[scope] else 64 * GIB
        cells = (0,) if limit is not None else draw(st.sampled_from([(), (0,)]))
        slots = 0 if limit is None else draw(st.sampled_from([4, 16]))
        acpi = any("dimm" in item.model for item in sides[scope]) or draw(st.booleans())
        return helpers.definition(
            *sides[scope], max_memory=limit, slots=slots, cells=cells, free_ports=ports, acpi=acpi, processors=4
        )

    return helpers.domain(definition(LIVE) if running else None, definition(CONFIG) if persistent else None)


@st.composite
def wishes(draw: st.DrawFn, alias: str) -> Wish:
    """A device that is to be there, or not."""
    if draw(st.integers(0, 4)) == 0:
        return Wish(alias=alias, state=ABSENT)
    model = draw(st.sampled_from(MODELS))
    virtio = model == "virtio-mem"
    return Wish(
        alias=alias,
        model=model,
        size=draw(st.sampled_from([GIB, GIB, 2 * GIB])),
        requested=draw(st.sampled_from([0, 512 * MIB, GIB])) if virtio else None,
        path=f"/memory/{alias}" if "pmem" in model or model == "nvdimm" else None,
        replace=draw(st.sampled_from([False, False, True])),
        resize=draw(st.sampled_from(["any", "any", "grow", "shrink"])) if virtio else "any",
    )


@st.composite
def declarations(draw: st.DrawFn) -> Declaration:
    """Up to three devices, with and without all the rest of a layout."""
    aliases = draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
    return Declaration(
        wishes=tuple(draw(wishes(alias)) for alias in aliases),
        exclusive=draw(st.booleans()),
        max_memory=draw(st.sampled_from([None, GIB, 8 * GIB, 32 * GIB])),
        slots=draw(st.sampled_from([None, None, 2, 8])),
        spare_ports=draw(st.sampled_from([None, None, 0, 2])),
    )


VERSIONS = st.sampled_from([helpers.BOOKWORM, helpers.TRIXIE])


def plan_or_error(domain: Domain, declaration: Declaration, versions: Versions, wait: bool = True) -> Plan | None:
    """The plan, None if it is refused (by one of the codes, with a way out)."""
    try:
        return planning.declared(domain, declaration, versions, wait=wait)
    except VirtmemError as error:
        if error.error_code not in ERROR_CODES or not error.hint:
            raise
        return None


def _waiting(plan: Plan) -> set[str]:
    """The devices that the restart brings or takes; what must go by the name that the guest has it under."""
    waiting = [item for item in plan.devices if item.restart_reasons]
    named = [(item, item.before[LIVE] if item.undeclared else None) for item in waiting]
    return {item.wish.describe() if live is None else f"{live.alias} of the guest" for item, live in named}


@given(domain=domains(), declaration=declarations(), versions=VERSIONS)
def test_a_second_run_does_nothing(domain: Domain, declaration: Declaration, versions: Versions) -> None:
    plan = plan_or_error(domain, declaration, versions)
    if plan is None:
        return
    then = planning.applied(domain, plan)
    again = planning.declared(then, declaration, versions)
    assert again.steps == ()
    # What waits for the restart still does. Which reason comes first may be another one, with less room left.
    assert again.readiness_reasons == plan.readiness_reasons
    assert _waiting(again) == _waiting(plan)
    # What was shown to come is what came.
    assert again.config == then.config
    if plan.config is not None and then.config is not None:
        for name in ("max_memory", "slots", "cells", "free_ports", "acpi", "total"):
            assert getattr(plan.config, name) == getattr(then.config, name), name


@given(domain=domains(), declaration=declarations(), versions=VERSIONS)
def test_there_is_room_at_every_moment(domain: Domain, declaration: Declaration, versions: Versions) -> None:
    plan = plan_or_error(domain, declaration, versions)
    for step in plan.steps if plan else ():
        domain = planning.taken(domain, step)
        after = domain.scope(step.scope)
        assert after is not None
        # libvirt refuses a definition whose devices don't fit, whatever the next step would be.
        if after.devices:
            assert after.max_memory is not None
            assert after.total <= after.max_memory
            counted = [
                item for item in after.devices if versions is helpers.BOOKWORM or item.model in ("dimm", "nvdimm")
            ]
            assert len(counted) <= after.slots
            assert after.acpi or all("dimm" not in item.model for item in after.devices)


@given(domain=domains(), declaration=declarations(), versions=VERSIONS)
def test_what_gives_comes_before_what_takes(domain: Domain, declaration: Declaration, versions: Versions) -> None:
    plan = plan_or_error(domain, declaration, versions)
    if plan is None or any(wish.replace for wish in declaration.wishes):
        return
    # A device that a scope has yet to get needs room, whatever is requested of it in the other one.
    half = [
        item
        for item in plan.devices
        if item.wish.state != ABSENT and any(item.before[scope] is None for scope in domain.scopes())
    ]
    gives = [step for item in half for step in item.steps if step.rank != GROW]
    takes = [step.rank == GROW for step in plan.steps if step not in gives]
    assert takes == sorted(takes)
    for step in plan.steps:
        if step.op == UPDATE and step.before is not None and step.until is None:
            asked = reading.read_device(step.xml).requested or 0
            if asked < (step.before.requested or 0) and not any(step in item.steps for item in half):
                assert step.rank in (SHRINK, REMOVE)


@given(domain=domains(), declaration=declarations(), versions=VERSIONS)
def test_each_device_has_its_guest_changed_before_its_configuration(
    domain: Domain, declaration: Declaration, versions: Versions
) -> None:
    plan = plan_or_error(domain, declaration, versions)
    for item in plan.devices if plan else ():
        scopes = [step.scope for step in item.steps]
        assert scopes == sorted(scopes, reverse=True)
        assert [step for step in plan.steps if step in item.steps] == list(item.steps) if plan else True


@given(domain=domains(), declaration=declarations(), versions=VERSIONS)
def test_exclusive_leaves_what_is_declared_and_nothing_else(
    domain: Domain, declaration: Declaration, versions: Versions
) -> None:
    declaration = declaration._replace(exclusive=True)
    plan = plan_or_error(domain, declaration, versions)
    if plan is None:
        return
    then = planning.applied(domain, plan)
    wanted = {wish.alias for wish in declaration.wishes if wish.state != ABSENT}
    if then.config is not None:
        assert {item.alias for item in then.config.devices} == wanted
    # A guest's nameless device that a wish is meant for gets its name by a restart.
    for item in plan.devices:
        live = item.before[LIVE]
        if live is not None and item.wish.alias in wanted:
            wanted.add(live.alias)
    # What can't leave the guest is told, and is empty if it can be emptied.
    kept = [item for item in (then.live.devices if then.live else ()) if item.alias not in wanted]
    assert not kept or plan.restart_reasons
    assert all(not item.requested for item in kept if item.model == "virtio-mem")


@given(domain=domains(), declaration=declarations(), versions=VERSIONS)
def test_devices_that_nobody_declares_are_left_alone(
    domain: Domain, declaration: Declaration, versions: Versions
) -> None:
    declaration = declaration._replace(exclusive=False)
    plan = plan_or_error(domain, declaration, versions)
    if plan is None:
        return
    then = planning.applied(domain, plan)
    declared = {wish.alias for wish in declaration.wishes}
    for scope in domain.scopes():
        before, after = domain.scope(scope), then.scope(scope)
        assert before is not None
        assert after is not None
        adopted = {item.position for item in before.devices if not item.user_alias}
        for item in before.devices:
            if item.alias not in declared and item.position not in adopted:
                assert item in after.devices


@given(domain=domains(), declaration=declarations(), versions=VERSIONS)
def test_who_does_not_wait_leaves_no_barrier(domain: Domain, declaration: Declaration, versions: Versions) -> None:
    plan = plan_or_error(domain, declaration, versions, wait=False)
    for step in plan.steps if plan else ():
        assert step.until is None
    if plan is not None and any(step.op == DETACH and step.scope == LIVE for step in plan.steps):
        assert plan.cut


# --- what properties don't say


def running(*devices: Device, **values: t.Any) -> Domain:
    """A running persistent domain with these devices in both scopes."""
    config = [replace(item, current=None) for item in devices]
    return helpers.domain(helpers.definition(*devices, **values), helpers.definition(*config, **values))


def what(plan: Plan) -> list[str]:
    """The steps, each with the device that it is about."""
    return [f"{step.op} {step.scope} {(step.before or reading.read_device(step.xml)).alias}" for step in plan.steps]


def refused(domain: Domain, declaration: Declaration, versions: Versions = helpers.BOOKWORM) -> VirtmemError:
    """Why there is no plan."""
    with pytest.raises(VirtmemError) as caught:
        planning.declared(domain, declaration, versions)
    return caught.value


def test_all_shrinks_come_before_the_first_grow_whatever_the_order_of_the_declaration() -> None:
    vm = [helpers.virtio_mem(alias=f"ua-{name}", size=2 * GIB, requested=GIB, current=GIB) for name in "abcd"]
    plan = planning.declared(
        running(*vm),
        Declaration(
            (
                Wish(alias="ua-a", requested=2 * GIB),
                Wish(alias="ua-b", requested=0),
                Wish(alias="ua-c", requested=2 * GIB),
                Wish(alias="ua-d", requested=512 * MIB),
            )
        ),
    )
    order = [step.split()[2] for step in what(plan)]
    assert order == ["ua-b", "ua-b", "ua-d", "ua-d", "ua-a", "ua-a", "ua-c", "ua-c"]
    # So that another domain's grows wait for both, the configuration of the first does not hold up the second.
    assert [step.rank for step in plan.steps] == [SHRINK] * 4 + [GROW] * 4
    # The results stay in the order of the declaration.
    assert [item.wish.alias for item in plan.devices] == ["ua-a", "ua-b", "ua-c", "ua-d"]


def test_a_device_takes_the_room_of_one_that_goes() -> None:
    domain = helpers.domain(
        config=helpers.definition(helpers.dimm(alias="ua-old", size=4 * GIB, slot=0), max_memory=6 * GIB, slots=1)
    )
    wishes = (Wish(alias="ua-new", model="dimm", size=5 * GIB), Wish(alias="ua-old", state=ABSENT))
    plan = planning.declared(domain, Declaration(wishes))
    assert what(plan) == ["detach config ua-old", "attach config ua-new"]
    assert refused(domain, Declaration(wishes[:1])).error_code == "insufficient_headroom"


def test_a_device_that_shrinks_in_one_scope_and_is_missing_in_the_other_takes_that_room_too() -> None:
    goes = helpers.virtio_mem(alias="ua-goes", size=8 * GIB, requested=0, current=0)
    stays = helpers.virtio_mem(alias="ua-stays", size=4 * GIB, requested=GIB)
    live = helpers.definition(goes, max_memory=9 * GIB)
    config = helpers.definition(replace(goes, current=None), stays, max_memory=32 * GIB)
    domain = helpers.domain(live, config)
    wish = Wish(alias="ua-stays", model="virtio-mem", size=4 * GIB, requested=0, block=2 * MIB)
    declaration = Declaration((wish,), exclusive=True)
    plan = planning.declared(domain, declaration, helpers.TRIXIE)
    assert not plan.restart_reasons
    assert (plan.steps[0].op, plan.steps[0].scope) == (DETACH, LIVE)
    assert planning.declared(planning.applied(domain, plan), declaration, helpers.TRIXIE).steps == ()


def test_devices_that_only_fit_alone_are_refused_together() -> None:
    domain = helpers.domain(config=helpers.definition(max_memory=6 * GIB))
    each = [Wish(alias=f"ua-{name}", model="dimm", size=3 * GIB) for name in "ab"]
    for wish in each:
        assert planning.declared(domain, Declaration((wish,))).changed
    error = refused(domain, Declaration(tuple(each)))
    assert error.error_code == "insufficient_headroom"
    assert error.details["headroom"] == 2 * GIB


def test_ports_are_counted_over_all_devices() -> None:
    each = tuple(Wish(alias=f"ua-{name}", model="virtio-mem", size=GIB, requested=0) for name in "ab")
    plan = planning.declared(running(free_ports=1), Declaration(each))
    assert what(plan) == ["attach live ua-a", "attach config ua-a", "attach config ua-b"]
    assert len(plan.restart_reasons) == 1
    assert "port" in plan.restart_reasons[0]


def test_exclusive_removes_nameless_devices_too() -> None:
    domain = helpers.domain(
        config=helpers.definition(
            helpers.dimm(slot=0), helpers.dimm(alias="ua-keep", slot=1), helpers.dimm(slot=2), helpers.dimm(slot=3)
        )
    )
    plan = planning.declared(domain, Declaration((Wish(alias="ua-keep"),), exclusive=True))
    assert [step.op for step in plan.steps] == [DETACH] * 3
    assert [step.before.slot for step in plan.steps if step.before] == [0, 2, 3]
    then = planning.applied(domain, plan)
    assert then.config is not None
    assert [item.alias for item in then.config.devices] == ["ua-keep"]
    # Their results tell of them, not of what else is of their model.
    for item in plan.devices[1:]:
        assert item.undeclared
        assert identity.again(then, item.before) == {LIVE: None, CONFIG: None}


def test_a_device_that_is_there_yet_is_found_again_whatever_it_is_asked_for() -> None:
    device = helpers.virtio_mem(alias="virtiomem0", current=GIB)
    then = running(replace(device, requested=0, current=512 * MIB))
    found = identity.again(then, {LIVE: device, CONFIG: None})
    assert then.live is not None
    assert found == {LIVE: then.live.devices[0], CONFIG: None}


@pytest.mark.parametrize(
    "wishes",
    [
        (Wish(alias="ua-vm0"), Wish(alias="ua-vm0", requested=0)),
        (Wish(alias="ua-vm0", requested=GIB), Wish(model="virtio-mem", requested=0)),
        (Wish(model="virtio-mem", node=0), Wish(model="virtio-mem", requested=0)),
    ],
)
def test_a_device_is_declared_once(wishes: tuple[Wish, ...]) -> None:
    error = refused(running(helpers.virtio_mem(current=GIB)), Declaration(wishes), helpers.TRIXIE)
    assert error.error_code == "invalid_option"


def test_two_wishes_that_would_find_the_device_of_the_other_are_refused_at_once() -> None:
    wishes = (Wish(model="dimm", state=ABSENT), Wish(alias="ua-d", model="dimm", size=GIB))
    error = refused(helpers.domain(config=helpers.definition()), Declaration(wishes))
    assert error.error_code == "invalid_option"
    assert "same device" in error.msg


def test_who_does_not_wait_still_gets_what_needs_no_answer() -> None:
    domain = running(helpers.dimm(alias="ua-old", slot=0))
    wishes = (
        Wish(alias="ua-old", state=ABSENT),
        Wish(alias="ua-new", model="virtio-mem", size=GIB, requested=0),
    )
    plan = planning.declared(domain, Declaration(wishes), wait=False)
    assert what(plan) == ["detach live ua-old", "attach live ua-new", "attach config ua-new"]
    assert all(step.until is None for step in plan.steps)
    assert plan.cut


def test_a_live_only_removal_that_nobody_waits_for_is_not_expected_to_be_done() -> None:
    domain = running(helpers.dimm(alias="ua-old", slot=0))
    plan = planning.declared(domain, Declaration((Wish(alias="ua-old", state=ABSENT, scope="live"),)), wait=False)
    assert what(plan) == ["detach live ua-old"]
    assert plan.cut


def test_one_device_alone_is_planned_as_in_a_layout() -> None:
    domain = running(helpers.virtio_mem(current=GIB))
    wish = Wish(alias="ua-vm0", requested=2 * GIB)
    alone = planning.planned(domain, wish)
    among = planning.declared(
        domain, Declaration((Wish(alias="ua-other", model="virtio-mem", size=GIB, requested=0), wish))
    )
    assert among.devices[1].steps == alone.steps
    assert among.devices[1].diff() == alone.devices[0].diff()
