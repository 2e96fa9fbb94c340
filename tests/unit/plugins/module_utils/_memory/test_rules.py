# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot be done: each rule fires at its boundary with its code and its numbers, and nowhere else."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import platforms
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import CONFIG, LIVE, Device, Domain, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.definition import (
    check_attach,
    check_cell,
    check_growth,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.domain import check_scope
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.values import (
    check_block,
    check_complete,
    check_device,
    check_requested,
    check_size,
    check_wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from hypothesis import given
from hypothesis import strategies as st

OLD, NEW = helpers.BOOKWORM, helpers.TRIXIE
VALUES = {"model": "virtio-mem", "size": 4 * GIB, "block": 2 * MIB, "requested": GIB, "node": 0}


def refused(problem: VirtmemError | None, error_code: str, **details: t.Any) -> VirtmemError:
    """The problem, which must have this code, these numbers, and say what to do."""
    assert problem is not None
    assert problem.error_code == error_code
    assert {name: problem.details.get(name) for name in details} == details
    assert problem.msg
    assert problem.hint
    return problem


# --- the block


@pytest.mark.parametrize("value", [2 * MIB, 4 * MIB, GIB, 2**40])
def test_a_block_is_a_power_of_two(value: int) -> None:
    assert check_block(value) is None


@pytest.mark.parametrize(
    ("value", "arch", "says"),
    [
        (0, "x86_64", "is smaller than 2MiB"),
        (MIB, "x86_64", "is smaller than 2MiB"),
        (2 * MIB - KIB, "x86_64", "is smaller than 2MiB"),
        (512 * KIB, "s390x", "is smaller than 1MiB"),
        (3 * MIB, "x86_64", "is not a power of two"),
        (2 * MIB + KIB, "x86_64", "is not a power of two"),
        (3 * MIB, "s390x", "is not a power of two"),
    ],
)
def test_any_other_block_is_refused(value: int, arch: str, says: str) -> None:
    problem = refused(check_block(value, platforms.of(arch)), "invalid_block", option="block", value=value)
    assert says in problem.msg


def test_the_smallest_block_is_the_architectures() -> None:
    assert check_block(MIB, platforms.of("s390x")) is None
    refused(check_block(MIB, platforms.of("x86_64")), "invalid_block", smallest=2 * MIB)


# --- the requested size


@pytest.mark.parametrize("value", [0, 2 * MIB, GIB, 4 * GIB])
def test_blocks_up_to_the_size_can_be_requested(value: int) -> None:
    assert check_requested(value, 4 * GIB, 2 * MIB) is None


def test_more_than_the_size_can_not() -> None:
    refused(
        check_requested(4 * GIB + 2 * MIB, 4 * GIB, 2 * MIB),
        "requested_exceeds_size",
        option="requested",
        requested=4 * GIB + 2 * MIB,
        size=4 * GIB,
    )


def test_part_of_a_block_can_not() -> None:
    problem = refused(
        check_requested(3 * MIB, GIB, 2 * MIB),
        "not_aligned",
        option="requested",
        value=3 * MIB,
        unit=2 * MIB,
        below=2 * MIB,
        above=4 * MIB,
    )
    assert "2MiB and 4MiB" in problem.hint
    assert "The smallest is 2MiB" in refused(check_requested(KIB, GIB, 2 * MIB), "not_aligned").hint


@given(
    value=st.integers(0, 2**14).map(lambda number: number * KIB * 512),
    size=st.integers(1, 2**12).map(lambda number: number * 2 * MIB),
    block=st.integers(21, 26).map(lambda power: 2**power),
)
def test_a_request_is_refused_exactly_where_libvirt_would(value: int, size: int, block: int) -> None:
    problem = check_requested(value, size, block)
    expected = "requested_exceeds_size" if value > size else "not_aligned" if value % block else None
    assert (problem and problem.error_code) == expected


# --- the size


@pytest.mark.parametrize(
    ("value", "block", "arch"),
    [
        (2 * MIB, None, "x86_64"),
        (2 * MIB, 2 * MIB, "x86_64"),
        (8 * MIB, 4 * MIB, "x86_64"),
        (2 * MIB, MIB, "s390x"),
        (512 * MIB, 2 * MIB, "ppc64le"),
    ],
)
def test_a_size_is_a_multiple_of_what_qemu_can_plug(value: int, block: int | None, arch: str) -> None:
    assert check_size(value, block, platforms.of(arch)) is None


@pytest.mark.parametrize(
    ("value", "block", "arch", "unit"),
    [
        (3 * MIB, None, "x86_64", 2 * MIB),
        (GIB + KIB, None, "x86_64", 2 * MIB),
        (6 * MIB, 4 * MIB, "x86_64", 4 * MIB),
        (2 * MIB, GIB, "x86_64", GIB),
        (MIB, MIB, "s390x", 2 * MIB),
        (128 * MIB, 2 * MIB, "ppc64", 256 * MIB),
    ],
)
def test_any_other_size_is_refused(value: int, block: int | None, arch: str, unit: int) -> None:
    refused(check_size(value, block, platforms.of(arch)), "not_aligned", option="size", value=value, unit=unit)


def test_no_device_has_no_size() -> None:
    refused(check_size(0, None, platforms.of("x86_64")), "invalid_option", option="size", value=0)


# --- a declaration alone


@pytest.mark.parametrize(
    ("wish", "error_code"),
    [
        ({}, None),
        ({"block": 4 * MIB, "size": GIB, "requested": 4 * MIB}, None),
        ({"requested": 3 * MIB}, None),
        ({"size": GIB, "requested": GIB}, None),
        ({"block": 3 * MIB}, "invalid_block"),
        ({"size": GIB, "requested": 2 * GIB}, "requested_exceeds_size"),
        ({"size": GIB, "requested": 2 * MIB, "block": 4 * MIB}, "not_aligned"),
    ],
)
def test_a_declaration_is_judged_before_any_connection(wish: dict[str, int], error_code: str | None) -> None:
    problem = check_wish(Wish(**t.cast("t.Any", wish)))
    assert (problem and problem.error_code) == error_code


# --- the scope

RUNNING = helpers.domain(helpers.definition(), helpers.definition())
STOPPED = helpers.domain(config=helpers.definition())
TRANSIENT = helpers.domain(live=helpers.definition())


@pytest.mark.parametrize(
    ("domain", "asked", "available"),
    [
        (RUNNING, "auto", True),
        (RUNNING, "live", True),
        (RUNNING, "config", True),
        (RUNNING, "both", True),
        (STOPPED, "auto", True),
        (STOPPED, "live", False),
        (STOPPED, "config", True),
        (STOPPED, "both", False),
        (TRANSIENT, "auto", True),
        (TRANSIENT, "live", True),
        (TRANSIENT, "config", False),
        (TRANSIENT, "both", False),
    ],
)
def test_an_explicit_scope_must_exist(domain: Domain, asked: str, available: bool) -> None:
    problem = check_scope(domain, asked)
    if available:
        assert problem is None
    else:
        refused(problem, "scope_unavailable", option="scope", value=asked, state=domain.state)


# --- attaching


@pytest.mark.parametrize("scope", [LIVE, CONFIG])
@pytest.mark.parametrize("versions", [OLD, NEW])
def test_where_there_is_room_a_device_can_be_attached(scope: str, versions: t.Any) -> None:
    assert check_attach(helpers.definition(), VALUES, versions, scope) is None


def test_without_max_memory_there_is_no_room() -> None:
    definition = helpers.definition(max_memory=None, slots=0)
    refused(check_attach(definition, VALUES, OLD, CONFIG), "no_max_memory", scope="config", needed=4 * GIB)


@pytest.mark.parametrize(("more", "fits"), [(0, True), (KIB, False), (-2 * MIB, True), (GIB, False)])
def test_a_device_needs_room_for_its_whole_size(more: int, fits: bool) -> None:
    definition = helpers.definition(helpers.virtio_mem(requested=0))
    headroom = 16 * GIB - 5 * GIB
    problem = check_attach(definition, {**VALUES, "size": headroom + more, "requested": 0}, OLD, LIVE)
    if fits:
        assert problem is None
    else:
        refused(
            problem,
            "insufficient_headroom",
            scope="live",
            needed=headroom + more,
            headroom=headroom,
            max_memory=16 * GIB,
            total=5 * GIB,
        )


def test_a_domain_that_is_over_its_maximum_has_no_headroom_rather_than_less() -> None:
    definition = helpers.definition(total=17 * GIB)
    refused(check_attach(definition, VALUES, OLD, LIVE), "insufficient_headroom", headroom=0)


@pytest.mark.parametrize(
    ("devices", "slots", "versions", "fits"),
    [(1, 2, OLD, True), (2, 2, OLD, False), (3, 2, OLD, False), (2, 2, NEW, True), (0, 0, NEW, True)],
)
def test_older_libvirt_counts_every_device_as_a_slot(devices: int, slots: int, versions: t.Any, fits: bool) -> None:
    definition = helpers.definition(*[helpers.virtio_mem(size=2 * MIB)] * devices, slots=slots)
    problem = check_attach(definition, VALUES, versions, LIVE)
    if fits:
        assert problem is None
    else:
        refused(problem, "no_free_slot", scope="live", slots=slots, devices=devices)


@pytest.mark.parametrize(
    ("cells", "node", "versions", "error_code"),
    [
        ((0,), 0, OLD, None),
        ((0, 1), 1, OLD, None),
        ((0, 3), 3, OLD, None),
        ((0,), 1, OLD, "no_numa_node"),
        ((0, 3), 2, OLD, "no_numa_node"),
        ((), 0, OLD, "no_numa_node"),
        ((), 0, NEW, None),
        ((), 1, NEW, "no_numa_node"),
        ((0, 1), None, OLD, "missing_option"),
    ],
)
def test_a_device_belongs_to_a_cell_that_exists(
    cells: tuple[int, ...], node: int | None, versions: t.Any, error_code: str | None
) -> None:
    definition = helpers.definition(cells=cells)
    problem = check_attach(definition, {**VALUES, "node": node}, versions, CONFIG)
    if error_code is None:
        assert problem is None
    else:
        refused(problem, error_code, option="node", scope="config")


def test_a_device_that_moves_must_find_its_cell() -> None:
    definition = helpers.definition(cells=(0, 1))
    assert check_cell(definition, "virtio-mem", 1, OLD, CONFIG) is None
    refused(check_cell(definition, "virtio-mem", 2, OLD, CONFIG), "no_numa_node", value=2, cells=[0, 1])


@pytest.mark.parametrize(
    ("free_ports", "scope", "fits"),
    [(1, LIVE, True), (0, LIVE, False), (0, CONFIG, True), (None, LIVE, True), (None, CONFIG, True)],
)
def test_a_running_guest_needs_a_free_port(free_ports: int | None, scope: str, fits: bool) -> None:
    problem = check_attach(helpers.definition(free_ports=free_ports), VALUES, OLD, scope)
    if fits:
        assert problem is None
    else:
        refused(problem, "needs_restart", scope="live", free_ports=0)


# --- a new device


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (VALUES, []),
        ({"model": "virtio-mem", "size": GIB, "requested": 0}, []),
        ({"model": "virtio-mem", "size": GIB}, ["requested"]),
        ({"model": "virtio-mem", "requested": GIB}, ["size"]),
        ({"model": "virtio-mem"}, ["size", "requested"]),
        ({"size": GIB, "requested": GIB}, ["model"]),
        ({"model": "dimm"}, ["size"]),
    ],
)
def test_a_new_device_needs_what_its_model_needs(values: dict[str, t.Any], missing: list[str]) -> None:
    problem = check_complete(values, Wish(alias="ua-vm0"))
    if not missing:
        assert problem is None
    else:
        refused(problem, "missing_option", missing=missing)
        for name in (*missing, "ua-vm0"):
            assert name in t.cast("VirtmemError", problem).msg


