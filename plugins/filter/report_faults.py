# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: what is wrong on the hypervisors of a survey. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _page

DOCUMENTATION = r"""
name: report_faults
short_description: What is wrong on the hypervisors of a survey
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
extends_documentation_fragment:
  - virtmem.libvirt._surveys
description:
  - Lists what the page of P(virtmem.libvirt.report_page#filter) has at its top, in the same order.
options: {}
seealso:
  - plugin: virtmem.libvirt.report_page
    plugin_type: filter
"""

EXAMPLES = r"""
- name: What is wrong
  ansible.builtin.debug:
    msg: "{{ surveys | virtmem.libvirt.report_faults | map(attribute='message') }}"
"""

RETURN = r"""
_value:
  description:
    - For each thing that is wrong a dictionary. C(kind) is one of V(unreachable), V(unreadable), V(room), V(pressure),
      V(staged), or a kind of drift as M(virtmem.libvirt.memory_device_info) has them; C(host) and C(domain) say where
      (C(domain) is V(null) if it is the host itself), C(text) says what, and C(message) all of it.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"report_faults": _page.faults}
