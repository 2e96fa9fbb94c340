# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the option family that declares a whole guest: how its memory may move, and its room for devices."""

from __future__ import annotations


class ModuleDocFragment:
    """The guest: in which directions its memory may move, and what its domain needs for it."""

    DOCUMENTATION = r"""
options:
  resize:
    description:
      - The directions in which C(memory) may move. With V(grow) it is the least that the guest is to have, with
        V(shrink) the most. With V(never) it only counts for new devices.
    type: str
    choices: [any, grow, shrink, never]
    default: any
  max_memory:
    description:
      - The most memory that the domain can have with all its devices, libvirt's C(maxMemory). A quantity with a
        unit, a multiple of 1MiB.
      - It is a target. It never goes below what the devices need. The devices that C(memory) has made become as large
        as it allows.
      - A domain without NUMA gets one NUMA cell with all its memory and processors, which libvirt demands of it.
        One that is to have a dimm or nvdimm gets ACPI if it has none.
      - Only the configuration can change. A running domain has it from its next boot on, see RV(restart_reasons).
    type: str
  slots:
    description:
      - The number of memory slots for DIMMs. libvirt before 9.5 counts every memory device, and a domain that
        gets its first O(max_memory) there gets 16 slots if this is not given.
      - Only the configuration can change.
    type: int
  spare_ports:
    description:
      - How many hot-plug ports (C(pcie-root-port)) the configuration is to have left when all declared devices
        are in it. They are what a virtio-mem or virtio-pmem device is plugged into while the domain runs. For q35
        machines only.
      - Only the configuration can change. Ports are never removed.
    type: int
  statistics_period:
    description:
      - How often the statistics of the domain's balloon are polled, in seconds; V(0) for never. They are what the
        guest says of its own memory, see O(verify).
      - Set at once in the running guest and in the configuration. It takes no restart.
    type: int
"""