# --- a changed device


@pytest.mark.parametrize(
    ("values", "changed", "error_code"),
    [
        ({}, ["size", "block", "requested"], None),
        ({"block": 3 * MIB}, ["block"], "invalid_block"),
        ({"size": 3 * MIB, "requested": 0}, ["size"], "not_aligned"),
        ({"size": 6 * MIB, "requested": 0, "block": 4 * MIB}, ["block"], "not_aligned"),
        ({"requested": 3 * MIB}, ["requested"], "not_aligned"),
        ({"requested": 6 * GIB}, ["requested"], "requested_exceeds_size"),
        ({"size": 2 * MIB}, ["size"], "requested_exceeds_size"),
        ({"requested": 6 * MIB, "block": 4 * MIB}, ["block"], "not_aligned"),
        ({"requested": None}, ["size"], None),
    ],
)
def test_what_changes_is_judged(values: dict[str, t.Any], changed: list[str], error_code: str | None) -> None:
    problem = check_device({**VALUES, **values}, changed, helpers.definition())
    assert (problem and problem.error_code) == error_code


@pytest.mark.parametrize(("arch", "possible"), [("x86_64", False), ("aarch64", False), ("ppc64le", True)])
def test_only_pseries_guests_know_the_uuid_of_an_nvdimm(arch: str, possible: bool) -> None:
    nvdimm: dict[str, t.Any] = {
        "model": "nvdimm",
        "path": "/dev/dax0.0",
        "uuid": "5d4f3f6e-3a5b-4d65-9b3a-3f0c5d3b6c11",
    }
    nvdimm.update(size=GIB + 2 * MIB, label_size=2 * MIB)
    problem = check_device(nvdimm, nvdimm, helpers.definition(arch=arch))
    assert (problem is None) == possible
    if problem is not None:
        assert problem.error_code == "invalid_option"
        assert arch in problem.msg


