# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans: what is planned brings the domain to the declaration, and a second plan does nothing."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    CONFIG,
    LIVE,
    Declaration,
    Definition,
    Device,
    Domain,
    Host,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES, VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils._memory._elements import facts
from hypothesis import given
from hypothesis import strategies as st

# --- any domain, any wish: few values, so that they meet, and mostly such as can be had


@st.composite
def devices(draw: st.DrawFn, alias: str | None, live: bool) -> Device:
    """A virtio-mem device as a domain may have it."""
    size = draw(st.sampled_from([2 * GIB, 4 * GIB]))
    requested = draw(st.sampled_from([0, GIB, 2 * GIB]))
    return helpers.virtio_mem(
        alias=alias,
        size=size,
        requested=requested,
        block=draw(st.sampled_from([2 * MIB, 4 * MIB])),
        node=draw(st.sampled_from([0, 1])),
        current=draw(st.sampled_from([0, requested])) if live else None,
    )


@st.composite
def definitions(draw: st.DrawFn, live: bool) -> Definition:
    """One scope with some devices, with and without user aliases."""
    aliases = draw(st.lists(st.sampled_from(["ua-a", "ua-b", None]), max_size=2, unique=True))
    found = [draw(devices(alias or ("virtiomem0" if live else None), live)) for alias in aliases]
    return helpers.definition(
        *found,
        cells=draw(st.sampled_from([(0, 1), (0, 1), (0,)])),
        max_memory=draw(st.sampled_from([64 * GIB] * 6 + [8 * GIB, None])),
        free_ports=draw(st.sampled_from([1, 1, None, 0])),
    )


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """A running persistent, a stopped, or a transient domain."""
    live, config = draw(st.sampled_from([(True, True), (True, True), (True, False), (False, True)]))
    return helpers.domain(
        draw(definitions(live=True)) if live else None, draw(definitions(live=False)) if config else None
    )


_WISHES = {
    "alias": st.sampled_from(["ua-a", "ua-a", "ua-b", None]),
    "model": st.just("virtio-mem"),
    "size": st.sampled_from([4 * GIB, 8 * GIB, 2 * GIB, None]),
    "requested": st.sampled_from([GIB, 0, 2 * GIB, 3 * GIB, None]),
    "block": st.sampled_from([None, 2 * MIB, 4 * MIB]),
    "node": st.sampled_from([0, 1, None]),
    "scope": st.sampled_from(["auto"] * 5 + ["live", "config", "both"]),
    "resize": st.sampled_from(["any", "any", "grow", "shrink", "never"]),
}
WISHES = st.builds(Wish, **_WISHES)
VERSIONS = st.sampled_from([helpers.BOOKWORM, helpers.TRIXIE])


def plan_or_error(domain: Domain, wish: Wish, versions: t.Any) -> t.Any:
    """The plan, or None where the wish is refused (by one of the codes)."""
    try:
        return planning.planned(domain, wish, versions=versions)
    except VirtmemError as error:
        if error.error_code not in ERROR_CODES or not error.hint:
            raise
        return None


def given_of(device: Device, wish: Wish) -> dict[str, t.Any]:
    """What the device has of the properties that the wish gives."""
    return {name: getattr(device, name) for name in wish.given()}


@given(domain=domains(), wish=WISHES, versions=VERSIONS)
def test_a_second_plan_does_nothing(domain: Domain, wish: Wish, versions: t.Any) -> None:
    plan = plan_or_error(domain, wish, versions)
    if plan is None:
        return
    again = planning.planned(planning.applied(domain, plan), wish, versions=versions)
    assert again.steps == ()
    assert not again.changed
    # What waits for a restart waits on, and is told again.
    assert bool(again.restart_reasons) == bool(plan.restart_reasons)


