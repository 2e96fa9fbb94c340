# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's memory as one number, over generated domains: what must hold of every plan, and of the one after it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    CONFIG,
    LIVE,
    Declaration,
    Definition,
    Device,
    Domain,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.domain import plan_domain
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.step import Circumstances, Plan
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning
from hypothesis import given
from hypothesis import strategies as st

CIRCUMSTANCES = Circumstances(helpers.TRIXIE)
# What can be wrong with a declaration of a memory, and nothing else.
REFUSALS = {
    *("memory_below_boot", "memory_above_devices", "insufficient_headroom", "no_max_memory"),
    "needs_restart",  # a transient domain without a free port
}


@st.composite
def devices(draw: st.DrawFn, cells: int) -> list[Device]:
    """Up to five devices: virtio-mem of several blocks, some without a name, and DIMMs."""
    found = []
    for number in range(draw(st.integers(0, 5))):
        node, alias = draw(st.integers(0, cells - 1)), draw(st.sampled_from((f"ua-d{number}", f"ua-d{number}", None)))
        if draw(st.integers(0, 4)) == 0:
            found.append(helpers.dimm(alias=f"ua-d{number}", node=node, size=draw(st.integers(1, 3)) * 128 * MIB))
            continue
        block = draw(st.sampled_from((2 * MIB, 2 * MIB, 4 * MIB, 256 * MIB)))
        blocks = draw(st.integers(1, 40))
        values = {"size": blocks * block, "requested": draw(st.integers(0, blocks)) * block}
        found.append(helpers.virtio_mem(alias=alias, node=node, block=block, **values))
    return found


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """A definition of one to eight cells, some without memory, or of none at all."""
    cells = draw(st.integers(1, 8))
    memory = [draw(st.sampled_from((0, 256, 512, 1024))) * MIB for _cell in range(cells)]
    memory[0] = memory[0] or 512 * MIB
    found = draw(devices(cells))
    total = sum(memory) + sum(device.size for device in found)
    return helpers.definition(
        *found,
        cells=tuple(range(cells)),
        cell_sizes=tuple(memory),
        total=total,
        max_memory=total + draw(st.integers(0, 8)) * GIB,
        free_ports=draw(st.sampled_from((0, 8))),
        slots=64,
    )


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """A domain that runs, or not, or is transient; the running guest may lack what its configuration has."""
    config = draw(definitions())
    kind = draw(st.sampled_from(("both", "differs", "stopped", "transient")))
    if kind == "stopped":
        return helpers.domain(config=config)
    named = [
        replace(device, alias=device.alias or f"{device.model.replace('-', '')}{place}", current=device.requested)
        for place, device in enumerate(config.devices)
    ]
    live = config._replace(devices=tuple(named))
    if kind == "differs" and draw(st.booleans()):
        # More boot memory until the restart, which a running guest can't give back.
        boot = (live.cell_sizes[0] + 4 * GIB, *live.cell_sizes[1:])
        live = live._replace(cell_sizes=boot, total=live.total + 4 * GIB, max_memory=(live.max_memory or 0) + 4 * GIB)
    elif kind == "differs" and live.devices:
        live = live.without(live.devices[draw(st.integers(0, len(live.devices) - 1))])
    return helpers.domain(live=live, config=None if kind == "transient" else config)


@st.composite
def declarations(draw: st.DrawFn, domain: Domain) -> Declaration:
    """A number for it, mostly one that it can have, with or without its devices by name."""
    definition = t.cast(Definition, domain.config or domain.live)
    memory = draw(st.integers(0, 2 * definition.total // MIB)) * MIB
    named = [item for item in definition.devices if item.user_alias and item.model == "virtio-mem"]
    wishes = []
    by_name: bool = draw(st.booleans())
    if named and by_name:
        for device in named:
            fixed = draw(st.integers(0, 3)) == 0
            resize = draw(st.sampled_from(("any", "any", "any", "grow", "shrink")))
            wishes.append(Wish(alias=device.alias, requested=device.requested if fixed else None, resize=resize))
    return Declaration(
        wishes=tuple(draw(st.permutations(wishes))),
        memory=memory,
        resize=draw(st.sampled_from(("any", "any", "any", "grow", "shrink", "never"))),
        max_memory=None
        if domain.config is None or draw(st.booleans())
        else definition.total + draw(st.integers(0, 8)) * GIB,
    )


def check_device(scope: str, device: t.Any) -> None:
    """No device above its size, in whole blocks."""
    after = device.after.get(scope)
    if after is None or after.model != "virtio-mem":
        return
    assert after.requested <= after.size
    assert after.requested % after.block == 0


def check_scope(plan: Plan, declaration: Declaration, scope: str) -> None:
    """What is had is what is declared, and less than the largest block above it."""
    assert plan.memory is not None
    declared, sums = t.cast(int, declaration.memory), plan.memory.sums[scope]
    sides = [device.after.get(scope) for device in plan.devices]
    requested = sum(side.requested or 0 for side in sides if side is not None and side.model == "virtio-mem")
    assert sums.requested <= requested
    staged = scope == LIVE and plan.memory.reasons
    limited = declaration.resize != "any" or any(wish.resize != "any" for wish in declaration.wishes)
    if not staged and not limited:
        assert declared <= sums.effective < declared + 256 * MIB
    moves = [
        (after.requested or 0) - (before.requested or 0)
        for device in plan.devices
        if (after := device.after.get(scope)) is not None and (before := device.before.get(scope)) is not None
        if after.model == "virtio-mem" and before.size == after.size
    ]
    if len({side.block for side in sides if side is not None and side.block}) == 1 and not plan.undeclared:
        assert all(move >= 0 for move in moves) or all(move <= 0 for move in moves)
    for device in plan.devices:
        check_device(scope, device)


def planned(domain: Domain, declaration: Declaration) -> Plan | VirtmemError:
    """The plan, or why there is none."""
    try:
        return plan_domain(domain, declaration, CIRCUMSTANCES)
    except VirtmemError as error:
        return error


@given(st.data())
def test_what_holds_of_every_plan(data: st.DataObject) -> None:
    domain = data.draw(domains())
    declaration = data.draw(declarations(domain))
    plan = planned(domain, declaration)
    if isinstance(plan, VirtmemError):
        assert plan.error_code in REFUSALS, (plan.error_code, plan.msg)
        assert plan.hint
        return
    for scope in domain.scopes():
        check_scope(plan, declaration, scope)
    shuffled = declaration._replace(wishes=tuple(reversed(declaration.wishes)))
    assert plan_domain(domain, shuffled, CIRCUMSTANCES).memory == plan.memory
    after = domain
    for step in plan.steps:
        after = planning.taken(after, step)
    again = plan_domain(after, declaration, CIRCUMSTANCES)
    assert again.steps == ()
    assert again.memory == plan.memory
    if domain.config is not None:
        assert after.config is not None
        assert CONFIG in t.cast(t.Any, plan.memory).sums
