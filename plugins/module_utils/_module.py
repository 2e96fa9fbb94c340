# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Between Ansible and the rest: options in, results and errors out.

The only file that knows AnsibleModule, and the only one that knows check mode: a run goes on where check
mode stops, with the same plan.
"""

from __future__ import annotations

import re
import time
import typing as t
import uuid
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from . import _converge, _libvirt
from ._memory import identity, progress, size, xml
from ._memory.device import (
    ABSENT,
    CONFIG,
    LIVE,
    MODELS,
    PRESENT,
    SGX_EPC,
    Declaration,
    Device,
    Domain,
    Host,
    Wish,
    parse_nodeset,
)
from ._memory.errors import VirtmemError
from ._memory.plan import Circumstances, DevicePlan, Plan, Step, plan_domain

# --- option families; each has its doc fragment

CONNECTION_OPTIONS: dict[str, t.Any] = {
    "uri": {"type": "str", "default": "qemu:///system"},
}

DEVICE_OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "alias": {"type": "str"},
    "model": {"type": "str", "choices": list(MODELS)},
    "size": {"type": "str"},
    "requested": {"type": "str"},
    "block": {"type": "str"},
    "label_size": {"type": "str"},
    "node": {"type": "int"},
    "access": {"type": "str", "choices": ["shared", "private"]},
    "discard": {"type": "bool"},
    "readonly": {"type": "bool"},
    "uuid": {"type": "str"},
    "dynamic_memslots": {"type": "bool"},
    "source": {
        "type": "dict",
        "options": {
            "path": {"type": "str"},
            "nodemask": {"type": "str"},
            "pagesize": {"type": "str"},
            "alignsize": {"type": "str"},
            "pmem": {"type": "bool"},
        },
    },
    "slot": {"type": "int"},
    "base": {"type": "str"},
    "scope": {"type": "str", "choices": ["auto", "live", "config", "both"], "default": "auto"},
    "resize": {"type": "str", "choices": ["any", "grow", "shrink", "never"], "default": "any"},
    "replace": {"type": "bool", "default": False},
}

WAIT_OPTIONS: dict[str, t.Any] = {
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 120},
    "wait_sleep": {"type": "int", "default": 1},
    "wait_tolerance": {"type": "str", "default": "0"},
}

# --- options to values

_LARGEST_ID = 65535  # of a NUMA cell or a slot; libvirt's own limits are lower, and it knows them
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}", re.ASCII)


def _quantity(params: t.Mapping[str, t.Any], name: str, option: str = "") -> int | None:
    text = params.get(name)
    return None if text is None else size.parse(text, option or name)


def _invalid(option: str, value: object, why: str, hint: str) -> VirtmemError:
    return VirtmemError(
        "invalid_option", f"{option}: {size.shown(value)} {why}.", {"option": option, "value": value}, hint
    )


def _nodemask(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else parse_nodeset(text)
    except ValueError as error:
        raise _invalid(
            "source.nodemask", text, "is not a set of host NUMA nodes", "Write it as libvirt does, for example 0-1,3."
        ) from error


def _not_negative(params: t.Mapping[str, t.Any], option: str, hint: str) -> int | None:
    value: int | None = params[option]
    if value is not None and not 0 <= value <= _LARGEST_ID:
        raise _invalid(option, value, f"is not between 0 and {_LARGEST_ID}", hint)
    return value


def _base(text: str | None) -> int | None:
    if text is None:
        return None
    if not _ADDRESS.fullmatch(text.strip()):
        raise _invalid("base", text, "is not an address", "Write it as libvirt does, for example 0x140000000.")
    return int(text, 0)


def _uuid(text: str | None) -> str | None:
    try:
        return None if text is None else str(uuid.UUID(text))
    except ValueError as error:
        raise _invalid(
            "uuid", text, "is not a UUID", "Write 32 hexadecimal digits, in groups of 8-4-4-4-12."
        ) from error


def wish_from(params: t.Mapping[str, t.Any]) -> Wish:
    """The declared device.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    source = params["source"] or {}
    return Wish(
        alias=None if params["alias"] is None else identity.user_alias(params["alias"]),
        state=params["state"],
        model=params["model"],
        size=_quantity(params, "size"),
        requested=_quantity(params, "requested"),
        block=_quantity(params, "block"),
        label_size=_quantity(params, "label_size"),
        node=_not_negative(params, "node", "Give the id of a NUMA cell of the guest."),
        access=params["access"],
        discard=params["discard"],
        readonly=params["readonly"],
        uuid=_uuid(params["uuid"]),
        dynamic_memslots=params["dynamic_memslots"],
        path=source.get("path"),
        nodemask=_nodemask(source.get("nodemask")),
        pagesize=_quantity(source, "pagesize", "source.pagesize"),
        alignsize=_quantity(source, "alignsize", "source.alignsize"),
        pmem=source.get("pmem"),
        slot=_not_negative(params, "slot", "Give the number of a memory slot of the guest."),
        base=_base(params["base"]),
        scope=params["scope"],
        resize=params["resize"],
        replace=params["replace"],
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
        wait=params["wait"],
        timeout=params["wait_timeout"],
        sleep=params["wait_sleep"],
        tolerance=size.parse_tolerance(params["wait_tolerance"]),
    )


