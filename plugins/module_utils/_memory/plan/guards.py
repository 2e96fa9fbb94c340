# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What of the plans of a host must be allowed by name: how far its guests may shrink, and what the host keeps."""

from __future__ import annotations

import typing as t

from .. import models
from ..device import LIVE, HostMemory
from ..errors import VirtmemError
from ..rules.around import held, needed
from ..size import about, show
from .step import DevicePlan, Plan


class Guards(t.NamedTuple):
    """What a task may not go beyond. Sizes are in bytes, None means: no guard."""

    max_shrink: float | None = None  # percent of what the memory devices of the host may use
    min_requested: int | None = None  # below this, no virtio-mem device may shrink
    host_reserve: int | None = None  # what the host must have left after a growth


NO_GUARDS = Guards()
# A guest may be given more than its host has, for a migration; not that much more.
_FAR = 8


def _shrinks(plan: DevicePlan) -> int:
    """By how much a device may use less of the host, in the scope where that is most."""
    return max((held(plan.before.get(scope)) - held(plan.after.get(scope)) for scope in plan.scopes), default=0)


def growth(plans: t.Iterable[Plan]) -> int:
    """How many bytes more the running guests may use of the host when the plans are carried out."""
    more = 0
    for plan in plans:
        live = plan.domain.live
        for device in plan.devices if live is not None else ():
            more += held(device.after.get(LIVE)) - held(device.before.get(LIVE))
    return more


def _allow(option: str) -> str:
    return f"If it is meant, allow it once: run this task with another {option}, or without it."


def _check_shrink(plans: t.Sequence[Plan], most: float, total: int) -> VirtmemError | None:
    shrinks = sum(max(_shrinks(device), 0) for plan in plans for device in plan.devices)
    if not total or 100 * shrinks <= most * total:
        return None
    return VirtmemError(
        "guard_exceeded",
        f"guards.max_shrink: the guests would shrink by {show(shrinks)}, which is {100 * shrinks / total:.1f} % of the "
        f"{show(total)} that the memory devices of this host may use; {most:g}% are allowed. Nothing was changed.",
        {"option": "guards.max_shrink", "shrinks": shrinks, "total": total, "max_shrink": most},
        _allow("guards.max_shrink"),
    )


def _falls_below(device: DevicePlan, least: int) -> tuple[int, int] | None:
    """What is requested of a device before and after, in the scope where it shrinks below this; None if it does not."""
    for scope in device.scopes:
        before, after = device.before.get(scope), device.after.get(scope)
        if before is None or after is None or not models.facts(after.model).resizable:
            continue
        if held(after) < min(least, held(before)):
            return held(before), held(after)
    return None


def _check_least(plans: t.Sequence[Plan], least: int) -> VirtmemError | None:
    for domain, device in ((plan.domain.name, device) for plan in plans for device in plan.devices):
        found = _falls_below(device, least)
        if found is not None:
            before, after = found
            return VirtmemError(
                "guard_exceeded",
                f"guards.min_requested: {device.wish.describe()} of domain {domain} would shrink from {show(before)} "
                f"to {show(after)}, and {show(least)} is the least that is allowed. Nothing was changed.",
                {
                    "option": "guards.min_requested",
                    "domain": domain,
                    "requested": after,
                    "least": least,
                },
                _allow("guards.min_requested"),
            )
    return None


def _check_reserve(plans: t.Sequence[Plan], reserve: int, memory: HostMemory) -> VirtmemError | None:
    more = growth(plans)
    if more <= 0 or memory.available - more >= reserve:
        return None
    return VirtmemError(
        "host_memory",
        f"guards.host_reserve: the running guests would get {show(more)} more, and the host has "
        f"{about(memory.available)} of its {about(memory.total)} available; {show(reserve)} must be left. Nothing was "
        "changed.",
        {
            "option": "guards.host_reserve",
            "growth": more,
            "available": memory.available,
            "total": memory.total,
            "reserve": reserve,
        },
        f"Declare at most {about(max(memory.available - reserve, 0))} more in all, or move a guest to another host. "
        + _allow("guards.host_reserve"),
    )


def judge(plans: t.Sequence[Plan], guards: Guards, total: int, memory: HostMemory | None) -> VirtmemError | None:
    """What of these plans is beyond a guard, or None.

    Args:
        plans: of all domains of the task.
        guards: what it may not go beyond.
        total: what all memory devices of the host may use, in bytes.
        memory: that of the host, if it matters.
    """
    problem = None
    if guards.max_shrink is not None:
        problem = _check_shrink(plans, guards.max_shrink, total)
    if problem is None and guards.min_requested:
        problem = _check_least(plans, guards.min_requested)
    if problem is None and guards.host_reserve is not None and memory is not None:
        problem = _check_reserve(plans, guards.host_reserve, memory)
    return problem


def warnings(plans: t.Sequence[Plan], memory: HostMemory) -> list[str]:
    """What to know of plans that the host has no room for, though nothing forbids them."""
    texts = []
    more = growth(plans)
    if more > memory.available:
        texts.append(
            f"The running guests may use {show(more)} more than before, and the host has {about(memory.available)} of "
            f"its {about(memory.total)} available. guards.host_reserve of memory_layout refuses such a growth."
        )
    for plan in plans:
        texts += _warnings_of_config(plan, memory)
    return texts


def _warnings_of_config(plan: Plan, memory: HostMemory) -> t.Iterator[str]:
    """A domain that the host could not bear once it starts: mostly a typing error."""
    before, after = plan.domain.config, plan.config
    if before is None or after is None:
        return
    if needed(after) > max(memory.total, needed(before)):
        yield (
            f"Domain {plan.domain.name} may use {show(needed(after))} from its next start on, and the whole host has "
            f"{about(memory.total)}."
        )
    limit = after.max_memory or 0
    if limit != before.max_memory and limit > _FAR * memory.total:
        yield (
            f"max_memory: domain {plan.domain.name} may get up to {show(limit)}, and the whole host has "
            f"{about(memory.total)}. Is the unit right?"
        )
