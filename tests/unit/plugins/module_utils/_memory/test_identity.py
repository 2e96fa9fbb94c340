# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which device a wish names: by alias, by properties, never by luck."""

from __future__ import annotations

import string
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import identity
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    CONFIG,
    LIVE,
    Definition,
    Device,
    Domain,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from hypothesis import given
from hypothesis import strategies as st

KEPT = string.ascii_letters + string.digits + "-_"


def chosen(device: Device | None) -> str | None:
    """A device by its alias, for short comparisons."""
    return device.alias if device else None


# --- the alias itself


@given(st.text(KEPT, min_size=1, max_size=110).filter(lambda name: name != "ua-"))
def test_an_alias_gets_its_prefix_once(name: str) -> None:
    alias = identity.user_alias(name)
    assert alias == (name if name.startswith("ua-") else f"ua-{name}")
    assert identity.user_alias(alias) == alias


@given(st.text(KEPT, max_size=5), st.characters().filter(lambda letter: letter not in KEPT), st.text(KEPT, max_size=5))
def test_an_alias_that_libvirt_would_drop_is_refused(head: str, bad: str, tail: str) -> None:
    with pytest.raises(VirtmemError) as caught:
        identity.user_alias(head + bad + tail)
    assert caught.value.error_code == "invalid_alias"
    assert caught.value.details["option"] == "alias"
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "ua-", "vm0\n", "ua-ä", "a b", "ua-foo.bar", "x" * 118, "x" * 100_000])
def test_no_name_at_all_or_too_long_a_name_is_refused(text: str) -> None:
    with pytest.raises(VirtmemError) as caught:
        identity.user_alias(text)
    assert caught.value.error_code == "invalid_alias"
    assert len(caught.value.msg) < 200


def test_the_longest_alias_is_taken() -> None:
    assert len(identity.user_alias("x" * 117)) == 120


# --- in one scope


def test_an_alias_names_its_device_whatever_else_differs() -> None:
    """A changed size or node in a declaration is a change of the device, not another device."""
    definition = helpers.definition(helpers.virtio_mem(alias="ua-a"), helpers.virtio_mem(alias="ua-b"))
    wish = Wish(alias="ua-b", model="virtio-mem", size=8 * GIB, node=1)
    assert chosen(identity.select(definition, wish, LIVE)) == "ua-b"
    assert identity.select(definition, Wish(alias="ua-c"), LIVE) is None


def test_a_generated_alias_is_never_found_by_its_number() -> None:
    definition = helpers.definition(helpers.virtio_mem(alias="virtiomem0"))
    assert identity.select(definition, Wish(alias="ua-virtiomem0"), LIVE) is None


def test_an_alias_of_another_model_is_refused() -> None:
    definition = helpers.definition(helpers.dimm(alias="ua-a"))
    with pytest.raises(VirtmemError) as caught:
        identity.select(definition, Wish(alias="ua-a", model="virtio-mem"), CONFIG)
    assert caught.value.error_code == "alias_conflict"
    assert caught.value.details == {"option": "alias", "value": "ua-a", "scope": "config", "model": "dimm"}
    assert "dimm" in caught.value.msg


def test_an_alias_of_a_device_that_is_no_memory_is_refused() -> None:
    definition = helpers.definition(other_aliases=frozenset({"ua-disk"}))
    with pytest.raises(VirtmemError) as caught:
        identity.select(definition, Wish(alias="ua-disk"), LIVE)
    assert caught.value.error_code == "alias_conflict"
    assert caught.value.details["model"] is None


