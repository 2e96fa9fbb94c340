# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From what is observed and what is wished to the steps between: the one place that decides what is done.

A real run carries out the very steps that check mode shows. The configuration always reaches the
declaration; the live guest reaches it as far as it can without losing a device, and the rest is staged.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from . import identity, rules, support, xml
from .device import CONFIG, LIVE, SCOPES, VIRTIO_MEM, Definition, Device, Domain, Wish
from .errors import VirtmemError
from .progress import Goal
from .size import align_down, show

ATTACH = "attach"
UPDATE = "update"  # of `requested`, the one property that can change without a new definition
REDEFINE = "redefine"

# What keeps a live guest from a device that its configuration can have: reasons to wait for a restart.
_STAGEABLE = ("insufficient_headroom", "needs_restart", "no_free_slot", "no_max_memory", "no_numa_node")

# What people read as a size in a diff.
_SIZES = ("size", "requested", "block", "pagesize", "alignsize", "label_size")


@dataclass(frozen=True)
class Step:
    """One change of one scope: what is done with which element."""

    op: str
    scope: str
    xml: str
    before: Device | None = None  # the device as it was read, which must still be there when the step is carried out

    def describe(self) -> dict[str, str]:
        """The step as results show it."""
        return {"op": self.op, "scope": self.scope, "xml": self.xml}


@dataclass(frozen=True)
class Plan:
    """Everything that will happen, and how things are before and after it."""

    wish: Wish
    scopes: tuple[str, ...]
    steps: tuple[Step, ...]
    before: t.Mapping[str, Device | None]
    after: t.Mapping[str, Device | None]
    goal: Goal | None = None  # what the running guest must reach
    restart_reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.steps)

    def diff(self) -> dict[str, t.Any]:
        """Before and after, live and config side by side, with sizes as people write them."""
        return {"before": _sides(self.before), "after": _sides(self.after)}


def _sides(devices: t.Mapping[str, Device | None]) -> dict[str, t.Any]:
    return {scope: None if device is None else _readable(device) for scope, device in devices.items()}


def _readable(device: Device) -> dict[str, t.Any]:
    # The actual size moves by itself and addresses are libvirt's: neither is something that the task declares.
    declared = {name: value for name, value in device.describe().items() if name not in ("current", "address")}
    return {name: show(value) if name in _SIZES else value for name, value in declared.items()}


# --- the scopes


def _scopes(domain: Domain, asked: str) -> tuple[str, ...]:
    if asked == "auto":
        return domain.scopes()
    return SCOPES if asked == "both" else (asked,)


# --- the size that is requested


def _may_move(now: int, wanted: int, resize: str) -> bool:
    """Whether the requested size is another one, in a direction that is allowed."""
    return (wanted > now and resize in ("any", "grow")) or (wanted < now and resize in ("any", "shrink"))


def _goal(wish: Wish, now: int, target: int) -> Goal:
    """What the guest must reach: the target, or at least (at most) that where the device may keep what it has."""
    if now == target or _may_move(now, target, wish.resize):
        return Goal(wish, target, target, target, staged=(wish.requested or 0) - target)
    if wish.resize == "never":
        return Goal(wish, now, now, now)
    return Goal(wish, target if wish.resize == "grow" else None, target if wish.resize == "shrink" else None, now)


# --- one scope


def _differences(device: Device, wish: Wish) -> dict[str, t.Any]:
    """The given properties that the device has otherwise, without what it is requested to have."""
    return {
        name: value
        for name, value in wish.given().items()
        if name not in ("requested", "alias") and getattr(device, name) != value
    }


def _values_of(device: Device) -> dict[str, t.Any]:
    return device.describe() | {"nodemask": device.nodemask}


def _new_values(definition: Definition, wish: Wish) -> dict[str, t.Any]:
    """The properties of a device that is attached for the first time, with the defaults filled in."""
    values = wish.given()
    if values.get("model") == VIRTIO_MEM:
        values.setdefault("block", wish.pagesize or support.smallest_block(definition.arch))
    if "node" not in values and len(definition.cells) <= 1:
        values["node"] = definition.cells[0] if definition.cells else 0
    return values


