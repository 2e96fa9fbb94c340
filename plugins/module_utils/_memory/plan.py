# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From what is observed and what is wished to the steps between: the one place that decides what is done.

A real run carries out the very steps that check mode shows. The configuration always reaches the
declaration; the live guest reaches it as far as it can without losing a device, and the rest is staged.

One device is planned after the other, each on the domain as the steps before it leave it, so that what fits
together is known before the first change.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from . import identity, readiness, rules, support, xml
from .device import (
    ABSENT,
    CONFIG,
    LIVE,
    MUTABLE,
    SCOPES,
    VIRTIO_MEM,
    Declaration,
    Definition,
    Device,
    Domain,
    Host,
    Readiness,
    Wish,
)
from .errors import VirtmemError
from .progress import Goal
from .size import align_down, align_up, show

ATTACH = "attach"
UPDATE = "update"  # of `requested`, the one property that can change without a new definition
REDEFINE = "redefine"
DETACH = "detach"

# The order in which a domain's devices are planned and changed: first what makes room.
SHRINK, REMOVE, GROW = range(3)

# What keeps a live guest from a device that its configuration can have: reasons to wait for a restart.
_STAGEABLE = ("insufficient_headroom", "needs_restart", "no_acpi", "no_free_slot", "no_max_memory", "no_numa_node")

# What people read as a size in a diff.
_SIZES = ("size", "requested", "block", "pagesize", "alignsize", "label_size")


@dataclass(frozen=True)
class Circumstances:
    """What a plan depends on beside the domain and the wishes."""

    versions: support.Versions
    host: Host | None = None  # needed where a wish names host nodes or pages
    wait: bool = True  # without, a plan ends where the guest would have to answer first


@dataclass(frozen=True)
class Step:
    """One change of one scope: what is done with which element."""

    op: str
    scope: str
    xml: str
    before: Device | None = None  # the device as it was read, which must still be there when the step is carried out
    until: Goal | None = None  # what the guest must reach before the next step of its domain
    rank: int = GROW
    ready: Readiness | None = None  # a redefinition of the domain itself, not of a device

    def describe(self) -> dict[str, str]:
        """The step as results show it."""
        return {"op": self.op, "scope": self.scope, "xml": self.xml}

    def after(self) -> Device | None:
        """The device that the step leaves."""
        if self.op == DETACH or self.ready is not None:
            return None
        device = xml.read_device(self.xml)
        # What the guest has is what it has: a plan delivers nothing.
        current = None if self.scope == CONFIG else self.before.current if self.before else 0
        return replace(device, current=current if device.model == VIRTIO_MEM else None)


@dataclass(frozen=True)
class DevicePlan:
    """What happens to one device, and how it is before and after."""

    wish: Wish
    scopes: tuple[str, ...]
    steps: tuple[Step, ...]
    before: t.Mapping[str, Device | None]
    after: t.Mapping[str, Device | None]
    goal: Goal | None = None  # what the running guest must reach in the end
    restart_reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cut: bool = False  # the guest has to answer yet, and nobody waits for it
    undeclared: bool = False  # it must go because nobody declares it

    def diff(self) -> dict[str, t.Any]:
        """Before and after, live and config side by side, with sizes as people write them."""
        return {"before": _sides(self.before), "after": _sides(self.after)}


@dataclass(frozen=True)
class Plan:
    """Everything that will happen to one domain."""

    domain: Domain
    devices: tuple[DevicePlan, ...]  # in the order in which they are declared, then those that must go
    steps: tuple[Step, ...]  # in the order in which they are taken
    config: Definition | None = None  # the configuration as the steps leave it
    readiness_reasons: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.steps)

    @property
    def cut(self) -> bool:
        """Whether more is left to do than the task waits for."""
        return any(device.cut for device in self.devices)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the running guest must reach in the end."""
        return tuple(device.goal for device in self.devices if device.goal is not None)

    @property
    def restart_reasons(self) -> tuple[str, ...]:
        """What can only become real at the next boot."""
        told = [reason for device in self.devices for reason in device.restart_reasons]
        return (*self.readiness_reasons, *told)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know all the same."""
        return tuple(text for device in self.devices for text in device.warnings)


def _sides(devices: t.Mapping[str, Device | None]) -> dict[str, t.Any]:
    return {scope: None if device is None else readable(device) for scope, device in devices.items()}


def readable(device: Device) -> dict[str, t.Any]:
    """The declared side of a device, with sizes as people write them."""
    # The actual size moves by itself and addresses are libvirt's: neither is something that a task declares.
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


# --- what differs


def _differences(device: Device, wish: Wish, scope: str, arch: str) -> dict[str, t.Any]:
    """The given properties that the device has otherwise, without what it is requested to have."""
    changes = {}
    for name, value in wish.given().items():
        has = getattr(device, name)
        # A running guest's device has been aligned, and a flag that is not there is off.
        same = has == value or (scope == LIVE and name == "size" and has == align_up(value, support.size_unit(arch)))
        if name not in MUTABLE and not same and not (value is False and has is None):
            changes[name] = value
    return changes


