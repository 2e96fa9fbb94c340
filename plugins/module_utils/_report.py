# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A task's answer: what became of its jobs, as results show it. As complete on failure as it got."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ._apply.job import Job
from ._memory import identity, size
from ._memory.device import LIVE, Domain
from ._memory.errors import VirtmemError
from ._memory.inventory.results import device_result
from ._memory.plan.step import DevicePlan


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
    verdict = job.witness.word.verdict
    if verdict.is_suspect and verdict.reason and job.error is None:
        yield f"{job.order.domain}: {verdict.reason}"


@dataclass
class Report:
    """What a task will answer, filled in as the task goes: as complete on failure as it got."""

    wants_diff: bool
    planned_only: bool
    tolerance: size.Tolerance = size.EXACT
    started: float = field(default_factory=time.monotonic)
    jobs: t.Sequence[Job] = ()
    notes: t.Sequence[str] = ()  # what to know of all domains together
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
            domain = {**self.common(job), "name": job.order.domain, "devices": self.devices(job), "failure": failure}
            domain["undeclared"] = list(job.plan.undeclared) if job.plan else []
            domains.append(domain)
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
            shown[job.order.domain] = {"devices": devices}
            if job.order.declaration.readies and config is not None:
                limit = None if config.max_memory is None else size.show(config.max_memory)
                shown[job.order.domain].update(max_memory=limit, slots=config.slots, free_ports=config.free_ports)
            declared = job.order.declaration.statistics_period
            definition = job.first.domain.live or job.first.domain.config
            if declared is not None and definition is not None:
                shown[job.order.domain]["statistics_period"] = definition.period if side == "before" else declared
        return shown
