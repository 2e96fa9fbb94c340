# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: a declaration from what people have. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _declaration

DOCUMENTATION = r"""
name: sizing_domains
short_description: A declaration of the memory of guests from a list that people have already
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Turns a list of dictionaries, one for each guest, into what O(virtmem.libvirt.memory_layout#module:domains) and the
    variable C(sizing_domains) of the role P(virtmem.libvirt.sizing#role) are.
options:
  _input:
    description:
      - The guests.
    type: list
    elements: dict
    required: true
  unit:
    description:
      - The unit of quantities that have none.
    type: str
    default: MiB
  name:
    description:
      - The key that has the name of the domain.
    type: str
    default: name
  memory:
    description:
      - The key that has what the guest is to have in all.
    type: str
    default: memory_mb
  max_memory:
    description:
      - The key that has the most that it can have. Any other option of a domain can be given in the same way. What a
        guest has no key for is left out.
    type: str
seealso:
  - module: virtmem.libvirt.memory_layout
"""

EXAMPLES = r"""
- name: From a list of guests with numbers in MiB
  ansible.builtin.set_fact:
    sizing_domains: "{{ vms | virtmem.libvirt.sizing_domains(max_memory='max_memory_mb') }}"
  vars:
    vms:
      - {name: web1, memory_mb: 6144}
      - {name: db1, memory_mb: 98304, max_memory_mb: 262144}

- name: From an inventory with a host for each guest, whose variable vm_memory is in GiB
  ansible.builtin.set_fact:
    sizing_domains: >-
      {{ groups['guests'] | map('extract', hostvars)
      | virtmem.libvirt.sizing_domains(name='inventory_hostname', memory='vm_memory', unit='GiB') }}
"""

RETURN = r"""
_value:
  description: The declaration.
  type: list
  elements: dict
  sample: [{"name": "web1", "memory": "6GiB"}]
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"sizing_domains": _declaration.domains_from}
