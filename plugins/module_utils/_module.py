# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Between Ansible and the rest: options in, results and errors out.

The only file that knows AnsibleModule, and the only one that knows check mode: a run goes on where check
mode stops, with the same plan.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from . import _converge, _libvirt
from ._memory import identity, progress, size, xml
from ._memory.device import CONFIG, LIVE, VIRTIO_MEM, Device, Domain, Wish, parse_nodeset
from ._memory.errors import VirtmemError
from ._memory.plan import Plan, plan_device

# --- option families; each has its doc fragment

CONNECTION_OPTIONS: dict[str, t.Any] = {
    "uri": {"type": "str", "default": "qemu:///system"},
}

DEVICE_OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present"], "default": "present"},
    "alias": {"type": "str"},
    "model": {"type": "str", "choices": [VIRTIO_MEM]},
    "size": {"type": "str"},
    "requested": {"type": "str"},
    "block": {"type": "str"},
    "node": {"type": "int"},
    "source": {
        "type": "dict",
        "options": {"nodemask": {"type": "str"}, "pagesize": {"type": "str"}},
    },
    "scope": {"type": "str", "choices": ["auto", "live", "config", "both"], "default": "auto"},
    "resize": {"type": "str", "choices": ["any", "grow", "shrink", "never"], "default": "any"},
}

WAIT_OPTIONS: dict[str, t.Any] = {
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 120},
    "wait_sleep": {"type": "int", "default": 1},
    "wait_tolerance": {"type": "str", "default": "0"},
}

# --- options to values


def _quantity(params: t.Mapping[str, t.Any], name: str, option: str = "") -> int | None:
    text = params.get(name)
    return None if text is None else size.parse(text, option or name)


def _invalid(option: str, value: object, why: str, hint: str) -> VirtmemError:
    return VirtmemError("invalid_option", f"{option}: {size.shown(value)} {why}.", {"option": option, "value": value}, hint)


