# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of the core: node sets, and how devices, domains and wishes describe themselves."""

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    CONFIG,
    LIVE,
    Device,
    Wish,
    format_nodeset,
    parse_nodeset,
)
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from hypothesis import given
from hypothesis import strategies as st

NODES = st.sets(st.integers(0, 4095), min_size=1, max_size=40).map(lambda nodes: tuple(sorted(nodes)))


@given(NODES)
def test_a_node_set_survives_the_round_trip(nodes: tuple[int, ...]) -> None:
    assert parse_nodeset(format_nodeset(nodes)) == nodes


@given(NODES)
def test_a_node_set_is_written_with_its_runs_joined(nodes: tuple[int, ...]) -> None:
    starts = [node for node in nodes if node - 1 not in nodes]
    assert len(format_nodeset(nodes).split(",")) == len(starts)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("0", (0,)),
        ("0-2,5", (0, 1, 2, 5)),
        ("0,1,2,5", (0, 1, 2, 5)),
        ("5,0-2", (0, 1, 2, 5)),
        ("0-3,^1", (0, 2, 3)),
        ("0-7,^2-4,3", (0, 1, 3, 5, 6, 7)),
        (" 0 - 1 , 3 ", (0, 1, 3)),
        ("4095", (4095,)),
        ("1,1-1,1", (1,)),
    ],
)
def test_a_node_set_is_read_as_libvirt_reads_it(text: str, nodes: tuple[int, ...]) -> None:
    assert parse_nodeset(text) == nodes


@pytest.mark.parametrize(
    "text", ["", ",", "0,", "a", "-1", "1-", "2-1", "0--1", "^", "4096", "0-4096", "0;1", "\u0663", "9" * 5000]
)
def test_what_is_no_node_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_nodeset(text)


@pytest.mark.parametrize(
    ("alias", "user_alias"),
    [("ua-vm0", "ua-vm0"), ("virtiomem0", None), ("dimm1", None), ("xua-vm0", None), (None, None)],
)
def test_only_a_user_alias_is_one(alias: str | None, user_alias: str | None) -> None:
    assert Device("virtio-mem", 1, alias=alias).user_alias == user_alias


def test_a_device_describes_what_is_known_of_it() -> None:
    device = Device("dimm", 1024, node=0, nodemask=(0, 1, 2), pmem=False, xml="<memory/>", position=3)
    assert device.describe() == {"model": "dimm", "size": 1024, "node": 0, "nodemask": "0-2", "pmem": False}


def test_where_a_device_was_read_is_no_part_of_its_value() -> None:
    assert Device("dimm", 1024, xml="<memory/>", position=3) == Device("dimm", 1024)


def test_a_domain_has_the_scopes_it_was_read_in() -> None:
    definition = helpers.definition()
    assert helpers.domain(definition, definition).scopes() == (LIVE, CONFIG)
    assert helpers.domain(live=definition).scopes() == (LIVE,)
    assert helpers.domain(config=definition).scopes() == (CONFIG,)
    live, config = helpers.definition(total=1), helpers.definition(total=2)
    assert helpers.domain(live, config).scope(LIVE) is live
    assert helpers.domain(live, config).scope(CONFIG) is config


def test_a_domain_describes_itself() -> None:
    domain = helpers.domain(live=helpers.definition())
    assert domain.describe() == {"name": "web1", "uuid": helpers.UUID, "state": "running", "persistent": False}


def test_every_property_of_a_wish_is_one_of_a_device() -> None:
    """What is given is compared with the device by name, so a name that no device has would be forgotten."""
    about_the_task = {"scope", "resize", "live_requested"}
    devices = {item.name for item in dataclasses.fields(Device)}
    for item in dataclasses.fields(Wish):
        if item.type in ("str | None", "int | None"):
            assert (item.name in devices) is (item.name not in about_the_task), item.name


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({}, {}),
        ({"alias": "ua-a", "requested": 0}, {"alias": "ua-a", "requested": 0}),
        ({"model": "virtio-mem", "node": 0, "scope": "live", "resize": "grow"}, {"model": "virtio-mem", "node": 0}),
    ],
)
def test_a_wish_gives_what_was_given_and_zero_is_given(values: dict[str, t.Any], given: dict[str, t.Any]) -> None:
    assert Wish(**values).given() == given


def test_a_wish_is_named_by_its_alias_or_by_what_selects_its_device() -> None:
    assert Wish(alias="ua-a", model="virtio-mem").describe() == "alias ua-a"
    assert Wish(model="virtio-mem", node=1, size=5).describe() == "model virtio-mem, node 1"


def test_leading_zeros_of_a_node() -> None:
    assert parse_nodeset("0000000001") == (1,)


@pytest.mark.parametrize("text", ["0,^0", "^1"])
def test_an_empty_node_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_nodeset(text)
