# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Every difference between what runs, what is stored, and what was asked for."""

from __future__ import annotations

import operator
import typing as t

from .. import guest, support
from ..device import LIVE, SCOPES, Definition, Device, Domain, format_nodeset
from ..properties import COMPARED, SIZES, option_name
from ..rules.definition import check_stored
from ..size import MIB, about, align_up, show
from .results import Pair, Selection, chosen, options_of

# The kinds of drift; a public contract like the error codes.
DRIFTS: t.Mapping[str, str] = {
    "property": "The running guest and the configuration differ in a property.",
    "scope": "The device is in one scope only.",
    "not_converged": "The guest's actual size is not the requested one.",
    "not_usable": "The guest has memory plugged that it can't use: it is not online there.",
    "managed_save": "The next start brings back a saved state that differs from the configuration.",
    "next_boot": "The configuration can't be started as it is.",
    "accounting": "libvirt's sums do not add up.",
}


_compared = operator.attrgetter(*COMPARED)


def _drift(kind: str, domain: Domain, device: str | None, live: t.Any, config: t.Any, message: str) -> dict[str, t.Any]:
    return {"kind": kind, "domain": domain.name, "device": device, "live": live, "config": config, "message": message}


def _told(device: Device, name: str) -> t.Any:
    value = getattr(device, name)
    return format_nodeset(value) if name == "nodemask" and value is not None else value


def _readable(value: t.Any, name: str) -> str:
    return "nothing" if value is None else show(value) if name in SIZES else str(value)


def _property_drift(domain: Domain, pair: Pair) -> t.Iterator[dict[str, t.Any]]:
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


def _scope_drift(domain: Domain, pair: Pair) -> t.Iterator[dict[str, t.Any]]:
    if domain.live is None or domain.config is None or (pair.live and pair.config):
        return
    here, there = ("running guest", "configuration") if pair.live else ("configuration", "running guest")
    live, config = (side.describe() if side else None for side in (pair.live, pair.config))
    yield _drift("scope", domain, pair.name, live, config, f"{pair.name} is in the {here}, but not in the {there}.")


def _size_drift(domain: Domain, pair: Pair) -> t.Iterator[dict[str, t.Any]]:
    live = pair.live
    if live is None or live.current is None or live.current == live.requested:
        return
    asked = live.requested or 0
    text = f"{pair.name} has {show(live.current)} instead of the requested {show(asked)}."
    yield _drift("not_converged", domain, pair.name, {"requested": asked, "current": live.current}, None, text)


def _usable_drift(domain: Domain) -> t.Iterator[dict[str, t.Any]]:
    word = guest.hear(domain, domain.guest) if domain.guest is not None else None
    if word is None or word.account is None or word.verdict.usable is not False:
        return
    counted = word.account
    told = {"total": counted.total, "plugged": counted.plugged, "held": counted.held, "missing": word.verdict.missing}
    text = (
        f"The guest can't use {about(word.verdict.missing)} of the {show(counted.plugged)} that its devices have "
        f"plugged: its own total is {about(counted.total)}."
    )
    yield _drift("not_usable", domain, None, told, None, text)


def _saved_drift(domain: Domain, pairs: t.Sequence[Pair]) -> t.Iterator[dict[str, t.Any]]:
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


def _boot_drift(domain: Domain, pair: Pair, versions: support.Versions) -> t.Iterator[dict[str, t.Any]]:
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
    pairs = chosen(domain, selection)
    found: list[dict[str, t.Any]] = []
    for pair in pairs:
        found += _property_drift(domain, pair)
        found += _scope_drift(domain, pair)
        found += _size_drift(domain, pair)
        found += _boot_drift(domain, pair, versions)
    found += _usable_drift(domain)
    found += _saved_drift(domain, pairs)
    for scope in SCOPES:
        definition = domain.scope(scope)
        if definition is not None and definition.devices:
            found += _accounting_drift(domain, scope, definition)
    return found
