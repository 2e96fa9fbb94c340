# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is declared of a guest in one number, as wishes for its devices.

Which devices are made where there is none, and what is requested of each; each scope from its own
numbers. The plan goes on from there as if the user had declared it.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .. import models
from ..device import CONFIG, LIVE, Declaration, Definition, Device, Domain, Wish
from ..errors import VirtmemError
from ..models import VIRTIO_MEM
from ..rules.around import held
from ..size import GIB, align_down, align_up, show
from ..total import GuestMemory, Sums, boot_of, sums_of, total_of
from .balance import Node, Share, balanced, least, portions
from .changes import may_move
from .entry import Entry, declares_one
from .step import DevicePlan

MADE = "ua-mem"  # the alias of a device that is made here, before the number of its cell


def _nodes(definition: Definition, takes: t.Callable[[Device], int]) -> dict[int, Node]:
    """What each node has: its boot memory, and what each device takes beside it."""
    nodes = {cell: Node(boot) for cell, boot in boot_of(definition).items()}
    for device in definition.devices:
        place = device.node or 0
        node = nodes.get(place, Node())
        nodes[place] = node._replace(other=node.other + takes(device))
    return nodes


# --- which devices are made


def made(domain: Domain, declaration: Declaration) -> list[Entry]:
    """The devices that are made where the domain has no virtio-mem device and none is declared: one for each cell.

    Args:
        domain: as the declared devices leave it, with all the room that it is to get.
        declaration: what is wanted.

    Raises:
        VirtmemError: the alias of one belongs to something else.
    """
    definition = domain.config or domain.live
    if declaration.memory is None or definition is None or declares_one(domain, declaration):
        return []
    limit = declaration.max_memory if declaration.max_memory is not None else definition.max_memory
    is_enough = declaration.max_memory is None and total_of(definition) >= declaration.memory
    if limit is None or is_enough:
        return []
    unit = definition.platform.size_unit
    entries = []
    for cell, size in _parts_of(definition, limit, unit).items():
        alias = f"{MADE}{cell}"
        if size:
            _refuse_taken(domain, alias)
            node = cell if definition.platform.cells else None  # without NUMA, all is one node that has no name
            entries.append(Entry(Wish(alias=alias, model=VIRTIO_MEM, size=size, node=node), shares=True))
    return entries


def _parts_of(definition: Definition, limit: int, unit: int) -> dict[int, int]:
    """What a device of each cell can have of what the domain may have in all, less what has its place already."""
    return portions(_nodes(definition, lambda device: device.size), limit, unit)


def _refuse_taken(domain: Domain, alias: str) -> None:
    for scope in domain.scopes():
        definition = t.cast(Definition, domain.scope(scope))
        if alias in definition.other_aliases or any(item.alias == alias for item in definition.devices):
            raise VirtmemError(
                "alias_conflict",
                f"memory: a virtio-mem device {alias} would be made for domain {domain.name}, but something else has "
                f"that alias in its {scope} definition.",
                {"option": "memory", "value": alias, "scope": scope},
                "Declare the device under an alias of your own: devices: [{alias: ua-vm0, model: virtio-mem, size: "
                "...}], without requested.",
            )


def resized(entries: t.Sequence[Entry], domain: Domain, declaration: Declaration) -> list[Entry]:
    """The devices of the domain that take part; those that were made here as large as max_memory has them now."""
    definition, limit = domain.config or domain.live, declaration.max_memory
    if limit is None or definition is None:
        return list(entries)
    ours = {f"{MADE}{cell}": cell for cell in boot_of(definition)}
    names = {entry.wish.alias for entry in entries}
    if not names <= set(ours):
        return list(entries)
    rest = tuple(item for item in definition.devices if item.alias not in names)
    total = definition.total - sum(item.size for item in definition.devices if item.alias in names)
    parts = _parts_of(definition._replace(devices=rest, total=total), limit, definition.platform.size_unit)
    sizes = {entry.wish.alias: parts.get(ours[entry.wish.alias or ""]) or None for entry in entries}
    return [entry._replace(wish=replace(entry.wish, size=sizes[entry.wish.alias])) for entry in entries]