def _nodemask(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else parse_nodeset(text)
    except ValueError as error:
        raise _invalid(
            "source.nodemask", text, "is not a set of host NUMA nodes", "Write it as libvirt does, for example 0-1,3."
        ) from error


def wish_from(params: t.Mapping[str, t.Any]) -> Wish:
    """The declared device.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    node = params["node"]
    if node is not None and node < 0:
        raise _invalid("node", node, "is negative", "Give the id of a NUMA cell of the guest.")
    source = params["source"] or {}
    return Wish(
        alias=None if params["alias"] is None else identity.user_alias(params["alias"]),
        model=params["model"],
        size=_quantity(params, "size"),
        requested=_quantity(params, "requested"),
        block=_quantity(params, "block"),
        node=node,
        nodemask=_nodemask(source.get("nodemask")),
        pagesize=_quantity(source, "pagesize", "source.pagesize"),
        scope=params["scope"],
        resize=params["resize"],
    )


def patience_from(params: t.Mapping[str, t.Any]) -> _converge.Patience:
    """How the task waits.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    for option, least in (("wait_timeout", 0), ("wait_sleep", 1)):
        if params[option] < least:
            raise _invalid(option, params[option], f"is less than {least} seconds", f"Give {least} or more.")
    return _converge.Patience(
        timeout=params["wait_timeout"],
        sleep=params["wait_sleep"],
        tolerance=size.parse_tolerance(params["wait_tolerance"]),
    )


# --- values to results


def device_result(
    sides: t.Mapping[str, Device | None], plan: Plan | None, tolerance: size.Tolerance
) -> dict[str, t.Any] | None:
    """A device as results show it, with both its sides; None where neither scope has it."""
    live, config = sides[LIVE], sides[CONFIG]
    either = live or config
    if either is None:
        return None
    converged: bool | None = None
    shortfall: int | None = None
    if live is not None or (plan is not None and LIVE in plan.scopes):
        declared = either.size if either.requested is None else either.requested
        converged, shortfall = progress.outcome(live, plan.goal if plan else None, declared, tolerance)
    return {
        "alias": (live and live.user_alias) or (config and config.user_alias) or None,
        "model": either.model,
        "live": live.describe() if live else None,
        "config": config.describe() if config else None,
        "converged": converged,
        "shortfall": shortfall,
    }


@dataclass
class Report:
    """What a task will answer, filled in as the task goes: as complete on failure as it got."""

    wants_diff: bool
    tolerance: size.Tolerance = size.EXACT
    started: float = field(default_factory=time.monotonic)
    domain: Domain | None = None
    plan: Plan | None = None
    sides: t.Mapping[str, Device | None] | None = None
    changed: bool = False

    def result(self) -> dict[str, t.Any]:
        """The result's keys: the same in check mode, on success and on failure."""
        plan = self.plan
        result: dict[str, t.Any] = {
            "changed": self.changed,
            "domain": self.domain.describe() if self.domain else None,
            "device": device_result(self.sides, plan, self.tolerance) if self.sides else None,
            "steps": [step.describe() for step in plan.steps] if plan else [],
            "restart_required": bool(plan and plan.restart_reasons),
            "restart_reasons": list(plan.restart_reasons) if plan else [],
            "duration": round(time.monotonic() - self.started, 3),
        }
        if self.wants_diff and plan:
            result["diff"] = plan.diff()
        return result


# --- the modules


def _require_libraries() -> None:
    for library, package, trace in (
        ("libvirt-python", "python3-libvirt", _libvirt.LIBVIRT_IMPORT_ERROR),
        ("lxml", "python3-lxml", xml.LXML_IMPORT_ERROR),
    ):
        if trace:
            raise VirtmemError(
                "missing_dependency",
                missing_required_lib(library),
                {"library": library, "package": package, "exception": trace},
                f"Install the package {package} on the managed node (its name on Debian, Ubuntu, Fedora, RHEL and SUSE), "
                "and have ansible_python_interpreter be the distribution's Python.",
            )


def _manage_device(params: t.Mapping[str, t.Any], check_mode: bool, report: Report) -> None:
    """Read, plan, and (unless it is check mode) change and wait; the report learns every step of the way."""
    wish = wish_from(params)
    patience = patience_from(params)
    report.tolerance = patience.tolerance
    with _libvirt.connect(params["uri"]) as hypervisor:
        uuid = hypervisor.find(params["domain"])
        report.domain = _converge.observe(hypervisor, uuid)
        report.sides = identity.select_all(report.domain, wish)
        plan = report.plan = plan_device(report.domain, wish, hypervisor.versions())
        if check_mode:
            report.changed = plan.changed
            report.sides = plan.after
            return
        job = _converge.Job(uuid, plan, report.domain)
        try:
            _converge.change(hypervisor, job)
            if params["wait"]:
                _converge.wait(hypervisor, [job], patience)
        finally:
            report.changed = bool(job.done)
            # A resumed wait takes no step, and still sees the guest move.
            if job.done or job.error or job.observed != report.domain:
                _refresh(hypervisor, job, report)
        if job.error:
            raise job.error


def _refresh(hypervisor: _libvirt.Hypervisor, job: _converge.Job, report: Report) -> None:
    """Reads once more, so that the result tells what is, not what was planned. Best effort: it may follow a failure."""
    try:
        report.domain = _converge.observe(hypervisor, job.uuid)
        report.sides = identity.select_all(report.domain, job.plan.wish)
    except VirtmemError:
        return


def memory_device() -> None:
    """The module `memory_device`."""
    module = AnsibleModule(
        argument_spec={
            "domain": {"type": "str", "required": True},
            **CONNECTION_OPTIONS,
            **DEVICE_OPTIONS,
            **WAIT_OPTIONS,
        },
        required_one_of=[("alias", "model", "node")],
        supports_check_mode=True,
    )
    report = Report(wants_diff=module._diff)
    try:
        _require_libraries()
        _manage_device(module.params, module.check_mode, report)
    except VirtmemError as error:
        module.fail_json(
            msg=error.msg,
            error_code=error.error_code,
            details=error.details,
            hint=error.hint,
            **report.result(),
        )
    for warning in report.plan.warnings if report.plan else ():
        module.warn(warning)
    module.exit_json(**report.result())
