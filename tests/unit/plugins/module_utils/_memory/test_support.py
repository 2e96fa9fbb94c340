# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What which libvirt and QEMU can do: each feature at, above and below its first version."""

from __future__ import annotations

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import platforms, support
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import MIB, is_power_of_two
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from hypothesis import given
from hypothesis import strategies as st

FEATURES = pytest.mark.parametrize("feature", sorted(support.NEEDS))


@FEATURES
def test_a_feature_is_there_from_its_first_version_on(feature: str) -> None:
    need = support.NEEDS[feature]
    assert support.missing(feature, Versions(need.libvirt, need.qemu)) is None
    assert support.missing(feature, Versions(need.libvirt + 1, need.qemu + 1)) is None


@FEATURES
@pytest.mark.parametrize(("older_libvirt", "older_qemu"), [(1, 0), (0, 1), (1, 1)])
def test_a_feature_is_missing_below_it(feature: str, older_libvirt: int, older_qemu: int) -> None:
    need = support.NEEDS[feature]
    error = support.missing(feature, Versions(need.libvirt - older_libvirt, need.qemu - older_qemu))
    assert error is not None
    assert error.error_code == "unsupported"
    assert feature in error.msg
    assert error.details["libvirt_needed"] == support.show_version(need.libvirt)
    assert error.details["qemu_needed"] == support.show_version(need.qemu)
    assert error.details["libvirt"] == support.show_version(need.libvirt - older_libvirt)
    assert error.details["qemu"] == support.show_version(need.qemu - older_qemu)
    assert error.hint


@FEATURES
def test_only_qemu_has_a_version_of_qemu(feature: str) -> None:
    """The test driver answers with a version of its own, which says nothing."""
    need = support.NEEDS[feature]
    other = support.missing(feature, Versions(need.libvirt, need.qemu, driver="Test"))
    assert other is not None
    assert "driver is Test" in other.msg


@given(st.integers(0, 99), st.integers(0, 999), st.integers(0, 999))
def test_a_version_is_shown_as_people_write_it(major: int, minor: int, release: int) -> None:
    assert support.show_version(major * 1_000_000 + minor * 1_000 + release) == f"{major}.{minor}.{release}"


@pytest.mark.parametrize(
    ("arch", "unit", "block"),
    [
        ("x86_64", 2 * MIB, 2 * MIB),
        ("aarch64", 2 * MIB, 2 * MIB),
        ("ppc64", 256 * MIB, 2 * MIB),
        ("ppc64le", 256 * MIB, 2 * MIB),
        ("s390x", 2 * MIB, MIB),
        ("an architecture of tomorrow", 2 * MIB, 2 * MIB),
    ],
)
def test_each_architecture_has_its_granularity(arch: str, unit: int, block: int) -> None:
    platform = platforms.of(arch)
    assert (platform.size_unit, platform.smallest_block) == (unit, block)
    assert is_power_of_two(unit)
    assert is_power_of_two(block)


def test_always_and_never_need_no_version() -> None:
    oldest = Versions(0, 0)
    assert support.has("always", oldest)
    assert not support.has("never", oldest)
    assert support.can_unplug("dimm", oldest)
    assert not support.can_unplug("nvdimm", Versions(99_000_000, 99_000_000))
