# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The platforms of guests: an architecture with those of its machines that take memory devices, one row for each.

A new platform is a row here, and a key in `platforms` of the models that it has.

Sources: QEMU's Kconfig and machines, libvirt's qemuDomainGetMemorySizeAlignment, qemuDomainDefNumaAutoAdd; tried with
real guests on libvirt 12.8 and QEMU 11.1.
"""

from __future__ import annotations

import functools
import re
import typing as t

from .size import MIB

PC, ARM, PSERIES, S390, RISCV, OTHER = "pc", "arm", "pseries", "s390", "riscv", "other"


class Platform(t.NamedTuple):
    """What the memory devices of a kind of guest have to do with its architecture and machine. Sizes are in bytes.

    Args:
        name: a constant of this file.
        architectures: libvirt's names of them.
        machines: a pattern of the machines that have memory devices at all.
        size_unit: what the size of every memory device is a multiple of.
        smallest_block: of a virtio-mem device, which is also the default: the huge page of a host of this architecture.
        acpi: whether memory modules are plugged through ACPI.
        acpi_by_firmware: whether a guest has ACPI only with UEFI.
        pci: whether virtio devices are plugged into PCI slots, not onto a bus that has room for all (CCW).
        cells: whether there is NUMA.
        needs_cell: whether memory devices need a NUMA cell with every libvirt; since 9.6 it adds the first by itself.
        fixed_label: whether an nvdimm has a label, and the rest of it is in whole units.
        linux_block: what Linux has its memory in at least; 1 if it has not been tried.
    """

    name: str
    architectures: tuple[str, ...] = ()
    machines: str = ""
    size_unit: int = 2 * MIB
    smallest_block: int = 2 * MIB
    acpi: bool = True
    acpi_by_firmware: bool = False
    pci: bool = True
    cells: bool = True
    needs_cell: bool = True
    fixed_label: bool = False
    linux_block: int = 1


PLATFORMS = (
    # Those without slots for memory, and those that Xen brings.
    Platform(PC, ("x86_64", "i686"), r"(?!microvm|isapc|none|xen|nitro)", linux_block=128 * MIB),
    # With hosts of 64 KiB pages, the smallest block is 512 MiB; that is not visible from here, and libvirt refuses it.
    Platform(ARM, ("aarch64",), r"virt", acpi_by_firmware=True, linux_block=128 * MIB),
    Platform(
        PSERIES,
        ("ppc64", "ppc64le"),
        r"pseries",
        size_unit=256 * MIB,
        acpi=False,
        needs_cell=False,
        fixed_label=True,
        linux_block=256 * MIB,
    ),
    Platform(
        S390,
        ("s390x",),
        r"s390-ccw",
        smallest_block=MIB,
        acpi=False,
        pci=False,
        cells=False,
        needs_cell=False,
    ),
    # QEMU's machines of RISC-V have no memory devices (11.1).
    Platform(RISCV, ("riscv64", "riscv32"), r"(?!)"),
)
# Of an architecture that nobody has tried; libvirt decides.
_UNTRIED = Platform(OTHER)


@functools.lru_cache(maxsize=64)
def of(arch: str, machine: str = "", emulated: bool = False) -> Platform:
    """The platform of a guest.

    Args:
        arch: libvirt's name of the architecture.
        machine: the machine's name; without one it is taken for one that has memory devices.
        emulated: whether the host need not be of this architecture.

    Returns:
        A platform with the name `none` where the machine has no memory devices.
    """
    row = next((row for row in PLATFORMS if arch in row.architectures), _UNTRIED)
    if emulated:
        # The host's huge page counts, and that of most hosts is this one (an s390x guest on x86 was tried).
        row = row._replace(smallest_block=max(row.smallest_block, 2 * MIB))
    return row if not machine or re.match(row.machines, machine) else row._replace(name="none")
