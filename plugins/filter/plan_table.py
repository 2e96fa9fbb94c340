# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: the rows of a plan as a table. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _table

DOCUMENTATION = r"""
name: plan_table
short_description: The rows of a plan as lines of a table
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Lays out the rows of P(virtmem.libvirt.plan_summary#filter) in columns. A list of lines, because that is what
    M(ansible.builtin.debug) prints one below the other.
options:
  _input:
    description:
      - The rows.
    type: list
    elements: dict
    required: true
  most:
    description:
      - If there are more rows than this, those that say nothing of their own are left out. Of a guest whose memory is
        declared in all these are its devices, and of what became of a plan the guests that are as declared, which are
        counted instead.
      - All rows are shown unless it is given.
    type: int
seealso:
  - plugin: virtmem.libvirt.plan_summary
    plugin_type: filter
"""

EXAMPLES = r"""
- name: What is pending
  ansible.builtin.debug:
    msg: "{{ summary.pending | virtmem.libvirt.plan_table }}"
"""

RETURN = r"""
_value:
  description: The lines, the titles first; empty if there are no rows.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"plan_table": _table.table}
