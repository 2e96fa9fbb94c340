# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What there is to tell of a domain's memory, and where it is not what it should be.

The vocabulary is that of a single device's result; all sizes are integers in bytes but for those of `options`,
which are written as a task takes them.
"""

from __future__ import annotations

import operator
import typing as t
from dataclasses import dataclass

from . import identity, models, progress, support
from .device import CONFIG, LIVE, SCOPES, Definition, Device, Domain, Wish, format_nodeset
from .errors import VirtmemError
from .models import MODELS
from .properties import COMPARED, SIZES, option_name
from .rules.definition import check_stored
from .size import EXACT, MIB, Tolerance, align_up, show

# The kinds of drift; a public contract like the error codes.
DRIFTS: t.Mapping[str, str] = {
    "property": "The running guest and the configuration differ in a property.",
    "scope": "The device is in one scope only.",
    "not_converged": "The guest's actual size is not the requested one.",
    "managed_save": "The next start brings back a saved state that differs from the configuration.",
    "next_boot": "The configuration can't be started as it is.",
    "accounting": "libvirt's sums do not add up.",
}

_compared = operator.attrgetter(*COMPARED)


def device_result(
    sides: t.Mapping[str, Device | None],
    wish: Wish | None = None,
    goal: progress.Goal | None = None,
    judged: bool = True,
    tolerance: Tolerance = EXACT,
) -> dict[str, t.Any]:
    """A device as results show it, with both its sides.

    Args:
        sides: the device in each scope.
        wish: the declaration, if there is one.
        goal: what the running guest must reach, if a plan says so.
        judged: whether the running guest is asked about at all.
        tolerance: what is near enough.
    """
    live, config = sides[LIVE], sides[CONFIG]
    either = live or config
    converged: bool | None = None
    shortfall: int | None = None
    if judged:
        converged, shortfall = progress.outcome(live, goal, wish, tolerance)
    return {
        "alias": (live and live.user_alias) or (config and config.user_alias) or (wish and wish.alias) or None,
        "model": either.model if either else wish.model if wish else None,
        "live": live.describe() if live else None,
        "config": config.describe() if config else None,
        "converged": converged,
        "shortfall": shortfall,
    }


def options_of(device: Device) -> dict[str, t.Any]:
    """A device as the options of a task that declares it, without its place."""
    options: dict[str, t.Any] = {}
    for name in COMPARED:
        value = getattr(device, name)
        if value is None:
            continue
        value = show(value) if name in SIZES else format_nodeset(value) if name == "nodemask" else value
        holder, _dot, key = option_name(name).rpartition(".")
        target = options.setdefault(holder, {}) if holder else options
        target[key] = value
    return options


@dataclass(frozen=True)
class _Pair:
    """One device of a domain, both sides."""

    live: Device | None
    config: Device | None

    @property
    def name(self) -> str:
        """How people are told which one is meant."""
        sides = [device for device in (self.live, self.config) if device is not None]
        return next((item.user_alias for item in sides if item.user_alias), None) or sides[0].alias or sides[0].model

    def sides(self) -> dict[str, Device | None]:
        """The pair by scope."""
        return {LIVE: self.live, CONFIG: self.config}


@dataclass(frozen=True)
class Selection:
    """Which devices are told of; all of them where nothing is given."""

    models: t.Collection[str] | None = None
    aliases: t.Collection[str] | None = None

    def has(self, pair: _Pair) -> bool:
        """Whether this device is among them."""
        devices = [device for device in (pair.live, pair.config) if device is not None]
        return any(
            (self.models is None or device.model in self.models)
            and (self.aliases is None or device.alias in self.aliases)
            for device in devices
        )


# --- drift


def _drift(kind: str, domain: Domain, device: str | None, live: t.Any, config: t.Any, message: str) -> dict[str, t.Any]:
    return {"kind": kind, "domain": domain.name, "device": device, "live": live, "config": config, "message": message}


def _told(device: Device, name: str) -> t.Any:
    value = getattr(device, name)
    return format_nodeset(value) if name == "nodemask" and value is not None else value


def _readable(value: t.Any, name: str) -> str:
    return "nothing" if value is None else show(value) if name in SIZES else str(value)


def _property_drift(domain: Domain, pair: _Pair) -> t.Iterator[dict[str, t.Any]]:
    live, config = pair.live, pair.config
    if live is None or config is None:
        return
    same = _compared(live) == _compared(config)
    names = [] if same else [name for name in COMPARED if _told(live, name) != _told(config, name)]
    if (live.user_alias or config.user_alias) and live.user_alias != config.user_alias:
        names.append("alias")
    for name in names:
        has, stored = _told(live, name), _told(config, name)
        # libvirt aligns what it plugs, and only in the running guest.
        if name == "size" and align_up(stored, 2 * MIB) == has:
            continue
        option = option_name(name)
        text = (
            f"{option} of {pair.name} is {_readable(has, name)} in the running guest and {_readable(stored, name)} "
            "in the configuration."
        )
        yield _drift("property", domain, pair.name, {option: has}, {option: stored}, text)


def _scope_drift(domain: Domain, pair: _Pair) -> t.Iterator[dict[str, t.Any]]:
    if domain.live is None or domain.config is None or (pair.live and pair.config):
        return
    here, there = ("running guest", "configuration") if pair.live else ("configuration", "running guest")
    live, config = (side.describe() if side else None for side in (pair.live, pair.config))
    yield _drift("scope", domain, pair.name, live, config, f"{pair.name} is in the {here}, but not in the {there}.")


def _size_drift(domain: Domain, pair: _Pair) -> t.Iterator[dict[str, t.Any]]:
    live = pair.live
    if live is None or live.current is None or live.current == live.requested:
        return
    asked = live.requested or 0
    text = f"{pair.name} has {show(live.current)} instead of the requested {show(asked)}."
    yield _drift("not_converged", domain, pair.name, {"requested": asked, "current": live.current}, None, text)


def _saved_drift(domain: Domain, pairs: t.Sequence[_Pair]) -> t.Iterator[dict[str, t.Any]]:
    if domain.saved is None or domain.config is None:
        return
    saved = list(domain.saved.devices)
    for pair in pairs:
        if pair.config is None:
            continue
        alias = pair.config.user_alias
        old = next((item for item in saved if item.user_alias == alias and (alias or item == pair.config)), None)
        if old is not None:
            saved.remove(old)
        brings, stored = (options_of(old) if old else None), options_of(pair.config)
        if brings != stored:
            was = brings or "missing"
            text = f"The managed-save image brings back {pair.name} as {was}, the configuration has {stored}."
            yield _drift("managed_save", domain, pair.name, brings, stored, text)
    for old in saved:
        text = f"The managed-save image brings back {old.alias or old.model}, which the configuration does not have."
        yield _drift("managed_save", domain, old.alias or old.model, options_of(old), None, text)


def _boot_drift(domain: Domain, pair: _Pair, versions: support.Versions) -> t.Iterator[dict[str, t.Any]]:
    if domain.config is None or pair.config is None:
        return
    problem = check_stored(domain.config, pair.config, versions)
    if problem is not None:
        told = {"error_code": problem.error_code, **problem.details}
        yield _drift("next_boot", domain, pair.name, None, told, f"{pair.name} can't be started: {problem.msg}")


def _accounting_drift(domain: Domain, scope: str, definition: Definition) -> t.Iterator[dict[str, t.Any]]:
    devices = sum(device.size for device in definition.devices)
    told: dict[str, t.Any] = {"memory": definition.total, "devices": devices, "cells": definition.cell_memory}
    texts = []
    if definition.cell_memory is not None and definition.total != definition.cell_memory + devices:
        texts.append(
            f"<memory> is {show(definition.total)}, but the NUMA cells ({show(definition.cell_memory)}) and the "
            f"devices ({show(devices)}) make {show(definition.cell_memory + devices)}."
        )
    current = definition.current_memory
    if current is not None and current > definition.total:
        told["current"] = current
        texts.append(f"<currentMemory> is {show(current)}, more than <memory>, {show(definition.total)}.")
    used = sum(device.current or 0 for device in definition.devices)
    if scope == LIVE and current is not None and definition.balloon and current < used:
        told["current"] = current
        texts.append(f"<currentMemory> is {show(current)}, less than the {show(used)} that the devices have plugged.")
    for text in texts:
        live, config = (told, None) if scope == LIVE else (None, told)
        yield _drift("accounting", domain, None, live, config, f"In the {scope} definition {text}")


def drift(domain: Domain, selection: Selection, versions: support.Versions) -> list[dict[str, t.Any]]:
    """Every difference between what runs, what is stored, and what was asked for."""
    pairs = _chosen(domain, selection)
    found: list[dict[str, t.Any]] = []
    for pair in pairs:
        found += _property_drift(domain, pair)
        found += _scope_drift(domain, pair)
        found += _size_drift(domain, pair)
        found += _boot_drift(domain, pair, versions)
    found += _saved_drift(domain, pairs)
    for scope in SCOPES:
        definition = domain.scope(scope)
        if definition is not None and definition.devices:
            found += _accounting_drift(domain, scope, definition)
    return found


# --- one domain


def _capacity(definition: Definition, versions: support.Versions) -> dict[str, t.Any]:
    limit = definition.max_memory
    counted = support.slot_takers(definition, versions)
    return {
        "max_memory": limit,
        "headroom": None if limit is None else max(limit - definition.total, 0),
        "slots": definition.slots,
        "slots_free": max(definition.slots - len(counted), 0),
        "ports_free": definition.free_ports,
    }


def _told_device(domain: Domain, pair: _Pair) -> dict[str, t.Any]:
    result = device_result(pair.sides(), judged=pair.live is not None)
    told = t.cast(Device, pair.config or pair.live)
    try:
        options = {**options_of(told), **identity.selector(domain, pair.live, pair.config)}
    except VirtmemError as error:
        return {**result, "options": None, "ambiguous": error.msg}
    return {**result, "options": options, "ambiguous": None}


def _chosen(domain: Domain, selection: Selection) -> list[_Pair]:
    pairs = [_Pair(live, config) for live, config in identity.pairs(domain)]
    return [pair for pair in pairs if selection.has(pair)]


def describe(domain: Domain, selection: Selection, versions: support.Versions) -> dict[str, t.Any]:
    """Everything about one domain's memory."""
    definition = domain.live or domain.config
    if definition is None:
        # It was in the list as a transient one that runs, and stopped before it was read; another may be defined.
        raise VirtmemError(
            "domain_vanished",
            f"Domain {domain.name} stopped while it was read.",
            {"domain": domain.name, "state": domain.state},
            "Run the task again to see what is there now.",
        )
    return {
        **domain.describe(),
        "managed_save": domain.saved is not None,
        "memory": {"base": definition.base, "total": definition.total, "current": definition.current_memory},
        "capacity": _capacity(definition, versions),
        "devices": [_told_device(domain, pair) for pair in _chosen(domain, selection)],
        "drift": drift(domain, selection, versions),
        "problem": None,
    }


