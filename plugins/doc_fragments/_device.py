# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the option family that declares one memory device."""

from __future__ import annotations


class ModuleDocFragment:
    """The device: its identity, its properties, and how far a task may go to get them."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - V(present) makes sure that the device is there and as declared, in every scope that O(scope) chooses.
    type: str
    choices: [present]
    default: present
  alias:
    description:
      - The device's user alias, the one name that is the same in the running guest and in the persistent configuration,
        and that survives reboots and migrations.
      - V(ua-) is put in front where it is missing, as libvirt demands it of user aliases.
      - Letters, digits, V(-) and V(_) only. libvirt drops any other alias silently, so it is refused here.
      - Without an alias, O(model) and O(node) must fit a single device in each scope, or none. A device that is attached without
        alias can later be found only by these, which the task warns of.
      - At least one of O(alias), O(model) and O(node) is required.
    type: str
  model:
    description:
      - The kind of device. Required to attach a new one.
      - V(virtio-mem) is memory whose actual size can be changed while the guest runs, up and down.
    type: str
    choices: [virtio-mem]
  size:
    description:
      - The most memory that the device can ever give to the guest. It counts against the domain's C(maxMemory) in full.
      - Required to attach a new device. It can't be changed on a running guest; see RV(restart_reasons).
      - A quantity with a unit as libvirt knows them, C(KiB), C(MiB), C(GiB), C(TiB) (or C(K), C(M), C(G), C(T)) for
        powers of 1024, C(KB), C(MB), C(GB), C(TB) for powers of 1000. A bare number is refused, only V(0) needs no unit.
      - A multiple of 2MiB and of O(block).
    type: str
  requested:
    description:
      - How much of O(size) the guest is asked to use now. The task is done when the guest does so; see O(wait).
      - Required to attach a new device. A quantity as in O(size), a multiple of O(block), at most O(size).
    type: str
  block:
    description:
      - The granularity in which the guest can use the device, a power of two of at least 2MiB.
      - A new device gets the size of its huge page if O(source.pagesize) says so, else 2MiB (1MiB on s390x).
      - It can't be changed on a running guest.
    type: str
  node:
    description:
      - The guest's NUMA cell that the memory belongs to.
      - A new device gets the domain's only cell where there is just one.
      - It can't be changed on a running guest.
    type: int
  source:
    description:
      - Where the host takes the memory from. It can't be changed on a running guest.
    type: dict
    suboptions:
      nodemask:
        description:
          - The host's NUMA nodes, as libvirt writes them, for example V(0-1,3).
        type: str
      pagesize:
        description:
          - The size of the host's pages, for example V(2MiB) or V(1GiB) for huge pages. A quantity as in O(size).
        type: str
  scope:
    description:
      - Which definitions of the domain the task is about.
      - V(auto) is the running guest and its persistent configuration, or just the one that exists. The configuration always reaches the
        declaration, the running guest as far as it can; what remains is staged for the next boot, see RV(restart_required).
      - V(live) is the running guest alone, V(config) the persistent configuration alone, V(both) means both by name.
      - With V(live) and V(both), what the running guest can't be given is an error, RV(error_code=needs_restart).
    type: str
    choices: [auto, live, config, both]
    default: auto
  resize:
    description:
      - The directions in which O(requested) may move a device that exists.
      - With V(grow), a device that has more already is fine. With V(shrink), one that has less is.
      - With V(never), O(requested) is only used for a new device.
    type: str
    choices: [any, grow, shrink, never]
    default: any
"""