# --- what is requested of them


class _Side(t.NamedTuple):
    """One scope as the devices' plans leave it, before anything is requested of those that share."""

    name: str  # of the domain
    definition: Definition
    sharing: t.Mapping[int, Device]  # by the place of the entry
    shares: t.Sequence[Share]

    @property
    def sums(self) -> Sums:
        """What it has without those that share."""
        return sums_of(self.definition, list(self.sharing.values()))._replace(requested=0)

    def nodes(self) -> dict[int, Node]:
        """What each node has without those that share."""
        sharing = list(self.sharing.values())

        def takes(device: Device) -> int:
            return held(device) if models.facts(device.model).is_memory and device not in sharing else 0

        return _nodes(self.definition, takes)

    @property
    def room(self) -> int:
        """What those that share can have."""
        return sum(share.size for share in self.shares)

    @property
    def now(self) -> int:
        """What they have."""
        return sum(share.now for share in self.shares)


def _side(domain: Domain, scope: str, entries: t.Sequence[Entry], plans: t.Sequence[DevicePlan]) -> _Side:
    sharing, shares = {}, []
    for place, (entry, plan) in enumerate(zip(entries, plans)):
        device = plan.after.get(scope)
        if entry.shares and scope in plan.scopes and device is not None:
            sharing[place] = device
            shares.append(_share(place, device, _before(plan, scope), entry.wish.resize))
    return _Side(domain.name, t.cast(Definition, domain.scope(scope)), sharing, shares)


def _share(place: int, device: Device, before: Device | None, resize: str) -> Share:
    block = device.block or 1
    high = align_down(device.size, block)
    now = min(align_down(before.requested or 0, block), high) if before is not None else 0
    fixed = before is not None
    return Share(
        name=f"{device.user_alias or ''}/{place:04}",
        node=device.node or 0,
        size=high,
        block=block,
        now=now,
        low=now if fixed and resize in ("grow", "never") else 0,
        high=now if fixed and resize in ("shrink", "never") else high,
    )


def _before(plan: DevicePlan, scope: str) -> Device | None:
    """The device as it was; one that only the other scope had comes with what it has there."""
    return plan.before.get(scope) or next((side for side in plan.before.values() if side is not None), None)


def _is_new(side: _Side, plans: t.Sequence[DevicePlan]) -> bool:
    """Whether none of the devices that share was there before."""
    return bool(side.sharing) and not any(any(plans[place].before.values()) for place in side.sharing)


def _target(side: _Side, declaration: Declaration, is_new: bool) -> tuple[int, VirtmemError | None]:
    """What the devices that share are to have together, and why it is not what is declared."""
    wanted = t.cast(int, declaration.memory) - side.sums.effective
    now = side.now
    if wanted != now and not (is_new and wanted > 0) and not may_move(now, wanted, declaration.resize):
        return now, None
    most = sum(share.high for share in side.shares)
    target = t.cast(int, least(min(max(wanted, 0), most), side.shares))
    if wanted < 0:
        return target, _below_boot(side, declaration)
    return target, _above_devices(side, declaration) if wanted > side.room else None


def settled(
    domain: Domain, declaration: Declaration, entries: t.Sequence[Entry], plans: t.Sequence[DevicePlan]
) -> tuple[list[Entry], GuestMemory]:
    """The entries with what is requested of each that takes part, and what comes of it.

    Args:
        domain: as the plans leave it that were made to find out what there is to share.
        declaration: what is wanted.
        entries: as they are to be planned.
        plans: of each entry.

    Raises:
        VirtmemError: `memory_below_boot`, `memory_above_devices`.
    """
    requested: dict[str, dict[int, int]] = {}
    sums: dict[str, Sums] = {}
    reasons = []
    # The configuration is judged first: what it can't have, the guest is not given either.
    for scope in reversed(domain.scopes()):
        side = _side(domain, scope, entries, plans)
        target, problem = _target(side, declaration, _is_new(side, plans))
        if problem is not None and (scope == CONFIG or domain.config is None):
            raise problem
        values = balanced(side.nodes(), side.shares, target)
        requested[scope] = {place: values[share.name] for place, share in zip(side.sharing, side.shares)}
        sums[scope] = side.sums._replace(requested=sum(values.values()))
        if problem is not None:
            reasons.append(
                f"{show(declaration.memory or 0)} is declared for the guest, and until its restart it has "
                f"{show(sums[scope].effective)}."
            )
    whole = [
        entry._replace(wish=_requesting(entry.wish, requested, place)) if entry.shares else entry
        for place, entry in enumerate(entries)
    ]
    return whole, GuestMemory(declaration.memory or 0, dict(reversed(sums.items())), tuple(reasons))


