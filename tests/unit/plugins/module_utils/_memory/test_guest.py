# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What follows from a guest's own word: whether it can use what is plugged, by what its kernel may keep for itself."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import guest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Domain, Statistics
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.guest import Account
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from hypothesis import example, given
from hypothesis import strategies as st

# Boot memory and MemTotal in KiB: Debian 12's cloud kernel, without devices.
MEASURED = [
    (262144, 157332),
    (524288, 414996),
    (1048576, 930324),
    (2097152, 1960980),
    (4194304, 4022280),
    (8388608, 8144904),
]
# What distributions set aside for a crash kernel, by boot memory: Debian and RHEL, Ubuntu.
CRASH_KERNELS = [
    (GIB, 192 * MIB),
    (2 * GIB, 320 * MIB),
    (4 * GIB, 512 * MIB),
    (64 * GIB, 2 * GIB),
    (128 * GIB, 4 * GIB),
]


def counted(boot: int, kept: int, plugged: int = 0, held: int = 0) -> Account:
    """The memory of a guest whose kernel keeps so much, or which has so much that is not online."""
    return Account(boot, plugged, held, boot + plugged - held - kept)


@pytest.mark.parametrize(("boot", "total"), MEASURED)
def test_what_a_usual_kernel_keeps_is_no_more_than_usual(boot: int, total: int) -> None:
    found = guest.judge(Account(boot * KIB, 4 * GIB, 0, total * KIB + 4 * GIB))
    assert found.usable is True


@pytest.mark.parametrize(("boot", "reserved"), CRASH_KERNELS)
def test_a_crash_kernel_is_never_taken_for_memory_that_is_offline(boot: int, reserved: int) -> None:
    kept = 98 * MIB + boot * 17 // 1000 + reserved
    found = guest.judge(counted(boot, kept, plugged=8 * GIB))
    assert found.usable is not False
    assert (found.reason is None) == (found.usable is True)


