# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible filter: a survey of hypervisors as metrics for Prometheus. Documentation and the entry point."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _metrics

DOCUMENTATION = r"""
name: report_metrics
short_description: A survey of hypervisors as metrics for Prometheus
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
extends_documentation_fragment:
  - virtmem.libvirt._surveys
description:
  - Makes the text that node_exporter's textfile collector reads.
  - The role P(virtmem.libvirt.report#role) is made with it.
positional: now
options:
  now:
    description:
      - When the survey was made, in seconds since 1970.
    type: float
    required: true
seealso:
  - module: virtmem.libvirt.memory_device_info
"""

EXAMPLES = r"""
- name: The metrics
  ansible.builtin.copy:
    content: "{{ surveys | virtmem.libvirt.report_metrics(now().timestamp()) }}"
    dest: /var/lib/prometheus/node-exporter/virtmem.prom
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"report_metrics": _metrics.metrics}
