# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""From what is observed of one device and what is declared for it to the steps between.

The configuration always reaches the declaration; the running guest reaches it as far as it can, and the rest is staged.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .. import identity, models, support
from ..device import ABSENT, CONFIG, LIVE, Device, Domain, Wish
from ..errors import VirtmemError
from ..models import MODELS
from ..rules.domain import check_answering, check_scope
from ..rules.values import check_wish
from ..size import show
from .changes import plan_config, scopes_of
from .live import Live, LivePlan, plan_live, plan_live_absent
from .step import ATTACH, DETACH, REMOVE, Circumstances, DevicePlan, Step, readable


def _size_warnings(domain: Domain, steps: t.Sequence[Step]) -> list[str]:
    """A module that Linux does not take, or that takes more of a small guest than it has."""
    attached = [step.after for step in steps if step.op == ATTACH and step.after is not None]
    definition = domain.live or domain.config
    for device in attached:
        facts = models.facts(device.model)
        if definition is None or not facts.is_memory or facts.resizable:
            continue
        block = definition.platform.linux_block  # more on guests with more than 64 GiB
        if device.size % block:
            return [
                f"size: {show(device.size)} is not a multiple of {show(block)}, the memory block of Linux; a Linux "
                "guest does not take the device."
            ]
        if device.size // 64 > definition.base // 2:
            return [
                f"size: {show(device.size)} takes {show(device.size // 64)} of the guest's boot memory of "
                f"{show(definition.base)} for its memory map; the guest may run out of memory when it is plugged."
            ]
    return []


def _absent_warnings(wish: Wish, before: t.Mapping[str, Device | None]) -> list[str]:
    """What is declared of a device that must go and is otherwise: is it the one that is meant?"""
    if wish.state != ABSENT:
        return []
    for scope, device in before.items():
        for name in ("size", "requested"):
            declared, has = getattr(wish, name), getattr(device, name, None)
            if device is not None and declared is not None and has != declared:
                return [
                    f"{name}: {show(declared)} is declared of {wish.describe()}, and it has "
                    f"{'none' if has is None else show(has)} in the {scope} definition. state: absent removes it all "
                    "the same; leave the option out."
                ]
    return []


def _warnings(
    domain: Domain, wish: Wish, steps: t.Sequence[Step], cut: bool, before: t.Mapping[str, Device | None]
) -> tuple[str, ...]:
    texts = []
    if not wish.alias and any(step.op == ATTACH for step in steps):
        texts.append(
            "The device is attached without an alias, so the next run can only find it by its properties. "
            "An alias would be its permanent name."
        )
    texts += _size_warnings(domain, steps)
    texts += _absent_warnings(wish, before)
    if cut:
        texts.append(
            "The guest has to give the memory back before the rest can be done, and wait is false: run the task "
            "again later."
        )
    if domain.saved is not None and any(step.scope == CONFIG for step in steps):
        saved = next((item for item in domain.saved.devices if wish.alias and item.alias == wish.alias), None)
        brings = ", ".join(f"{name} {value}" for name, value in readable(saved).items()) if saved else "no such device"
        texts.append(
            f"Domain {domain.name} has a managed-save image: its next start brings back what was saved ({brings}); "
            "the configuration counts from the start after that."
        )
    return tuple(texts)


def _refuse_other_model(device: Device | None, wish: Wish, scope: str) -> None:
    """A device of a model of tomorrow is left alone, and a size can only be requested of a virtio-mem device."""
    if device is not None and device.model not in MODELS:
        raise VirtmemError(
            "unsupported",
            f"{wish.describe()} names a device of model {device.model} in the {scope} definition, which this version "
            "of the collection does not know.",
            {"feature": device.model, "scope": scope},
            "Use a later version of the collection, or leave the device out. state: absent can remove it.",
        )
    if device is None or models.facts(device.model).resizable or wish.model or wish.requested is None:
        return
    raise VirtmemError(
        "alias_conflict",
        f"{wish.describe()} names a device of model {device.model} in the {scope} definition; "
        "a size can only be requested of a virtio-mem device.",
        {"option": "alias", "value": wish.alias, "scope": scope, "model": device.model},
        "Choose another alias, or leave out requested.",
    )


