#!/usr/bin/python
# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: what there is to know of the memory devices of a hypervisor's domains. Documentation and the entry
point, nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_device_info
short_description: Report the memory devices of libvirt domains
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Reads the memory of all domains of a hypervisor, or of some, in one pass over a read-only connection.
  - Says of each device what the running guest has and what is configured, whether the guest has got what was
    requested of it, and how a task
    would name the device.
  - Says what has drifted apart, see RV(domains[].drift).
extends_documentation_fragment:
  - virtmem.libvirt._attributes.info
  - virtmem.libvirt._connection
options:
  domains:
    description:
      - Names, UUIDs, or patterns of names such as V(web*). All domains if it is not given.
      - A pattern that matches nothing is fine, a name or UUID that does not exist is an error.
    type: list
    elements: str
  models:
    description:
      - Only devices of these models.
    type: list
    elements: str
    choices: [dimm, nvdimm, virtio-mem, virtio-pmem, sgx-epc]
  aliases:
    description:
      - Only devices with these user aliases, with or without the V(ua-) in front.
    type: list
    elements: str
  guest:
    description:
      - Whether the running guests are asked too how much memory they have, by the statistics of their balloon
        (C(memballoon)). It takes a call more for each of them.
      - Nothing is switched on for it. The statistics are only as new as someone polls them (C(stats period)).
    type: bool
    default: false
  timeout:
    description:
      - How many seconds to wait for a domain that another job holds (libvirt 11.0 and later wait for it). The others
        are read meanwhile.
        One that does not answer in time is listed with its problem.
      - While five or more hang at the same time, the rest waits for one of them, half a minute at most, since a daemon
        works on five calls of one client only.
    type: float
    default: 10.0
seealso:
  - module: virtmem.libvirt.memory_device
  - module: virtmem.libvirt.memory_layout
"""

EXAMPLES = r"""
- name: Everything
  virtmem.libvirt.memory_device_info:
  register: memory

- name: What has drifted
  ansible.builtin.debug:
    msg: "{{ memory.domains | map(attribute='drift') | flatten | map(attribute='message') }}"

- name: The virtio-mem devices of the web servers
  virtmem.libvirt.memory_device_info:
    domains: ["web*"]
    models: [virtio-mem]
"""

RETURN = r"""
hypervisor:
  description: What answers, and what it can do.
  returned: always
  type: dict
  contains:
    driver:
      description: libvirt's name of the hypervisor driver.
      type: str
      sample: QEMU
    libvirt:
      description: The daemon's version.
      type: str
      sample: 9.0.0
    qemu:
      description: QEMU's version, V(null) for other drivers.
      type: str
      sample: 7.2.22
    memory:
      description:
        - The memory of its machine in bytes, C(total) and C(available) (what can be used without taking it from
          anybody), its NUMA C(nodes) (C(node), C(total), C(free)), and its C(pools) of huge pages (C(node), C(size) of
          a page, and the numbers of pages C(total) and C(free)). V(null) if libvirt's driver can't tell.
      type: dict
      sample: {"total": 137438953472, "available": 65498251264,
               "nodes": [{"node": 0, "total": 137438953472, "free": 45097156608}],
               "pools": [{"node": 0, "size": 2097152, "total": 1024, "free": 512}]}
    models:
      description:
        - For each model, whether these versions know it (C(supported)), can give it to a running guest (C(hot_plug)),
          take it away (C(hot_unplug)), and change its size (C(resize)).
      type: dict
      sample: {"virtio-mem": {"supported": true, "hot_plug": true, "hot_unplug": false, "resize": true}}
