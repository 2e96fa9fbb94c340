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
from dataclasses import replace

from .. import identity, support
from ..device import ABSENT, CONFIG, LIVE, Declaration, Definition, Device, Domain, Readiness, Wish
from ..errors import VirtmemError
from ..rules.around import check_limit
from ..total import GuestMemory
from ..xml import writing
from . import readiness
from .device import judge, plan_device
from .entry import Entry, declared, undeclared
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


def _rank(domain: Domain, entry: Entry) -> int:
    """What is planned first is what makes room for the rest."""
    wish = entry.wish
    if wish.state == ABSENT:
        return REMOVE
    found = entry.known or identity.select_all(domain, wish)
    sides = [found[scope] for scope in domain.scopes()]
    if any(device is None or (wish.size or 0) > device.size for device in sides):
        return GROW  # whatever is requested of it elsewhere, it needs room itself
    if wish.size is not None and any(device is not None and wish.size < device.size for device in sides):
        return REMOVE  # what it has too much of is room for others, at once if it is replaced
    wanted = {LIVE: wish.of_running().requested, CONFIG: wish.requested}
    pairs = [(wanted[scope], device.requested) for scope, device in found.items() if device is not None]
    return SHRINK if any(want is not None and has is not None and want < has for want, has in pairs) else GROW


def _surplus(domain: Domain, entries: t.Sequence[Entry]) -> t.Iterator[Entry]:
    """The devices that no entry names: they must go."""
    sides = [entry.known or identity.select_all(domain, entry.wish) for entry in entries]
    for live, config in identity.others(domain, sides):
        both = [device for device in (live, config) if device is not None]
        wish = Wish(alias=identity.alias_of(*both) or both[0].alias, model=both[0].model, state=ABSENT)
        yield Entry(wish, {LIVE: live, CONFIG: config})


def _names_of_others(domain: Domain, plans: t.Iterable[DevicePlan]) -> t.Iterator[str]:
    """The names of the devices that nobody declares: one may be a declared device under the name that it had before."""
    for pair in identity.others(domain, (plan.before for plan in plans)):
        sides = [device for device in pair if device is not None]
        yield identity.alias_of(*sides) or sides[0].alias or sides[0].model


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
    entries, whole = _entries(now, declaration, circumstances)
    plans, now = _planned(now, entries, circumstances)
    _refuse_one_device_twice(now, [entry.wish for entry in entries if entry.known is None])
    _refuse_beyond_limit(domain, now)
    # In the order in which they were planned, which is the order in which they are taken.
    steps = [step for device in plans.values() for step in device.steps]
    steps, config = _ready(domain, now, declaration, circumstances.versions, steps)
    steps = [*readiness.period_steps(declaration, domain), *steps]
    return Plan(
        domain=domain,
        devices=tuple(plans[place] for place in range(len(entries))),
        steps=tuple(steps),
        config=config,
        readiness_reasons=readiness.reasons(declaration, now, config) if config is not None else (),
        undeclared=() if declaration.exclusive else tuple(_names_of_others(domain, plans.values())),
        memory=whole,
        readiness_warnings=readiness.warnings(domain) if any(step.ready for step in steps) else (),
    )


def _entries(
    domain: Domain, declaration: Declaration, circumstances: Circumstances
) -> tuple[list[Entry], GuestMemory | None]:
    """The devices that are to be planned: declared ones, those that a declared memory takes, and those that must go."""
    entries = declared(domain, declaration)
    own = undeclared(domain, declaration)
    surplus = list(_surplus(domain, [*entries, *own])) if declaration.exclusive else []
    if declaration.memory is None:
        return [*entries, *surplus], None
    from . import memory  # only what one number declares takes its arithmetic

    # What there is to share is known when the rest is planned.
    tried, after = _planned(domain, [entry.tried(domain) for entry in [*entries, *surplus]], circumstances)
    own = memory.resized(own, after, declaration) if own else memory.made(after, declaration)
    shared, after = _planned(after, [entry.tried(after) for entry in own], circumstances)
    first = [tried[place] for place in range(len(entries))]
    plans = [*first, *(shared[place] for place in range(len(own)))]
    entries, whole = memory.settled(after, declaration, [*entries, *own], plans)
    _refuse_twins([entry.wish for entry in entries])
    return [*entries, *surplus], whole


def _planned(
    domain: Domain, entries: t.Sequence[Entry], circumstances: Circumstances
) -> tuple[dict[int, DevicePlan], Domain]:
    """The plan of each entry by its place, in the order in which they are made, and the domain as they leave it."""
    plans: dict[int, DevicePlan] = {}
    ranks = {place: _rank(domain, entry) for place, entry in enumerate(entries)}
    for place in sorted(ranks, key=lambda place: ranks[place]):
        plans[place] = _plan_entry(domain, entries[place], ranks[place], circumstances)
        domain = evolved(domain, plans[place].steps)
        if entries[place].wish.state != ABSENT and entries[place].known is None:
            _refuse_confusion(domain, plans[place])
    return plans, domain


def _judge(domain: Domain, declaration: Declaration, circumstances: Circumstances) -> None:
    """What speaks against a declaration whatever the domain's devices are."""
    _refuse_twins(declaration.wishes)
    for wish in declaration.wishes:
        judge(domain, wish, circumstances)
    problem = readiness.check(declaration, domain, circumstances.versions)
    if problem:
        raise problem


def _plan_entry(domain: Domain, entry: Entry, rank: int, circumstances: Circumstances) -> DevicePlan:
    device = plan_device(domain, entry.wish, circumstances, entry.known)
    # A device's configuration goes with the guest's side of it; it does not hold up the next device's shrink.
    ranked = tuple(replace(step, rank=rank) if step.rank > rank else step for step in device.steps)
    return device._replace(steps=ranked)


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