def _attach(
    definition: Definition, wish: Wish, twin: Device | None, scope: str, versions: support.Versions
) -> tuple[Step, VirtmemError | None]:
    """The step that attaches the device, and what stands against it in this scope.

    Where the other scope has the device, it is the pattern: the two must be one device after the next boot.
    """
    values = _values_of(twin) | wish.given() if twin else _new_values(definition, wish)
    incomplete = rules.complete(values, wish)
    if incomplete:
        raise incomplete
    problem = rules.device(values, values, definition.arch)
    if problem:
        raise problem
    element = xml.twin_device(twin.xml, wish.given()) if twin else xml.new_device(values)
    return Step(ATTACH, scope, element), rules.attach(definition, values, versions, scope)


def _plan_config(
    definition: Definition, device: Device | None, twin: Device | None, wish: Wish, versions: support.Versions
) -> Step | None:
    """The step that brings the configuration to the declaration: always possible, or an error."""
    if device is None:
        step, problem = _attach(definition, wish, twin, CONFIG, versions)
        if problem:
            raise problem
        return step
    changes = _differences(device, wish)
    op = REDEFINE if changes else UPDATE
    if wish.requested is not None and _may_move(device.requested or 0, wish.requested, wish.resize):
        changes["requested"] = wish.requested
    if not changes:
        return None
    values = _values_of(device) | changes
    problem = rules.device(values, changes, definition.arch)
    problem = problem or rules.resize_config(definition, device, values["size"])
    if problem is None and "node" in changes:
        problem = rules.cell(definition, changes["node"], versions, CONFIG)
    if problem:
        raise problem
    return Step(op, CONFIG, xml.edit_device(device.xml, changes), device)


@dataclass(frozen=True)
class _LivePlan:
    step: Step | None = None
    goal: Goal | None = None
    reasons: tuple[str, ...] = ()


def _name(wish: Wish, device: Device | None) -> str:
    return (device.alias if device else None) or wish.alias or wish.describe()


def _needs_restart(wish: Wish, reasons: t.Sequence[str]) -> VirtmemError:
    return VirtmemError(
        "needs_restart",
        f"scope: {wish.scope} can't be met without a restart: {' '.join(reasons)}",
        {"option": "scope", "value": wish.scope, "restart_reasons": list(reasons)},
        "Use scope auto to stage the change for the next boot, or scope config to change only the configuration.",
    )


def _reasons_to_restart(device: Device, wish: Wish) -> list[str]:
    reasons = []
    for name, value in _differences(device, wish).items():
        before, after = _readable(device).get(name), _readable(replace(device, **{name: value}))[name]
        was = "has none" if before is None else f"is {before}"
        reasons.append(f"{name} of {_name(wish, device)} {was} in the running guest and can only become {after} by a restart.")
    return reasons


def _live_request(device: Device, wish: Wish, staged: bool) -> tuple[int | None, str | None]:
    """What can be requested of the running device, and why it is less than declared if it is."""
    wanted = wish.requested
    if wanted is None:
        return None, None
    problem = rules.requested(wanted, device.size, device.block or 1)
    if problem is None:
        return wanted, None
    if not staged:
        raise problem
    most = align_down(min(wanted, device.size), device.block or 1)
    return most, f"{show(wanted)} is requested of {_name(wish, device)}, but until the restart it can have {show(most)} at most."