domains:
  description: The domains by name. A domain that went away during the pass is left out.
  returned: always
  type: list
  elements: dict
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
      description: As RV(virtmem.libvirt.memory_device#module:domain.state).
      type: str
      sample: running
    persistent:
      description: Whether the domain has a configuration that outlives it.
      type: bool
      sample: true
    managed_save:
      description: Whether its next start brings back a saved state.
      type: bool
      sample: false
    memory:
      description:
        - Bytes of the running guest, or of the configuration if it does not run.
        - C(effective) is what it has in all, as RV(virtmem.libvirt.guest_memory#module:memory) counts it, which is
          C(boot), C(dimms) and what is C(requested) of its virtio-mem devices. C(current) is what the running guest has
          of these, and C(usable) what it counts itself, by O(guest). C(at_boot) is what it has in all from its next
          start on, V(null) if the domain is transient.
        - C(total) is with the whole size of each device (libvirt's C(memory)), C(balloon) what libvirt says is in use
          (C(currentMemory)).
      type: dict
      sample: {"effective": 1610612736, "boot": 536870912, "dimms": 0, "requested": 1073741824, "current": 1073741824,
               "usable": null, "at_boot": 1610612736, "total": 4831838208, "balloon": 1610612736}
    usable:
      description:
        - Whether the guest itself can use the memory that its devices have plugged, as far as that is known without a
          look at it before (C(reason) of C(guest) says why it is not). V(null) without O(guest).
      type: bool
      sample: true
    guest:
      description: As RV(virtmem.libvirt.memory_device#module:guest). V(null) without O(guest).
      type: dict
      sample: {"total": 1007005696, "usable": 958398464, "held": 0, "age": 0.7, "reason": null}
    most:
      description:
        - What the running guest may use of the host, in bytes - its boot memory, its whole devices, and what is
          requested of the others. V(null) if it does not run.
      type: int
      sample: 1610612736
    capacity:
      description:
        - What more could be had, in the same definition. C(headroom) is C(max_memory) less C(memory.total), in
          bytes; C(slots_free) is counted as this
          libvirt does; C(ports_free) counts hot-plug ports, or slots on a machine with conventional PCI (C(pc)).
      type: dict
      sample: {"max_memory": 17179869184, "headroom": 12348030976, "slots": 16, "slots_free": 15, "ports_free": 7}
    around:
      description:
        - The settings of the domain that its memory devices have to do with, in the same definition - C(machine),
          C(address_bits) of its processor (V(null) if they are the host's), C(huge_pages), C(locked),
          C(launch_security), C(hard_limit) in bytes, C(strict_nodes) (the host's nodes that a NUMA cell is bound to),
          and how many devices of the host are C(passed_through).
      type: dict
      sample: {"machine": "pc-q35-7.2", "address_bits": null, "huge_pages": [], "locked": false,
               "launch_security": null, "hard_limit": null, "strict_nodes": {}, "passed_through": 0}
    devices:
      description: The devices, in the order of the running guest, then those that only the configuration has.
      type: list
      elements: dict
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
          description: As RV(virtmem.libvirt.memory_device#module:device.live).
          type: dict
        config:
          description: As RV(virtmem.libvirt.memory_device#module:device.config).
          type: dict
        converged:
          description:
            - Whether the guest has what is requested of it. V(null) if the running guest does not have the device.
          type: bool
        shortfall:
          description: The bytes between the actual size and the requested one. V(null) as for C(converged).
          type: int
        options:
          description:
            - Options for M(virtmem.libvirt.memory_device) that name this device and declare it as its configuration
              has it (or the running guest,
              if the configuration does not have it). V(null) if it can't be told from others.
          type: dict
          sample: {"alias": "ua-vm0", "model": "virtio-mem", "size": "4GiB", "requested": "1GiB", "block": "2MiB",
                   "node": 0}
        ambiguous:
          description: Why C(options) is V(null).
          type: str
    drift:
      description: Each difference between what runs, what is configured, and what was asked for.
      type: list
      elements: dict
      contains:
        kind:
          description:
            - V(property) - the running guest and the configuration differ in a property.
            - V(scope) - only one of them has the device.
            - V(not_converged) - the guest does not have what is requested.
            - V(not_usable) - the guest has memory plugged that it can't use (only with O(guest)).
            - V(managed_save) - the next start brings back something else than is configured.
            - V(next_boot) - the configuration can't be started as it is.
            - V(accounting) - libvirt's sums do not add up.
          type: str
        domain:
          description: The domain's name.
          type: str
        device:
          description: The device's alias or model, V(null) if it is about the whole domain.
          type: str
        live:
          description: What the running guest has, or what the managed-save image brings back.
          type: raw
        config:
          description: What the configuration has.
          type: raw
        message:
          description: The same for people.
          type: str
    problem:
      description: C(msg), C(error_code), C(details) and C(hint) if the domain could not be read, else V(null).
      type: dict
summary:
  description:
    - The sums over all domains that are listed, sizes in bytes of the running guests.
    - C(models) counts the devices of each model, C(drift_kinds) the differences of each kind.
    - C(guests_most) is what the running ones of them may use of the host, boot memory included.
  returned: always
  type: dict
  sample: {"domains": 40, "running": 38, "unreadable": 0, "guests_most": 257698037760, "devices": 41,
           "size": 343597383680, "requested": 171798691840, "current": 171798691840, "shortfall": 0,
           "not_converged": 0, "drift": 1,
           "models": {"dimm": 0, "nvdimm": 0, "virtio-mem": 41, "virtio-pmem": 0, "sgx-epc": 0},
           "drift_kinds": {"property": 1, "scope": 0, "not_converged": 0, "not_usable": 0, "managed_save": 0,
                           "next_boot": 0, "accounting": 0}}
duration:
  description: How long the pass took, in seconds.
  returned: always
  type: float
  sample: 0.3
error_code:
  description:
    - What went wrong, as RV(virtmem.libvirt.memory_device#module:error_code).
  returned: on failure
  type: str
  sample: domain_not_found
details:
  description: The numbers behind the message.
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
        from ..module_utils._module import memory_device_info

        memory_device_info()


if __name__ == "__main__":
    main()
