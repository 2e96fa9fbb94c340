# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: a survey of hypervisors as a page of HTML. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _page

DOCUMENTATION = r"""
name: report_page
short_description: A survey of hypervisors as a page of HTML
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
extends_documentation_fragment:
  - virtmem.libvirt._surveys
description:
  - Makes a page that needs nothing else. What is wrong comes first, then each hypervisor with its guests.
  - The role P(virtmem.libvirt.report#role) is made with it.
positional: title, when, style, script
options:
  title:
    description:
      - Its title.
    type: str
    required: true
  when:
    description:
      - When the survey was made, as it is shown.
    type: str
    required: true
  style:
    description:
      - Its CSS.
    type: str
    required: true
  script:
    description:
      - Its JavaScript, which sorts and filters.
    type: str
    required: true
seealso:
  - module: virtmem.libvirt.memory_device_info
"""

EXAMPLES = r"""
- name: The page
  ansible.builtin.copy:
    content: "{{ surveys | virtmem.libvirt.report_page('Memory', 'today', '', '') }}"
    dest: /var/www/html/memory.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"report_page": _page.page}