@pytest.mark.parametrize(
    ("wish", "alias"),
    [
        ({"model": "dimm"}, "dimm0"),
        ({"model": "virtio-mem", "node": 1}, "ua-b"),
        ({"node": 1}, "ua-b"),
        ({"path": "/dev/dax0.0"}, "nvdimm1"),
        ({"model": "dimm", "slot": 0, "base": 0x100000000}, "dimm0"),
        ({"model": "dimm", "slot": 7}, None),
        ({"model": "virtio-pmem"}, None),
        ({"model": "virtio-mem", "node": 2}, None),
    ],
)
def test_without_an_alias_what_is_given_selects(wish: dict[str, t.Any], alias: str | None) -> None:
    definition = helpers.definition(
        helpers.virtio_mem(alias="ua-a", node=0),
        helpers.virtio_mem(alias="ua-b", node=1),
        helpers.dimm(alias="dimm0", slot=0, base=0x100000000),
        Device("nvdimm", GIB, alias="nvdimm1", node=0, path="/dev/dax0.0", slot=1),
        cells=(0, 1),
    )
    assert chosen(identity.select(definition, Wish(**wish), LIVE)) == alias


@given(
    size=st.sampled_from([GIB, 8 * GIB]),
    requested=st.sampled_from([0, GIB]),
    block=st.sampled_from([2**21, 2**22]),
)
def test_what_can_change_does_not_select(size: int, requested: int, block: int) -> None:
    definition = helpers.definition(helpers.virtio_mem(alias="virtiomem0"))
    wish = Wish(model="virtio-mem", size=size, requested=requested, block=block)
    assert chosen(identity.select(definition, wish, LIVE)) == "virtiomem0"


def test_several_candidates_are_listed_and_none_is_taken() -> None:
    definition = helpers.definition(
        helpers.virtio_mem(alias="ua-a", address="pci 0000:02:00.0"),
        helpers.virtio_mem(alias=None),
        helpers.dimm(alias="ua-c"),
    )
    with pytest.raises(VirtmemError) as caught:
        identity.select(definition, Wish(model="virtio-mem"), CONFIG)
    error = caught.value
    assert error.error_code == "ambiguous_device"
    assert error.details == {
        "scope": "config",
        "candidates": [
            "virtio-mem ua-a (4GiB, node 0, pci 0000:02:00.0)",
            "virtio-mem without alias (4GiB, node 0)",
        ],
    }
    for candidate in error.details["candidates"]:
        assert candidate in error.msg
    assert "alias" in error.hint


# --- in both scopes


def test_a_user_alias_joins_the_two_scopes() -> None:
    live = helpers.definition(helpers.virtio_mem(alias="ua-a"), helpers.virtio_mem(alias="ua-b"))
    config = helpers.definition(helpers.virtio_mem(alias="ua-b", size=8 * GIB), helpers.virtio_mem(alias="ua-a"))
    found = identity.select_all(helpers.domain(live, config), Wish(alias="ua-b"))
    assert found == {LIVE: live.devices[1], CONFIG: config.devices[0]}


def test_a_scope_that_the_domain_does_not_have_has_no_device() -> None:
    definition = helpers.definition(helpers.virtio_mem())
    wish = Wish(alias="ua-vm0")
    assert identity.select_all(helpers.domain(live=definition), wish) == {LIVE: definition.devices[0], CONFIG: None}
    assert identity.select_all(helpers.domain(config=definition), wish) == {LIVE: None, CONFIG: definition.devices[0]}
    both = helpers.domain(definition, helpers.definition())
    assert identity.select_all(both, wish) == {LIVE: definition.devices[0], CONFIG: None}


def test_what_fits_one_side_brings_the_other_side_of_its_alias() -> None:
    """The node was changed in the configuration alone: still one device."""
    live = helpers.definition(helpers.virtio_mem(alias="ua-a", node=0), cells=(0, 1))
    config = helpers.definition(helpers.virtio_mem(alias="ua-a", node=1), cells=(0, 1))
    for node in (0, 1):
        found = identity.select_all(helpers.domain(live, config), Wish(model="virtio-mem", node=node))
        assert found == {LIVE: live.devices[0], CONFIG: config.devices[0]}


def test_generated_aliases_join_nothing() -> None:
    live = helpers.definition(helpers.virtio_mem(alias="virtiomem0", node=0), cells=(0, 1))
    config = helpers.definition(helpers.virtio_mem(alias="virtiomem0", node=1), cells=(0, 1))
    found = identity.select_all(helpers.domain(live, config), Wish(model="virtio-mem", node=0))
    assert found == {LIVE: live.devices[0], CONFIG: None}


