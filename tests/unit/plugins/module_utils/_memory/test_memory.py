# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's memory as one number: from what is declared to what is requested of each device, in each scope."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
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
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.domain import plan_domain
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.step import ATTACH, Circumstances, Plan
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning

TRIXIE = Circumstances(helpers.TRIXIE)


def guest(*devices: Device, cells: tuple[int, ...] = (2 * GIB,), **values: t.Any) -> Definition:
    """A definition with these cells' boot memory, and room for 64 GiB."""
    total = sum(cells) + sum(device.size for device in devices)
    usual = {"cells": tuple(range(len(cells))), "cell_sizes": cells, "total": total, "max_memory": 64 * GIB}
    return helpers.definition(*devices, **{**usual, **values})


def plain(**values: t.Any) -> Definition:
    """As virt-install makes it: 2 GiB, no maxMemory, no cell."""
    usual = {"cells": (), "cell_sizes": (), "total": 2 * GIB, "max_memory": None, "slots": 0, "free_ports": 0}
    return helpers.definition(**{**usual, **values})


def both(*devices: Device, **values: t.Any) -> Domain:
    """A running persistent domain, with the devices in both scopes."""
    live = [replace(device, current=device.requested) for device in devices]
    return helpers.domain(live=guest(*live, **values), config=guest(*devices, **values))


def stopped(*devices: Device, **values: t.Any) -> Domain:
    """A domain that does not run."""
    return helpers.domain(config=guest(*devices, **values))


def planned(domain: Domain, memory: int | None, *wishes: Wish, **values: t.Any) -> Plan:
    """The plan, after which the next one has nothing to do, and says the same."""
    declaration = Declaration(wishes, memory=memory, **values)
    plan = plan_domain(domain, declaration, TRIXIE)
    after = domain
    for step in plan.steps:
        after = planning.taken(after, step)
    again = plan_domain(after, declaration, TRIXIE)
    assert again.steps == ()
    assert again.memory == plan.memory
    return plan


def asked(plan: Plan, scope: str) -> dict[str | None, int | None]:
    """What is requested of each virtio-mem device in the end."""
    sides = [device.after.get(scope) for device in plan.devices]
    return {side.alias: side.requested for side in sides if side is not None and side.model == "virtio-mem"}


def sums(plan: Plan, scope: str) -> tuple[int, int, int, int]:
    """Boot memory, DIMMs, what is fixed, what is requested."""
    assert plan.memory is not None
    found = plan.memory.sums[scope]
    return found.boot, found.dimms, found.fixed, found.requested


def vm(alias: str | None = "ua-vm0", **values: t.Any) -> Device:
    """A virtio-mem device of 8 GiB, of which nothing is requested."""
    return helpers.virtio_mem(**{"alias": alias, "size": 8 * GIB, "requested": 0, **values})


def refused(domain: Domain, memory: int, *wishes: Wish, **values: t.Any) -> VirtmemError:
    """Why it can't be."""
    with pytest.raises(VirtmemError) as caught:
        plan_domain(domain, Declaration(wishes, memory=memory, **values), TRIXIE)
    return caught.value


# --- the device that is there


@pytest.mark.parametrize("alias", ["ua-vm0", "ua-mem0", None])
def test_a_guest_with_a_device_of_any_name_gets_what_is_declared_of_it(alias: str | None) -> None:
    live = vm(alias or "virtiomem0", current=0)
    domain = helpers.domain(live=guest(live), config=guest(vm(alias)))
    plan = planned(domain, 6 * GIB)
    assert list(asked(plan, LIVE).values()) == [4 * GIB]
    assert asked(plan, CONFIG) == {alias: 4 * GIB}
    assert [(step.op, step.scope) for step in plan.steps] == [("update", LIVE), ("update", CONFIG)]
    assert sums(plan, LIVE) == sums(plan, CONFIG) == (2 * GIB, 0, 0, 4 * GIB)
    assert plan.undeclared == ()


def test_a_dimm_counts_and_is_left_alone() -> None:
    plan = planned(both(helpers.dimm(alias="ua-dimm0"), vm()), 6 * GIB)
    assert asked(plan, LIVE) == {"ua-vm0": 3 * GIB}
    assert sums(plan, LIVE) == (2 * GIB, GIB, 0, 3 * GIB)
    assert plan.undeclared == ("ua-dimm0",)


def test_what_is_no_ordinary_memory_does_not_count() -> None:
    pmem = Device("virtio-pmem", GIB, alias="ua-pm0", path="/x", access="shared")
    assert asked(planned(stopped(pmem, vm()), 6 * GIB), CONFIG) == {"ua-vm0": 4 * GIB}