@given(domain=domains(), wish=WISHES, versions=VERSIONS)
def test_the_configuration_reaches_the_declaration_or_the_task_fails(
    domain: Domain, wish: Wish, versions: t.Any
) -> None:
    plan = plan_or_error(domain, wish, versions)
    if plan is None or domain.config is None or wish.scope == "live":
        return
    after = plan.devices[0].after[CONFIG]
    assert after is not None
    expected = wish.given()
    before = plan.devices[0].before[CONFIG]
    if before is not None and wish.requested is not None:
        grows = wish.requested > (before.requested or 0)
        if wish.resize in ("never", "shrink" if grows else "grow"):
            expected["requested"] = before.requested
    assert given_of(after, wish) == expected


@given(domain=domains(), wish=WISHES, versions=VERSIONS)
def test_what_is_shown_is_what_comes(domain: Domain, wish: Wish, versions: t.Any) -> None:
    plan = plan_or_error(domain, wish, versions)
    if plan is None:
        return
    then = planning.applied(domain, plan)
    again = planning.planned(then, wish, versions=versions)
    for scope in (LIVE, CONFIG):
        expected, found = plan.devices[0].after[scope], again.devices[0].before[scope]
        assert (expected is None) is (found is None)
        if expected is not None and found is not None and (expected.alias or scope == CONFIG):
            assert found == expected


@given(domain=domains(), wish=WISHES, versions=VERSIONS)
def test_a_running_device_only_gets_another_request(domain: Domain, wish: Wish, versions: t.Any) -> None:
    plan = plan_or_error(domain, wish, versions)
    for step in plan.steps if plan else ():
        if step.scope == LIVE and step.before is not None:
            assert step.op == "update"
            assert [fact for fact in facts(step.xml) if "requested" not in fact[0]] == [
                fact for fact in facts(step.before.xml) if "requested" not in fact[0]
            ]


@given(domain=domains(), wish=WISHES, versions=VERSIONS)
def test_each_scope_has_at_most_one_step_and_the_guest_comes_first(domain: Domain, wish: Wish, versions: t.Any) -> None:
    plan = plan_or_error(domain, wish, versions)
    scopes = [step.scope for step in plan.steps] if plan else []
    assert scopes in ([], [LIVE], [CONFIG], [LIVE, CONFIG])
    assert wish.scope in ("auto", "both") or set(scopes) <= {wish.scope}


@given(domain=domains(), data=st.data(), versions=VERSIONS)
def test_declaring_what_is_there_does_nothing(domain: Domain, data: st.DataObject, versions: t.Any) -> None:
    scope = data.draw(st.sampled_from(domain.scopes()))
    definition = t.cast("Definition", domain.scope(scope))
    named = [device for device in definition.devices if device.user_alias]
    if not named:
        return
    device = data.draw(st.sampled_from(named))
    names = data.draw(st.sets(st.sampled_from(["model", "size", "requested", "block", "node"])))
    wish = Wish(alias=device.alias, scope=scope, **{name: getattr(device, name) for name in names})
    plan = plan_or_error(domain, wish, versions)
    if plan is None:
        # Of several nameless devices that are alike, none can be told to be this one.
        definitions = [domain.scope(each) for each in domain.scopes()]
        assert any(not side.user_alias for each in definitions if each for side in each.devices)
        return
    assert plan.steps == ()
    assert plan.restart_reasons == ()
    assert plan.devices[0].diff()["before"] == plan.devices[0].diff()["after"]


@pytest.mark.parametrize(("scope", "resize"), itertools.product(["auto", "live"], ["any", "grow", "shrink", "never"]))
@pytest.mark.parametrize("wanted", [0, GIB, 2 * GIB])
def test_a_request_moves_in_the_directions_that_are_allowed(scope: str, resize: str, wanted: int) -> None:
    definition = helpers.definition(helpers.virtio_mem(current=GIB))
    domain = helpers.domain(definition, helpers.definition(helpers.virtio_mem()))
    plan = planning.planned(domain, Wish(alias="ua-vm0", requested=wanted, scope=scope, resize=resize))
    moves = (wanted > GIB and resize in ("any", "grow")) or (wanted < GIB and resize in ("any", "shrink"))
    assert [step.scope for step in plan.steps] == ([LIVE, CONFIG][: 2 if scope == "auto" else 1] if moves else [])
    for step in plan.steps:
        assert reading.read_device(step.xml).requested == wanted


