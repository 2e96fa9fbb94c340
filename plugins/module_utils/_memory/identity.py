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

from .device import SCOPES, SELECTORS, USER_ALIAS_PREFIX, Definition, Device, Domain, Wish
from .errors import VirtmemError
from .size import show, shown

_USER_ALIAS = re.compile(r"ua-[A-Za-z0-9_-]+", re.ASCII)
_LONGEST_ALIAS = 120  # QEMU object ids get a prefix of their own, and people have to read it


def user_alias(text: str) -> str:
    """The alias as libvirt keeps it, with `ua-` added where it is missing.

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
    """The device in this scope that the wish names, or None where there is none.

    Raises:
        VirtmemError: `alias_conflict`, `ambiguous_device`.
    """
    if wish.alias:
        return _by_alias(definition, wish, scope)
    given = {name: value for name, value in wish.given().items() if name in SELECTORS}
    candidates = [
        device
        for device in definition.devices
        if all(getattr(device, name) == value for name, value in given.items())
    ]
    if len(candidates) > 1:
        listed = [_summary(device) for device in candidates]
        raise VirtmemError(
            "ambiguous_device",
            f"{len(listed)} devices of the {scope} definition fit {wish.describe()}: {'; '.join(listed)}.",
            {"scope": scope, "candidates": listed},
            "Give the device's alias (a user alias, beginning with ua-), or more of its properties.",
        )
    return candidates[0] if candidates else None


def select_all(domain: Domain, wish: Wish) -> dict[str, Device | None]:
    """The device that the wish names in each scope of the domain, None where it is not there.

    What a user alias joins is one device, even where the properties that were given fit only one side of it.

    Raises:
        VirtmemError: `alias_conflict`, `ambiguous_device`.
    """
    found: dict[str, Device | None] = {}
    for scope in SCOPES:
        definition = domain.scope(scope)
        found[scope] = None if definition is None else select(definition, wish, scope)
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
    if aliases and len(sides) == 1:
        found.update({scope: device or _side_of_alias(domain, scope, *aliases) for scope, device in found.items()})
    return found


def _side_of_alias(domain: Domain, scope: str, alias: str) -> Device | None:
    definition = domain.scope(scope)
    devices: t.Iterable[Device] = definition.devices if definition else ()
    return next((device for device in devices if device.alias == alias), None)