def _values_of(device: Device) -> dict[str, t.Any]:
    return device.describe() | {"nodemask": device.nodemask}


def _new_values(definition: Definition, wish: Wish) -> dict[str, t.Any]:
    """The properties of a device that is attached for the first time, with the defaults filled in."""
    values = wish.given()
    model = str(values.get("model", ""))
    if model == VIRTIO_MEM:
        values.setdefault("block", wish.pagesize or support.smallest_block(definition.arch))
    wants_node = "node" not in values and support.has_option(model, "node")
    # A virtio-mem guest on s390x has no NUMA cells at all; elsewhere libvirt adds the first where there is none.
    if wants_node and len(definition.cells) <= 1 and (definition.cells or definition.arch != "s390x"):
        values["node"] = definition.cells[0] if definition.cells else 0
    return values


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
    values = _values_of(device) | changes
    problem = rules.options(device.model, wish.given()) or rules.device(values, changes, definition.arch)
    problem = problem or rules.resize_config(definition, device, values["size"])
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
            f"{support.option_name(name)} of {_name(wish, device)} {was} in the running guest and can only become "
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
    drained = xml.edit_device(device.xml, {"requested": 0}) if device.model == VIRTIO_MEM else device.xml
    steps = []
    if device.requested or device.current:
        steps.append(Step(UPDATE, LIVE, drained, device, until=Goal(named, 0, 0, 0), rank=REMOVE))
        device = replace(xml.read_device(drained), current=device.current)
    gone = Goal(named, None, None, device.requested or 0, gone=True)
    steps.append(Step(DETACH, LIVE, drained, device, until=gone, rank=REMOVE))
    return tuple(steps)