@pytest.mark.parametrize("values", [{"block": 3 * MIB}, {"size": 3 * MIB}, {"requested": 3 * MIB}])
def test_what_was_there_before_is_libvirts(values: dict[str, t.Any]) -> None:
    assert check_device({**VALUES, **values}, ["node"], helpers.definition()) is None


@pytest.mark.parametrize(("more", "fits"), [(11 * GIB, True), (11 * GIB + 2 * MIB, False), (0, True), (-GIB, True)])
def test_a_device_that_grows_in_the_configuration_needs_room(more: int, fits: bool) -> None:
    device: Device = helpers.virtio_mem()
    problem = check_growth(helpers.definition(device), device, device.size + more)
    if fits:
        assert problem is None
    else:
        refused(problem, "insufficient_headroom", scope="config", needed=more, headroom=11 * GIB)


def test_a_device_that_shrinks_needs_no_room_even_where_there_is_no_maximum() -> None:
    device = helpers.virtio_mem()
    definition = helpers.definition(device, max_memory=None)
    assert check_growth(definition, device, device.size) is None
    assert check_growth(definition, device, device.size - GIB) is None
    refused(check_growth(definition, device, device.size + GIB), "no_max_memory")


@pytest.mark.parametrize(("slots", "error_code"), [(1, None), (2, "no_free_slot"), (3, None)])
def test_a_dimm_for_a_configuration_meets_libvirts_odd_count(slots: int, error_code: str | None) -> None:
    """libvirt 11.3 compares the number of all devices with the slots, for equality only."""
    definition = helpers.definition(helpers.virtio_mem(), helpers.virtio_mem(alias="ua-vm1"), slots=slots)
    values = {"model": "dimm", "size": GIB, "node": 0}
    for scope, expected in ((CONFIG, error_code), (LIVE, None)):
        problem = check_attach(definition, values, helpers.TRIXIE, scope)
        assert (problem.error_code if problem else None) == expected
