#!/usr/bin/python
# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: the memory of whole domains, many in one task. Documentation and the entry point, nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_layout
short_description: Declare the memory of many libvirt domains, and wait until all guests have it
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Does for many domains what M(virtmem.libvirt.guest_memory) does for one, by O(domains[].memory), and for all devices
    of each what M(virtmem.libvirt.memory_device) does for one device, over one connection.
    Every request is sent first, then all guests are waited for at the same time, so that a hundred domains take
    little longer than the
    slowest of them.
  - What gives memory back comes before what takes it. Nobody waits for it without need. If QEMU refuses a new device
    meanwhile, since the host has no memory for it, the device is attached when the guests have given their memory back.
  - All domains are read and planned before anything is changed. If one can't have what is declared for it,
    because it does not exist,
    an option is wrong, or its C(maxMemory), slots or ports do not suffice, the task fails and changes nothing
    anywhere.
  - What goes wrong later with one domain leaves the others alone. The task then fails, with a result for each domain.
  - Can also make a domain able to take memory devices at all, with O(domains[].max_memory), O(domains[].slots) and
    O(domains[].spare_ports).
extends_documentation_fragment:
  - virtmem.libvirt._attributes
  - virtmem.libvirt._connection
  - virtmem.libvirt._guards
  - virtmem.libvirt._wait