def _plan_live_replace(live: _Live, device: Device, changes: t.Mapping[str, t.Any]) -> _LivePlan:
    """Detach and attach, where the task allows it by name."""
    values = dict(changes)
    if live.wish.requested is not None:
        values["requested"] = live.wish.requested
    problem = rules.options(device.model, live.wish.given())
    if problem:
        raise problem
    removal = _removal(device, live.wish)
    definition = live.definition.without(device)
    pattern = replace(device, xml=xml.twin_device(device.xml, values))
    attached = _plan_live_attach(
        replace(live, definition=definition, device=None, twin=pattern, strict=True, staged=False)
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
    if replaceable and wish.replace and support.can_unplug(device.model, live.circumstances.versions):
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
    if support.can_unplug(device.model, live.circumstances.versions):
        return _LivePlan(_removal(device, wish))
    reason = (
        f"A device of model {device.model} can't be unplugged from this running guest; "
        f"{_name(wish, device)} goes at the restart."
    )
    if live.strict or not live.staged:
        raise _needs_restart(wish, [reason])
    if device.model != VIRTIO_MEM:
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


def _refuse_to_lose(found: t.Mapping[str, Device | None], step: Step | None) -> None:
    """While only the configuration has the alias yet, likeness is all that joins it with the running device."""
    live, config = found[LIVE], found[CONFIG]
    if step is None or live is None or config is None or live.user_alias or not config.user_alias:
        return
    if identity.kind(xml.read_device(step.xml)) == identity.kind(live):
        return
    raise VirtmemError(
        "needs_restart",
        f"The running guest does not have the alias {config.alias} yet, so {live.alias} could not be recognised as "
        "the same "
        "device any more once its configuration differs.",
        {"alias": config.alias, "live_alias": live.alias},
        "Restart the domain, so that the running guest gets the alias, and run the task again.",
    )


def _judge(domain: Domain, wish: Wish, circumstances: Circumstances) -> None:
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
        _refuse_to_lose(found.devices, config)
    live = found.live()
    return _plan_live(live) if live else _LivePlan(), config


def _plan_device(
    domain: Domain, wish: Wish, circumstances: Circumstances, known: t.Mapping[str, Device | None] | None = None
) -> DevicePlan:
    """The steps for one device on the domain as it is; `known` is the device where no wish can name it."""
    _judge(domain, wish, circumstances)
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
        after={**devices, **{step.scope: step.after() for step in steps}},
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


# --- the whole domain


def evolved(domain: Domain, steps: t.Iterable[Step]) -> Domain:
    """The domain as these steps leave it, as far as can be foreseen."""
    for step in steps:
        definition = domain.scope(step.scope)
        if definition is None:
            continue
        after = step.after()
        before = next((item for item in definition.devices if item == step.before), None)
        if step.ready is not None:
            definition = step.ready.applied(definition)
        elif before is None and after is not None:
            definition = definition.having(after)
        elif before is not None:
            definition = definition.without(before) if after is None else definition.changing(before, after)
        domain = domain.with_scope(step.scope, definition)
    return domain


def _rank(domain: Domain, wish: Wish) -> int:
    """What is planned first is what makes room for the rest."""
    if wish.state == ABSENT:
        return REMOVE
    found = identity.select_all(domain, wish)
    now = [device.requested for device in found.values() if device is not None and device.requested is not None]
    return SHRINK if wish.requested is not None and now and wish.requested < max(now) else GROW


@dataclass(frozen=True)
class _Task:
    """One device that is to be planned: a declared one, or one that must go because it is not declared."""

    rank: int
    wish: Wish
    known: t.Mapping[str, Device | None] | None = None


def _undeclared(domain: Domain, wishes: t.Sequence[Wish]) -> t.Iterator[_Task]:
    """The devices that no wish names."""
    declared = [device for wish in wishes for device in identity.select_all(domain, wish).values() if device]
    for live, config in identity.pairs(domain):
        sides = [device for device in (live, config) if device is not None]
        if not any(device is side for device in declared for side in sides):
            alias = next((device.user_alias for device in sides if device.user_alias), None)
            wish = Wish(alias=alias or sides[0].alias, model=sides[0].model, state=ABSENT)
            yield _Task(REMOVE, wish, {LIVE: live, CONFIG: config})


def _refuse_twins(wishes: t.Sequence[Wish]) -> None:
    aliases = [wish.alias for wish in wishes if wish.alias]
    twice = next((alias for alias in aliases if aliases.count(alias) > 1), None)
    if twice:
        raise VirtmemError(
            "invalid_option",
            f"alias: {twice} is declared {aliases.count(twice)} times for the same domain.",
            {"option": "alias", "value": twice},
            "Declare each device once.",
        )


def _with_readiness(steps: list[Step], lacking: Readiness, before: Definition) -> list[Step]:
    """The steps with those that make the domain ready: room before what may need it, less room when it is free."""
    late = lacking.less(before)
    early = lacking.beside(late)
    needing = (index for index, item in enumerate(steps) if item.scope == CONFIG and item.op in (ATTACH, REDEFINE))
    place = next(needing, len(steps))
    rank = steps[place].rank if place < len(steps) else GROW
    made = [Step(REDEFINE, CONFIG, xml.readiness(item), ready=item) for item in (early, late) if item != Readiness()]
    first = [replace(item, rank=rank) for item in made if item.ready == early]
    return [*steps[:place], *first, *steps[place:], *(item for item in made if item.ready == late)]


def _refuse_one_device_twice(domain: Domain, wishes: t.Sequence[Wish]) -> None:
    """In the domain as it will be, a wish must still find its device, and no device may be named by two wishes.

    Else the next run would be refused, or two wishes would undo each other, run after run.
    """
    named: list[tuple[Device, Wish]] = []
    for wish in wishes:
        sides = [device for device in identity.select_all(domain, wish).values() if device is not None]
        other = next((before for device, before in named if any(device is side for side in sides)), None)
        if other is not None:
            raise VirtmemError(
                "invalid_option",
                f"devices: {other.describe()} and {wish.describe()} name the same device of domain {domain.name}.",
                {"option": "devices", "value": [other.describe(), wish.describe()]},
                "Declare each device once, and give each an alias.",
            )
        named.extend((device, wish) for device in sides)


def plan_domain(domain: Domain, declaration: Declaration, circumstances: Circumstances) -> Plan:
    """The steps from this domain to all that is declared for it.

    Args:
        domain: the domain as it was just read.
        declaration: what its memory is to be.
        circumstances: what answers, and how patient the task is.

    Raises:
        VirtmemError: the declaration can't be met; nothing has been changed.
    """
    wishes, versions = declaration.wishes, circumstances.versions
    _refuse_twins(wishes)
    for wish in wishes:
        _judge(domain, wish, circumstances)
    problem = readiness.check(declaration, domain)
    if problem:
        raise problem
    now = domain
    if domain.config is not None:
        now = domain.with_scope(CONFIG, readiness.provisional(declaration, domain.config, versions))
    tasks = [_Task(_rank(domain, wish), wish) for wish in wishes]
    if declaration.exclusive:
        tasks += _undeclared(domain, wishes)
    plans: dict[int, DevicePlan] = {}
    steps: list[Step] = []
    for index, task in sorted(enumerate(tasks), key=lambda item: item[1].rank):
        device = _plan_device(now, task.wish, circumstances, task.known)
        # A device's configuration goes with the guest's side of it; it does not hold up the next device's shrink.
        ranked = tuple(replace(step, rank=min(step.rank, task.rank)) for step in device.steps)
        device = plans[index] = replace(device, steps=ranked)
        steps.extend(device.steps)
        now = evolved(now, device.steps)
    _refuse_one_device_twice(now, wishes)
    config = now.config
    if domain.config is not None and config is not None:
        problem = readiness.too_few_slots(declaration, config, versions)
        if problem:
            raise problem
        lacking = readiness.lacking(declaration, domain.config, config, versions)
        steps = _with_readiness(steps, lacking, domain.config)
        config = readiness.result(lacking, domain.config, config)
    return Plan(
        domain=domain,
        devices=tuple(plans[index] for index in range(len(tasks))),
        steps=tuple(steps),
        config=config,
        readiness_reasons=readiness.reasons(declaration, now, config) if config is not None else (),
    )
