# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Which device a wish names, inside one scope of a domain.

The user alias is the only name that exists in both scopes. Without one, what is given must fit a single
device. A list position is never a name, and an address is never carried from one scope to the other.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

from .device import (
    ABSENT,
    CONFIG,
    LIVE,
    SCOPES,
    USER_ALIAS_PREFIX,
    Definition,
    Device,
    Domain,
    Wish,
)
from .errors import VirtmemError
from .properties import ALIKE, MUTABLE, SELECTORS
from .size import MIB, align_up, show, shown

_USER_ALIAS = re.compile(r"ua-[A-Za-z0-9_-]+", re.ASCII)
_LONGEST_ALIAS = 120  # QEMU object ids get a prefix of their own, and people have to read it


def user_alias(text: str) -> str:
    """The alias as libvirt keeps it, with `ua-` added if it is missing.

    libvirt drops an alias with any other character without a word, and the device could never be found again.

    Raises:
        VirtmemError: `invalid_alias`.
    """
    alias = text if text.startswith(USER_ALIAS_PREFIX) else USER_ALIAS_PREFIX + text
    if not _USER_ALIAS.fullmatch(alias) or len(alias) > _LONGEST_ALIAS:
        raise VirtmemError(
            "invalid_alias",
            f"alias: {shown(text)} is not a user alias that libvirt keeps.",
            {"option": "alias", "value": text[:_LONGEST_ALIAS]},
            f"Use letters, digits, - and _ only, at most {_LONGEST_ALIAS} characters, for example ua-vm0.",
        )
    return alias


def _summary(device: Device) -> str:
    node = "" if device.node is None else f", node {device.node}"
    where = f", {device.address}" if device.address else ""
    return f"{device.model} {device.alias or 'without alias'} ({show(device.size)}{node}{where})"


def _by_alias(definition: Definition, wish: Wish, scope: str) -> Device | None:
    device = next((item for item in definition.devices if item.alias == wish.alias), None)
    if device is None and wish.alias in definition.other_aliases:
        owner = "a device that is no memory device"
    elif device is not None and wish.model and device.model != wish.model:
        owner = f"a device of model {device.model}, not {wish.model}"
    else:
        return device
    raise VirtmemError(
        "alias_conflict",
        f"alias: {wish.alias} belongs to {owner} in the {scope} definition.",
        {"option": "alias", "value": wish.alias, "scope": scope, "model": device.model if device else None},
        "Choose another alias, or declare the device as what it is.",
    )


def select(definition: Definition, wish: Wish, scope: str) -> Device | None:
    """The device in this scope that the wish names, or None if there is none.

    Raises:
        VirtmemError: `alias_conflict`, `ambiguous_device`.
    """
    if wish.alias:
        return _by_alias(definition, wish, scope)
    given = {name: value for name, value in wish.given().items() if name in SELECTORS}
    candidates = [
        device for device in definition.devices if all(getattr(device, name) == value for name, value in given.items())
    ]
    hint = "Give the device's alias (a user alias, beginning with ua-), or more of its properties."
    return _only(candidates, scope, f"{wish.describe()} fits", hint)


def select_all(domain: Domain, wish: Wish) -> dict[str, Device | None]:
    """The device that the wish names in each scope of the domain, None if it is not there.

    What a user alias joins is one device, even if the properties that were given fit only one side of it. An
    alias that only one side has yet (the configuration was given it, and the guest has not been restarted) joins
    with the one device of the other side that is the same but for the alias. An alias that neither side has is given
    to a device that has none so far, which all the given properties fit, if the wish says so.

    Raises:
        VirtmemError: `alias_conflict`, `ambiguous_device`.
    """
    found: dict[str, Device | None] = {}
    for scope in SCOPES:
        definition = domain.scope(scope)
        found[scope] = None if definition is None else select(definition, wish, scope)
    if wish.alias and not any(found.values()):
        _refuse_generated_name(domain, wish.alias)
    if wish.alias and not any(found.values()) and wish.adopt is not False:
        found = _adoptable(domain, wish)
        if wish.adopt is None:
            _refuse_to_guess(wish, found)
    sides = [device for device in found.values() if device is not None]
    aliases = {device.user_alias for device in sides if device.user_alias}
    if len(aliases) > 1:
        listed = [_summary(device) for device in sides]
        raise VirtmemError(
            "ambiguous_device",
            f"{wish.describe()} fits two different devices, live {listed[0]} and config {listed[1]}.",
            {"candidates": listed},
            "Give the alias of the one that is meant.",
        )
    live = found[LIVE]
    here, there = (LIVE, CONFIG) if live is not None and (len(sides) == 1 or live.user_alias) else (CONFIG, LIVE)
    known = found[here]
    if known is None or (len(sides) == 2 and not _has_alias(domain.scope(there), known)):
        return found
    # The alias joins, even if the other side has something else that what is given fits. What must go takes no
    # device of the configuration with it that does not have the alias: it may only look like the one that has gone.
    by_likeness = here == CONFIG or wish.state != ABSENT
    return {here: known, there: _other_side(domain, known, here, there, by_likeness)}


