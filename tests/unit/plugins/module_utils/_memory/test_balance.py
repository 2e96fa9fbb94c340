# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory over devices and nodes: against a count of every possibility, and by what must hold whatever the numbers."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.balance import (
    Node,
    Share,
    balanced,
    least,
    portions,
)
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def shares(draw: st.DrawFn, blocks: t.Sequence[int] = (1, 2, 4), largest: int = 5) -> list[Share]:
    """Up to four devices of a few blocks each, on up to three nodes."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        block = draw(st.sampled_from(blocks))
        size = draw(st.integers(1, largest))
        now = draw(st.integers(0, size))
        low = draw(st.sampled_from((0, 0, now)))
        high = draw(st.sampled_from((size, size, now)))
        numbers = {"size": size, "now": now, "low": low, "high": high}
        scaled = {name: value * block for name, value in numbers.items()}
        found.append(Share(name=f"ua-{number}", node=draw(st.integers(0, 2)), block=block, **scaled))
    return found


def every_sum(devices: t.Sequence[Share]) -> set[int]:
    """Each sum that whole blocks can make, by trying all of them."""
    steps = (range(item.low, item.high + 1, item.block) for item in devices)
    return {sum(choice) for choice in itertools.product(*steps)}


def nodes_of(boot: t.Sequence[int] = (8, 8, 8)) -> dict[int, Node]:
    """The nodes, with so much boot memory."""
    return {number: Node(memory) for number, memory in enumerate(boot)}


@given(shares(), st.integers(-3, 90))
def test_the_least_is_the_smallest_of_all_sums_that_suffice(devices: list[Share], wanted: int) -> None:
    enough = [value for value in every_sum(devices) if value >= wanted]
    assert least(wanted, devices) == (min(enough) if enough else None)


@given(shares(), st.integers(0, 90), st.permutations(range(4)))
def test_what_holds_of_every_balance(devices: list[Share], wanted: int, order: list[int]) -> None:
    total = least(wanted, devices)
    if total is None:
        return
    nodes = nodes_of((8, 4, 0))
    got = balanced(nodes, devices, total)
    assert sum(got.values()) == total
    for item in devices:
        assert item.low <= got[item.name] <= item.high
        assert got[item.name] % item.block == 0
    # The order of the devices says nothing.
    shuffled = [devices[place] for place in order if place < len(devices)]
    assert balanced(nodes, shuffled, total) == got
    # Again, it is there already.
    after = [item._replace(now=got[item.name], low=min(item.low, got[item.name])) for item in devices]
    assert least(wanted, after) == total
    assert balanced(nodes, after, total) == got


@given(shares(blocks=(2,)), st.integers(0, 40))
def test_no_device_of_one_block_moves_against_the_total(devices: list[Share], wanted: int) -> None:
    devices = [item._replace(low=0, high=item.size) for item in devices]
    total = least(wanted, devices)
    if total is None:
        return
    got = balanced(nodes_of(), devices, total)
    moves = [got[item.name] - item.now for item in devices]
    assert all(move >= 0 for move in moves) or all(move <= 0 for move in moves)


def test_blocks_that_leave_no_other_way_move_against_the_total() -> None:
    """Growth of 1 by a block of 4, beside a device that is full: the sum is exact, and the second run finds it so."""
    large = Share("ua-a", 0, size=8, block=4, now=0, low=0, high=8)
    small = Share("ua-b", 0, size=4, block=1, now=4, low=0, high=4)
    assert balanced({0: Node(8)}, [large, small], 5) == {"ua-a": 4, "ua-b": 1}


def distance(nodes: t.Mapping[int, Node], devices: t.Sequence[Share], got: t.Mapping[str, int]) -> int:
    """How far the fullest node is from the emptiest, where all have the same boot memory."""
    totals = {node: item.used for node, item in nodes.items()}
    for item in devices:
        totals[item.node] += got[item.name]
    return max(totals.values()) - min(totals.values())


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_a_balanced_guest_stays_balanced_to_a_block(cells: int, each: int, wishes: list[int]) -> None:
    """Whatever is asked of it, one after the other."""
    names = [(node, number) for node in range(cells) for number in range(each)]
    devices = [Share(f"ua-{node}{number}", node, 20, 1, 0, 0, 20) for node, number in names]
    nodes = {node: Node(10) for node in range(cells)}
    for wish in wishes:
        total = t.cast(int, least(min(wish, 20 * len(devices)), devices))
        got = balanced(nodes, devices, total)
        assert distance(nodes, devices, got) <= 1
        devices = [item._replace(now=got[item.name]) for item in devices]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=4), st.integers(0, 48))
def test_a_step_leaves_no_more_imbalance_than_it_must(now: list[int], wanted: int) -> None:
    """Of all that can be reached in the direction of the total, nothing has its fullest and emptiest node nearer."""
    devices = [Share(f"ua-{node}", node, 12, 1, value, 0, 12) for node, value in enumerate(now)]
    nodes = {node: Node(12) for node in range(len(now))}
    total = min(wanted, 12 * len(now))
    got = balanced(nodes, devices, total)
    more = total >= sum(now)
    ranges = [range(value, 13) if more else range(value + 1) for value in now]
    reachable = (choice for choice in itertools.product(*ranges) if sum(choice) == total)
    assert distance(nodes, devices, got) == min(max(choice) - min(choice) for choice in reachable)


@pytest.mark.parametrize(
    ("boot", "sizes", "total", "expected"),
    [
        ((8, 8), (16, 16), 8, (4, 4)),
        ((8, 4), (32, 32), 12, (8, 4)),  # in proportion of the boot memory
        ((8, 8), (2, 16), 8, (2, 6)),  # what a node can't hold, the other has
        ((8, 0), (4, 16), 4, (4, 0)),  # a node without boot memory takes what is left
        ((8, 0), (4, 16), 9, (4, 5)),
        ((0, 0), (4, 12), 8, (2, 6)),  # none has any: in proportion of the sizes
    ],
)
def test_the_ideal(boot: tuple[int, int], sizes: tuple[int, int], total: int, expected: tuple[int, int]) -> None:
    devices = [Share(f"ua-{node}", node, size, 1, 0, 0, size) for node, size in enumerate(sizes)]
    got = balanced(nodes_of(boot), devices, total)
    assert tuple(got.values()) == expected


def test_what_a_node_has_beside_counts() -> None:
    devices = [Share(f"ua-{node}", node, 16, 1, 0, 0, 16) for node in (0, 1)]
    assert balanced({0: Node(8, other=4), 1: Node(8)}, devices, 8) == {"ua-0": 2, "ua-1": 6}


def test_what_can_not_be_shared_evenly_goes_by_name() -> None:
    devices = [Share(name, 0, 8, 2, 0, 0, 8) for name in ("ua-c", "ua-a", "ua-b")]
    assert balanced({0: Node(8)}, devices, 8) == {"ua-a": 4, "ua-b": 2, "ua-c": 2}


@pytest.mark.parametrize(
    ("nodes", "total", "unit", "expected"),
    [
        ({0: Node(4), 1: Node(4)}, 20, 2, {0: 6, 1: 6}),
        ({0: Node(4), 1: Node(4)}, 21, 2, {0: 6, 1: 6}),  # no more than the total
        ({0: Node(4), 1: Node(4)}, 22, 2, {0: 8, 1: 6}),
        ({0: Node(4, other=6), 1: Node(4)}, 20, 2, {0: 0, 1: 6}),
        ({0: Node(4), 1: Node(0)}, 20, 2, {0: 16}),  # no device for a cell without memory
        ({0: Node(4)}, 3, 2, {0: 0}),
    ],
)
def test_portions_for_new_devices(nodes: dict[int, Node], total: int, unit: int, expected: dict[int, int]) -> None:
    assert portions(nodes, total, unit) == expected