def test_what_a_running_guest_cannot_be_given_is_staged_or_refused() -> None:
    def domain() -> Domain:
        return helpers.domain(
            helpers.definition(helpers.virtio_mem(current=GIB)), helpers.definition(helpers.virtio_mem())
        )

    staged = planning.planned(domain(), Wish(alias="ua-vm0", size=8 * GIB))
    assert [(step.op, step.scope) for step in staged.steps] == [("redefine", CONFIG)]
    assert len(staged.restart_reasons) == 1
    for word in ("size", "ua-vm0", "4GiB", "8GiB"):
        assert word in staged.restart_reasons[0]
    for scope in ("live", "both"):
        with pytest.raises(VirtmemError) as caught:
            planning.planned(domain(), Wish(alias="ua-vm0", size=8 * GIB, scope=scope))
        assert caught.value.error_code == "needs_restart"
    with pytest.raises(VirtmemError) as caught:
        planning.planned(helpers.domain(domain().live), Wish(alias="ua-vm0", size=8 * GIB))
    assert caught.value.error_code == "needs_restart"


def test_an_old_hypervisor_is_told_from_a_new_one() -> None:
    old = Versions(libvirt=7_008_000, hypervisor=6_000_000)
    with pytest.raises(VirtmemError) as caught:
        planning.planned(
            helpers.domain(config=helpers.definition()), Wish(alias="ua-a", model="virtio-mem"), versions=old
        )
    assert caught.value.error_code == "unsupported"


def test_staged_attach_beside_a_nameless_device_is_idempotent_or_refused_at_once() -> None:
    live = helpers.definition(
        helpers.virtio_mem(alias="virtiomem0", size=2 * GIB, requested=0, current=0), max_memory=8 * GIB
    )
    domain = helpers.domain(live, helpers.definition(max_memory=64 * GIB))
    wish = Wish(alias="ua-a", model="virtio-mem", size=8 * GIB, requested=GIB, node=0)
    plan = planning.planned(domain, wish)  # attaches to the configuration, stages the rest
    again = planning.planned(planning.applied(domain, plan), wish)
    assert again.steps == ()


@pytest.mark.parametrize("scope", ["auto", "config"])
def test_a_configuration_that_would_lose_its_running_device_is_refused(scope: str) -> None:
    """Only the configuration has the alias yet, so being alike is all that joins the two sides."""
    domain = helpers.domain(
        helpers.definition(helpers.virtio_mem(alias="virtiomem0", current=GIB)),
        helpers.definition(helpers.virtio_mem(alias="ua-a")),
    )
    with pytest.raises(VirtmemError) as caught:
        planning.planned(domain, Wish(alias="ua-a", size=8 * GIB, scope=scope))
    assert caught.value.error_code == "needs_restart"
    assert caught.value.details == {"alias": "ua-a", "live_alias": "virtiomem0"}


@pytest.mark.parametrize("scope", ["auto", "config"])
def test_a_configuration_that_would_take_over_another_running_device_is_refused(scope: str) -> None:
    """The next run would find a device that is not the declared one, and change what is requested of it."""
    domain = helpers.domain(
        helpers.definition(
            helpers.virtio_mem(alias="virtiomem0", node=1, requested=0, current=0), cells=(0, 1), free_ports=0
        ),
        helpers.definition(helpers.virtio_mem(alias="ua-a", size=2 * GIB), cells=(0, 1)),
    )
    wish = Wish(alias="ua-a", model="virtio-mem", size=4 * GIB, requested=GIB, node=1, scope=scope)
    with pytest.raises(VirtmemError) as caught:
        planning.planned(domain, wish)
    assert caught.value.error_code == "ambiguous_device"
    assert caught.value.details == {"alias": "ua-a", "live_alias": "virtiomem0"}


