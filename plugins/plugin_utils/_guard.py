# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What of a plan must be allowed by name first: the guards of a host.

A pure function of a summary, for the role `sizing`; runs on the controller.
"""

from __future__ import annotations

from ..module_utils._memory.size import parse, show
from ._plan import Result


def guard(plan: Result, max_shrink: float, min_requested: str) -> list[str]:
    """What of a plan must not be done without being allowed by name; a sentence for each.

    Args:
        plan: a summary.
        max_shrink: the percentage of the host's total by which its guests may shrink.
        min_requested: below this, no virtio-mem device may shrink.
    """
    least = parse(min_requested, "sizing_min_requested")
    complaints = []
    if plan["total"] and 100 * plan["shrinks"] > max_shrink * plan["total"]:
        complaints.append(
            f"The guests would shrink by {show(plan['shrinks'])}, which is {plan['shrinks_percent']:g} % of the "
            f"{show(plan['total'])} that the devices of this host have; sizing_max_shrink allows {max_shrink:g} %."
        )
    for row in plan["rows"]:
        name = f"{row['device']} of {row['domain']}"
        if row["removes"] and not row["exclusive"]:
            complaints.append(f"{name} would be removed, but {row['domain']} is not declared as exclusive.")
        is_low = row["leaves"] is not None and row["leaves"] < least
        if is_low and row["shrinks"] > 0 and row["resizable"]:
            complaints.append(f"{name} would shrink to {show(row['leaves'])}; sizing_min_requested is {show(least)}.")
    return complaints
