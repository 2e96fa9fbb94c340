# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From what is observed of one device and what is wished of it to the steps between.

The configuration always reaches the declaration; the live guest reaches it as far as it can without losing a
device, and the rest is staged.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from . import identity, models, rules, support, xml
from .device import ABSENT, CONFIG, LIVE, SCOPES, Definition, Device, Domain, Wish
from .errors import VirtmemError
from .models import MODELS
from .progress import Goal
from .properties import FLAGS, MUTABLE, option_name
from .size import align_down, align_up, show
from .step import ATTACH, DETACH, GROW, REDEFINE, REMOVE, SHRINK, UPDATE, Circumstances, DevicePlan, Step, readable

# What keeps a live guest from a device that its configuration can have: reasons to wait for a restart.
_STAGEABLE = ("insufficient_headroom", "needs_restart", "no_acpi", "no_free_slot", "no_max_memory", "no_numa_node")


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


# --- what differs


def _differences(device: Device, wish: Wish, scope: str, arch: str) -> dict[str, t.Any]:
    """The given properties that the device has otherwise, without what it is requested to have."""
    changes = {}
    for name, value in wish.given().items():
        has = getattr(device, name)
        # A running guest's device has been aligned, and a flag that is not there is off.
        same = has == value or (scope == LIVE and name == "size" and has == align_up(value, support.size_unit(arch)))
        if name not in MUTABLE and not same and not (name in FLAGS and value is False and has is None):
            changes[name] = value
    return changes


def _values_of(device: Device) -> dict[str, t.Any]:
    return device.describe() | {"nodemask": device.nodemask}


def _new_values(definition: Definition, wish: Wish) -> dict[str, t.Any]:
    """The properties of a device that is attached for the first time, with the defaults filled in."""
    values = wish.given()
    model = str(values.get("model", ""))
    if models.facts(model).resizable:
        # A page of the ordinary size means no huge pages, and no smaller block.
        values.setdefault("block", max(wish.pagesize or 0, support.smallest_block(definition.arch)))
    wants_node = "node" not in values and models.facts(model).has_option("node")
    # A virtio-mem guest on s390x has no NUMA cells at all; elsewhere libvirt adds the first where there is none.
    if wants_node and len(definition.cells) <= 1 and (definition.cells or definition.arch != "s390x"):
        values["node"] = definition.cells[0] if definition.cells else 0
    return values


def _kept(device: Device, wish: Wish) -> int | None:
    """What is to be requested of a device: what is declared, or what it has if `resize` keeps that."""
    if wish.requested is None or _may_move(device.requested or 0, wish.requested, wish.resize):
        return wish.requested
    return device.requested


def _changed(device: Device, wish: Wish, changes: t.Mapping[str, t.Any], arch: str) -> dict[str, t.Any]:
    """The properties of a device after these changes.

    Raises:
        VirtmemError: there is no such device.
    """
    values = {**_values_of(device), **changes}
    problem = rules.options(device.model, wish.given()) or rules.device(values, changes, arch)
    if problem is None:
        return values
    kept = values.get("requested")
    if problem.details.get("option") == "requested" and wish.requested not in (None, kept):
        raise VirtmemError(
            problem.error_code,
            f"resize: {wish.resize} keeps what is requested of {_name(wish, device)} now. {problem.msg}",
            problem.details | {"resize": wish.resize},
            f"Declare a device that takes {show(kept or 0)}, or allow the change with resize: any.",
        )
    raise problem


# --- one scope


def _attach(
    definition: Definition, wish: Wish, twin: Device | None, scope: str, circumstances: Circumstances
) -> tuple[Step, VirtmemError | None]:
    """The step that attaches the device, and what stands against it in this scope.

    Where the other scope has the device, it is the pattern: the two must be one device after the next boot.
    """
    values = _values_of(twin) | wish.given() if twin else _new_values(definition, wish)
    if twin:  # its place is its own scope's
        values.update(slot=wish.slot, base=wish.base)
    problem = rules.complete(values, wish) or rules.options(values["model"], wish.given())
    problem = problem or rules.device(values, values, definition.arch)
    if problem is None and circumstances.host is not None:
        problem = rules.host(values, circumstances.host, scope)
    if problem:
        raise problem
    element = xml.twin_device(twin.xml, wish.given()) if twin else xml.new_device(values)
    return Step(ATTACH, scope, element), rules.attach(definition, values, circumstances.versions, scope)