def test_scope_live_does_not_care_for_nameless_devices_of_the_configuration() -> None:
    domain = helpers.domain(
        helpers.definition(helpers.virtio_mem(alias="ua-a", node=0, current=GIB), cells=(0, 1)),
        helpers.definition(helpers.virtio_mem(alias=None, node=1), cells=(0, 1)),
    )
    assert planning.planned(domain, Wish(alias="ua-a", requested=2 * GIB, scope="live")).steps


def test_a_switch_that_the_domain_may_have_on_is_not_off_by_being_absent() -> None:
    """Without discard='no', <memoryBacking><discard/> counts; an nvdimm without <readonly/> is writable."""
    dimm = helpers.dimm(alias="ua-d0")
    domain = helpers.domain(config=helpers.definition(dimm))
    (step,) = planning.planned(domain, Wish(alias="ua-d0", discard=False)).steps
    assert 'discard="no"' in step.xml
    nvdimm = helpers.dimm(model="nvdimm", path="/a", alias="ua-n0")
    domain = helpers.domain(config=helpers.definition(nvdimm))
    assert planning.planned(domain, Wish(alias="ua-n0", readonly=False)).steps == ()


def test_a_size_is_requested_of_nothing_but_a_device_that_has_one() -> None:
    domain = helpers.domain(helpers.definition(helpers.dimm(alias="ua-d0")))
    with pytest.raises(VirtmemError) as caught:
        planning.planned(domain, Wish(alias="ua-d0", requested=GIB))
    assert caught.value.error_code == "alias_conflict"
    assert "ua-d0" in caught.value.msg
    assert "model dimm in the live definition" in caught.value.msg


def test_a_device_that_is_there_needs_the_versions_for_what_is_added_to_it() -> None:
    domain = helpers.domain(config=helpers.definition(helpers.virtio_mem()))
    with pytest.raises(VirtmemError) as caught:
        planning.planned(domain, Wish(alias="ua-vm0", dynamic_memslots=True))
    assert (caught.value.error_code, caught.value.details["feature"]) == ("unsupported", "dynamic_memslots")


@pytest.mark.parametrize(("base", "code"), [(None, None), (0x180000000, "unsupported")])
def test_the_base_of_a_virtio_device_needs_a_later_libvirt(base: int | None, code: str | None) -> None:
    wish = Wish(alias="ua-a", model="virtio-mem", size=GIB, requested=0, base=base)
    domain = helpers.domain(config=helpers.definition())
    try:
        planning.planned(domain, wish)
        found = None
    except VirtmemError as error:
        found = error.error_code
    assert found == code
    assert planning.planned(domain, wish, versions=helpers.TRIXIE).steps


def test_the_host_is_looked_at_for_a_device_that_the_configuration_has_already() -> None:
    host = Host(pages={0: {4096: 1000}}, page_sizes=frozenset({4096, 2 * MIB}))
    domain = helpers.domain(config=helpers.definition(helpers.virtio_mem()))
    with pytest.raises(VirtmemError) as caught:
        planning.planned(domain, Wish(alias="ua-vm0", nodemask=(3,)), host=host)
    assert caught.value.error_code == "no_host_node"
    assert planning.planned(domain, Wish(alias="ua-vm0", nodemask=(0,)), host=host).steps


@pytest.mark.parametrize("scope", ["auto", "live"])
def test_what_no_running_guest_can_be_given_comes_with_the_restart(scope: str) -> None:
    wish = Wish(alias="ua-s0", model="sgx-epc", size=64 * MIB, scope=scope)
    domain = helpers.domain(helpers.definition(), helpers.definition())
    if scope == "live":
        with pytest.raises(VirtmemError) as caught:
            planning.planned(domain, wish)
        assert caught.value.error_code == "needs_restart"
        return
    plan = planning.planned(domain, wish)
    assert [step.scope for step in plan.steps] == ["config"]
    assert "can't be plugged into a running guest" in plan.restart_reasons[0]


