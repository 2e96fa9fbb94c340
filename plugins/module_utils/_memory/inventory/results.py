# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A device as results show it, and as the options of a task that declares it.

The vocabulary is that of a single device's result; all sizes are integers in bytes but for those of `options`,
which are written as a task takes them.
"""

from __future__ import annotations

import typing as t

from .. import identity, progress
from ..device import CONFIG, LIVE, Device, Domain, Wish, format_nodeset
from ..properties import COMPARED, SIZES, option_name
from ..size import EXACT, Tolerance, show


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


class Pair(t.NamedTuple):
    """One device of a domain, both sides."""

    live: Device | None
    config: Device | None

    @property
    def name(self) -> str:
        """What a message calls it."""
        sides = [device for device in (self.live, self.config) if device is not None]
        return identity.alias_of(*sides) or sides[0].alias or sides[0].model

    def sides(self) -> dict[str, Device | None]:
        """The pair by scope."""
        return {LIVE: self.live, CONFIG: self.config}


class Selection(t.NamedTuple):
    """Which devices are reported; all of them if nothing is given."""

    models: t.Collection[str] | None = None
    aliases: t.Collection[str] | None = None

    def has(self, pair: Pair) -> bool:
        """Whether this device is among them."""
        devices = [device for device in (pair.live, pair.config) if device is not None]
        return any(
            (self.models is None or device.model in self.models)
            and (self.aliases is None or device.alias in self.aliases)
            for device in devices
        )


def chosen(domain: Domain, selection: Selection) -> list[Pair]:
    """The devices of a domain that are asked about, each once with both its sides."""
    pairs = [Pair(live, config) for live, config in identity.pairs(domain)]
    return [pair for pair in pairs if selection.has(pair)]