def _refuse_generated_name(domain: Domain, alias: str) -> None:
    """A name that libvirt gave to a running device without a user alias is another one after the next start."""
    name = alias[len(USER_ALIAS_PREFIX) :]
    device = next((item for item in domain.live.devices if item.alias == name), None) if domain.live else None
    if device is None:
        return
    raise VirtmemError(
        "invalid_alias",
        f"alias: {name} is a name that libvirt itself gave to {_summary(device)}. It may be another one after the next "
        "start, so it can't be declared.",
        {"option": "alias", "value": name, "live_alias": name},
        f"To name this device, set adopt: true with an alias of your own, such as ua-{device.model}-a, and what it has "
        f"(model, size, node). To declare it without one, leave alias out and set {_distinguishing(device)}.",
    )


def _distinguishing(device: Device) -> str:
    given = [
        f"{name}: {getattr(device, name)}" for name in ("model", "node", "slot") if getattr(device, name) is not None
    ]
    return ", ".join(given)


def _has_alias(definition: Definition | None, device: Device) -> bool:
    return definition is not None and any(
        device.user_alias and item.alias == device.alias for item in definition.devices
    )


def again(domain: Domain, before: t.Mapping[str, Device | None]) -> dict[str, Device | None]:
    """The sides of a device that was read earlier, as they are now: for one that no wish could name."""

    def mark(device: Device) -> Device:
        return replace(device, requested=None, current=None)

    found: dict[str, Device | None] = {}
    for scope, device in before.items():
        definition = domain.scope(scope)
        candidates = definition.devices if definition is not None and device is not None else ()
        found[scope] = next((item for item in candidates if device and mark(item) == mark(device)), None)
    return found


def pairs(domain: Domain) -> list[tuple[Device | None, Device | None]]:
    """Every device once, with its live and its persistent side, in the order of the running guest.

    A user alias joins two sides; then being alike does, first if neither side has an alias. If several are alike
    it makes no difference which of them are joined.
    """
    return others(domain, ())


def others(
    domain: Domain, found: t.Iterable[t.Mapping[str, Device | None]]
) -> list[tuple[Device | None, Device | None]]:
    """The devices of the domain that are none of these, in pairs.

    One that is alike on the other side only, and is not meant there, is one of the others.
    """
    named = {id(device) for sides in found for device in sides.values() if device is not None}
    live, config = (
        [device for device in (definition.devices if definition is not None else ()) if id(device) not in named]
        for definition in (domain.live, domain.config)
    )
    twins: dict[int, Device] = {}
    for fits in (_by_name, _nameless_alike, _alike):
        for place, device in enumerate(live):
            twin = None if place in twins else next((item for item in config if fits(device, item)), None)
            if twin is not None:
                twins[place] = twin
                config.remove(twin)
    return [*((device, twins.get(place)) for place, device in enumerate(live)), *((None, device) for device in config)]


def alias_of(*sides: Device | None) -> str | None:
    """The user alias of a device; None if neither side has one."""
    return next((side.user_alias for side in sides if side is not None and side.user_alias), None)


def _by_name(live: Device, config: Device) -> bool:
    return bool(live.user_alias) and live.alias == config.alias


def _nameless_alike(live: Device, config: Device) -> bool:
    return not live.user_alias and not config.user_alias and kind(live) == kind(config)


def _alike(live: Device, config: Device) -> bool:
    # The alias that only one side has yet.
    return not (live.user_alias and config.user_alias) and kind(live) == kind(config)


