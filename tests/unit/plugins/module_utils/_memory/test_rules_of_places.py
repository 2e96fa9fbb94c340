# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about where a device stands, what the host has for it, and options that few devices have."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.around import Around, HugePages
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import CONFIG, LIVE, Host, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.definition import check_attach
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.host import check_host
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.values import check_device, check_wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

DIMM = {"model": "dimm", "size": GIB, "node": 0}
SLOTTED = replace(helpers.dimm(alias="ua-d0"), slot=1, base=4 * GIB)


def refused(problem: VirtmemError | None, error_code: str, *mentions: str, **details: t.Any) -> None:
    """The problem has this code, these numbers, and these words in its message; and it says what to do."""
    assert problem is not None
    assert problem.error_code == error_code
    assert {name: problem.details.get(name) for name in details} == details
    for text in mentions:
        assert text in problem.msg
    assert problem.hint


@pytest.mark.parametrize("scope", [LIVE, CONFIG])
@pytest.mark.parametrize(("slot", "why"), [(4, "is not below the domain's 4 slots"), (1, "is taken by another device")])
def test_a_slot_must_be_there_and_free(scope: str, slot: int, why: str) -> None:
    definition = helpers.definition(SLOTTED, slots=4)
    problem = check_attach(definition, {**DIMM, "slot": slot}, helpers.TRIXIE, scope)
    refused(problem, "no_free_slot", f"slot: {slot} {why}", scope, value=slot, slots=4, used=[1])
    assert check_attach(definition, {**DIMM, "slot": 2}, helpers.TRIXIE, scope) is None


@pytest.mark.parametrize(
    ("base", "free"), [(4 * GIB, False), (5 * GIB, True), (5 * GIB - 2 * MIB, False), (6 * GIB, True)]
)
def test_a_base_must_be_where_no_other_device_is(base: int, free: bool) -> None:
    definition = helpers.definition(replace(SLOTTED, size=GIB), slots=4)
    problem = check_attach(definition, {**DIMM, "base": base}, helpers.TRIXIE, CONFIG)
    if free:
        assert problem is None
    else:
        refused(problem, "invalid_option", "overlaps with ua-d0", "0x100000000 to 0x140000000", value=base)


def test_a_base_is_a_multiple_of_what_the_device_needs() -> None:
    definition = helpers.definition(slots=4)
    refused(
        check_attach(definition, {**DIMM, "base": 5 * GIB + MIB}, helpers.TRIXIE, CONFIG), "not_aligned", unit=2 * MIB
    )
    block = {"model": "virtio-mem", "size": GIB, "node": 0, "block": 4 * MIB, "base": 5 * GIB + 2 * MIB}
    refused(check_attach(definition, block, helpers.TRIXIE, CONFIG), "not_aligned", unit=4 * MIB)


def test_a_guest_that_was_started_without_an_nvdimm_gets_none() -> None:
    values = {"model": "nvdimm", "size": GIB, "node": 0}
    problem = check_attach(helpers.definition(), values, helpers.TRIXIE, LIVE)
    refused(problem, "needs_restart", "was started with one", model="nvdimm")
    beside = helpers.definition(replace(helpers.dimm(alias="ua-n"), model="nvdimm"), slots=4)
    assert check_attach(beside, values, helpers.TRIXIE, LIVE) is None


# --- the host

HOST = Host(
    pages={0: {4 * KIB: 1000, 2 * MIB: 10}, 1: {4 * KIB: 1000}}, page_sizes=frozenset({4 * KIB, 2 * MIB}), sgx=False
)
VM = {"model": "virtio-mem", "size": GIB, "requested": 64 * MIB}


@pytest.mark.parametrize(
    ("values", "scope", "error_code", "mentions"),
    [
        ({"model": "sgx-epc", "size": GIB}, CONFIG, "unsupported", ["SGX"]),
        ({**VM, "nodemask": (0, 7)}, CONFIG, "no_host_node", ["NUMA node 7", "0-1"]),
        ({**VM, "pagesize": GIB}, CONFIG, "no_host_pages", ["1GiB", "4KiB, 2MiB"]),
        ({**VM, "pagesize": 2 * MIB, "nodemask": (0,)}, LIVE, "no_host_pages", ["20MiB", "64MiB"]),
        ({**VM, "pagesize": 2 * MIB, "nodemask": (0,)}, CONFIG, None, []),
        ({**VM, "pagesize": 2 * MIB, "requested": 20 * MIB}, LIVE, None, []),
        ({**VM, "pagesize": 4 * KIB}, LIVE, None, []),
        ({**VM, "nodemask": (0, 1)}, LIVE, None, []),
    ],
)
def test_the_host_must_have_what_is_asked_of_it(
    values: dict[str, t.Any], scope: str, error_code: str | None, mentions: list[str]
) -> None:
    problem = check_host(helpers.definition(), values, HOST, scope)
    if error_code is None:
        assert problem is None
    else:
        refused(problem, error_code, *mentions)


