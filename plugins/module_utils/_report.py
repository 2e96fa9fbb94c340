# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A task's answer: what became of its jobs, as results show it. As complete on failure as it got."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ._memory import identity, size
from ._memory.device import CONFIG, LIVE, Domain, HostMemory
from ._memory.errors import VirtmemError
from ._memory.inventory.results import device_result
from ._memory.total import Sums, plugged_of, sums_of, total_of

if t.TYPE_CHECKING:
    from ._apply.job import Job
    from ._memory.plan.step import DevicePlan, Plan


def failure_of(error: VirtmemError) -> dict[str, t.Any]:
    """An error as results show it: for people, and to decide on."""
    return {"msg": error.msg, "error_code": error.error_code, "details": error.details, "hint": error.hint}


def _device(domain: Domain, plan: DevicePlan, planned_only: bool, tolerance: size.Tolerance) -> dict[str, t.Any] | None:
    sides = plan.after
    if not planned_only:
        try:
            # What is, not what was planned.
            undeclared = plan.undeclared
            sides = identity.again(domain, plan.before) if undeclared else identity.select_all(domain, plan.wish)
        except VirtmemError:
            return None
    judged = sides[LIVE] is not None or LIVE in plan.scopes
    before = plan.before or sides
    was = {scope: device.describe() if device is not None else None for scope, device in before.items()}
    return {**device_result(sides, plan.wish, plan.goal, judged, tolerance), "before": was}


def _warnings(job: Job) -> t.Iterator[str]:
    """What to know of a domain, whatever became of it."""
    yield from job.plan.warnings if job.plan else ()
    witness, name = job.witness, job.order.domain
    if witness.left_on is not None:
        yield (
            f"{name}: the task had the balloon's statistics polled while it lasted, and could not set that back: "
            f"{witness.left_on} Set it back with virsh dommemstat {name} --period {witness.restores} --live."
        )
    verdict = witness.word.verdict
    if verdict.is_suspect and verdict.reason and job.error is None:
        yield f"{name}: {verdict.reason}"