def _plan_live(
    definition: Definition,
    device: Device | None,
    twin: Device | None,
    wish: Wish,
    versions: support.Versions,
    strict: bool,
    staged: bool,
) -> _LivePlan:
    """The step that brings the running guest as near to the declaration as it can come.

    Args:
        definition: the live definition.
        device: the live device, if it is there.
        twin: the same device in the configuration.
        wish: the declaration.
        versions: what answers.
        strict: the user asked for the live scope by name, so staging is no answer.
        staged: the configuration reaches the declaration in the same task (or has it already).
    """
    if device is None:
        step, problem = _attach(definition, wish, twin, LIVE, versions)
        if problem is None:
            asked = xml.read_device(step.xml).requested or 0
            return _LivePlan(step, None if wish.requested is None else Goal(wish, asked, asked, asked))
        if strict or not staged or problem.error_code not in _STAGEABLE:
            raise problem
        return _LivePlan(reasons=(f"{problem.msg} The device comes with the next boot.",))

    reasons = _reasons_to_restart(device, wish)
    if reasons and strict:
        raise _needs_restart(wish, reasons)
    # Without a configuration to stage it in, the difference would be forgotten: a transient domain.
    if reasons and not staged:
        raise _needs_restart(wish, reasons)
    target, shortened = _live_request(device, wish, staged and not strict)
    if shortened:
        reasons.append(shortened)
    if target is None:
        return _LivePlan(reasons=tuple(reasons))
    now = device.requested or 0
    goal = _goal(replace(wish, alias=device.alias), now, target)
    if goal.requested == now:
        return _LivePlan(None, goal, tuple(reasons))
    step = Step(UPDATE, LIVE, xml.edit_device(device.xml, {"requested": target}), device)
    return _LivePlan(step, goal, tuple(reasons))


# --- the whole


def _after(before: Device | None, step: Step | None) -> Device | None:
    if step is None:
        return before
    device = xml.read_device(step.xml)
    # What the guest has is what it has: a plan delivers nothing.
    return replace(device, current=before.current if before else 0 if step.scope == LIVE else None)


def _warnings(wish: Wish, steps: t.Iterable[Step]) -> tuple[str, ...]:
    if wish.alias or not any(step.op == ATTACH for step in steps):
        return ()
    text = (
        "The device is attached without an alias, so the next run can only find it by its properties. "
        "Give it an alias to name it for good."
    )
    return (text,)


def plan_device(domain: Domain, wish: Wish, versions: support.Versions) -> Plan:
    """The steps from this domain to the wish.

    Args:
        domain: the domain as it was just read.
        wish: one declared device.
        versions: what libvirt and QEMU answer.

    Raises:
        VirtmemError: the wish can't be met; nothing has been changed.
    """
    problem = rules.wish(wish) or rules.scope(domain, wish.scope)
    if problem is None and wish.model in support.NEEDS:
        problem = support.missing(t.cast(str, wish.model), versions)
    if problem:
        raise problem
    scopes = _scopes(domain, wish.scope)
    found = identity.select_all(domain, wish)
    for name, device in found.items():
        _refuse_other_model(device, wish, name)

    # The configuration is judged first: what it can't have, the guest is not given either.
    config_step = None
    if CONFIG in scopes and domain.config is not None:
        config_step = _plan_config(domain.config, found[CONFIG], found[LIVE], wish, versions)
    live = _LivePlan()
    if LIVE in scopes and domain.live is not None:
        strict = wish.scope != "auto"
        live = _plan_live(
            domain.live, found[LIVE], found[CONFIG], wish, versions, strict, staged=CONFIG in scopes
        )
    # But it is changed last: a live change that libvirt refuses leaves it as it was.
    steps = tuple(step for step in (live.step, config_step) if step is not None)
    by_scope = {step.scope: step for step in steps}
    return Plan(
        wish=wish,
        scopes=scopes,
        steps=steps,
        before=found,
        after={name: _after(device, by_scope.get(name)) for name, device in found.items()},
        goal=live.goal,
        restart_reasons=live.reasons,
        warnings=_warnings(wish, steps),
    )


def _refuse_other_model(device: Device | None, wish: Wish, scope: str) -> None:
    """A size can only be requested of a virtio-mem device."""
    if device is None or device.model == VIRTIO_MEM or wish.model or wish.requested is None:
        return
    raise VirtmemError(
        "alias_conflict",
        f"{wish.describe()} names a device of model {device.model} in the {scope} definition; "
        "a size can only be requested of a virtio-mem device.",
        {"option": "alias", "value": wish.alias, "scope": scope, "model": device.model},
        "Choose another alias, or leave out requested.",
    )
