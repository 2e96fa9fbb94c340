# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: what of a plan must not be done without being allowed. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _guard

DOCUMENTATION = r"""
name: plan_guard
short_description: What of a plan for the memory of many domains needs to be allowed by name
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Judges a summary of P(virtmem.libvirt.plan_summary#filter), and returns a sentence for each thing that goes beyond
    what is allowed. A device may only be removed from a domain that is declared as exclusive.
options:
  _input:
    description:
      - The summary.
    type: dict
    required: true
  max_shrink:
    description:
      - The percentage of the host's total by which the guests may shrink, all together.
    type: float
    required: true
  min_requested:
    description:
      - Below this, no virtio-mem device may shrink. A quantity with a unit, or V(0).
    type: str
    required: true
seealso:
  - plugin: virtmem.libvirt.plan_summary
    plugin_type: filter
"""

EXAMPLES = r"""
- name: No run takes more than a tenth of the host from its guests
  ansible.builtin.assert:
    that: summary | virtmem.libvirt.plan_guard(10, '512MiB') == []
"""

RETURN = r"""
_value:
  description: The sentences; empty if nothing is wrong.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"plan_guard": _guard.guard}
