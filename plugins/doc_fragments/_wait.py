# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the option family that says how a task waits."""

from __future__ import annotations


class ModuleDocFragment:
    """How long to wait, how closely, and what is near enough."""

    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until the guest's actual size is the requested one.
      - libvirt accepts a request in milliseconds and says nothing about the guest; without waiting, the task says
        nothing either. C(converged) of the device in the result tells how it was at the end of the task.
      - A task that finds everything as declared, but the guest still on its way, waits too.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait at most. Then the task fails with RV(error_code=not_converged).
      - The wait ends earlier if it can't help, for example because the domain stopped.
    type: int
    default: 120
  wait_sleep:
    description:
      - How many seconds pass between two looks at the domain if libvirt sends no event. Events are acted on at once.
    type: int
    default: 1
  wait_tolerance:
    description:
      - How far from the requested size the actual one may be, as a quantity with a unit such as V(256MiB), or as a
        percentage of it such as V(5%).
    type: str
    default: "0"
"""
