# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Memory that is spread over devices and NUMA nodes, in whole blocks. Arithmetic only; all sizes are in bytes.

Blocks are powers of two, so that each is a multiple of every smaller one.
"""

from __future__ import annotations

import typing as t
from fractions import Fraction

from ..size import align_down


class Share(t.NamedTuple):
    """One device: where it stands, what it can have, and what it has. All but `size` are multiples of `block`."""

    name: str  # what equal devices are ordered by
    node: int
    size: int
    block: int
    now: int
    low: int
    high: int

    def towards(self, more: bool) -> Share:
        """The same device, where it may only get more, or only less."""
        return self._replace(low=max(self.low, self.now)) if more else self._replace(high=min(self.high, self.now))


class Node(t.NamedTuple):
    """What a NUMA node has beside the devices that share: its boot memory, and DIMMs and fixed devices."""

    boot: int = 0
    other: int = 0

    @property
    def used(self) -> int:
        """All of it."""
        return self.boot + self.other


def least(wanted: int, shares: t.Sequence[Share]) -> int | None:
    """The smallest sum of whole blocks that is not below what is wanted; None if all of them hold less."""
    base = sum(share.low for share in shares)
    room: dict[int, int] = {}
    for share in shares:
        room[share.block] = room.get(share.block, 0) + share.high - share.low
    rest, behind = max(wanted - base, 0), sum(room.values())
    if rest > behind:
        return None
    taken, best = 0, base + behind
    # The larger blocks first: what they leave over is the least that smaller ones have to make up for.
    for block in sorted(room, reverse=True):
        whole = min(align_down(rest, block), room[block])
        if whole + block <= room[block]:
            best = min(best, base + taken + whole + block)
        taken, rest, behind = taken + whole, rest - whole, behind - room[block]
        if rest == 0:
            return base + taken
        if rest > behind:
            return best
    return best


def _fill(
    weights: t.Sequence[int],
    starts: t.Sequence[Fraction],
    bounds: t.Sequence[tuple[int, int]],
    total: int,
) -> list[Fraction]:
    """Water poured into vessels until they hold the total: each start plus level times weight, within its bounds."""
    points = []
    for weight, start, (low, high) in zip(weights, starts, bounds):
        points += [((low - start) / weight, weight), ((high - start) / weight, -weight)]
    points.sort()
    level, slope, held = points[0][0] if points else Fraction(0), 0, Fraction(sum(low for low, _high in bounds))
    for point, change in points:
        if held + slope * (point - level) >= total:
            break
        held, level, slope = held + slope * (point - level), point, slope + change
    if slope:
        level += (total - held) / slope
    return [
        min(max(start + level * weight, Fraction(low)), Fraction(high))
        for weight, start, (low, high) in zip(weights, starts, bounds)
    ]


def _ideal(nodes: t.Mapping[int, Node], room: t.Mapping[int, int], total: int) -> dict[int, Fraction]:
    """What each node's devices have in a guest whose memory is in proportion of the boot memory of its nodes."""
    first = [node for node in room if nodes[node].boot]
    last = [node for node in room if not nodes[node].boot and room[node]]
    some = min(total, sum(room[node] for node in first))
    weights, starts = [nodes[node].boot for node in first], [Fraction(-nodes[node].used) for node in first]
    filled = dict(zip(first, _fill(weights, starts, [(0, room[node]) for node in first], some)))
    # A node without boot memory takes what the others can't hold.
    sizes = [room[node] for node in last]
    rest = _fill(sizes, [Fraction(0)] * len(last), [(0, size) for size in sizes], total - some)
    return {**dict.fromkeys(room, Fraction(0)), **filled, **dict(zip(last, rest))}


def _rounded(values: t.Mapping[t.Any, Fraction], block: int, total: int) -> dict[t.Any, int]:
    """Whole blocks that make the total: what is left over goes to the largest remainders, and among equals in order."""
    whole = {key: align_down(int(value), block) for key, value in values.items()}
    left = (total - sum(whole.values())) // block
    for key in sorted(values, key=lambda key: (whole[key] - values[key], key))[:left]:
        whole[key] += block
    return whole