@dataclass
class Report:
    """What a task will answer, filled in as the task goes: as complete on failure as it got."""

    wants_diff: bool
    planned_only: bool
    tolerance: size.Tolerance = size.EXACT
    started: float = field(default_factory=time.monotonic)
    jobs: t.Sequence[Job] = ()
    notes: t.Sequence[str] = ()  # what to know of all domains together
    host: tuple[str, HostMemory] | None = None  # the hypervisor's name and memory at the end, if it is to be told
    is_refused: bool = False  # whether the plans are beyond a guard

    @property
    def duration(self) -> float:
        """How long the task has taken so far, in seconds."""
        return round(time.monotonic() - self.started, 3)

    @property
    def warnings(self) -> list[str]:
        """What the user should know all the same."""
        return [*self.notes, *(text for job in self.jobs if job.plan for text in _warnings(job))]

    def changed(self, job: Job) -> bool:
        """Whether anything is done to this domain, or would be."""
        return bool(job.steps) if self._as_planned else bool(job.done)

    @property
    def _as_planned(self) -> bool:
        """Whether the plans tell how it would end: if anything speaks against one of them, none is carried out."""
        return self.planned_only and not self.is_refused and not any(job.error for job in self.jobs)

    def devices(self, job: Job) -> list[dict[str, t.Any] | None]:
        """The devices of one domain, in the order in which they are declared."""
        if job.observed is None:
            return []
        if job.plan is None:
            # Nothing could be planned; the devices are shown as they are.
            from ._memory.plan.step import DevicePlan

            shown = [DevicePlan(wish, (), (), {}, {}) for wish in job.order.declaration.wishes]
            return [_device(job.observed, plan, False, self.tolerance) for plan in shown]
        return [_device(job.observed, plan, self._as_planned, self.tolerance) for plan in job.devices]

    def common(self, job: Job | None) -> dict[str, t.Any]:
        """The part of a result that every domain has, whatever became of it."""
        plan = job.plan if job else None
        return {
            "changed": self.changed(job) if job else False,
            "domain": job.observed.describe() if job and job.observed else None,
            "steps": [step.describe() for step in job.steps] if job else [],
            "restart_required": bool(plan and plan.restart_reasons),
            "restart_reasons": list(plan.restart_reasons) if plan else [],
            "usable": job.witness.word.verdict.usable if job else None,
            "guest": job.witness.word.guest.describe() if job else None,
        }

    def memory(self, job: Job) -> dict[str, t.Any] | None:
        """The guest's memory in all, if that is declared; None if nothing could be planned."""
        planned = job.plan.memory if job.plan else None
        if planned is None or job.observed is None:
            return None
        sums = {scope: self._sums(job.observed, scope, planned.sums[scope]) for scope in planned.sums}
        live = job.observed.live
        running = live is not None and LIVE in sums
        return {
            "declared": planned.declared,
            **sums[LIVE if running else CONFIG].describe(),
            "current": plugged_of(live) if live is not None else None,
            "usable": job.witness.word.guest.total,
            "at_boot": sums[CONFIG].effective if CONFIG in sums else None,
        }

    def _sums(self, observed: Domain, scope: str, planned: Sums) -> Sums:
        """What is planned, or what is there once the task is through."""
        definition = observed.scope(scope)
        if self._as_planned or definition is None:
            return planned
        found = sums_of(definition)
        return found._replace(fixed=planned.fixed, requested=found.fixed - planned.fixed)

    def device_result(self) -> dict[str, t.Any]:
        """The result of the module memory_device."""
        job = self.jobs[0] if self.jobs else None
        devices = self.devices(job) if job else []
        result = {**self.common(job), "device": devices[0] if devices else None, "duration": self.duration}
        if self.wants_diff and job and job.plan:
            result["diff"] = job.devices[0].diff()
        return result

    def layout_result(self) -> dict[str, t.Any]:
        """The result of the module memory_layout."""
        domains = []
        for job in self.jobs:
            failure = failure_of(job.error) if job.error else None
            domain = {**self.common(job), "name": job.order.domain, "failure": failure}
            domains.append({**domain, **self._of_guest(job)})
        result: dict[str, t.Any] = {
            "changed": any(domain["changed"] for domain in domains),
            "domains": domains,
            "failed_domains": [domain["name"] for domain in domains if domain["failure"]],
            "restart_required": any(domain["restart_required"] for domain in domains),
            "restart_reasons": [
                f"{domain['name']}: {reason}" for domain in domains for reason in domain["restart_reasons"]
            ],
            "duration": self.duration,
        }
        if self.wants_diff:
            result["diff"] = {side: self._layout_side(side) for side in ("before", "after")}
        return result

    def _of_guest(self, job: Job | None) -> dict[str, t.Any]:
        """The part of a result that is about all devices of a domain."""
        return {
            "memory": self.memory(job) if job else None,
            "devices": self.devices(job) if job else [],
            "undeclared": list(job.plan.undeclared) if job and job.plan else [],
        }

    def guest_result(self) -> dict[str, t.Any]:
        """The result of the module guest_memory."""
        job = self.jobs[0] if self.jobs else None
        result = {**self.common(job), **self._of_guest(job), "duration": self.duration}
        if job is not None and job.error is None and job.plan is not None:
            result["msg"] = self._told(job)
        if self.wants_diff and job and job.plan:
            sides = {side: self._layout_side(side) for side in ("before", "after")}
            result["diff"] = {side: shown[job.order.domain] for side, shown in sides.items()}
        return result

    def _told(self, job: Job) -> str:
        """The result of a guest's memory in a sentence."""
        told, found = self.memory(job), job.first
        if told is None or found is None:
            return ""
        scope = LIVE if found.domain.live is not None else CONFIG
        definition = found.domain.scope(scope)
        before = total_of(definition) if definition is not None else 0
        has = size.show(told["effective"])
        parts = [f"{job.order.domain}: {has}" if before == told["effective"] else f"{job.order.domain}: "]
        if before != told["effective"]:
            parts[0] += f"{size.show(before)} to {has}" + ("" if self.planned_only else f" in {self.duration:.1f} s")
        if not self.planned_only and told["current"] not in (None, told["fixed"] + told["requested"]):
            parts.append(f"the guest has {size.show(told['boot'] + told['dimms'] + told['current'])} so far")
        if told["at_boot"] not in (None, told["effective"]):
            parts.append(f"{size.show(told['at_boot'])} from its next start on")
        if told["usable"] is not None and not self.planned_only:
            parts.append(f"the guest can use {size.about(told['usable'])}")
        if self.host is not None:
            name, memory = self.host
            parts.append(f"{name} has {size.about(memory.available)} of {size.about(memory.total)} left")
        return "; ".join(parts)

    def _layout_side(self, side: str) -> dict[str, t.Any]:
        shown: dict[str, t.Any] = {}
        for job in self.jobs:
            if job.plan is None:
                continue
            config = job.first.domain.config if side == "before" else job.plan.config
            devices: dict[str, t.Any] = {}
            for plan in job.devices:
                name = plan.wish.describe()
                # Devices without an alias that have to go may be alike.
                alike = sum(other.wish.describe() == name for other in job.devices[: len(devices)])
                devices[f"{name} ({alike + 1})" if alike else name] = plan.diff()[side]
            shown[job.order.domain] = {**self._memory_side(job.first, job.plan, side), "devices": devices}
            if job.order.declaration.readies and config is not None:
                limit = None if config.max_memory is None else size.show(config.max_memory)
                shown[job.order.domain].update(max_memory=limit, slots=config.slots, free_ports=config.free_ports)
            declared = job.order.declaration.statistics_period
            definition = job.first.domain.live or job.first.domain.config
            if declared is not None and definition is not None:
                shown[job.order.domain]["statistics_period"] = definition.period if side == "before" else declared
        return shown

    def _memory_side(self, began: Plan, plan: Plan, side: str) -> dict[str, t.Any]:
        """What the guest has in all, in each scope, if that is declared."""
        if plan.memory is None:
            return {}
        definitions = {scope: began.domain.scope(scope) for scope in plan.memory.sums}
        before = {scope: total_of(item) for scope, item in definitions.items() if item is not None}
        after = {scope: sums.effective for scope, sums in plan.memory.sums.items()}
        return {"memory": {scope: size.show(value) for scope, value in (before if side == "before" else after).items()}}
