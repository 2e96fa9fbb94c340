# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the option family that says what a task may not go beyond."""

from __future__ import annotations


class ModuleDocFragment:
    """The guards."""

    DOCUMENTATION = r"""
options:
  guards:
    description:
      - What the task may not go beyond. It is judged in the same read as the plan, in check mode too; a plan that goes
        beyond it changes nothing in any domain.
    type: dict
    suboptions:
      max_shrink:
        description:
          - The percentage of what all memory devices of the host may use by which this task may shrink its guests, all
            together, such as V(50%). RV(error_code=guard_exceeded) otherwise.
          - A virtio-mem device counts with its requested size, any other with its whole size. A domain that can't be
            read, for example because another job holds it, does not count.
        type: str
      min_requested:
        description:
          - The task makes no virtio-mem device smaller than this, RV(error_code=guard_exceeded) otherwise. A quantity
            with a unit. A device that is below it already, or grows, is not affected.
        type: str
      host_reserve:
        description:
          - What the host must have available after a growth of running guests, RV(error_code=host_memory) otherwise. A
            quantity with a unit.
          - Without it, a growth beyond what the host has available is warned of.
        type: str
"""