def _nearest(wanted: Fraction, total: int, mine: t.Sequence[Share], smaller: t.Sequence[Share]) -> int:
    """What of the total the devices of the largest block get: as near to this as the smaller ones can make up for."""
    block = mine[0].block
    low, high = sum(share.low for share in mine), sum(share.high for share in mine)
    if not smaller:
        return total

    def fits(value: int) -> bool:
        return least(total - value, smaller) == total - value

    # What fits is a run of multiples: blocks of powers of two that make a larger one can be left out together.
    most = min(high, align_down(total - sum(share.low for share in smaller), block))
    near = min(max(align_down(int(wanted) + block // 2, block), low), most)
    if fits(near):
        return near
    while most - near > block:  # the nearest that fits lies between
        middle = align_down((near + most) // 2, block)
        near, most = (near, middle) if fits(middle) else (middle, most)
    return most


def balanced(nodes: t.Mapping[int, Node], shares: t.Sequence[Share], total: int) -> dict[str, int]:
    """What each device is to have, by its name: the total in all, moved by no more than the difference.

    Growth goes to the nodes that are farthest below the ideal, and what shrinks is taken from those farthest above.
    No device moves against the direction of the total, unless blocks of different sizes leave no other way.

    Args:
        nodes: every node of a device.
        shares: the devices.
        total: a sum that `least` has given for them.
    """
    now = sum(share.now for share in shares)
    if total == now and all(share.low <= share.now <= share.high for share in shares):
        return {share.name: share.now for share in shares}
    directed = [share.towards(total > now) for share in shares]
    allowed = directed if least(total, directed) == total else list(shares)
    room = dict.fromkeys((share.node for share in shares), 0)
    for share in shares:
        room[share.node] += share.size
    by_node = _ideal(nodes, room, total)
    ideal = {share.name: by_node[share.node] * share.size / (room[share.node] or 1) for share in shares}
    left = sorted(allowed, key=lambda share: (-share.block, share.name))
    chosen: dict[str, int] = {}
    given = dict.fromkeys(room, 0)
    while left:
        mine = [share for share in left if share.block == left[0].block]
        spread = _spread({node: by_node[node] - given[node] for node in room}, ideal, left, total)
        part = sum((spread[share.name] for share in mine), Fraction(0))
        left = left[len(mine) :]
        got = _of_one_block(spread, mine, _nearest(part, total, mine, left))
        for share in mine:
            given[share.node] += got[share.name]
        total -= sum(got.values())
        chosen.update(got)
    return chosen


def _by_node(shares: t.Sequence[Share]) -> dict[int, list[Share]]:
    found: dict[int, list[Share]] = {}
    for share in shares:
        found.setdefault(share.node, []).append(share)
    return dict(sorted(found.items()))


def _level(ideal: t.Sequence[Fraction], bounds: t.Sequence[tuple[int, int]], total: t.Any) -> list[Fraction]:
    """Values of this total within their bounds that miss their ideals by one and the same difference."""
    return _fill([1] * len(ideal), ideal, bounds, total)


def _spread(
    by_node: t.Mapping[int, Fraction], ideal: t.Mapping[str, Fraction], shares: t.Sequence[Share], total: int
) -> dict[str, Fraction]:
    """What each device is to have if there were no blocks: the nodes first, then the devices of each."""
    groups = _by_node(shares)
    sums = [(sum(share.low for share in group), sum(share.high for share in group)) for group in groups.values()]
    totals = _level([by_node[node] for node in groups], sums, total)
    spread: dict[str, Fraction] = {}
    for group, part in zip(groups.values(), totals):
        bounds = [(share.low, share.high) for share in group]
        spread.update(
            zip((share.name for share in group), _level([ideal[share.name] for share in group], bounds, part))
        )
    return spread


def _of_one_block(spread: t.Mapping[str, Fraction], mine: t.Sequence[Share], total: int) -> dict[str, int]:
    """The same in whole blocks, for devices of one block: again the nodes first."""
    groups = _by_node(mine)
    block = mine[0].block
    sums = [(sum(share.low for share in group), sum(share.high for share in group)) for group in groups.values()]
    wanted = [sum((spread[share.name] for share in group), Fraction(0)) for group in groups.values()]
    totals = _rounded(dict(zip(groups, _level(wanted, sums, total))), block, total)
    got: dict[str, int] = {}
    for node, group in groups.items():
        bounds = [(share.low, share.high) for share in group]
        values = _level([spread[share.name] for share in group], bounds, totals[node])
        got.update(_rounded(dict(zip((share.name for share in group), values)), block, totals[node]))
    return got


def portions(nodes: t.Mapping[int, Node], total: int, unit: int) -> dict[int, int]:
    """What is left of a total for new devices, one for each node with boot memory, in whole units and never above it.

    Args:
        nodes: what each has already.
        total: what all of it together may become.
        unit: of a device's size.
    """
    places = [node for node in sorted(nodes) if nodes[node].boot]
    free = max(total - sum(item.used for item in nodes.values()), 0)
    weights, starts = [nodes[node].boot for node in places], [Fraction(-nodes[node].used) for node in places]
    values = _fill(weights, starts, [(0, free)] * len(places), free)
    fair = {node: align_down(int(value), unit) for node, value in zip(places, values)}
    more = align_down(free, unit) - sum(fair.values())
    remainders = {node: value - fair[node] for node, value in zip(places, values)}
    for node in sorted(places, key=lambda node: (-remainders[node], node))[: more // unit]:
        fair[node] += unit
    return fair