def test_two_different_devices_are_not_taken_for_the_sides_of_one() -> None:
    live = helpers.definition(helpers.virtio_mem(alias="ua-a"))
    config = helpers.definition(helpers.virtio_mem(alias="ua-b"))
    with pytest.raises(VirtmemError) as caught:
        identity.select_all(helpers.domain(live, config), Wish(model="virtio-mem"))
    assert caught.value.error_code == "ambiguous_device"
    assert len(caught.value.details["candidates"]) == 2


def test_the_order_of_the_devices_does_not_matter() -> None:
    devices = [helpers.virtio_mem(alias=f"ua-{name}", node=node) for node, name in enumerate("abc")]
    for turn in range(3):
        turned = devices[turn:] + devices[:turn]
        definition = helpers.definition(*turned, cells=(0, 1, 2))
        assert chosen(identity.select(definition, Wish(model="virtio-mem", node=1), LIVE)) == "ua-b"


def test_the_alias_joins_two_sides_and_what_is_given_does_not() -> None:
    named = helpers.virtio_mem(alias="ua-a", node=0, current=0)
    elsewhere, nameless = helpers.virtio_mem(alias="ua-a", node=1), helpers.virtio_mem(alias=None, node=0)
    live = helpers.definition(named, cells=(0, 1))
    config = helpers.definition(elsewhere, nameless, cells=(0, 1))
    found = identity.select_all(helpers.domain(live, config), Wish(model="virtio-mem", node=0))
    assert found == {"live": named, "config": elsewhere}


def test_two_unlike_nameless_devices_are_not_named_as_one() -> None:
    """One of them would be lost sight of as soon as the configuration has the alias."""
    live = helpers.definition(helpers.virtio_mem(alias="virtiomem0", node=0), cells=(0, 1))
    config = helpers.definition(helpers.virtio_mem(alias=None, node=1), cells=(0, 1))
    wish = Wish(alias="ua-a", model="virtio-mem", adopt=True)
    with pytest.raises(VirtmemError) as caught:
        identity.select_all(helpers.domain(live, config), wish)
    assert caught.value.error_code == "ambiguous_device"
    assert "adopt: false" in caught.value.hint
    found = identity.select_all(helpers.domain(live, config), replace(wish, node=1))
    assert (found[LIVE], found[CONFIG]) == (None, config.devices[0])


@pytest.mark.parametrize("scopes", [("live",), ("config",), ("live", "config")])
def test_a_device_without_a_name_is_only_given_one_if_the_task_says_so(scopes: tuple[str, ...]) -> None:
    sides = {"live": helpers.dimm(alias="dimm0"), "config": helpers.dimm(alias=None)}
    domain = helpers.domain(*(helpers.definition(*([sides[name]] if name in scopes else [])) for name in sides))
    wish = Wish(alias="ua-new", model="dimm", size=sides["live"].size)
    with pytest.raises(VirtmemError) as caught:
        identity.select_all(domain, wish)
    assert caught.value.error_code == "ambiguous_device"
    assert caught.value.details["option"] == "adopt"
    assert len(caught.value.details["candidates"]) == len(scopes)
    for text in ("adopt: true", "adopt: false"):
        assert text in caught.value.hint
    assert identity.select_all(domain, replace(wish, adopt=False)) == {"live": None, "config": None}
    adopted = identity.select_all(domain, replace(wish, adopt=True))
    assert {name for name, device in adopted.items() if device} == set(scopes)


def test_a_device_that_the_declaration_does_not_fit_is_no_question() -> None:
    domain = helpers.domain(helpers.definition(helpers.dimm(alias="dimm0")), None)
    other = Wish(alias="ua-new", model="dimm", size=helpers.dimm().size * 2)
    assert identity.select_all(domain, other) == {"live": None, "config": None}


