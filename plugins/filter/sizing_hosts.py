# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: the hosts that a libvirt URI belongs to. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _hosts

DOCUMENTATION = r"""
name: sizing_hosts
short_description: The hosts of an inventory that a libvirt URI belongs to
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - A host has a URI if its C(sizing_uri) is that very URI. It also has it if the URI names the host's machine, and
    C(sizing_uri) is the URI without it, as C(qemu+ssh://hv1/system) belongs to the host C(hv1) with C(qemu:///system).
  - A URI that names no machine, such as C(qemu:///system), belongs to hosts that are reached by the connection
    C(local).
  - The playbook C(virtmem.libvirt.repair) finds with it which host to repair.
positional: uri, known
options:
  _input:
    description:
      - The variables of each host, with C(inventory_hostname).
    type: list
    elements: dict
    required: true
  uri:
    description:
      - The URI, or a list of several, as the machine that asks has it.
    type: raw
    required: true
  known:
    description:
      - The name of the host, or a list of names, of each URI for which this is not so.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Who has the hypervisor
  ansible.builtin.debug:
    msg: "{{ groups['all'] | map('extract', hostvars) | virtmem.libvirt.sizing_hosts('qemu+ssh://hv1/system') }}"
"""

RETURN = r"""
_value:
  description: The names of the hosts.
  type: list
  elements: str
  sample: [hv1]
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"sizing_hosts": _hosts.hosts_of}
