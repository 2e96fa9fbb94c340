# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The devices of a domain that are to be planned: declared ones, and those that share what a guest has in all."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .. import identity, models
from ..device import ABSENT, CONFIG, LIVE, Declaration, Device, Domain, Wish


class Entry(t.NamedTuple):
    """One device that is to be planned: declared, or taking part undeclared, or one that must go.

    `known` are its sides, where no wish can name it. `shares` says that what is requested of it is worked out here.
    """

    wish: Wish
    known: t.Mapping[str, Device | None] | None = None
    shares: bool = False

    def tried(self, domain: Domain) -> Entry:
        """The entry with which it is found out what there is to share: nothing is asked of anybody."""
        if not self.shares:
            return self
        sides = self.known or identity.select_all(domain, self.wish)
        wanted = [side.requested or 0 for side in sides.values() if side is not None]
        too_small = self.wish.size is not None and self.wish.size < max(wanted, default=0)
        return self._replace(wish=replace(self.wish, requested=0, resize="any" if too_small else "never"))


def declared(domain: Domain, declaration: Declaration) -> list[Entry]:
    """The declared devices."""
    shares = declaration.memory is not None
    return [Entry(wish, shares=shares and _takes_part(domain, wish)) for wish in declaration.wishes]


def _takes_part(domain: Domain, wish: Wish) -> bool:
    return wish.requested is None and _is_resizable(domain, wish)


def _is_resizable(domain: Domain, wish: Wish) -> bool:
    """Whether it declares a virtio-mem device: by its model, or as the name of one."""
    if wish.state == ABSENT:
        return False
    if wish.model is not None:
        return models.facts(wish.model).resizable
    sides = identity.select_all(domain, wish).values()
    return any(side is not None and models.facts(side.model).resizable for side in sides)


def declares_one(domain: Domain, declaration: Declaration) -> bool:
    """Whether a virtio-mem device is declared: then those that are not do not take part."""
    return any(_is_resizable(domain, wish) for wish in declaration.wishes)


def undeclared(domain: Domain, declaration: Declaration) -> list[Entry]:
    """The domain's own virtio-mem devices, which take part where none is declared."""
    if declaration.memory is None or declares_one(domain, declaration):
        return []
    found = []
    for live, config in identity.others(domain, (identity.select_all(domain, wish) for wish in declaration.wishes)):
        model = t.cast(Device, config or live).model
        if not models.facts(model).resizable:
            continue
        alias = identity.alias_of(config, live)
        if alias:
            found.append(Entry(Wish(alias=alias, model=model), shares=True))
        else:
            found.append(Entry(Wish(model=model), {LIVE: live, CONFIG: config}, shares=True))
    return found
