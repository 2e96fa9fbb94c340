# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the attributes that every module of the collection has."""

from __future__ import annotations


class ModuleDocFragment:
    """The attributes, and the action group."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - The steps that check mode shows are the very steps that a run takes.
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation changes nothing.
    support: full
  action:
    description:
      - Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
    details:
      - The module runs on the managed node as every module. Beside it, the action plugin tells the person at the
        terminal how far the guests are while the module waits; see the variables below O(wait).
  async:
    description: Supports being used with the C(async) keyword.
    support: full
    details:
      - In the background, nothing is told meanwhile.
  action_group:
    description:
      - Use C(group/virtmem.libvirt.all) in C(module_defaults) to set defaults for all modules of this collection.
    support: full
    membership:
      - virtmem.libvirt.all
requirements:
  - Python 3.9 or later on the managed node
  - libvirt-python (package C(python3-libvirt)) on the managed node
  - lxml (package C(python3-lxml)) on the managed node
"""

    # For modules that only read.
    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - Nothing is ever changed.
  diff_mode:
    description: Will return details on what has changed, when in diff mode.
    support: N/A
    details:
      - Nothing is ever changed.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation changes nothing.
    support: N/A
    details:
      - Nothing is ever changed.
  action_group:
    description:
      - Use C(group/virtmem.libvirt.all) in C(module_defaults) to set defaults for all modules of this collection.
    support: full
    membership:
      - virtmem.libvirt.all
requirements:
  - Python 3.9 or later on the managed node
  - libvirt-python (package C(python3-libvirt)) on the managed node
  - lxml (package C(python3-lxml)) on the managed node
"""
