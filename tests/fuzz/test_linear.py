# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Twice the input is twice the work at most: whatever a user can write more of, or longer, is doubled, and again.

Work is counted, not timed: the calls that Python makes, and the characters that come out.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import types
import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils import _options
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Domain, Readiness, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan import balance
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan import domain as plan
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.balance import Node, Share
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.step import Circumstances
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading, writing

NEW = Circumstances(Versions(11_003_000, 10_000_002))
PORT = "<controller type='pci' model='pcie-root-port'/>"
# For what grows from a small start, a bit more than twice.
TWICE = 2.3


def work(action: t.Callable[[], object]) -> int:
    """Calls, of Python and of C, and the characters of the result if it is text."""
    calls = 0

    def count(_frame: types.FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    result: object = None
    sys.setprofile(count)
    try:
        with contextlib.suppress(VirtmemError):
            result = action()
    finally:
        sys.setprofile(None)
    return calls + (len(result) if isinstance(result, str) else 0)


def domain(devices: int = 0) -> str:
    """A definition with so many DIMMs, as people lay it out."""
    dimm = (
        "<memory model='dimm'><target><size unit='GiB'>1</size><node>0</node></target><alias name='ua-d{0}'/>"
        "<address type='dimm' slot='{0}'/></memory>"
    )
    return writing.indented(
        "<domain><maxMemory slots='2048' unit='TiB'>64</maxMemory><memory unit='GiB'>1</memory><features><acpi/>"
        "</features><cpu><numa><cell id='0' cpus='0' memory='1' unit='GiB'/></numa></cpu><devices>"
        f"<controller type='pci' index='0' model='pcie-root'/>{PORT}"
        f"{''.join(dimm.format(number) for number in range(devices))}</devices></domain>"
    )


def device(**values: t.Any) -> dict[str, t.Any]:
    """The options of a device as a module has them."""
    return {**dict.fromkeys(_options.DEVICE_OPTIONS), "state": "present", "scope": "auto", "resize": "any", **values}


def layout(count: int, **values: t.Any) -> dict[str, t.Any]:
    """The options of a domain in a layout, with so many devices."""
    devices = [device(alias=f"d{number}", model="dimm", size="1GiB") for number in range(count)]
    given = {"name": "web1", "devices": devices, "exclusive": False, "memory": None, "resize": "any"}
    rest = dict.fromkeys(("max_memory", "slots", "spare_ports", "statistics_period"))
    return {**given, **rest, **values}


BARE = Domain("web1", "u", "shutoff", persistent=True, config=reading.read_definition(domain()))


def planned(declaration: Declaration) -> object:
    """Its plan for a domain with little in it."""
    return plan.plan_domain(BARE, declaration, NEW)


def sharing(count: int) -> list[Share]:
    """So many devices of a node, half of them with something."""
    return [Share(f"ua-{number:05}", 0, GIB, MIB, number % 2 * GIB // 4, 0, GIB) for number in range(count)]


PATIENCE = {"wait": True, "wait_timeout": 1, "wait_sleep": 1}

# What can be written n times, or n long.
GROWING: dict[str, tuple[int, t.Callable[[int], object]]] = {
    "ports": (15, lambda n: writing.make_ready(domain(), Readiness(ports=n))),
    "ports, in a plan": (30, lambda n: planned(Declaration(spare_ports=n))),
    "ports, as a step shows them": (15, lambda n: writing.indented(writing.readiness(Readiness(ports=n)))),
    "slots": (500, lambda n: planned(Declaration(slots=n))),
    "domains of a layout": (20, lambda n: [_options.order_from(layout(1)) for _number in range(n)]),
    "devices of a layout": (60, lambda n: _options.order_from(layout(n))),
    "devices that share a memory": (100, lambda n: balance.balanced({0: Node(GIB)}, sharing(n), n * GIB // 2)),
    "too many devices": (600, lambda n: _options.order_from(layout(n))),
    "devices that there are": (40, lambda n: reading.read_definition(domain(n))),
    "a quantity": (1000, lambda n: _options.wish_from(device(alias="a", size="9" * n))),
    "a quantity of zeros": (1000, lambda n: _options.wish_from(device(alias="a", size="0" * n + "B"))),
    "a fraction": (1000, lambda n: _options.wish_from(device(alias="a", size="1." + "3" * n + "GiB"))),
    "spaces": (1000, lambda n: _options.wish_from(device(alias="a", size=" " * n + "1" + " " * n + "GiB"))),
    "an alias": (1000, lambda n: _options.wish_from(device(alias="a" * n))),
    "an alias that is none": (1000, lambda n: _options.wish_from(device(alias="a-" * n + "."))),
    "a path": (1000, lambda n: _options.wish_from(device(alias="a", source={"path": "/" + "p" * n}))),
    "nodes": (500, lambda n: _options.wish_from(device(alias="a", source={"nodemask": "0-4095,^7," * n + "1"}))),
    "a node": (500, lambda n: _options.wish_from(device(alias="a", source={"nodemask": "1" * n}))),
    "a base": (1000, lambda n: _options.wish_from(device(alias="a", base="0x" + "f" * n))),
    "a UUID": (1000, lambda n: _options.wish_from(device(alias="a", uuid="a-" * n))),
    "a name": (1000, lambda n: _options.order_from(layout(0, name="n" * n))),
    "a tolerance": (1000, lambda n: _options.patience_from({**PATIENCE, "wait_tolerance": "9" * n + "%"})),
}


@pytest.mark.parametrize("what", GROWING)
def test_twice_as_much_is_twice_the_work(what: str) -> None:
    least, action = GROWING[what]
    counts = [work(lambda n=n: action(n)) for n in (least, least * 2, least * 4, least * 8)]  # type: ignore[misc]
    growth = [after / before for before, after in itertools.pairwise(counts)]
    assert max(growth) < TWICE, (counts, growth)


def test_the_devices_of_one_domain_are_bounded() -> None:
    """Each is held against all others, so the work is not linear in them; their number has an end instead."""
    _options.order_from(layout(_options.MOST_DEVICES))
    with pytest.raises(VirtmemError) as caught:
        _options.order_from(layout(_options.MOST_DEVICES + 1))
    assert caught.value.error_code == "invalid_option"
    assert "devices: 513" in caught.value.msg
    wishes = tuple(Wish(alias=f"ua-d{number}", model="dimm", size=GIB) for number in range(_options.MOST_DEVICES))
    few = work(lambda: planned(Declaration(wishes[:64])))
    assert work(lambda: planned(Declaration(wishes))) < few * 8 * 4


def test_work_that_is_not_linear_would_be_seen() -> None:
    def quadratic(n: int) -> str:
        return "".join("x" * number for number in range(n))

    counts = [work(lambda n=n: quadratic(n)) for n in (100, 200)]  # type: ignore[misc]
    assert counts[1] / counts[0] > TWICE