def test_what_must_go_takes_no_device_of_the_configuration_that_only_looks_like_it() -> None:
    """After a removal that waits for the restart, the running guest still has the alias, and its twin is another."""
    nameless = helpers.definition(helpers.virtio_mem(alias=None))
    domain = helpers.domain(helpers.definition(helpers.virtio_mem(alias="ua-a")), nameless)
    assert identity.select_all(domain, Wish(alias="ua-a"))[CONFIG] is nameless.devices[0]
    gone = identity.select_all(domain, Wish(alias="ua-a", state="absent"))
    assert (chosen(gone[LIVE]), gone[CONFIG]) == ("ua-a", None)


# --- every device once


def of_dimms(live: t.Sequence[str | None], config: t.Sequence[str | None]) -> Domain:
    """A domain with alike devices of these aliases in its two scopes."""
    return helpers.domain(
        *(helpers.definition(*(helpers.dimm(alias=alias) for alias in side)) for side in (live, config))
    )


def paired(live: list[str], config: list[str | None]) -> list[tuple[str | None, str | None]]:
    """The pairs of alike devices with these aliases, by alias, or `nameless`, or None for no device."""
    domain = of_dimms(live, config)
    return [(chosen(one), (other.alias or "nameless") if other else None) for one, other in identity.pairs(domain)]


def test_an_alias_joins_before_likeness_does_whatever_the_order() -> None:
    assert paired(["dimm0", "ua-a"], ["ua-a"]) == [("dimm0", None), ("ua-a", "ua-a")]
    assert paired(["ua-a", "dimm0"], [None, "ua-a"]) == [("ua-a", "ua-a"), ("dimm0", "nameless")]


def test_a_device_without_alias_is_joined_with_one_that_has_none_either_first() -> None:
    assert paired(["ua-b", "dimm0"], [None]) == [("ua-b", None), ("dimm0", "nameless")]
    assert paired(["dimm0", "dimm1"], ["ua-a"]) == [("dimm0", "ua-a"), ("dimm1", None)]


def left(live: list[str | None], config: list[str | None], *named: tuple[str, int]) -> list[tuple[t.Any, ...]]:
    """The devices, by alias or `nameless`, that remain beside those at these places of a scope."""
    domain = of_dimms(live, config)
    found = [{scope: t.cast(Definition, domain.scope(scope)).devices[place]} for scope, place in named]
    return [
        tuple((side.alias or "nameless") if side else None for side in pair) for pair in identity.others(domain, found)
    ]


def test_what_is_only_alike_on_the_other_side_is_one_of_the_others() -> None:
    """What must go by its name takes nothing with it that only looks like it; so that is nobody's, and is told."""
    assert left(["ua-a"], [None], ("live", 0)) == [(None, "nameless")]
    assert left(["ua-a", "ua-b"], ["ua-a", None], ("live", 1)) == [("ua-a", "ua-a"), (None, "nameless")]
    assert left(["ua-a", "dimm1"], [None], ("live", 0)) == [("dimm1", "nameless")]
    assert left(["ua-a"], ["ua-a"], ("live", 0), ("config", 0)) == []


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("size", [4 * GIB, 2 * GIB])
def test_a_name_that_libvirt_made_can_not_be_declared(size: int, state: str) -> None:
    live = helpers.definition(helpers.virtio_mem(alias="virtiomem0"))
    domain = helpers.domain(live, helpers.definition(helpers.virtio_mem(alias=None)))
    wish = Wish(alias=identity.user_alias("virtiomem0"), model="virtio-mem", size=size, requested=0, state=state)
    with pytest.raises(VirtmemError) as caught:
        identity.select_all(domain, wish)
    assert caught.value.error_code == "invalid_alias"
    assert "virtiomem0 is a name that libvirt itself gave" in caught.value.msg
    assert "adopt: true" in caught.value.hint
    assert "model: virtio-mem, node: 0" in caught.value.hint


def test_a_name_that_only_looks_as_if_libvirt_had_made_it_is_one_like_any_other() -> None:
    dimm = helpers.dimm(alias="ua-dimm0")
    found = identity.select_all(helpers.domain(helpers.definition(dimm)), Wish(alias=identity.user_alias("dimm0")))
    assert found["live"] is not None
    assert identity.select_all(helpers.domain(helpers.definition()), Wish(alias="ua-dimm0"))["live"] is None