# --- values to results


def device_result(
    sides: t.Mapping[str, Device | None], wish: Wish | None, plan: DevicePlan | None, tolerance: size.Tolerance
) -> dict[str, t.Any]:
    """A device as results show it, with both its sides."""
    live, config = sides[LIVE], sides[CONFIG]
    either = live or config
    converged: bool | None = None
    shortfall: int | None = None
    if live is not None or (plan is not None and LIVE in plan.scopes):
        converged, shortfall = progress.outcome(live, plan.goal if plan else None, wish, tolerance)
    return {
        "alias": (live and live.user_alias) or (config and config.user_alias) or (wish and wish.alias) or None,
        "model": either.model if either else wish.model if wish else None,
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
    wish: Wish | None = None
    plan: Plan | None = None
    steps: t.Sequence[Step] = ()
    planned_only: bool = False
    changed: bool = False

    def _device(self) -> dict[str, t.Any] | None:
        if self.domain is None or self.wish is None:
            return None
        plan = self.plan.devices[0] if self.plan else None
        if plan and self.planned_only:
            return device_result(plan.after, self.wish, plan, self.tolerance)
        try:
            sides = identity.select_all(self.domain, self.wish)
        except VirtmemError:
            return None
        return device_result(sides, self.wish, plan, self.tolerance)

    def result(self) -> dict[str, t.Any]:
        """The result's keys: the same in check mode, on success and on failure."""
        plan = self.plan
        result: dict[str, t.Any] = {
            "changed": self.changed,
            "domain": self.domain.describe() if self.domain else None,
            "device": self._device(),
            "steps": [step.describe() for step in self.steps],
            "restart_required": bool(plan and plan.restart_reasons),
            "restart_reasons": list(plan.restart_reasons) if plan else [],
            "duration": round(time.monotonic() - self.started, 3),
        }
        if self.wants_diff and plan:
            result["diff"] = plan.devices[0].diff()
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
                f"Install the package {package} on the managed node (its name on Debian, Ubuntu, Fedora, RHEL and "
                "SUSE), "
                "and have ansible_python_interpreter be the distribution's Python.",
            )


def _circumstances(
    hypervisor: _libvirt.Hypervisor, wishes: t.Collection[Wish], patience: _converge.Patience
) -> Circumstances:
    """What plans on this hypervisor depend on. The host is only asked for what a wish needs of it."""
    host: Host | None = None
    if any(wish.nodemask is not None or wish.pagesize is not None or wish.model == SGX_EPC for wish in wishes):
        sgx = any(wish.model == SGX_EPC for wish in wishes)
        host = xml.read_host(hypervisor.capabilities(), hypervisor.domain_capabilities() if sgx else None)
    return Circumstances(hypervisor.versions(), host, patience.wait)


def _manage_device(params: t.Mapping[str, t.Any], check_mode: bool, report: Report) -> None:
    """Read, plan, and (unless it is check mode) change and wait; the report learns every step of the way."""
    wish = report.wish = wish_from(params)
    patience = patience_from(params)
    report.tolerance = patience.tolerance
    declaration = Declaration((wish,))
    with _libvirt.connect(params["uri"]) as hypervisor:
        uuid_ = hypervisor.find(params["domain"])
        report.domain = _converge.observe(hypervisor, uuid_)
        circumstances = _circumstances(hypervisor, [wish], patience)
        report.plan = plan_domain(report.domain, declaration, circumstances)
        report.steps = report.plan.steps
        report.planned_only = check_mode
        if check_mode:
            report.changed = report.plan.changed
            return
        job = _converge.Job(uuid_, declaration, circumstances, report.domain, report.plan)
        try:
            _converge.carry_out(hypervisor, [job], patience)
        finally:
            report.changed = bool(job.done)
            report.domain, report.plan, report.steps = job.observed, job.plan, job.steps
        if job.error:
            job.error.details.setdefault("steps_done", len(job.done))
            raise job.error


def _warn(module: AnsibleModule, report: Report) -> None:
    for warning in report.plan.warnings if report.plan else ():
        module.warn(warning)


def memory_device() -> None:
    """The module `memory_device`."""
    module = AnsibleModule(
        argument_spec={
            "domain": {"type": "str", "required": True},
            **CONNECTION_OPTIONS,
            **DEVICE_OPTIONS,
            **WAIT_OPTIONS,
        },
        required_one_of=[("alias", "model", "node", "slot", "base")],
        supports_check_mode=True,
    )
    report = Report(wants_diff=module._diff)
    try:
        _require_libraries()
        _manage_device(module.params, module.check_mode, report)
    except VirtmemError as error:
        _warn(module, report)
        module.fail_json(
            msg=error.msg,
            error_code=error.error_code,
            details=error.details,
            hint=error.hint,
            **report.result(),
        )
    _warn(module, report)
    module.exit_json(**report.result())