def _plan_config(
    definition: Definition, device: Device | None, twin: Device | None, wish: Wish, circumstances: Circumstances
) -> Step | None:
    """The step that brings the configuration to the declaration: always possible, or an error."""
    if device is None:
        step, problem = _attach(definition, wish, twin, CONFIG, circumstances)
        if problem:
            raise problem
        return step
    changes = _differences(device, wish, CONFIG, definition.arch)
    op = REDEFINE if changes else UPDATE
    if wish.requested is not None and _may_move(device.requested or 0, wish.requested, wish.resize):
        changes["requested"] = wish.requested
    if not changes:
        return None
    values = _changed(device, wish, changes, definition.arch)
    problem = rules.resize_config(definition, device, values["size"])
    if problem is None and circumstances.host is not None:
        problem = rules.host(values, circumstances.host, CONFIG)
    if problem is None and "node" in changes:
        problem = rules.cell(definition, device.model, changes["node"], circumstances.versions, CONFIG)
    if problem:
        raise problem
    return Step(op, CONFIG, xml.edit_device(device.xml, changes), device)


@dataclass(frozen=True)
class _LivePlan:
    steps: tuple[Step, ...] = ()
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


def _reasons_to_restart(device: Device, wish: Wish, changes: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    reasons = []
    for name, value in changes.items():
        before, after = readable(device).get(name), readable(replace(device, **{name: value})).get(name)
        was = "has none" if before is None else f"is {before}"
        reasons.append(
            f"{option_name(name)} of {_name(wish, device)} {was} in the running guest and can only become "
            f"{after} by a restart."
        )
    return tuple(reasons)


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
    return most, (
        f"{show(wanted)} is requested of {_name(wish, device)}, but until the restart it can have {show(most)} at most."
    )


@dataclass(frozen=True)
class _Live:
    """What the live side of a plan is made from."""

    definition: Definition
    device: Device | None
    twin: Device | None  # the same device in the configuration
    wish: Wish
    circumstances: Circumstances
    strict: bool  # the user asked for the live scope by name, so staging is no answer
    staged: bool  # the configuration reaches the declaration in the same task, or has it already


def _plan_live_attach(live: _Live) -> _LivePlan:
    step, problem = _attach(live.definition, live.wish, live.twin, LIVE, live.circumstances)
    if problem is None:
        asked = xml.read_device(step.xml).requested
        return _LivePlan((step,), None if asked is None else Goal(live.wish, asked, asked, asked))
    if live.strict or not live.staged or problem.error_code not in _STAGEABLE:
        raise problem
    return _LivePlan(reasons=(f"{problem.msg} The device comes with the next boot.",))


def _removal(device: Device, wish: Wish) -> tuple[Step, ...]:
    """The two phases: the guest gives the memory back, then the device goes."""
    named = replace(wish, alias=device.alias)
    drained = xml.edit_device(device.xml, {"requested": 0}) if models.facts(device.model).resizable else device.xml
    steps = []
    if device.requested or device.current:
        steps.append(Step(UPDATE, LIVE, drained, device, until=Goal(named, 0, 0, 0), rank=REMOVE))
        device = replace(xml.read_device(drained), current=device.current)
    gone = Goal(named, None, None, device.requested or 0, gone=True)
    steps.append(Step(DETACH, LIVE, drained, device, until=gone, rank=REMOVE))
    return tuple(steps)


def _plan_live_replace(live: _Live, device: Device, changes: t.Mapping[str, t.Any]) -> _LivePlan:
    """Detach and attach, where the task allows it by name."""
    # One that is asked to be empty may be so because a replacement was interrupted: the configuration has what it had.
    had = live.twin if device.requested == 0 and live.twin is not None else device
    wish = replace(live.wish, requested=_kept(had, live.wish))
    values = dict(changes) if wish.requested is None else {**changes, "requested": wish.requested}
    _changed(device, live.wish, values, live.definition.arch)
    removal = _removal(device, wish)
    definition = live.definition.without(device)
    pattern = replace(device, xml=xml.twin_device(device.xml, values))
    attached = _plan_live_attach(
        replace(live, definition=definition, device=None, twin=pattern, wish=wish, strict=True, staged=False)
    )
    return replace(attached, steps=(*removal, *attached.steps))


def _plan_live(live: _Live) -> _LivePlan:
    """The steps that bring the running guest as near to the declaration as it can come."""
    device, wish = live.device, live.wish
    if device is None:
        return _plan_live_attach(live)
    changes = _differences(device, wish, LIVE, live.definition.arch)
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
        return _LivePlan(reasons=tuple(reasons))
    now = device.requested or 0
    goal = _goal(replace(wish, alias=device.alias), now, target)
    if goal.requested == now:
        return _LivePlan((), goal, tuple(reasons))
    rank = SHRINK if target < now else GROW
    step = Step(UPDATE, LIVE, xml.edit_device(device.xml, {"requested": target}), device, rank=rank)
    return _LivePlan((step,), goal, tuple(reasons))


def _plan_live_absent(live: _Live) -> _LivePlan:
    device, wish = live.device, live.wish
    if device is None:
        return _LivePlan()
    if live.circumstances.can_unplug(device):
        return _LivePlan(_removal(device, wish))
    reason = (
        f"A device of model {device.model} can't be unplugged from this running guest; "
        f"{_name(wish, device)} goes at the restart."
    )
    if live.strict or not live.staged:
        raise _needs_restart(wish, [reason])
    if not models.facts(device.model).resizable:
        return _LivePlan(reasons=(reason,))
    # It can't go, but it can be emptied.
    goal = Goal(replace(wish, alias=device.alias), 0, 0, 0)
    if not device.requested:
        return _LivePlan((), goal, (reason,))
    step = Step(UPDATE, LIVE, xml.edit_device(device.xml, {"requested": 0}), device, rank=SHRINK)
    return _LivePlan((step,), goal, (reason,))


# --- one device


def _warnings(domain: Domain, wish: Wish, steps: t.Sequence[Step], cut: bool) -> tuple[str, ...]:
    texts = []
    if not wish.alias and any(step.op == ATTACH for step in steps):
        texts.append(
            "The device is attached without an alias, so the next run can only find it by its properties. "
            "Give it an alias to name it for good."
        )
    if cut:
        texts.append(
            "The guest has to give the memory back before the rest can be done, and wait is false: run the task "
            "again later."
        )
    if domain.saved is not None and any(step.scope == CONFIG for step in steps):
        saved = next((item for item in domain.saved.devices if wish.alias and item.alias == wish.alias), None)
        brings = ", ".join(f"{name} {value}" for name, value in readable(saved).items()) if saved else "no such device"
        texts.append(
            f"Domain {domain.name} has a managed-save image: its next start brings back what was saved ({brings}); "
            "the configuration counts from the start after that."
        )
    return tuple(texts)


def _refuse_other_model(device: Device | None, wish: Wish, scope: str) -> None:
    """A device of a model of tomorrow is left alone, and a size can only be requested of a virtio-mem device."""
    if device is not None and device.model not in MODELS:
        raise VirtmemError(
            "unsupported",
            f"{wish.describe()} names a device of model {device.model} in the {scope} definition, which this version "
            "of the collection does not know.",
            {"feature": device.model, "scope": scope},
            "Use a later version of the collection, or leave the device out. state: absent can remove it.",
        )
    if device is None or models.facts(device.model).resizable or wish.model or wish.requested is None:
        return
    raise VirtmemError(
        "alias_conflict",
        f"{wish.describe()} names a device of model {device.model} in the {scope} definition; "
        "a size can only be requested of a virtio-mem device.",
        {"option": "alias", "value": wish.alias, "scope": scope, "model": device.model},
        "Choose another alias, or leave out requested.",
    )


def judge(domain: Domain, wish: Wish, circumstances: Circumstances) -> None:
    """What speaks against a wish whatever the domain's devices are."""
    problem = rules.wish(wish) or rules.scope(domain, wish.scope)
    if problem is None and wish.model and wish.state != ABSENT:
        problem = support.lacking(wish, wish.model, circumstances.versions)
    if problem:
        raise problem


def _cut(steps: t.Sequence[Step], circumstances: Circumstances) -> tuple[tuple[Step, ...], bool]:
    """The steps up to the first that needs an answer, where nobody waits for one."""
    barriers = [index for index, step in enumerate(steps) if step.until is not None]
    if circumstances.wait or not barriers:
        return tuple(steps), False
    end = barriers[0]
    # Whatever else the domain is to get does not wait for that answer either.
    return (*steps[:end], replace(steps[end], until=None)), True


@dataclass(frozen=True)
class _Found:
    """One wish on one domain, before anything is decided."""

    domain: Domain
    wish: Wish
    circumstances: Circumstances
    scopes: tuple[str, ...]
    devices: t.Mapping[str, Device | None]

    def live(self) -> _Live | None:
        """What the live side is made from, None where it is not asked for."""
        definition = self.domain.live
        if LIVE not in self.scopes or definition is None:
            return None
        return _Live(
            definition=definition,
            device=self.devices[LIVE],
            twin=self.devices[CONFIG],
            wish=self.wish,
            circumstances=self.circumstances,
            strict=self.wish.scope != "auto",
            staged=CONFIG in self.scopes,
        )


def _plan_absent(found: _Found) -> tuple[_LivePlan, Step | None]:
    device = found.devices[CONFIG] if CONFIG in found.scopes else None
    config = Step(DETACH, CONFIG, device.xml, device, rank=REMOVE) if device is not None else None
    live = found.live()
    return _plan_live_absent(live) if live else _LivePlan(), config


def _plan_present(found: _Found) -> tuple[_LivePlan, Step | None]:
    wish, circumstances = found.wish, found.circumstances
    for name, device in found.devices.items():
        _refuse_other_model(device, wish, name)
        problem = support.lacking(wish, device.model, circumstances.versions) if device and not wish.model else None
        if problem:
            raise problem
    # The configuration is judged first: what it can't have, the guest is not given either.
    config = None
    if CONFIG in found.scopes and found.domain.config is not None:
        config = _plan_config(found.domain.config, found.devices[CONFIG], found.devices[LIVE], wish, circumstances)
    live = found.live()
    return _plan_live(live) if live else _LivePlan(), config


def plan_device(
    domain: Domain, wish: Wish, circumstances: Circumstances, known: t.Mapping[str, Device | None] | None = None
) -> DevicePlan:
    """The steps for one device on the domain as it is; `known` is the device where no wish can name it."""
    judge(domain, wish, circumstances)
    devices = dict(known) if known is not None else identity.select_all(domain, wish)
    found = _Found(domain, wish, circumstances, _scopes(domain, wish.scope), devices)
    live, config = _plan_absent(found) if wish.state == ABSENT else _plan_present(found)
    problem = rules.answering(domain) if _needs_the_guest(live, devices[LIVE]) else None
    if problem:
        raise problem
    # It is changed last: a live change that libvirt refuses leaves it as it was.
    steps, cut = _cut((*live.steps, *((config,) if config else ())), circumstances)
    return DevicePlan(
        wish=wish,
        scopes=found.scopes,
        steps=steps,
        before=devices,
        after={**devices, **{step.scope: step.after for step in steps}},
        goal=live.goal,
        restart_reasons=live.reasons,
        warnings=_warnings(domain, wish, steps, cut),
        cut=cut,
        undeclared=known is not None,
    )


def _needs_the_guest(live: _LivePlan, device: Device | None) -> bool:
    if any(step.until for step in live.steps):
        return True
    return live.goal is not None and live.goal.distance((device.current if device else None) or 0) > 0