def test_a_dimm_that_is_declared_with_it_counts_already() -> None:
    wish = Wish(alias="ua-dimm0", model="dimm", size=GIB)
    plan = planned(both(vm()), 6 * GIB, wish)
    assert asked(plan, LIVE) == {"ua-vm0": 3 * GIB}


def test_a_dimm_that_is_declared_by_its_name_alone_takes_no_part() -> None:
    dimm = helpers.dimm(alias="ua-dimm0")
    plan = planned(both(dimm, vm()), 6 * GIB, Wish(alias="ua-dimm0"))
    assert asked(plan, LIVE) == {"ua-vm0": 3 * GIB}
    assert plan.undeclared == ()


def test_a_dimm_that_must_go_does_not_count() -> None:
    wish = Wish(alias="ua-dimm0", state=ABSENT)
    assert asked(planned(stopped(helpers.dimm(alias="ua-dimm0"), vm()), 6 * GIB, wish), CONFIG) == {"ua-vm0": 4 * GIB}


def test_exclusive_keeps_what_takes_part_and_removes_the_rest() -> None:
    plan = planned(stopped(helpers.dimm(alias="ua-dimm0"), vm()), 6 * GIB, exclusive=True)
    assert asked(plan, CONFIG) == {"ua-vm0": 4 * GIB}
    assert sums(plan, CONFIG) == (2 * GIB, 0, 0, 4 * GIB)


# --- several devices


def test_two_cells_get_it_in_proportion_of_their_boot_memory() -> None:
    devices = [vm("ua-a", node=0), vm("ua-b", node=1)]
    plan = planned(both(*devices, cells=(2 * GIB, GIB)), 9 * GIB)
    assert asked(plan, LIVE) == {"ua-a": 4 * GIB, "ua-b": 2 * GIB}


def test_a_declared_device_with_requested_is_fixed() -> None:
    fixed = Wish(alias="ua-a", requested=GIB)
    plan = planned(both(vm("ua-a"), vm("ua-b")), 6 * GIB, fixed, Wish(alias="ua-b"))
    assert asked(plan, LIVE) == {"ua-a": GIB, "ua-b": 3 * GIB}
    assert sums(plan, CONFIG) == (2 * GIB, 0, GIB, 3 * GIB)


def test_a_device_that_is_not_declared_beside_others_keeps_what_it_has_and_counts() -> None:
    plan = planned(both(vm("ua-a", requested=GIB), vm("ua-b")), 6 * GIB, Wish(alias="ua-b"))
    assert asked(plan, LIVE) == {"ua-b": 3 * GIB}
    assert sums(plan, LIVE) == (2 * GIB, 0, GIB, 3 * GIB)


def test_a_new_declared_device_without_requested_takes_part() -> None:
    wish = Wish(alias="ua-new", model="virtio-mem", size=8 * GIB, node=0)
    plan = planned(stopped(), 6 * GIB, wish)
    assert asked(plan, CONFIG) == {"ua-new": 4 * GIB}


def test_nameless_devices_take_part_too() -> None:
    devices = [vm(None, node=0), vm(None, node=0)]
    live = [vm("virtiomem0", current=0), vm("virtiomem1", current=0)]
    domain = helpers.domain(live=guest(*live), config=guest(*devices))
    plan = planned(domain, 6 * GIB)
    assert sorted(asked(plan, LIVE).items()) == [("virtiomem0", 2 * GIB), ("virtiomem1", 2 * GIB)]
    assert sums(plan, CONFIG) == (2 * GIB, 0, 0, 4 * GIB)


@pytest.mark.parametrize(
    ("resize", "memory", "expected"),
    [
        ("grow", 3 * GIB, 4 * GIB),  # a floor
        ("grow", 7 * GIB, 5 * GIB),
        ("grow", GIB, 4 * GIB),  # below the boot memory it is one too
        ("shrink", 7 * GIB, 4 * GIB),
        ("shrink", 3 * GIB, GIB),
        ("never", 3 * GIB, 4 * GIB),
        ("never", 7 * GIB, 4 * GIB),
    ],
)
def test_the_directions_of_a_guest(resize: str, memory: int, expected: int) -> None:
    plan = planned(both(vm(requested=4 * GIB)), memory, resize=resize)
    assert asked(plan, LIVE) == {"ua-vm0": expected}


def test_a_device_keeps_its_own_direction() -> None:
    devices = [vm("ua-a", requested=2 * GIB), vm("ua-b", requested=2 * GIB)]
    plan = planned(both(*devices), 4 * GIB, Wish(alias="ua-a", resize="grow"), Wish(alias="ua-b"))
    assert asked(plan, LIVE) == {"ua-a": 2 * GIB, "ua-b": 0}


