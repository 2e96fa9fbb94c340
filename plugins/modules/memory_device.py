#!/usr/bin/python
# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: one memory device of one domain. Documentation and the entry point, nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_device
short_description: Declare a memory device of a libvirt domain, and wait until the guest has it
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Gives a libvirt domain a memory device, changes the one it has, or takes it away, in the running guest and in the
    persistent configuration.
  - Waits until the guest's actual size is the requested one, and fails with the reason and the shortfall if it does
    not get there.
  - Never restarts a domain, and never detaches a device unless O(state) or O(replace) says so. What a running guest
    can't be given is staged for its next boot, and the result says so.
extends_documentation_fragment:
  - virtmem.libvirt._attributes
  - virtmem.libvirt._connection
  - virtmem.libvirt._device
  - virtmem.libvirt._wait
options:
  domain:
    description:
      - The name or the UUID of the domain.
    type: str
    required: true
notes:
  - The domain needs a C(<maxMemory>) with enough room for the whole O(size), on x86 a NUMA cell, and on q35 a free
    C(pcie-root-port) for a device that is attached while it runs. libvirt before 9.5.0 also needs a free memory slot.
  - The guest needs the C(virtio_mem) driver (Linux 5.8 or later), and somebody who brings new memory online, which
    many kernels don't do by themselves - the kernel argument C(memhp_default_state=online_movable), or a udev rule.
    Only memory that is online as movable can be given back. See O(verify), and the collection's guide on what a
    guest needs.
  - A guest with more than about three times its boot memory in devices needs C(memhp_default_state=online
    memory_hotplug.online_policy=auto-movable memory_hotplug.auto_movable_ratio=301) instead, since movable memory is
    of no use to its kernel.
  - QEMU reports a size at most once a second, so a wait takes a second or so even if the guest is faster.
seealso:
  - name: Memory devices in libvirt
    description: The elements behind the options.
    link: https://libvirt.org/formatdomain.html#memory-devices
"""

EXAMPLES = r"""
- name: The guest web1 uses 2 GiB of its virtio-mem device from now on
  virtmem.libvirt.memory_device:
    domain: web1
    alias: ua-vm0
    requested: 2GiB

- name: The guest web1 has a virtio-mem device of up to 8 GiB, of which it uses 4 GiB
  virtmem.libvirt.memory_device:
    domain: web1
    model: virtio-mem
    alias: ua-vm0
    size: 8GiB
    requested: 4GiB

- name: At least 6 GiB; a guest that has more keeps it
  virtmem.libvirt.memory_device:
    domain: web1
    alias: ua-vm0
    requested: 6GiB
    resize: grow

- name: Take memory back, and be content with what the guest can free within five minutes, up to 256 MiB less
  virtmem.libvirt.memory_device:
    domain: web1
    alias: ua-vm0
    requested: 1GiB
    wait_timeout: 300
    wait_tolerance: 256MiB

- name: A DIMM for a guest without the virtio_mem driver
  virtmem.libvirt.memory_device:
    domain: web1
    model: dimm
    alias: ua-dimm0
    size: 1GiB

- name: The device gets another size, and the guest may lose it for a moment to get it at once
  virtmem.libvirt.memory_device:
    domain: web1
    model: dimm
    alias: ua-dimm0
    size: 2GiB
    replace: true

- name: The guest gives the memory back, then the device goes
  virtmem.libvirt.memory_device:
    domain: web1
    alias: ua-dimm0
    state: absent

- name: Persistent memory from a file of the host
  virtmem.libvirt.memory_device:
    domain: db1
    model: nvdimm
    alias: ua-pmem0
    size: 512GiB
    label_size: 2MiB
    access: shared
    source:
      path: /dev/dax0.0
      alignsize: 2MiB
      pmem: true