def selector(domain: Domain, live: Device | None, config: Device | None) -> dict[str, t.Any]:
    """The options beside a device's properties that a task needs to name it: its alias, its slot, or nothing.

    Raises:
        VirtmemError: `ambiguous_device`, nothing tells it from the others.
    """
    sides = [device for device in (config, live) if device is not None]
    alias = alias_of(config, live)
    properties = {name: getattr(sides[0], name) for name in ("model", "node", "path")}
    slot = {"slot": sides[0].slot} if sides[0].slot is not None else {}
    attempts: list[dict[str, t.Any]] = [{"alias": alias}] if alias else [{}, slot]
    problem: VirtmemError | None = None
    for attempt in attempts:
        try:
            found = select_all(domain, Wish(**(attempt if alias else {**properties, **attempt})))
        except VirtmemError as error:
            problem = error
            continue
        if found[LIVE] is live and found[CONFIG] is config:
            return attempt
    raise problem or VirtmemError(
        "ambiguous_device",
        "It has no user alias, and nothing else distinguishes it from other devices.",
        {"candidates": [_summary(device) for device in sides]},
        "Give it an alias: declare it with all that it has, an alias of your own and adopt: true.",
    )


# --- the same device without, or not yet with, an alias


def _adoptable(domain: Domain, wish: Wish) -> dict[str, Device | None]:
    """The devices without a user alias that everything given fits, of which there may be one in each scope."""
    given = {name: value for name, value in wish.given().items() if name not in ("alias", *MUTABLE)}
    found: dict[str, Device | None] = {LIVE: None, CONFIG: None}
    if wish.model is None or wish.state == ABSENT:
        return found
    for scope in domain.scopes():
        candidates = [
            device
            for device in t.cast(Definition, domain.scope(scope)).devices
            if not device.user_alias and all(getattr(device, name) == value for name, value in given.items())
        ]
        found[scope] = _only(candidates, scope, f"{wish.alias} could name", _ADOPT_WHICH)
    live, config = found[LIVE], found[CONFIG]
    if live is not None and config is not None and kind(live) != kind(config):
        listed = [_summary(device) for device in (live, config)]
        raise VirtmemError(
            "ambiguous_device",
            f"{wish.alias} could name two different devices, live {listed[0]} and config {listed[1]}.",
            {"candidates": listed},
            _ADOPT_WHICH,
        )
    return found


_ADOPT_WHICH = (
    "Give more of the device's properties and adopt: true to give one of them the alias, or adopt: false to attach "
    "another device."
)


def _refuse_to_guess(wish: Wish, found: t.Mapping[str, Device | None]) -> None:
    """A device that everything declared fits, and an alias that none has: is it meant, or another one like it?"""
    fitting = {scope: _summary(device) for scope, device in found.items() if device is not None}
    if not fitting:
        return
    listed = " and ".join(f"{scope} {text}" for scope, text in fitting.items())
    raise VirtmemError(
        "ambiguous_device",
        f"alias: no device has the alias {wish.alias}, but one without a user alias fits: {listed}.",
        {"option": "adopt", "alias": wish.alias, "candidates": list(fitting.values())},
        "Set adopt: true to give that device the alias, or adopt: false to attach another device.",
    )


def _only(candidates: t.Sequence[Device], scope: str, what: str, hint: str) -> Device | None:
    if len(candidates) > 1:
        listed = [_summary(device) for device in candidates]
        raise VirtmemError(
            "ambiguous_device",
            f"{what} {len(listed)} devices of the {scope} definition: {'; '.join(listed)}.",
            {"scope": scope, "candidates": listed},
            hint,
        )
    return candidates[0] if candidates else None


def kind(device: Device) -> tuple[t.Any, ...]:
    """What two sides of one device have in common, whatever libvirt adds to the running one."""
    # A live size is aligned.
    return tuple(align_up(device.size, 2 * MIB) if name == "size" else getattr(device, name) for name in ALIKE)


def _other_side(domain: Domain, device: Device, here: str, there: str, by_likeness: bool) -> Device | None:
    """The same device in the other scope, by its alias, or by everything else if only this side has one."""
    mine, others = domain.scope(here), domain.scope(there)
    if mine is None or others is None or device.user_alias is None:
        return None
    by_alias = next((item for item in others.devices if item.alias == device.alias), None)
    if by_alias is not None or not by_likeness:
        return by_alias
    nameless, claimed = _nameless(others), _nameless(mine)
    same = [item for item in nameless if kind(item) == kind(device)]
    # Those that have a nameless device of their own on this side are not it.
    if len(same) > len([item for item in claimed if kind(item) == kind(device)]):
        return _only(same, there, f"{device.alias} is without its alias, and could be", _RESTART_TO_NAME)
    return None


_RESTART_TO_NAME = (
    "Restart the domain, so that both scopes agree, use scope config, or remove the device without alias."
)


def _nameless(definition: Definition) -> list[Device]:
    return [device for device in definition.devices if not device.user_alias]