def test_whole_blocks_are_rounded_up() -> None:
    plan = planned(both(vm(block=GIB)), 5 * GIB + MIB)
    assert asked(plan, LIVE) == {"ua-vm0": 4 * GIB}


# --- devices that are made


def test_a_plain_guest_becomes_elastic_at_its_restart() -> None:
    domain = helpers.domain(live=plain(), config=plain())
    plan = planned(domain, 4 * GIB, max_memory=16 * GIB)
    assert asked(plan, CONFIG) == {"ua-mem0": 2 * GIB}
    made = plan.devices[0].after[CONFIG]
    assert made is not None
    assert (made.size, made.node, made.block) == (14 * GIB, 0, 2 * MIB)
    assert sums(plan, LIVE) == (2 * GIB, 0, 0, 0)
    assert sums(plan, CONFIG) == (2 * GIB, 0, 0, 2 * GIB)
    assert "4GiB is declared for the guest, and until its restart it has 2GiB." in plan.restart_reasons
    # After the restart it is there, and the next number comes live.
    config = domain.config
    for step in plan.steps:
        config = planning.taken(domain.with_scope(CONFIG, config), step).config
    assert config is not None
    running = [replace(device, current=device.requested) for device in config.devices]
    restarted = helpers.domain(live=config._replace(devices=tuple(running)), config=config)
    assert planned(restarted, 4 * GIB, max_memory=16 * GIB).steps == ()
    assert asked(planned(restarted, 6 * GIB, max_memory=16 * GIB), LIVE) == {"ua-mem0": 4 * GIB}


def test_each_cell_gets_a_device_with_its_share() -> None:
    plan = planned(both(cells=(2 * GIB, 2 * GIB), free_ports=2), 8 * GIB, max_memory=20 * GIB)
    made = {device.wish.alias: device.after[CONFIG] for device in plan.devices}
    assert {alias: side.size for alias, side in made.items() if side} == {"ua-mem0": 8 * GIB, "ua-mem1": 8 * GIB}
    assert asked(plan, LIVE) == {"ua-mem0": 2 * GIB, "ua-mem1": 2 * GIB}


def test_other_devices_have_their_place_in_max_memory() -> None:
    plan = planned(stopped(helpers.dimm(alias="ua-dimm0")), 4 * GIB, max_memory=16 * GIB)
    made = plan.devices[0].after[CONFIG]
    assert made is not None
    assert (made.size, made.requested) == (13 * GIB, GIB)


def test_nothing_is_made_for_a_guest_that_has_it_already() -> None:
    assert planned(stopped(), 2 * GIB).steps == ()


def test_another_max_memory_makes_another_device_of_ours() -> None:
    domain = both(vm("ua-mem0", size=14 * GIB, requested=2 * GIB), max_memory=16 * GIB)
    larger = planned(domain, 20 * GIB, max_memory=32 * GIB)
    assert asked(larger, CONFIG) == {"ua-mem0": 18 * GIB}
    assert asked(larger, LIVE) == {"ua-mem0": 14 * GIB}  # what can be had now
    assert "20GiB is declared for the guest, and until its restart it has 16GiB." in larger.restart_reasons
    smaller = planned(domain, 3 * GIB, max_memory=8 * GIB)
    side = smaller.devices[0].after[CONFIG]
    assert side is not None
    assert (side.size, side.requested) == (6 * GIB, GIB)


def test_a_smaller_max_memory_below_what_is_requested_now() -> None:
    domain = both(vm("ua-mem0", size=14 * GIB, requested=10 * GIB), max_memory=16 * GIB)
    plan = planned(domain, 6 * GIB, max_memory=8 * GIB)
    assert asked(plan, CONFIG) == asked(plan, LIVE) == {"ua-mem0": 4 * GIB}


def test_a_device_of_the_users_keeps_its_size() -> None:
    plan = planned(both(vm(), max_memory=16 * GIB), 6 * GIB, max_memory=32 * GIB)
    side = plan.devices[0].after[CONFIG]
    assert side is not None
    assert side.size == 8 * GIB


# --- two scopes that differ


def test_a_device_that_is_smaller_in_the_running_guest_gives_what_it_can() -> None:
    domain = helpers.domain(live=guest(vm(size=4 * GIB, current=0)), config=guest(vm(size=16 * GIB)))
    plan = planned(domain, 12 * GIB)
    assert (asked(plan, LIVE), asked(plan, CONFIG)) == ({"ua-vm0": 4 * GIB}, {"ua-vm0": 10 * GIB})
    assert plan.restart_reasons == ("12GiB is declared for the guest, and until its restart it has 6GiB.",)