@pytest.mark.parametrize("boot", [256 * MIB, 512 * MIB, GIB, 4 * GIB, 64 * GIB])
def test_what_no_kernel_keeps_is_memory_that_is_offline(boot: int) -> None:
    offline = max(boot // 16 + 640 * MIB, boot // 2)
    found = guest.judge(counted(boot, 98 * MIB + boot * 17 // 1000 + offline, plugged=offline))
    assert found.usable is False
    assert 0 < found.missing <= offline


def test_without_anything_plugged_there_is_nothing_to_be_offline() -> None:
    assert guest.judge(counted(GIB, 700 * MIB)).usable is True


@example(boot=256 * MIB, kept=MIB, had=0, grown=4 * GIB, online=31, balloon=0)  # all that a small guest may keep
@given(
    boot=st.integers(256, 65536).map(lambda mib: mib * MIB),
    kept=st.integers(0, 100).map(lambda mib: mib * MIB),
    had=st.integers(0, 64).map(lambda units: units * 128 * MIB),
    grown=st.integers(1, 64).map(lambda units: units * 128 * MIB),
    online=st.integers(0, 64),
    balloon=st.integers(0, 100).map(lambda mib: mib * MIB),
)
def test_growth_is_usable_when_and_only_when_the_total_grows_by_it(
    boot: int, kept: int, had: int, grown: int, online: int, balloon: int
) -> None:
    """Whatever the balloon does meanwhile, and down to a single memory block."""
    offline = max(grown - online * 128 * MIB, 0)
    before = counted(boot, kept, had)
    found = guest.judge(counted(boot, kept + offline, had + grown, balloon), before)
    assert found.usable is (offline <= max(8 * MIB, grown // 32))
    assert found.missing == (0 if found.usable else offline)


@pytest.mark.parametrize(
    ("offline", "plugged", "suspect"),
    [(0, 128 * MIB, False), (128 * MIB, 128 * MIB, True), (128 * MIB, GIB, False), (192 * MIB, 128 * MIB, True)],
)
def test_what_may_all_be_offline_is_warned_of(offline: int, plugged: int, suspect: bool) -> None:
    """512 MiB with a usual kernel. A crash kernel beside a little that is plugged can't be told from it."""
    assert guest.judge(counted(512 * MIB, 107 * MIB + offline, plugged)).is_suspect == (suspect and offline < 149 * MIB)


def test_the_map_of_a_large_dimm_is_not_taken_for_memory_that_is_offline() -> None:
    """With memmap_on_memory a kernel keeps it of the DIMM: 64 MiB of 4 GiB, here beside 105 of 256 MiB of its own."""
    before, now = counted(256 * MIB, 105 * MIB), counted(256 * MIB, 169 * MIB, 4 * GIB)
    assert guest.judge(now, before).usable is True
    assert guest.judge(now).usable is not False


def test_shrinking_proves_nothing_of_what_was_offline_before() -> None:
    before = counted(2 * GIB, 500 * MIB, 2 * GIB)
    found = guest.judge(counted(2 * GIB, 500 * MIB, GIB), before)
    assert found.usable is None
    assert found.reason is not None
    assert "500MiB" in found.reason


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Account(GIB, 3 * GIB // 2, 0, 900 * MIB)),
        ({"balloon": 2 * GIB - 100 * MIB}, Account(GIB, 3 * GIB // 2, 100 * MIB, 900 * MIB)),
        ({"balloon": 3 * GIB}, Account(GIB, 3 * GIB // 2, 0, 900 * MIB)),
        ({"total": None}, None),
    ],
)
def test_the_balloon_counts_boot_memory_and_dimms_alone(values: dict[str, t.Any], expected: Account | None) -> None:
    devices = (
        helpers.virtio_mem(current=512 * MIB),
        helpers.dimm(alias="ua-d"),
        helpers.dimm(alias="ua-n", model="nvdimm", path="/a"),
    )
    assert guest.account(helpers.definition(*devices), replace(Statistics(total=900 * MIB), **values)) == expected


def running(**values: t.Any) -> Domain:
    """A running domain with a device of which the guest has 1 GiB."""
    live = helpers.definition(helpers.virtio_mem(current=GIB), **values)
    return helpers.domain(live, helpers.definition(helpers.virtio_mem()))


@pytest.mark.parametrize(
    ("period", "age", "is_known"), [(0, 0.1, False), (1, 2.9, True), (1, 3.1, False), (5, 10.0, True), (5, 12.0, False)]
)
def test_a_report_counts_as_long_as_the_polling_keeps_it_new(period: int, age: float, is_known: bool) -> None:
    said = Statistics(total=2 * GIB - 100 * MIB, updated=1, age=age)
    word = guest.hear(running(period=period), said)
    assert word.guest.total == said.total
    assert word.guest.age == age
    assert (word.verdict.usable is True) == is_known
    assert word.verdict.reason == word.guest.reason
    assert is_known or str(round(age)) in str(word.guest.reason)


@pytest.mark.parametrize(
    ("domain", "said", "why"),
    [
        (helpers.domain(config=helpers.definition()), Statistics(total=GIB), "not running"),
        (running(balloon=False), Statistics(total=GIB), "no balloon"),
        (running()._replace(state="paused"), Statistics(total=GIB), "is paused"),
        (running(), Statistics(), "virtio_balloon"),
    ],
)
def test_who_says_nothing_has_a_reason(domain: Domain, said: Statistics, why: str) -> None:
    word = guest.hear(domain, said)
    assert (word.verdict.usable, word.guest.total, word.account) == (None, None, None)
    assert why in str(word.guest.reason)


def test_what_was_offline_before_is_missing_too() -> None:
    """Grown once by 100 MiB that stay offline, and then to 1 GiB: all of it is missing."""
    before = counted(512 * MIB, 107 * MIB + 100 * MIB, 100 * MIB)
    assert guest.judge(counted(512 * MIB, 107 * MIB + GIB, GIB), before).missing == GIB
    online = counted(512 * MIB, 107 * MIB, 100 * MIB)
    assert guest.judge(counted(512 * MIB, 107 * MIB + 924 * MIB, GIB), online).missing == 924 * MIB
