# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: what is wrong with a declaration. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _declaration

DOCUMENTATION = r"""
name: sizing_check
short_description: What is wrong with a declaration of the memory of a host's guests
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Looks at what O(virtmem.libvirt.memory_layout#module:domains) is to be, without any hypervisor, and returns a line
    for each thing that is wrong, with the guest, the device and the nearest option.
  - The role P(virtmem.libvirt.sizing#role) begins with it.
options:
  _input:
    description:
      - The declaration.
    type: list
    elements: dict
    required: true
  variables:
    description:
      - Names of variables. One that begins with C(sizing_) and is none of O(known) is wrong too.
    type: list
    elements: str
    default: []
  known:
    description:
      - The names of variables that there are.
    type: list
    elements: str
    default: []
seealso:
  - module: virtmem.libvirt.memory_layout
"""

EXAMPLES = r"""
- name: The declaration of every host can be read
  ansible.builtin.assert:
    that: sizing_domains | virtmem.libvirt.sizing_check == []
    fail_msg: "{{ sizing_domains | virtmem.libvirt.sizing_check | join(' ') }}"
"""

RETURN = r"""
_value:
  description: The lines; empty if nothing is wrong.
  type: list
  elements: str
  sample: ["web1, ua-vm0: no option 'request'. Did you mean requested?"]
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"sizing_check": _declaration.complaints}
