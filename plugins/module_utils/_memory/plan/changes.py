# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What differs between a device and what is declared for it, and the step that changes one scope.

What can't be is an error here, before anything is planned for the running guest.
"""

from __future__ import annotations

import typing as t

from .. import models
from ..device import CONFIG, LIVE, SCOPES, Definition, Device, Domain, Wish
from ..errors import VirtmemError
from ..progress import Goal
from ..properties import FLAGS, MUTABLE
from ..rules.around import page_of
from ..rules.definition import check_attach, check_cell, check_growth
from ..rules.host import check_host
from ..rules.values import check_complete, check_device, check_options
from ..size import align_up, show
from ..xml import writing
from .step import ATTACH, REDEFINE, UPDATE, Circumstances, Step


def scopes_of(domain: Domain, asked: str) -> tuple[str, ...]:
    """The scopes that `auto`, `live`, `config` or `both` chooses."""
    if asked == "auto":
        return domain.scopes()
    return SCOPES if asked == "both" else (asked,)


def may_move(now: int, wanted: int, resize: str) -> bool:
    """Whether the requested size is another one, in a direction that is allowed."""
    return (wanted > now and resize in ("any", "grow")) or (wanted < now and resize in ("any", "shrink"))


def goal_of(wish: Wish, now: int, target: int) -> Goal:
    """What the guest must reach: the target, or at least (at most) that if the device may keep what it has."""
    if now == target or may_move(now, target, wish.resize):
        return Goal(wish, target, target, target, staged=(wish.requested or 0) - target)
    if wish.resize == "never":
        return Goal(wish, now, now, now)
    return Goal(wish, target if wish.resize == "grow" else None, target if wish.resize == "shrink" else None, now)


def differences(device: Device, wish: Wish, scope: str, unit: int) -> dict[str, t.Any]:
    """The given properties that the device has otherwise, without what it is requested to have.

    Sizes are multiples of `unit`.
    """
    changes = {}
    for name, value in wish.given().items():
        has = getattr(device, name)
        # A running guest's device has been aligned, and a flag that is not there is off.
        same = has == value or (scope == LIVE and name == "size" and has == align_up(value, unit))
        if name not in MUTABLE and not same and not (name in FLAGS and value is False and has is None):
            changes[name] = value
    return changes


def _values_of(device: Device) -> dict[str, t.Any]:
    return device.describe() | {"nodemask": device.nodemask}


def _new_values(definition: Definition, wish: Wish) -> dict[str, t.Any]:
    """The properties of a device that is attached for the first time, with the defaults filled in."""
    values = wish.given()
    model = str(values.get("model", ""))
    wants_node = "node" not in values and models.facts(model).has_option("node")
    # libvirt adds the first cell where there must be one and is none.
    if wants_node and len(definition.cells) <= 1 and (definition.cells or definition.platform.needs_cell):
        values["node"] = definition.cells[0] if definition.cells else 0
    if models.facts(model).resizable:
        # A page of the ordinary size means no huge pages, and no smaller block.
        values.setdefault("block", max(page_of(definition, values), definition.platform.smallest_block))
    return values


def _slot_beside_base(definition: Definition, values: t.Mapping[str, t.Any]) -> dict[str, int]:
    """The first free slot for a module whose base is given: libvirt takes no base without a slot (error 27)."""
    is_module = models.facts(values.get("model")).takes_slot
    if values.get("base") is None or values.get("slot") is not None or not is_module:
        return {}
    taken = {device.slot for device in definition.devices}
    return {"slot": next(slot for slot in range(len(taken) + 1) if slot not in taken)}


def kept(device: Device, wish: Wish) -> int | None:
    """What is to be requested of a device: what is declared, or what it has if `resize` keeps that."""
    if wish.requested is None or may_move(device.requested or 0, wish.requested, wish.resize):
        return wish.requested
    return device.requested


def changed(device: Device, wish: Wish, changes: t.Mapping[str, t.Any], definition: Definition) -> dict[str, t.Any]:
    """The properties of a device after these changes.

    Raises:
        VirtmemError: there is no such device.
    """
    values = {**_values_of(device), **changes}
    page = page_of(definition, values)
    problem = check_options(device.model, wish.given()) or check_device(values, changes, definition, page)
    if problem is None:
        return values
    kept = values.get("requested")
    if problem.details.get("option") == "requested" and wish.requested not in (None, kept):
        raise VirtmemError(
            problem.error_code,
            f"resize: {wish.resize} keeps what is requested of {name_of(wish, device)} now. {problem.msg}",
            problem.details | {"resize": wish.resize},
            f"Declare a device that takes {show(kept or 0)}, or allow the change with resize: any.",
        )
    raise problem


def name_of(wish: Wish, device: Device | None) -> str:
    """What a message calls the device."""
    return (device.alias if device else None) or wish.alias or wish.describe()


def attach_step(
    definition: Definition, wish: Wish, twin: Device | None, scope: str, circumstances: Circumstances
) -> tuple[Step, VirtmemError | None]:
    """The step that attaches the device, and what stands against it in this scope.

    If the other scope has the device, it is the pattern: the two must be one device after the next boot.
    """
    values = _values_of(twin) | wish.given() if twin else _new_values(definition, wish)
    if twin:  # its place is its own scope's
        values.update(slot=wish.slot, base=wish.base)
    place = _slot_beside_base(definition, values)
    values.update(place)
    problem = check_complete(values, wish) or check_options(values["model"], wish.given())
    problem = problem or check_device(values, values, definition, page_of(definition, values))
    if problem is None and circumstances.host is not None:
        problem = check_host(definition, values, circumstances.host, scope)
    if problem:
        raise problem
    element = writing.twin_device(twin.xml, wish.given() | place) if twin else writing.new_device(values)
    return Step(ATTACH, scope, element), check_attach(definition, values, circumstances.versions, scope)


def plan_config(
    definition: Definition, device: Device | None, twin: Device | None, wish: Wish, circumstances: Circumstances
) -> Step | None:
    """The step that brings the configuration to the declaration: always possible, or an error."""
    if device is None:
        step, problem = attach_step(definition, wish, twin, CONFIG, circumstances)
        if problem:
            raise problem
        return step
    changes = differences(device, wish, CONFIG, definition.platform.size_unit)
    op = REDEFINE if changes else UPDATE
    if wish.requested is not None and may_move(device.requested or 0, wish.requested, wish.resize):
        changes["requested"] = wish.requested
    if not changes:
        return None
    values = changed(device, wish, changes, definition)
    problem = check_growth(definition, device, values["size"])
    if problem is None and circumstances.host is not None:
        problem = check_host(definition, values, circumstances.host, CONFIG)
    if problem is None and "node" in changes:
        problem = check_cell(definition, device.model, changes["node"], circumstances.versions, CONFIG)
    if problem:
        raise problem
    return Step(op, CONFIG, writing.edit_device(device.xml, changes), device)
