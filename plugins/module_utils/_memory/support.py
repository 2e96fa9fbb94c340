# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What which libvirt, QEMU and architecture can do, as data.

Sources: libvirt's NEWS and formatdomain, QEMU's changelogs; the numbers are the first release with the feature.
A new feature is a row in NEEDS.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .errors import VirtmemError
from .size import MIB


@dataclass(frozen=True)
class Versions:
    """What answers at the other end: numbers as libvirt gives them (major * 1000000 + minor * 1000 + release)."""

    libvirt: int
    hypervisor: int
    driver: str = "QEMU"  # virConnectGetType


@dataclass(frozen=True)
class Need:
    """The first versions that have a feature."""

    libvirt: int
    qemu: int


NEEDS: t.Mapping[str, Need] = {
    "virtio-mem": Need(7_009_000, 5_001_000),
}

# libvirt before 9.5.0 counts every memory device against maxMemory's slots, later ones only DIMMs.
SLOTS_ONLY_FOR_DIMMS = 9_005_000
# libvirt 9.6.0 and later add the first NUMA cell themselves where maxMemory is set.
ADDS_NUMA_CELL = 9_006_000

# QEMU plugs memory in multiples of the transparent huge page; pSeries knows only 256 MiB.
_SIZE_UNIT = {"ppc64": 256 * MIB, "ppc64le": 256 * MIB, "s390x": MIB}
_DEFAULT_SIZE_UNIT = 2 * MIB
# The smallest block of a virtio-mem device is the host's huge page (1 MiB on s390x). A host with larger
# ones (aarch64 with 64 KiB pages: 512 MiB) is not visible from here; libvirt refuses it there.
_SMALLEST_BLOCK = {"s390x": MIB}
_DEFAULT_SMALLEST_BLOCK = 2 * MIB


def show_version(number: int) -> str:
    """`9.0.0` for 9000000."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def size_unit(arch: str) -> int:
    """What the size of a memory device must be a multiple of, in bytes."""
    return _SIZE_UNIT.get(arch, _DEFAULT_SIZE_UNIT)


def smallest_block(arch: str) -> int:
    """The smallest block of a virtio-mem device, which is also the default, in bytes."""
    return _SMALLEST_BLOCK.get(arch, _DEFAULT_SMALLEST_BLOCK)


def missing(feature: str, versions: Versions) -> VirtmemError | None:
    """Why this feature can't be had from these versions, or None."""
    need = NEEDS[feature]
    qemu = versions.hypervisor if versions.driver == "QEMU" else need.qemu
    if versions.libvirt >= need.libvirt and qemu >= need.qemu:
        return None
    return VirtmemError(
        "unsupported",
        f"{feature} needs libvirt {show_version(need.libvirt)} and QEMU {show_version(need.qemu)}; "
        f"this host has libvirt {show_version(versions.libvirt)} and QEMU {show_version(qemu)}.",
        {
            "feature": feature,
            "libvirt": show_version(versions.libvirt),
            "libvirt_needed": show_version(need.libvirt),
            "qemu": show_version(qemu),
            "qemu_needed": show_version(need.qemu),
        },
        "Update the hypervisor's packages.",
    )
