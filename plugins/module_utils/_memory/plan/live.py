# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The running guest's side of a device's plan: as near to the declaration as it can come without losing a device.

What it can't be given is staged for the next start, with the reason, or an error if the task wants it at once.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .. import models
from ..device import LIVE, Definition, Device, Wish
from ..errors import VirtmemError
from ..progress import Goal
from ..properties import option_name
from ..rules.values import check_requested
from ..size import align_down, show
from ..xml import reading, writing
from .changes import attach_step, changed, differences, goal_of, kept, name_of
from .step import DETACH, GROW, REMOVE, SHRINK, UPDATE, Circumstances, Step, readable

# What keeps a live guest from a device that its configuration can have: reasons to wait for a restart.
_STAGEABLE = ("insufficient_headroom", "needs_restart", "no_acpi", "no_free_slot", "no_max_memory", "no_numa_node")


class LivePlan(t.NamedTuple):
    """The steps of the running guest, what it must reach in the end, and what has to wait for a restart."""

    steps: tuple[Step, ...] = ()
    goal: Goal | None = None
    reasons: tuple[str, ...] = ()


def _needs_restart(wish: Wish, reasons: t.Sequence[str]) -> VirtmemError:
    return VirtmemError(
        "needs_restart",
        f"scope: {wish.scope} can't be met without a restart: {' '.join(reasons)}",
        {"option": "scope", "value": wish.scope, "restart_reasons": list(reasons)},
        "Use scope auto to stage the change for the next boot, or scope config to change only the configuration.",
    )


def _reasons_to_restart(device: Device, wish: Wish, changes: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    reasons = []
    for name, value in changes.items():
        before, after = readable(device).get(name), readable(replace(device, **{name: value})).get(name)
        was = "has none" if before is None else f"is {before}"
        reasons.append(
            f"{option_name(name)} of {name_of(wish, device)} {was} in the running guest and can only become "
            f"{after} by a restart."
        )
    return tuple(reasons)


def _live_request(device: Device, wish: Wish, staged: bool) -> tuple[int | None, str | None]:
    """What can be requested of the running device, and why it is less than declared if it is."""
    wanted = wish.requested
    if wanted is None:
        return None, None
    problem = check_requested(wanted, device.size, device.block or 1)
    if problem is None:
        return wanted, None
    if not staged:
        raise problem
    most = align_down(min(wanted, device.size), device.block or 1)
    name = name_of(wish, device)
    return most, f"{show(wanted)} is requested of {name}, but until the restart it can have {show(most)} at most."


class Live(t.NamedTuple):
    """What the live side of a plan is made from."""

    definition: Definition
    device: Device | None
    twin: Device | None  # the same device in the configuration
    wish: Wish
    circumstances: Circumstances
    strict: bool  # the user asked for the live scope by name, so staging is no answer
    staged: bool  # the configuration reaches the declaration in the same task, or has it already


def _plan_live_attach(live: Live) -> LivePlan:
    step, problem = attach_step(live.definition, live.wish, live.twin, LIVE, live.circumstances)
    if problem is None:
        asked = reading.read_device(step.xml).requested
        return LivePlan((step,), None if asked is None else Goal(live.wish, asked, asked, asked))
    if live.strict or not live.staged or problem.error_code not in _STAGEABLE:
        raise problem
    return LivePlan(reasons=(f"{problem.msg} The device comes with the next boot.",))


def _removal(device: Device, wish: Wish) -> tuple[Step, ...]:
    """The two phases: the guest gives the memory back, then the device goes."""
    named = replace(wish, alias=device.alias)
    drained = writing.edit_device(device.xml, {"requested": 0}) if models.facts(device.model).resizable else device.xml
    steps = []
    if device.requested or device.current:
        steps.append(Step(UPDATE, LIVE, drained, device, until=Goal(named, 0, 0, 0), rank=REMOVE))
        device = replace(reading.read_device(drained), current=device.current)
    gone = Goal(named, None, None, device.requested or 0, gone=True)
    steps.append(Step(DETACH, LIVE, drained, device, until=gone, rank=REMOVE))
    return tuple(steps)


def _plan_live_replace(live: Live, device: Device, changes: t.Mapping[str, t.Any]) -> LivePlan:
    """Detach and attach, if the task allows it by name."""
    # One that is asked to be empty may be so because a replacement was interrupted: the configuration has what it had.
    had = live.twin if device.requested == 0 and live.twin is not None else device
    wish = replace(live.wish, requested=kept(had, live.wish))
    values = dict(changes) if wish.requested is None else {**changes, "requested": wish.requested}
    changed(device, live.wish, values, live.definition)
    removal = _removal(device, wish)
    definition = live.definition.without(device)
    pattern = replace(device, xml=writing.twin_device(device.xml, values))
    attached = _plan_live_attach(
        live._replace(definition=definition, device=None, twin=pattern, wish=wish, strict=True, staged=False)
    )
    return attached._replace(steps=(*removal, *attached.steps))


def plan_live(live: Live) -> LivePlan:
    """The steps that bring the running guest as near to the declaration as it can come."""
    device, wish = live.device, live.wish
    if device is None:
        return _plan_live_attach(live)
    changes = differences(device, wish, LIVE, live.definition.platform.size_unit)
    # A device is not taken from a guest only to give it a name.
    replaceable = {name: value for name, value in changes.items() if name != "alias"}
    if replaceable and wish.replace and live.circumstances.can_unplug(device):
        return _plan_live_replace(live, device, changes)
    reasons = list(_reasons_to_restart(device, wish, changes))
    # Without a configuration to stage it in, the difference would be forgotten: a transient domain.
    if reasons and (live.strict or not live.staged):
        raise _needs_restart(wish, reasons)
    target, shortened = _live_request(device, wish, live.staged and not live.strict)
    if shortened:
        reasons.append(shortened)
    if target is None:
        return LivePlan(reasons=tuple(reasons))
    now = device.requested or 0
    goal = goal_of(replace(wish, alias=device.alias), now, target)
    if goal.requested == now:
        return LivePlan((), goal, tuple(reasons))
    rank = SHRINK if target < now else GROW
    step = Step(UPDATE, LIVE, writing.edit_device(device.xml, {"requested": target}), device, rank=rank)
    return LivePlan((step,), goal, tuple(reasons))


def plan_live_absent(live: Live) -> LivePlan:
    """The steps that take the device out of the running guest, or empty it if it can't be unplugged."""
    device, wish = live.device, live.wish
    if device is None:
        return LivePlan()
    if live.circumstances.can_unplug(device):
        return LivePlan(_removal(device, wish))
    reason = (
        f"A device of model {device.model} can't be unplugged from this running guest; "
        f"{name_of(wish, device)} goes at the restart."
    )
    if live.strict or not live.staged:
        raise _needs_restart(wish, [reason])
    if not models.facts(device.model).resizable:
        return LivePlan(reasons=(reason,))
    # It can't go, but it can be emptied.
    goal = Goal(replace(wish, alias=device.alias), 0, 0, 0)
    if not device.requested:
        return LivePlan((), goal, (reason,))
    step = Step(UPDATE, LIVE, writing.edit_device(device.xml, {"requested": 0}), device, rank=SHRINK)
    return LivePlan((step,), goal, (reason,))