options:
  domains:
    description:
      - The domains. Each is declared once, with all its devices; domains that are not in the list are left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The name or the UUID of the domain.
        type: str
        required: true
      devices:
        description:
          - Its devices. Each has the options of M(virtmem.libvirt.memory_device).
        type: list
        elements: dict
        default: []
        suboptions:
          # From plugins/doc_fragments/_device.py, by `make options`.
          state:
            description:
              - As O(virtmem.libvirt.memory_device#module:state).
            type: str
            choices: [present, absent]
            default: present
          alias:
            description:
              - As O(virtmem.libvirt.memory_device#module:alias).
            type: str
          model:
            description:
              - As O(virtmem.libvirt.memory_device#module:model).
            type: str
            choices: [dimm, nvdimm, virtio-mem, virtio-pmem, sgx-epc]
          size:
            description:
              - As O(virtmem.libvirt.memory_device#module:size).
            type: str
          requested:
            description:
              - As O(virtmem.libvirt.memory_device#module:requested).
            type: str
          block:
            description:
              - As O(virtmem.libvirt.memory_device#module:block).
            type: str
          label_size:
            description:
              - As O(virtmem.libvirt.memory_device#module:label_size).
            type: str
          node:
            description:
              - As O(virtmem.libvirt.memory_device#module:node).
            type: int
          access:
            description:
              - As O(virtmem.libvirt.memory_device#module:access).
            type: str
            choices: [shared, private]
          discard:
            description:
              - As O(virtmem.libvirt.memory_device#module:discard).
            type: bool
          readonly:
            description:
              - As O(virtmem.libvirt.memory_device#module:readonly).
            type: bool
          uuid:
            description:
              - As O(virtmem.libvirt.memory_device#module:uuid).
            type: str
          dynamic_memslots:
            description:
              - As O(virtmem.libvirt.memory_device#module:dynamic_memslots).
            type: bool
          source:
            description:
              - As O(virtmem.libvirt.memory_device#module:source).
            type: dict
            suboptions:
              path:
                description:
                  - As O(virtmem.libvirt.memory_device#module:source.path).
                type: str
              nodemask:
                description:
                  - As O(virtmem.libvirt.memory_device#module:source.nodemask).
                type: str
              pagesize:
                description:
                  - As O(virtmem.libvirt.memory_device#module:source.pagesize).
                type: str
              alignsize:
                description:
                  - As O(virtmem.libvirt.memory_device#module:source.alignsize).
                type: str
              pmem:
                description:
                  - As O(virtmem.libvirt.memory_device#module:source.pmem).
                type: bool
          slot:
            description:
              - As O(virtmem.libvirt.memory_device#module:slot).
            type: int
          base:
            description:
              - As O(virtmem.libvirt.memory_device#module:base).
            type: str
          scope:
            description:
              - As O(virtmem.libvirt.memory_device#module:scope).
            type: str
            choices: [auto, live, config, both]
            default: auto
          resize:
            description:
              - As O(virtmem.libvirt.memory_device#module:resize).
            type: str
            choices: [any, grow, shrink, never]
            default: any
          replace:
            description:
              - As O(virtmem.libvirt.memory_device#module:replace).
            type: bool
            default: false
          adopt:
            description:
              - As O(virtmem.libvirt.memory_device#module:adopt).
            type: bool
      exclusive:
        description:
          - Whether every device of the domain that is not in O(domains[].devices) is removed.
        type: bool
        default: false
      memory:
        description:
          - As O(virtmem.libvirt.guest_memory#module:memory).
        type: str
      # From plugins/doc_fragments/_guest.py, by `make options`.
      resize:
        description:
          - As O(virtmem.libvirt.guest_memory#module:resize).
        type: str
        choices: [any, grow, shrink, never]
        default: any
      max_memory:
        description:
          - As O(virtmem.libvirt.guest_memory#module:max_memory).
        type: str
      slots:
        description:
          - As O(virtmem.libvirt.guest_memory#module:slots).
        type: int
      spare_ports:
        description:
          - As O(virtmem.libvirt.guest_memory#module:spare_ports).
        type: int
      statistics_period:
        description:
          - As O(virtmem.libvirt.guest_memory#module:statistics_period).
        type: int
notes:
  - O(wait_timeout) is for the whole task, not for each domain.
seealso:
  - module: virtmem.libvirt.guest_memory
  - module: virtmem.libvirt.memory_device
  - module: virtmem.libvirt.memory_device_info
"""

EXAMPLES = r"""
- name: The guests of this hypervisor
  virtmem.libvirt.memory_layout:
    domains:
      - {name: web1, memory: 6GiB}
      - {name: db1, memory: 96GiB, max_memory: 256GiB}

- name: The same, where it matters which devices that are
  virtmem.libvirt.memory_layout:
    domains:
      - name: web1
        devices:
          - {alias: ua-vm0, model: virtio-mem, size: 8GiB, requested: 2GiB}
      - name: db1
        devices:
          - {alias: ua-vm0, model: virtio-mem, size: 64GiB, requested: 48GiB}
          - {alias: ua-vm1, model: virtio-mem, size: 64GiB, requested: 48GiB, node: 1}

- name: A guest as virt-install made it can take memory devices from its next boot on
  virtmem.libvirt.memory_layout:
    domains:
      - name: web2
        max_memory: 32GiB
        slots: 16
        spare_ports: 4

- name: This device and no other
  virtmem.libvirt.memory_layout:
    domains:
      - name: web1
        exclusive: true
        devices:
          - {alias: ua-vm0, model: virtio-mem, size: 8GiB, requested: 2GiB}
  check_mode: true
  diff: true
"""

RETURN = r"""
domains:
  description: A result for each domain, in the order in which they are declared. The same keys whatever became of it.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: As it is declared.
      type: str
      sample: web1
    changed:
      description: Whether anything of it was changed, or in check mode would be.
      type: bool
    domain:
      description: As RV(virtmem.libvirt.memory_device#module:domain).
      type: dict
    devices:
      description:
        - Each declared device as RV(virtmem.libvirt.memory_device#module:device), then those that take part in
          O(domains[].memory), and those that O(domains[].exclusive) removes.
      type: list
      elements: dict
    steps:
      description:
        - As RV(virtmem.libvirt.memory_device#module:steps). A step that makes the domain ready shows what it adds as
          a skeleton of a domain.
      type: list
      elements: dict
    restart_required:
      description: As RV(virtmem.libvirt.memory_device#module:restart_required).
      type: bool
    restart_reasons:
      description: As RV(virtmem.libvirt.memory_device#module:restart_reasons).
      type: list
      elements: str
    memory:
      description: As RV(virtmem.libvirt.guest_memory#module:memory), V(null) if C(memory) is not declared.
      type: dict
    undeclared:
      description:
        - The names of the devices that the domain has and that are not declared. They are left alone without
          C(exclusive). One may be a declared device under the name that it had before.
      type: list
      elements: str
    usable:
      description: As RV(virtmem.libvirt.memory_device#module:usable).
      type: bool
    guest:
      description: As RV(virtmem.libvirt.memory_device#module:guest).
      type: dict
    failure:
      description: What went wrong with it, C(msg), C(error_code), C(details) and C(hint), V(null) if nothing did.
      type: dict
failed_domains:
  description: The names of the domains that have a failure.
  returned: always
  type: list
  elements: str
restart_required:
  description: Whether any domain has something that can only become real when it is shut down and started again.
  returned: always
  type: bool
restart_reasons:
  description: A sentence for each such thing, with the domain's name.
  returned: always
  type: list
  elements: str
  sample: ["web1: size of ua-vm0 is 8GiB in the running guest and can only become 16GiB by a restart."]
duration:
  description: How long the task took, in seconds.
  returned: always
  type: float
  sample: 1.4
error_code:
  description:
    - What went wrong, as RV(virtmem.libvirt.memory_device#module:error_code). C(domains_failed) if it is more
      than one domain.
  returned: on failure
  type: str
  sample: domains_failed
details:
  description: The numbers behind the message; with RV(error_code=domains_failed), C(domains) has the failure of each.
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
        from ..module_utils._module import memory_layout

        memory_layout()


if __name__ == "__main__":
    main()