- name: Give a name to the only 4 GiB virtio-mem device that has none yet
  virtmem.libvirt.memory_device:
    domain: web2
    model: virtio-mem
    size: 4GiB
    alias: ua-vm0
    adopt: true

- name: For the next boot only
  virtmem.libvirt.memory_device:
    domain: web1
    alias: ua-vm0
    size: 16GiB
    scope: config
  register: staged

- name: A hypervisor that is not the managed node
  virtmem.libvirt.memory_device:
    uri: qemu+ssh://root@hv1.example.com/system
    domain: 4dea22b3-1d52-d8f3-2516-782e98ab3fa0
    alias: ua-vm0
    requested: 2GiB
"""

RETURN = r"""
domain:
  description: The domain as the task found it, or left it if it changed something. V(null) if it was not found.
  returned: always
  type: dict
  contains:
    name:
      description: The domain's name.
      type: str
      sample: web1
    uuid:
      description: The domain's UUID.
      type: str
      sample: 4dea22b3-1d52-d8f3-2516-782e98ab3fa0
    state:
      description: One of V(running), V(blocked), V(paused), V(shutdown), V(shutoff), V(crashed), V(pmsuspended).
      type: str
      sample: running
    persistent:
      description: Whether the domain has a configuration that outlives it.
      type: bool
      sample: true
device:
  description:
    - The device in both scopes. V(null) if the domain could not be read, or the device could not be told from others.
    - In check mode as the run would leave it, except for C(current), which is what the guest has now.
  returned: always
  type: dict
  contains:
    alias:
      description: The user alias, V(null) if the device has none.
      type: str
      sample: ua-vm0
    model:
      description: The model.
      type: str
      sample: virtio-mem
    live:
      description:
        - The device in the running guest, V(null) if it is not there. Sizes are integers in bytes.
        - Only what libvirt knows of the device is there, under the names of the options. C(current) is the actual
          size.
      type: dict
      sample: {"model": "virtio-mem", "alias": "ua-vm0", "size": 8589934592, "block": 2097152, "requested": 4294967296,
               "current": 4294967296, "node": 0, "base": 4294967296, "address": "pci 0000:02:00.0"}
    config:
      description: The same for the persistent configuration.
      type: dict
      sample: {"model": "virtio-mem", "alias": "ua-vm0", "size": 8589934592, "block": 2097152, "requested": 4294967296,
               "node": 0, "address": "pci 0000:02:00.0"}
    converged:
      description:
        - Whether the guest has what is declared, within O(wait_tolerance); for O(state=absent), whether it has let go
          of the device.
        - V(null) if the domain does not run, or the running guest is outside O(scope).
      type: bool
      sample: true
    shortfall:
      description:
        - The bytes between the actual size and the declared one, V(0) if there are none. V(null) as for C(converged).
      type: int
      sample: 0
    before:
      description:
        - The device as the task found it, C(live) and C(config), each with the same keys as above, or V(null) if it
          was not there.
      type: dict
      sample: {"live": null, "config": null}