def _requesting(wish: Wish, requested: t.Mapping[str, t.Mapping[int, int]], place: int) -> Wish:
    """The wish with what is requested in each scope. Directions are worked out already."""
    told = [requested[scope][place] for scope in (CONFIG, LIVE) if place in requested.get(scope, {})]
    if not told:
        return replace(wish, requested=0)
    live = requested.get(LIVE, {}).get(place, told[0])
    return replace(wish, requested=told[0], live_requested=None if live == told[0] else live, resize="any")


# --- what can't be


def _listed(sums: Sums) -> str:
    parts = [f"{show(sums.boot)} of boot memory"]
    parts += [f"{show(sums.dimms)} of DIMMs"] if sums.dimms else []
    parts += [f"{show(sums.fixed)} of virtio-mem devices that do not take part"] if sums.fixed else []
    return ", ".join(parts)


def _details(side: _Side, declaration: Declaration) -> dict[str, t.Any]:
    sums = side.sums
    return {
        "option": "memory",
        "value": declaration.memory,
        "boot": sums.boot,
        "dimms": sums.dimms,
        "fixed": sums.fixed,
        "room": side.room,
    }


def _below_boot(side: _Side, declaration: Declaration) -> VirtmemError:
    sums, wanted = side.sums, declaration.memory or 0
    return VirtmemError(
        "memory_below_boot",
        f"memory: {show(wanted)} is declared, but domain {side.name} has {_listed(sums)}, which this can't take from "
        f"it: {show(sums.effective - wanted)} too much.",
        {**_details(side, declaration), "surplus": sums.effective - wanted},
        f"Declare memory: {show(sums.effective)} or more."
        + (" Or lower what is requested of the devices that do not take part." if sums.fixed else "")
        + (" Boot memory can only be changed in the definition of the domain." if not sums.fixed else ""),
    )


def _above_devices(side: _Side, declaration: Declaration) -> VirtmemError:
    sums, wanted = side.sums, declaration.memory or 0
    most = sums.effective + side.room
    return VirtmemError(
        "memory_above_devices",
        f"memory: {show(wanted)} is declared, but domain {side.name} can have {show(most)} at most: {_listed(sums)}, "
        f"and virtio-mem devices of {show(side.room)}. {show(wanted - most)} are missing.",
        {**_details(side, declaration), "most": most, "missing": wanted - most},
        _more_room(side, declaration, wanted - most),
    )


def _more_room(side: _Side, declaration: Declaration, missing: int) -> str:
    """The line to write."""
    devices = list(side.sharing.values())
    if all((device.alias or "").startswith(MADE) for device in devices) and not declaration.wishes:
        limit = align_up(side.definition.total + missing, GIB)
        return f"Declare max_memory: {show(limit)} or more; the guest can have it from its next start on."
    if not devices:
        return "Leave requested out of the devices that are to take part, or declare another one without it."
    largest = max(devices, key=lambda device: device.size)
    size = align_up(largest.size + missing, GIB)
    name = f"alias: {largest.alias}, " if largest.user_alias else ""
    return (
        f"Declare larger devices, for example devices: [{{{name}model: {largest.model}, size: {show(size)}}}], each "
        "without requested; the guest can have it from its next start on."
    )
