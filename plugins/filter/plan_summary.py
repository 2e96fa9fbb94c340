# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: what a memory_layout plan means, and what became of it. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _plan

DOCUMENTATION = r"""
name: plan_summary
short_description: A plan for the memory of many domains, as rows and sums
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Makes a row for each device from the result of M(virtmem.libvirt.memory_layout) in check mode, with what the
    device is now, what it is to be, what happens to it, and whether that takes a restart.
  - With the result of a real run too, each row says what was reached.
  - The role P(virtmem.libvirt.sizing#role) is made with it.
options:
  _input:
    description:
      - The result of M(virtmem.libvirt.memory_layout) in check mode.
    type: dict
    required: true
  inventory:
    description:
      - The result of M(virtmem.libvirt.memory_device_info) from before it, of all domains of the host.
    type: dict
    required: true
  declared:
    description:
      - What O(virtmem.libvirt.memory_layout#module:domains) was.
    type: list
    elements: dict
    required: true
  applied:
    description:
      - The result of M(virtmem.libvirt.memory_layout) for real, if it ran.
    type: dict
seealso:
  - plugin: virtmem.libvirt.plan_table
    plugin_type: filter
  - plugin: virtmem.libvirt.plan_guard
    plugin_type: filter
"""

EXAMPLES = r"""
- name: What there is
  virtmem.libvirt.memory_device_info:
  register: inventory

- name: What would be done
  virtmem.libvirt.memory_layout:
    domains: "{{ my_domains }}"
  check_mode: true
  register: planned

- name: The same for people
  ansible.builtin.debug:
    msg: "{{ (planned | virtmem.libvirt.plan_summary(inventory, my_domains)).rows | virtmem.libvirt.plan_table }}"
"""

RETURN = r"""
_value:
  description:
    - C(rows), a dictionary for each device; C(pending), those of them where something is to be done.
    - C(total), the bytes that all devices of the host may use; C(shrinks) and C(shrinks_percent), how much of it the
      plan takes from guests.
    - C(failures), by the domain's name; C(restart_reasons).
    - C(sentence), the whole plan in a line.
  type: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"plan_summary": _plan.summary}
