# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The plan of a whole domain: the one place that decides what is done.

One device is planned after the other, each on the domain as the steps before it leave it, so that what fits
together is known before the first change.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .. import identity, support
from ..device import ABSENT, CONFIG, LIVE, Declaration, Definition, Device, Domain, Readiness, Wish
from ..errors import VirtmemError
from ..rules.around import check_limit
from ..xml import writing
from . import readiness
from .device import judge, plan_device
from .step import ATTACH, GROW, PREPARE, REDEFINE, REMOVE, SHRINK, Circumstances, DevicePlan, Plan, Step


def evolved(domain: Domain, steps: t.Iterable[Step]) -> Domain:
    """The domain as these steps leave it, as far as can be foreseen."""
    for step in steps:
        definition = domain.scope(step.scope)
        if definition is None:
            continue
        after = step.after
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
    sides = [found[scope] for scope in domain.scopes()]
    if any(device is None or (wish.size or 0) > device.size for device in sides):
        return GROW  # whatever is requested of it elsewhere, it needs room itself
    if wish.size is not None and any(device is not None and wish.size < device.size for device in sides):
        return REMOVE  # what it has too much of is room for others, at once if it is replaced
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


def _names_of_undeclared(domain: Domain, wishes: t.Sequence[Wish]) -> t.Iterator[str]:
    """The names of the devices that no wish names: one may be a declared device under the name that it had before."""
    for task in _undeclared(domain, wishes):
        yield task.wish.alias or task.wish.model or ""


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
    made = [Step(PREPARE, CONFIG, writing.readiness(item), ready=item) for item in (early, late) if item != Readiness()]
    first = [replace(item, rank=rank) for item in made if item.ready == early]
    return [*steps[:place], *first, *steps[place:], *(item for item in made if item.ready == late)]


def _refuse_one_device_twice(domain: Domain, wishes: t.Sequence[Wish]) -> None:
    """In the domain as it will be, a wish must still find its device, and no device may be named by two wishes.

    Otherwise the next run would be refused, or two wishes would undo each other, run after run.
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


def _refuse_confusion(domain: Domain, plan: DevicePlan) -> None:
    """In the domain as the plan leaves it, the next run must find the running device that this one found.

    While only the configuration has the alias yet, likeness is all that joins it with the running device.
    """
    live, config = plan.after[LIVE], plan.after[CONFIG]
    found = identity.select_all(domain, plan.wish)[LIVE]
    expected, named = (device.alias if device else None for device in (live, found))
    if config is None or named == expected:
        return
    details = {"alias": config.alias, "live_alias": named or expected}
    if live is not None:
        raise VirtmemError(
            "needs_restart",
            f"The running guest does not have the alias {config.alias} yet, so {expected} could no longer be "
            "recognised as the same device once its configuration differs.",
            details,
            "Restart the domain, so that the running guest gets the alias, and run the task again.",
        )
    raise VirtmemError(
        "ambiguous_device",
        f"The running guest has no {config.alias or plan.wish.describe()}, but it has {named}, which is without a user "
        "alias and could not be distinguished from it once the configuration is as declared.",
        details,
        "Restart the domain, so that both scopes agree, or declare a device that differs from that one.",
    )


def _refuse_beyond_limit(before: Domain, after: Domain) -> None:
    for scope in before.scopes():
        had, has = before.scope(scope), after.scope(scope)
        problem = check_limit(had, has, scope) if had is not None and has is not None else None
        if problem:
            raise problem


def plan_domain(domain: Domain, declaration: Declaration, circumstances: Circumstances) -> Plan:
    """The steps from this domain to all that is declared for it.

    Args:
        domain: the domain as it was just read.
        declaration: what its memory is to be.
        circumstances: what answers, and how patient the task is.

    Raises:
        VirtmemError: the declaration can't be met; nothing has been changed.
    """
    _judge(domain, declaration, circumstances)
    now = domain
    if domain.config is not None:
        now = domain.with_scope(CONFIG, readiness.provisional(declaration, domain.config, circumstances.versions))
    tasks = [_Task(_rank(domain, wish), wish) for wish in declaration.wishes]
    if declaration.exclusive:
        tasks += _undeclared(domain, declaration.wishes)
    plans: dict[int, DevicePlan] = {}
    for index, task in sorted(enumerate(tasks), key=lambda item: item[1].rank):
        plans[index] = _plan_task(now, task, circumstances)
        now = evolved(now, plans[index].steps)
        if task.wish.state != ABSENT:
            _refuse_confusion(now, plans[index])
    _refuse_one_device_twice(now, declaration.wishes)
    _refuse_beyond_limit(domain, now)
    # In the order in which they were planned, which is the order in which they are taken.
    steps = [step for device in plans.values() for step in device.steps]
    steps, config = _ready(domain, now, declaration, circumstances.versions, steps)
    steps = [*readiness.period_steps(declaration, domain), *steps]
    return Plan(
        domain=domain,
        devices=tuple(plans[index] for index in range(len(tasks))),
        steps=tuple(steps),
        config=config,
        readiness_reasons=readiness.reasons(declaration, now, config) if config is not None else (),
        undeclared=() if declaration.exclusive else tuple(_names_of_undeclared(domain, declaration.wishes)),
        readiness_warnings=readiness.warnings(domain) if any(step.ready for step in steps) else (),
    )


def _judge(domain: Domain, declaration: Declaration, circumstances: Circumstances) -> None:
    """What speaks against a declaration whatever the domain's devices are."""
    _refuse_twins(declaration.wishes)
    for wish in declaration.wishes:
        judge(domain, wish, circumstances)
    problem = readiness.check(declaration, domain)
    if problem:
        raise problem


def _plan_task(domain: Domain, task: _Task, circumstances: Circumstances) -> DevicePlan:
    device = plan_device(domain, task.wish, circumstances, task.known)
    # A device's configuration goes with the guest's side of it; it does not hold up the next device's shrink.
    ranked = tuple(replace(step, rank=task.rank) if step.rank > task.rank else step for step in device.steps)
    return replace(device, steps=ranked)


def _ready(
    domain: Domain, after: Domain, declaration: Declaration, versions: support.Versions, steps: list[Step]
) -> tuple[list[Step], Definition | None]:
    """The steps with those that make the domain ready for them, and the configuration that all of them leave."""
    before, config = domain.config, after.config
    if before is None or config is None:
        return steps, config
    lacking = readiness.lacking(declaration, before, config, versions)
    problem = readiness.too_few_slots(declaration, config, versions)
    problem = problem or readiness.too_many_ports(declaration, lacking, before)
    if problem:
        raise problem
    return _with_readiness(steps, lacking, before), readiness.result(lacking, before, config)