# --- what mutants of this file survived


def _refusal(domain: Domain, wish: Wish) -> VirtmemError:
    with pytest.raises(VirtmemError) as caught:
        identity.select_all(domain, wish)
    return caught.value


def test_an_alias_of_something_else_is_said_to_be() -> None:
    live = helpers.definition(helpers.dimm(alias="ua-vm0"), other_aliases=frozenset({"ua-net"}))
    domain = helpers.domain(live)
    other = _refusal(domain, Wish(alias="ua-net"))
    assert "belongs to a device that is no memory device in the live definition" in other.msg
    assert other.details == {"option": "alias", "value": "ua-net", "scope": "live", "model": None}
    model = _refusal(domain, Wish(alias="ua-vm0", model="virtio-mem"))
    assert "a device of model dimm, not virtio-mem" in model.msg
    assert model.details == {"option": "alias", "value": "ua-vm0", "scope": "live", "model": "dimm"}


def test_what_is_ambiguous_is_said_with_what_it_could_be() -> None:
    twins = helpers.definition(helpers.dimm(alias="ua-a"), helpers.dimm(alias="ua-b"))
    one_scope = _refusal(helpers.domain(config=twins), Wish(model="dimm"))
    assert one_scope.msg.startswith("model dimm fits 2 devices of the config definition: dimm ua-a")
    assert one_scope.details["scope"] == "config"
    assert "alias" in one_scope.hint
    both = helpers.domain(
        helpers.definition(helpers.dimm(alias="ua-a")), helpers.definition(helpers.dimm(alias="ua-b"))
    )
    crossed = _refusal(both, Wish(model="dimm"))
    assert "model dimm fits two different devices, live dimm ua-a" in crossed.msg
    assert "alias" in crossed.hint


@pytest.mark.parametrize("adopt", [None, True])
def test_what_could_be_adopted_is_said_with_what_it_is(adopt: bool | None) -> None:
    wish = Wish(alias="ua-x", model="dimm", adopt=adopt)
    nameless = helpers.definition(helpers.dimm())
    if adopt is None:
        guess = _refusal(helpers.domain(config=nameless), wish)
        assert "no device has the alias ua-x" in guess.msg
        assert "config dimm without alias (1GiB, node 0)" in guess.msg
        assert guess.details["candidates"] == ["dimm without alias (1GiB, node 0)"]
        return
    several = _refusal(helpers.domain(config=helpers.definition(helpers.dimm(), helpers.dimm())), wish)
    assert several.msg.startswith("ua-x could name 2 devices of the config definition")
    assert several.details["scope"] == "config"
    assert "adopt" in several.hint
    live = helpers.definition(helpers.dimm(alias="dimm0", node=0))
    different = _refusal(helpers.domain(live, helpers.definition(helpers.dimm(node=0, size=2 * GIB))), wish)
    assert "ua-x could name two different devices, live dimm dimm0" in different.msg
    assert len(different.details["candidates"]) == 2
    # Without a model nothing is adopted, whatever fits.
    assert not any(identity.select_all(helpers.domain(live), Wish(alias="ua-x", adopt=True)).values())


@pytest.mark.parametrize(("live", "config", "same"), [(4, 3, True), (4, 4, True), (6, 3, False)])
def test_two_sides_are_alike_after_what_libvirt_aligns(live: int, config: int, same: bool) -> None:
    sides = (helpers.dimm(size=size * MIB) for size in (live, config))
    kinds = [identity.kind(side) for side in sides]
    assert (kinds[0] == kinds[1]) == same


def test_as_many_nameless_devices_on_both_sides_leave_none_for_a_name() -> None:
    named, nameless = helpers.dimm(alias="ua-a"), helpers.dimm()
    live = helpers.definition(helpers.dimm(alias="dimm0"))
    found = identity.select_all(helpers.domain(live, helpers.definition(named, nameless)), Wish(alias="ua-a"))
    assert chosen(found["config"]) == "ua-a"
    assert found["live"] is None