def unreadable(name: str, uuid: str, state: str, persistent: bool, error: VirtmemError) -> dict[str, t.Any]:
    """What is told of a domain that could not be read."""
    return {
        "name": name,
        "uuid": uuid,
        "state": state or None,
        "persistent": persistent,
        "managed_save": None,
        "memory": None,
        "capacity": None,
        "devices": [],
        "drift": [],
        "problem": {"error_code": error.error_code, "msg": error.msg, "hint": error.hint, "details": error.details},
    }


# --- all of them


def hypervisor(versions: support.Versions) -> dict[str, t.Any]:
    """What answers, and what it can do with each model."""
    return {
        "driver": versions.driver,
        "libvirt": support.show_version(versions.libvirt),
        "qemu": support.show_version(versions.hypervisor) if versions.driver == "QEMU" else None,
        "models": {
            model: {
                "supported": support.has(model, versions),
                "hot_plug": support.has(model, versions) and models.facts(model).hot_plug,
                "hot_unplug": support.has(model, versions) and support.can_unplug(model, versions),
                "resize": support.has(model, versions) and models.facts(model).resizable,
            }
            for model in MODELS
        },
    }


def summary(domains: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """The sums of all domains, for a dashboard."""
    devices = [device for domain in domains for device in domain["devices"]]
    live = [device["live"] for device in devices if device["live"]]
    drifts = [item for domain in domains for item in domain["drift"]]
    return {
        "domains": len(domains),
        "running": sum(domain["state"] == "running" for domain in domains),
        "unreadable": sum(domain["problem"] is not None for domain in domains),
        "devices": len(devices),
        "models": {model: sum(device["model"] == model for device in devices) for model in MODELS},
        "size": sum(device["size"] for device in live),
        "requested": sum(device.get("requested", device["size"]) for device in live),
        "current": sum(device.get("current", device["size"]) for device in live),
        "shortfall": sum(device["shortfall"] or 0 for device in devices),
        "not_converged": sum(device["converged"] is False for device in devices),
        "drift": len(drifts),
        "drift_kinds": {kind: sum(item["kind"] == kind for item in drifts) for kind in DRIFTS},
    }