FREE = HOST._replace(free={0: {2 * MIB: 3}, 1: {2 * MIB: 40}})


@pytest.mark.parametrize(
    ("values", "around", "pool"),
    [
        ({**VM, "pagesize": 2 * MIB}, Around(), None),
        ({**VM, "pagesize": 2 * MIB, "nodemask": (0,)}, Around(), 6 * MIB),
        ({**VM, "pagesize": 2 * MIB, "node": 1}, Around(strict_nodes={1: (0,)}), 6 * MIB),
        ({**VM, "pagesize": 2 * MIB, "node": 0}, Around(strict_nodes={1: (0,)}), None),
        ({**VM, "pagesize": 2 * MIB, "node": 1, "nodemask": (1,)}, Around(strict_nodes={1: (0,)}), None),
        ({**VM, "node": 0, "requested": 96 * MIB}, Around(huge_pages=(HugePages(2 * MIB),)), 86 * MIB),
        ({**VM, "pagesize": 4 * KIB, "requested": GIB}, Around(huge_pages=(HugePages(2 * MIB),)), None),
    ],
)
def test_a_pool_has_what_is_free_of_it_on_the_nodes_that_count(
    values: dict[str, t.Any], around: Around, pool: int | None
) -> None:
    problem = check_host(helpers.definition(around=around), values, FREE, LIVE)
    if pool is None:
        assert problem is None
    else:
        refused(problem, "no_host_pages", "free", pool=pool)


# --- options of few devices


@pytest.mark.parametrize(
    ("values", "arch", "error_code", "option"),
    [
        ({"model": "nvdimm", "uuid": "x"}, "x86_64", "invalid_option", "uuid"),
        ({"model": "nvdimm", "uuid": "x", "size": GIB + MIB, "label_size": MIB}, "ppc64le", None, ""),
        ({"model": "nvdimm", "label_size": 64 * KIB}, "x86_64", "invalid_option", "label_size"),
        ({"model": "nvdimm", "label_size": GIB}, "x86_64", "invalid_option", "label_size"),
        ({"model": "nvdimm", "label_size": 2 * MIB}, "x86_64", None, ""),
        ({"model": "virtio-pmem", "access": "private"}, "x86_64", "invalid_option", "access"),
        ({"model": "virtio-pmem", "access": "shared"}, "x86_64", None, ""),
        ({"model": "dimm", "access": "private"}, "x86_64", None, ""),
    ],
)
def test_a_value_that_the_model_does_not_take(
    values: dict[str, t.Any], arch: str, error_code: str | None, option: str
) -> None:
    whole = {"size": GIB, **values}
    problem = check_device(whole, whole, helpers.definition(arch=arch))
    if error_code is None:
        assert problem is None
    else:
        refused(problem, error_code, f"{option}: ", option=option)


@pytest.mark.parametrize(
    ("wish", "error_code", "option"),
    [
        (Wish(alias="ua-a", model="nvdimm", path="pmem.img"), "invalid_option", "source.path"),
        (Wish(alias="ua-a", state="absent", replace=True), "invalid_option", "replace"),
        (Wish(alias="ua-a", block=3 * MIB), "invalid_block", "block"),
        (Wish(alias="ua-a", model="dimm", requested=GIB), "invalid_option", "requested"),
        (Wish(alias="ua-a", size=GIB, requested=2 * GIB), "requested_exceeds_size", "requested"),
    ],
)
def test_a_declaration_that_contradicts_itself(wish: Wish, error_code: str, option: str) -> None:
    refused(check_wish(wish), error_code, f"{option}: ", option=option)


NEEDS_ACPI = [("dimm", True, True), ("dimm", False, False), ("sgx-epc", False, True)]


@pytest.mark.parametrize(("model", "acpi", "fits"), NEEDS_ACPI)
def test_only_what_takes_a_memory_slot_needs_acpi(model: str, acpi: bool, fits: bool) -> None:
    definition = helpers.definition(slots=4)._replace(acpi=acpi)
    problem = check_attach(definition, {"model": model, "size": GIB, "node": 0}, helpers.TRIXIE, CONFIG)
    if fits:
        assert problem is None
    else:
        refused(problem, "no_acpi", "ACPI", scope=CONFIG, model=model)