@pytest.mark.parametrize("declares", ["device", "slots"])
def test_who_changes_what_a_saved_guest_comes_back_without_is_warned(declares: str) -> None:
    saved = helpers.definition(helpers.virtio_mem())
    domain = helpers.domain(config=helpers.definition(helpers.virtio_mem()), saved=saved)
    declaration = Declaration((Wish(alias="ua-vm0", requested=2 * GIB),))
    (warning,) = planning.declared(domain, Declaration(slots=20) if declares == "slots" else declaration).warnings
    assert "managed-save image" in warning
    assert planning.declared(domain, Declaration(slots=16)).warnings == ()


@pytest.mark.parametrize(("size", "warned"), [(GIB, False), (476 * MIB, True), (64 * MIB, True), (48 * GIB, True)])
def test_a_module_that_linux_does_not_take_or_can_not_bear_is_warned_of(size: int, warned: bool) -> None:
    definition = helpers.definition(max_memory=64 * GIB)
    wish = Wish(alias="ua-d", model="dimm", size=size)
    plan = planning.planned(helpers.domain(definition, definition), wish, versions=helpers.TRIXIE)
    assert len(plan.steps) == 2
    assert bool(plan.warnings) == warned
    assert all("size: " in text for text in plan.warnings)


@pytest.mark.parametrize(
    ("wish", "warned"),
    [
        (Wish(alias="ua-vm0", state="absent"), None),
        (Wish(alias="ua-vm0", state="absent", size=4 * GIB, requested=GIB), None),
        (Wish(alias="ua-vm0", state="absent", size=8 * GIB), "size: 8GiB is declared of alias ua-vm0, and it has 4GiB"),
        (Wish(alias="ua-vm0", state="absent", requested=0), "requested: 0 is declared"),
    ],
)
def test_who_declares_another_device_than_the_one_that_goes_is_warned(wish: Wish, warned: str | None) -> None:
    warnings = planning.planned(helpers.domain(config=helpers.definition(helpers.virtio_mem())), wish).warnings
    assert bool(warnings) == (warned is not None)
    assert warned is None or warned in warnings[0]


@pytest.mark.parametrize("lacks", ["no_max_memory", "no_numa_node", "no_free_slot"])
@pytest.mark.parametrize("model", ["nvdimm", "sgx-epc"])
def test_what_no_restart_removes_is_said_before_the_restart(model: str, lacks: str) -> None:
    if (model, lacks) in (("sgx-epc", "no_free_slot"), ("sgx-epc", "no_numa_node")):
        return  # it takes neither
    every: dict[str, dict[str, t.Any]] = {
        "no_max_memory": {"max_memory": None},
        "no_numa_node": {"cells": (1,)},
        "no_free_slot": {"slots": 0},
    }
    definition = helpers.definition(**every[lacks])
    path = "/srv/a" if model == "nvdimm" else None
    wish = Wish(alias="ua-n", model=model, size=GIB, node=0, path=path, scope="live")
    with pytest.raises(VirtmemError) as caught:
        planning.planned(helpers.domain(definition, helpers.definition()), wish, versions=helpers.TRIXIE)
    assert caught.value.error_code == lacks


def test_the_way_to_a_max_memory_is_the_line_to_write() -> None:
    with pytest.raises(VirtmemError) as caught:
        planning.planned(
            helpers.domain(config=helpers.definition(max_memory=None)),
            Wish(alias="ua-d", model="dimm", size=GIB),
        )
    assert caught.value.error_code == "no_max_memory"
    assert "max_memory: 2GiB" in caught.value.hint
