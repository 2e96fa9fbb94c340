# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: a declaration of what guests have. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _declaration

DOCUMENTATION = r"""
name: sizing_export
short_description: A declaration of what the guests of a host have now
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Turns the result of M(virtmem.libvirt.memory_device_info) into what the variable C(sizing_domains) of the role
    P(virtmem.libvirt.sizing#role) is. A run with it changes nothing.
  - A domain that could not be read is left out, and one whose running guest has another memory than its next start
    brings. Which of the two is meant is for people to say.
  - The playbook C(virtmem.libvirt.export) is made with it.
options:
  _input:
    description:
      - The result.
    type: dict
    required: true
seealso:
  - module: virtmem.libvirt.memory_device_info
"""

EXAMPLES = r"""
- name: What the guests have
  virtmem.libvirt.memory_device_info:
  register: known

- name: As a declaration
  ansible.builtin.debug:
    msg: "{{ known | virtmem.libvirt.sizing_export }}"
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
        return {"sizing_export": _declaration.domains_of}