def judge(domain: Domain, wish: Wish, circumstances: Circumstances) -> None:
    """What speaks against a wish whatever the domain's devices are."""
    problem = check_wish(wish) or check_scope(domain, wish.scope)
    if problem is None and wish.model and wish.state != ABSENT:
        problem = support.lacking(wish, wish.model, circumstances.versions)
        definition = domain.config or domain.live
        if problem is None and definition is not None:
            problem = support.lacking_on(wish.model, definition, circumstances.versions)
    if problem:
        raise problem


def _cut(steps: t.Sequence[Step], circumstances: Circumstances) -> tuple[tuple[Step, ...], bool]:
    """The steps up to the first that needs an answer, if nobody waits for one."""
    barriers = [index for index, step in enumerate(steps) if step.until is not None]
    if circumstances.wait or not barriers:
        return tuple(steps), False
    end = barriers[0]
    # Whatever else the domain is to get does not wait for that answer either.
    return (*steps[:end], replace(steps[end], until=None)), True


class _Found(t.NamedTuple):
    """One wish on one domain, before anything is decided."""

    domain: Domain
    wish: Wish
    circumstances: Circumstances
    scopes: tuple[str, ...]
    devices: t.Mapping[str, Device | None]

    def live(self) -> Live | None:
        """What the live side is made from, None if it is not asked for."""
        definition = self.domain.live
        if LIVE not in self.scopes or definition is None:
            return None
        return Live(
            definition=definition,
            device=self.devices[LIVE],
            twin=self.devices[CONFIG],
            wish=self.wish.of_running(),
            circumstances=self.circumstances,
            strict=self.wish.scope != "auto",
            staged=CONFIG in self.scopes,
        )


def _plan_absent(found: _Found) -> tuple[LivePlan, Step | None]:
    device = found.devices[CONFIG] if CONFIG in found.scopes else None
    config = Step(DETACH, CONFIG, device.xml, device, rank=REMOVE) if device is not None else None
    live = found.live()
    return plan_live_absent(live) if live else LivePlan(), config


def _plan_present(found: _Found) -> tuple[LivePlan, Step | None]:
    wish, circumstances = found.wish, found.circumstances
    for name, device in found.devices.items():
        _refuse_other_model(device, wish, name)
        problem = support.lacking(wish, device.model, circumstances.versions) if device and not wish.model else None
        if problem:
            raise problem
    # The configuration is judged first: what it can't have, the guest is not given either.
    config = None
    if CONFIG in found.scopes and found.domain.config is not None:
        config = plan_config(found.domain.config, found.devices[CONFIG], found.devices[LIVE], wish, circumstances)
    live = found.live()
    return plan_live(live) if live else LivePlan(), config


def plan_device(
    domain: Domain, wish: Wish, circumstances: Circumstances, known: t.Mapping[str, Device | None] | None = None
) -> DevicePlan:
    """The steps for one device on the domain as it is; `known` is the device if no wish can name it."""
    judge(domain, wish, circumstances)
    devices = dict(known) if known is not None else identity.select_all(domain, wish)
    found = _Found(domain, wish, circumstances, scopes_of(domain, wish.scope), devices)
    live, config = _plan_absent(found) if wish.state == ABSENT else _plan_present(found)
    problem = check_answering(domain) if _needs_the_guest(live, devices[LIVE]) else None
    if problem:
        raise problem
    # It is changed last: a live change that libvirt refuses leaves it as it was.
    steps, cut = _cut((*live.steps, *((config,) if config else ())), circumstances)
    return DevicePlan(
        wish=wish,
        scopes=found.scopes,
        steps=steps,
        before=devices,
        after={**devices, **{step.scope: step.after for step in steps}},
        goal=live.goal,
        restart_reasons=live.reasons,
        warnings=_warnings(domain, wish, steps, cut, devices),
        cut=cut,
        undeclared=known is not None,
    )


def _needs_the_guest(live: LivePlan, device: Device | None) -> bool:
    if any(step.until for step in live.steps):
        return True
    return live.goal is not None and live.goal.distance((device.current if device else None) or 0) > 0
