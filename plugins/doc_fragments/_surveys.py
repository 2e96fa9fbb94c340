# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of what the filters of the role report are given."""

from __future__ import annotations


class ModuleDocFragment:
    """The surveys of all hypervisors."""

    DOCUMENTATION = r"""
options:
  _input:
    description:
      - For each hypervisor a dictionary with C(host) (its name), C(uri), C(info) (the result of
        M(virtmem.libvirt.memory_device_info)) and C(reserve) (what it is to have left, a quantity with a unit, or
        nothing); or the name alone of one that was not reached.
      - The dictionary may also be one text of JSON. Ansible takes long to hand on the dictionaries of many guests, and
        no time for a text.
    type: list
    elements: raw
    required: true
"""