steps:
  description: What is done, in this order; in check mode, what would be done. Empty if nothing is.
  returned: always
  type: list
  elements: dict
  contains:
    op:
      description:
        - V(attach) adds the device, V(update) changes its requested size, V(detach) takes it away, V(redefine) changes
          other properties in the persistent configuration. V(prepare) changes what the domain needs to take devices;
          M(virtmem.libvirt.memory_layout) and M(virtmem.libvirt.guest_memory) declare that.
      type: str
      sample: update
    scope:
      description: V(live) or V(config).
      type: str
      sample: live
    xml:
      description: The device's element as it is given to libvirt.
      type: str
    adds:
      description:
        - With V(prepare), what it brings, any of V(max_memory), V(slots), V(numa_cell), V(ports), V(acpi) and
          V(statistics_period).
      returned: with O(virtmem.libvirt.memory_layout#module:domains[].max_memory) and what else makes a domain ready
      type: list
      elements: str
restart_required:
  description: Whether something declared can only become real when the domain is shut down and started again.
  returned: always
  type: bool
  sample: false
restart_reasons:
  description: A sentence for each such thing.
  returned: always
  type: list
  elements: str
  sample: ["size of ua-vm0 is 8GiB in the running guest and can only become 16GiB by a restart."]
usable:
  description:
    - Whether the guest itself can use the memory that its devices have plugged, by its own word. V(false) if some of
      it is not online there, V(null) if nobody can know, and C(reason) of RV(guest) says why.
    - V(null) if the task is not about memory of a running guest, or O(verify) is V(none).
  returned: always
  type: bool
  sample: true
guest:
  description: What the running guest said of itself at the end of the task, or at the time of the plan in check mode.
  returned: always
  type: dict
  contains:
    total:
      description: All memory that its kernel counts (C(MemTotal)), in bytes. V(null) if it says nothing.
      type: int
      sample: 2046820352
    usable:
      description: What it could give to programs without swapping (C(MemAvailable)), in bytes.
      type: int
      sample: 1946157056
    held:
      description: What the balloon holds back of its boot memory and DIMMs, in bytes.
      type: int
      sample: 0
    age:
      description: How long ago it said so, in seconds by the clock of the managed node.
      type: float
      sample: 0.3
    reason:
      description: Why RV(usable) is V(null).
      type: str
      sample: null
duration:
  description: How long the task took, in seconds.
  returned: always
  type: float
  sample: 1.1
error_code:
  description:
    - What went wrong, as a word to decide on. The text of C(msg) is for people and may change, the codes don't.
    - C(access_denied), C(alias_conflict), C(ambiguous_device), C(changed_meanwhile), C(conflicting_setting),
      C(connection_failed), C(connection_lost), C(device_vanished), C(domain_busy), C(domain_crashed),
      C(domain_not_found), C(domain_paused), C(domain_stopped), C(domain_vanished), C(guard_exceeded),
      C(guest_rejected_unplug), C(host_memory), C(insufficient_headroom), C(invalid_alias), C(invalid_block),
      C(invalid_option), C(invalid_quantity), C(invalid_xml), C(libvirt_error), C(memory_above_devices),
      C(memory_below_boot), C(missing_dependency), C(missing_option), C(needs_restart), C(no_acpi), C(no_free_slot),
      C(no_host_node), C(no_host_pages), C(no_max_memory), C(no_numa_node), C(not_aligned), C(not_converged),
      C(not_usable), C(not_verified), C(requested_exceeds_size), C(scope_unavailable), C(task_interrupted),
      C(unsupported). The collection's troubleshooting guide explains each.
  returned: on failure
  type: str
  sample: not_converged
details:
  description:
    - The numbers behind the message; which ones depends on RV(error_code).
    - With RV(error_code=not_converged), V(requested), V(current), V(shortfall) in bytes, V(since_last_movement) in
      seconds, and V(diagnosis), one of V(no_response) (the guest never reacted), V(stalled) (it has a driver, and
      stopped), V(progressing) (it was still moving).
    - If such a guest stopped since what is plugged is not online, V(plugged), V(total) and V(not_usable) too, in bytes.
    - With RV(error_code=not_usable), V(shortfall), V(plugged), V(total), V(total_before), V(held) and V(boot) in
      bytes.
    - V(steps_done) says how many of RV(steps) were taken before the failure.
  returned: on failure
  type: dict
  sample: {"requested": 2147483648, "current": 0, "shortfall": 2147483648, "since_last_movement": 120.0,
           "diagnosis": "no_response"}
hint:
  description: What to check or do. C(msg) ends with it, since that is what Ansible prints in red.
  returned: on failure
  type: str
"""

from ..module_utils import _archive


def main() -> None:
    with _archive.compiled_once():
        from ..module_utils._module import memory_device

        memory_device()


if __name__ == "__main__":
    main()
