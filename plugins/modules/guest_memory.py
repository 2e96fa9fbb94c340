#!/usr/bin/python
# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: the memory of one guest, as one number. Documentation and the entry point, nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_memory
short_description: Declare how much memory a libvirt guest has in all, and wait until it can use it
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Brings a guest to as much memory as is declared of it, without a restart where that can be. Which devices, aliases,
    NUMA cells and blocks it takes is worked out.
  - A guest that has virtio-mem devices is asked for the difference, whatever their names are. One that has none, such
    as one that virt-install or virt-manager made, becomes able to take them with O(max_memory). That is staged in its
    configuration, RV(restart_reasons) says why, and after its next start the same task resizes it while it runs.
  - Returns when the guest has the memory and can use it, or fails with what is missing; see O(wait) and O(verify).
  - The layout of one guest. M(virtmem.libvirt.memory_layout) does the same for many at once.
extends_documentation_fragment:
  - virtmem.libvirt._attributes
  - virtmem.libvirt._connection
  - virtmem.libvirt._guest
  - virtmem.libvirt._guards
  - virtmem.libvirt._wait
options:
  domain:
    description:
      - The name or the UUID of the domain.
    type: str
    required: true
  memory:
    description:
      - What the guest is to have in all, its boot memory, DIMMs and virtio-mem devices together. A quantity with a unit
        such as V(6GiB). What persistent memory (V(nvdimm), V(virtio-pmem)) and V(sgx-epc) have does
        not count.
      - What the boot memory and the DIMMs leave open is requested of the virtio-mem devices that take part, in whole
        blocks, rounded up. These are the declared ones without C(requested), or all of the domain if no virtio-mem
        device is declared.
      - A domain that has no virtio-mem device gets one for each of its NUMA cells, C(ua-mem0), C(ua-mem1) and so on, as
        large as its share of O(max_memory) allows.
      - With several NUMA cells, the nodes get it in proportion of their boot memory, and only the difference moves.
      - The running guest and the configuration are each planned from their own numbers. What a running guest can't have
        before its next start is a reason in RV(restart_reasons).
      - Less than the boot memory is refused (RV(error_code=memory_below_boot)), and so is more than the devices can
        hold (RV(error_code=memory_above_devices)).
    type: str
    required: true
notes:
  - Memory that is plugged into a running guest must be brought online there, see the collection's guide for guests and
    the role P(virtmem.libvirt.guest#role).
  - Boot memory can't be taken from a running guest. Start a guest with little of it, and give it the rest by O(memory).
seealso:
  - module: virtmem.libvirt.memory_layout
  - module: virtmem.libvirt.memory_device
  - module: virtmem.libvirt.memory_device_info
"""

EXAMPLES = r"""
- name: The guest web1 has 4 GiB, and can have up to 16 without a restart
  virtmem.libvirt.guest_memory:
    domain: web1
    memory: 4GiB
    max_memory: 16GiB

- name: At least 6 GiB while the build runs; a guest that has more keeps it
  virtmem.libvirt.guest_memory:
    domain: web1
    memory: 6GiB
    resize: grow

- name: No further than the host can bear
  virtmem.libvirt.guest_memory:
    domain: web1
    memory: 12GiB
    guards:
      host_reserve: 8GiB
"""

RETURN = r"""
msg:
  description: What became of it, in a sentence.
  returned: always
  type: str
  sample: "web1: 2GiB to 4GiB in 1.2 s; the guest can use 3.9GiB; hv1 has 61GiB of 128GiB left"
memory:
  description: The guest's memory in bytes. V(null) if nothing could be planned.
  returned: always
  type: dict
  contains:
    declared:
      description: O(memory).
      type: int
      sample: 4294967296
    effective:
      description:
        - What it has in all, C(boot), C(dimms), C(fixed) and C(requested) together; of the running guest if there is
          one, else of the configuration. More than C(declared) by less than a block, or otherwise if O(resize) or a
          restart keeps it.
      type: int
      sample: 4294967296
    boot:
      description: Its boot memory.
      type: int
      sample: 2147483648
    dimms:
      description: Its DIMMs.
      type: int
      sample: 0
    fixed:
      description: What is requested of virtio-mem devices that do not take part.
      type: int
      sample: 0
    requested:
      description: What is requested of those that do.
      type: int
      sample: 2147483648
    current:
      description: What the running guest has of all its virtio-mem devices. V(null) if it does not run.
      type: int
      sample: 2147483648
    usable:
      description: What the guest itself counts as its memory (C(MemTotal)). V(null) if it does not say, see RV(guest).
      type: int
      sample: 4187516928
    at_boot:
      description: What it has in all from its next start on. V(null) if the domain is transient.
      type: int
      sample: 4294967296
domain:
  description: As RV(virtmem.libvirt.memory_device#module:domain).
  returned: always
  type: dict
devices:
  description: Each device that takes part, as RV(virtmem.libvirt.memory_device#module:device).
  returned: always
  type: list
  elements: dict
undeclared:
  description: The names of the other devices that the domain has.
  returned: always
  type: list
  elements: str
steps:
  description: As RV(virtmem.libvirt.memory_layout#module:domains[].steps).
  returned: always
  type: list
  elements: dict
restart_required:
  description: As RV(virtmem.libvirt.memory_device#module:restart_required).
  returned: always
  type: bool
restart_reasons:
  description: A sentence for each thing that can only become real when the domain is shut down and started again.
  returned: always
  type: list
  elements: str
  sample: ["6GiB is declared for the guest, and until its restart it has 2GiB."]
usable:
  description: As RV(virtmem.libvirt.memory_device#module:usable).
  returned: always
  type: bool
guest:
  description: As RV(virtmem.libvirt.memory_device#module:guest).
  returned: always
  type: dict
duration:
  description: How long the task took, in seconds.
  returned: always
  type: float
  sample: 1.2
error_code:
  description: What went wrong, as RV(virtmem.libvirt.memory_device#module:error_code).
  returned: on failure
  type: str
  sample: memory_above_devices
details:
  description:
    - The numbers behind the message, as RV(virtmem.libvirt.memory_device#module:details).
    - With RV(error_code=memory_below_boot), C(boot), C(dimms), C(fixed) and C(surplus) in bytes; with
      RV(error_code=memory_above_devices), C(room), C(most) and C(missing) too.
  returned: on failure
  type: dict
hint:
  description: What to check or do. C(msg) ends with it, since that is what Ansible prints in red.
  returned: on failure
  type: str
"""

from ..module_utils import _archive


def main() -> None:
    with _archive.compiled_once():
        from ..module_utils._module import guest_memory

        guest_memory()


if __name__ == "__main__":
    main()
