# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a device gets that nobody has declared, its place in each scope, and the goals on its way out."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    ABSENT,
    CONFIG,
    LIVE,
    Definition,
    Device,
    Domain,
    Host,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.device import plan_device
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.step import (
    DETACH,
    REMOVE,
    SHRINK,
    UPDATE,
    Circumstances,
    DevicePlan,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

NEW, OLD = Circumstances(helpers.TRIXIE), Circumstances(helpers.BOOKWORM)
VIRTIO_MEM = Wish(alias="ua-a", model="virtio-mem", size=GIB, requested=0)
DIMM = Wish(alias="ua-d", model="dimm", size=GIB)


def attached(definition: Definition, wish: Wish, circumstances: Circumstances = NEW) -> Device:
    """The device as the configuration gets it."""
    plan = plan_device(helpers.domain(config=definition), wish, circumstances)
    device = plan.after[CONFIG]
    assert device is not None
    return device


def code(definition: Definition, wish: Wish, circumstances: Circumstances = NEW) -> str:
    """Why it can't be."""
    with pytest.raises(VirtmemError) as caught:
        plan_device(helpers.domain(config=definition), wish, circumstances)
    return caught.value.error_code


@pytest.mark.parametrize(
    ("values", "node"),
    [
        ({"cells": (0,)}, 0),
        ({"cells": (3,)}, 3),
        ({"cells": ()}, 0),  # libvirt adds the first
        ({"cells": (), "arch": "s390x"}, None),  # and there, none
    ],
)
def test_the_cell_of_a_new_device(values: dict[str, t.Any], node: int | None) -> None:
    assert attached(helpers.definition(**values), VIRTIO_MEM).node == node


def test_which_of_two_cells_is_for_the_user_to_say() -> None:
    assert code(helpers.definition(cells=(0, 1)), VIRTIO_MEM) == "missing_option"


@pytest.mark.parametrize(
    ("arch", "pagesize", "block"),
    [("x86_64", None, 2 * MIB), ("s390x", None, MIB), ("x86_64", GIB, GIB), ("x86_64", 4096, 2 * MIB)],
)
def test_the_block_of_a_new_device(arch: str, pagesize: int | None, block: int) -> None:
    definition = helpers.definition(arch=arch, cells=() if arch == "s390x" else (0,))
    assert attached(definition, replace(VIRTIO_MEM, pagesize=pagesize)).block == block


@pytest.mark.parametrize(
    ("taken", "base", "slot", "expected"),
    [
        ((), None, None, None),  # libvirt chooses
        ((), 0x180000000, None, 0),  # it takes no base without a slot
        ((0, 1), 0x180000000, None, 2),
        ((1,), 0x180000000, None, 0),
        ((), 0x180000000, 5, 5),
        ((), None, 5, 5),
    ],
)
def test_the_slot_of_a_new_module(
    taken: tuple[int, ...], base: int | None, slot: int | None, expected: int | None
) -> None:
    there = [helpers.dimm(alias=f"ua-{number}", slot=number, size=128 * MIB) for number in taken]
    assert attached(helpers.definition(*there), replace(DIMM, base=base, slot=slot)).slot == expected


@pytest.mark.parametrize(("slot", "base"), [(None, None), (4, None), (4, 0x180000000)])
def test_the_place_is_that_of_its_own_scope(slot: int | None, base: int | None) -> None:
    """A device that the running guest has already comes into the configuration without the running one's place."""
    live = helpers.dimm(alias="ua-d", slot=2, base=0x140000000)
    domain = helpers.domain(live=helpers.definition(live), config=helpers.definition())
    device = plan_device(domain, replace(DIMM, slot=slot, base=base, scope="config"), NEW).after[CONFIG]
    assert device is not None
    assert (device.slot, device.base) == (slot, base)


def test_a_page_of_the_host_is_judged_where_the_device_comes() -> None:
    host = Host(pages={0: {4096: 1000, GIB: 0}}, page_sizes=frozenset({4096, GIB}))
    wish = replace(VIRTIO_MEM, pagesize=GIB, requested=GIB)
    circumstances = NEW._replace(host=host)
    assert code(helpers.definition(), replace(wish, pagesize=2 * MIB), circumstances) == "no_host_pages"
    # The configuration can wait for its pool, the running guest can't.
    assert attached(helpers.definition(), wish, circumstances).pagesize == GIB
    with pytest.raises(VirtmemError) as caught:
        plan_device(helpers.domain(live=helpers.definition()), wish, circumstances)
    assert caught.value.error_code == "no_host_pages"


def test_a_size_that_the_architecture_does_not_take_is_refused_before_it_is_attached() -> None:
    assert code(helpers.definition(arch="ppc64le"), replace(DIMM, size=GIB + 2 * MIB)) == "not_aligned"


# --- on the way out


def removed(
    *devices: Device, circumstances: Circumstances = NEW, scope: str = "auto", stored: bool = True
) -> DevicePlan:
    """The plan of the first device's end."""
    config = helpers.definition(*(replace(device, current=None) for device in devices)) if stored else None
    domain: Domain = helpers.domain(live=helpers.definition(*devices), config=config)
    return plan_device(domain, Wish(alias=devices[0].alias, state=ABSENT, scope=scope), circumstances)


def test_a_device_is_emptied_then_goes_and_then_goes_from_the_configuration() -> None:
    plan = removed(helpers.virtio_mem(alias="ua-a", current=GIB), helpers.virtio_mem(alias="ua-b", current=GIB))
    assert [(step.op, step.scope, step.rank) for step in plan.steps] == [
        (UPDATE, LIVE, REMOVE),
        (DETACH, LIVE, REMOVE),
        (DETACH, CONFIG, REMOVE),
    ]
    empty, gone = plan.steps[0].until, plan.steps[1].until
    assert empty is not None
    assert gone is not None
    assert (empty.wish.alias, empty.low, empty.high, empty.requested, empty.gone) == ("ua-a", 0, 0, 0, False)
    assert (gone.wish.alias, gone.low, gone.high, gone.requested, gone.gone) == ("ua-a", None, None, 0, True)
    before = plan.steps[1].before
    assert before is not None
    assert (before.requested, before.current) == (0, GIB)
    assert plan.steps[1].xml == plan.steps[0].xml


def test_a_module_goes_in_one_step() -> None:
    plan = removed(helpers.dimm(alias="ua-d"), scope="live")
    gone = plan.steps[0].until
    assert [(step.op, step.scope) for step in plan.steps] == [(DETACH, LIVE)]
    assert gone is not None
    assert (gone.wish.alias, gone.gone) == ("ua-d", True)


@pytest.mark.parametrize(("requested", "steps"), [(GIB, [UPDATE, DETACH]), (0, [DETACH])])
def test_what_can_not_be_unplugged_is_emptied_until_the_restart(requested: int, steps: list[str]) -> None:
    plan = removed(helpers.virtio_mem(alias="ua-a", requested=requested, current=GIB), circumstances=OLD)
    assert [step.op for step in plan.steps] == steps
    assert all(step.rank == SHRINK for step in plan.steps if step.scope == LIVE)
    goal = plan.goal
    assert goal is not None
    assert (goal.wish.alias, goal.low, goal.high, goal.requested) == ("ua-a", 0, 0, 0)
    assert "ua-a goes at the restart" in plan.restart_reasons[0]


@pytest.mark.parametrize("how", [{"scope": "live"}, {"stored": False}])
def test_what_no_restart_would_remove_is_refused(how: dict[str, t.Any]) -> None:
    with pytest.raises(VirtmemError) as caught:
        removed(helpers.virtio_mem(alias="ua-a", current=GIB), circumstances=OLD, **how)
    assert caught.value.error_code == "needs_restart"
    assert "ua-a" in caught.value.msg
    assert len(caught.value.details["restart_reasons"]) == 1


def test_a_persistent_device_waits_for_the_restart_and_has_no_size_to_reach() -> None:
    pmem = Device("virtio-pmem", GIB, alias="ua-p", path="/x", access="shared", xml="<memory model='virtio-pmem'/>")
    plan = removed(pmem)
    assert (plan.goal, [step.scope for step in plan.steps]) == (None, [CONFIG])


@pytest.mark.parametrize(
    ("values", "wish", "refusal"),
    [
        ({"max_memory": None}, {}, "no_max_memory"),  # staged otherwise
        ({"max_memory": None}, {"scope": "both"}, "no_max_memory"),
    ],
)
def test_a_running_guest_without_room_gets_it_at_the_next_start_unless_asked_for_by_name(
    values: dict[str, t.Any], wish: dict[str, t.Any], refusal: str
) -> None:
    domain = helpers.domain(live=helpers.definition(**values), config=helpers.definition())
    if not wish:
        plan = plan_device(domain, VIRTIO_MEM, NEW)
        assert plan.restart_reasons[0].endswith("The device comes with the next boot.")
        assert plan.goal is None
        return
    with pytest.raises(VirtmemError) as caught:
        plan_device(domain, replace(VIRTIO_MEM, **wish), NEW)
    assert caught.value.error_code == refusal


def test_a_new_device_must_reach_what_is_requested_of_it_and_no_other_size() -> None:
    domain = helpers.domain(live=helpers.definition(), config=helpers.definition())
    goal = plan_device(domain, replace(VIRTIO_MEM, requested=512 * MIB), NEW).goal
    assert goal is not None
    assert (goal.low, goal.high, goal.requested) == (512 * MIB, 512 * MIB, 512 * MIB)