def test_each_scope_has_its_own_boot_memory() -> None:
    domain = helpers.domain(live=guest(vm(current=0)), config=guest(vm(), cells=(4 * GIB,)))
    plan = planned(domain, 6 * GIB)
    assert (asked(plan, LIVE), asked(plan, CONFIG)) == ({"ua-vm0": 4 * GIB}, {"ua-vm0": 2 * GIB})
    assert plan.restart_reasons == ()


def test_a_running_guest_with_more_boot_memory_than_declared_waits_for_its_restart() -> None:
    domain = helpers.domain(live=guest(vm(current=0), cells=(8 * GIB,)), config=guest(vm()))
    plan = planned(domain, 4 * GIB)
    assert (asked(plan, LIVE), asked(plan, CONFIG)) == ({"ua-vm0": 0}, {"ua-vm0": 2 * GIB})
    assert plan.restart_reasons == ("4GiB is declared for the guest, and until its restart it has 8GiB.",)


def test_a_device_that_may_only_grow_keeps_what_it_has_in_a_guest_with_too_much() -> None:
    live, config = vm(requested=GIB, current=GIB), vm(requested=GIB)
    domain = helpers.domain(live=guest(live, cells=(8 * GIB,)), config=guest(config))
    plan = planned(domain, 4 * GIB, Wish(alias="ua-vm0", resize="grow"))
    assert (asked(plan, LIVE), asked(plan, CONFIG)) == ({"ua-vm0": GIB}, {"ua-vm0": 2 * GIB})
    assert plan.restart_reasons == ("4GiB is declared for the guest, and until its restart it has 9GiB.",)


def test_a_device_that_may_only_shrink_keeps_what_it_has_in_a_guest_with_too_little() -> None:
    live, config = vm(size=2 * GIB, requested=GIB, current=GIB), vm(requested=GIB)
    domain = helpers.domain(live=guest(live), config=guest(config))
    plan = planned(domain, 6 * GIB, Wish(alias="ua-vm0", resize="shrink"))
    assert asked(plan, LIVE) == asked(plan, CONFIG) == {"ua-vm0": GIB}


# --- what can't be


@pytest.mark.parametrize("domain", [both(vm()), stopped(vm()), helpers.domain(live=guest(vm()))])
def test_less_than_the_boot_memory_is_refused_with_the_numbers(domain: Domain) -> None:
    error = refused(domain, GIB)
    assert error.error_code == "memory_below_boot"
    assert "memory: 1GiB is declared, but domain web1 has 2GiB of boot memory" in error.msg
    assert "memory: 2GiB or more" in error.hint
    assert (error.details["boot"], error.details["surplus"]) == (2 * GIB, GIB)


@pytest.mark.parametrize(
    ("domain", "wishes", "hint"),
    [
        (both(vm()), (), "devices: [{alias: ua-vm0, model: virtio-mem, size: 10GiB}]"),
        (both(vm("ua-mem0")), (), "max_memory: 12GiB"),
        (helpers.domain(config=plain()), (), "max_memory: 12GiB"),
        (both(vm()), (Wish(alias="ua-vm0", requested=GIB),), "Leave requested out"),
    ],
)
def test_more_than_the_devices_hold_is_refused_with_the_line_to_write(
    domain: Domain, wishes: tuple[Wish, ...], hint: str
) -> None:
    error = refused(domain, 12 * GIB, *wishes)
    assert error.error_code == "memory_above_devices"
    assert hint in error.hint
    assert error.details["most"] + error.details["missing"] == 12 * GIB


@pytest.mark.parametrize(
    ("definition", "scope"),
    [
        (plain(other_aliases=frozenset({"ua-mem0"})), CONFIG),
        (guest(helpers.dimm(alias="ua-mem0")), CONFIG),
    ],
)
def test_an_alias_of_ours_that_something_else_has_is_refused(definition: Definition, scope: str) -> None:
    error = refused(helpers.domain(config=definition), 8 * GIB, max_memory=32 * GIB)
    assert error.error_code == "alias_conflict"
    assert "ua-mem0" in error.msg
    assert scope in error.msg
    assert "devices: [{alias: ua-vm0" in error.hint


def test_without_a_number_nothing_takes_part() -> None:
    plan = planned(both(vm(requested=GIB)), None)
    assert (plan.steps, plan.memory, plan.devices) == ((), None, ())


def test_a_device_that_is_made_is_attached_with_what_is_requested() -> None:
    plan = planned(both(), 4 * GIB)
    assert [(step.op, step.scope) for step in plan.steps] == [(ATTACH, LIVE), (ATTACH, CONFIG)]
    assert asked(plan, LIVE) == {"ua-mem0": 2 * GIB}
