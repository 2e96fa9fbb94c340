# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Between Ansible and the rest: options in, results and errors out.

The only file that knows AnsibleModule, and the only one that knows check mode: a run goes on where check
mode stops, with the same plan.
"""

from __future__ import annotations

import contextlib
import signal
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from . import _observe, _options
from ._libvirt import connection
from ._memory import size
from ._memory.device import Declaration, Host, HostMemory
from ._memory.errors import VirtmemError
from ._memory.xml import reading
from ._report import Report, failure_of

# The rest is imported by whoever uses it: Python compiles a module's files anew in each task, which is most of what a
# task with nothing to do takes. tests/unit/test_imports.py has what each module may load.
if t.TYPE_CHECKING:
    from ._apply.job import Job, Order, Planned
    from ._apply.task import Patience
    from ._memory.inventory.results import Selection
    from ._memory.plan.guards import Guards


def _require_libraries() -> None:
    for library, package, trace in _observe.missing_libraries():
        raise VirtmemError(
            "missing_dependency",
            missing_required_lib(f"{library} (package {package})"),
            {"library": library, "package": package, "exception": trace},
            f"Install the package {package} on the managed node (its name on Debian, Ubuntu, Fedora, RHEL and SUSE), "
            "and have ansible_python_interpreter be the distribution's Python.",
        )


# Ctrl-C, the end of the connection to the controller, and what ends processes.
_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


def _heard() -> list[signal.Signals]:
    """Those of them that whoever started the process has not had ignored, as nohup does with the first."""
    return [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def _ends_in_good_order() -> t.Iterator[None]:
    """Makes an error of a signal that comes as long as nothing is changed, in the place of an end without an answer."""

    def give_up(_number: int, _frame: t.Any) -> None:
        for number in _heard():
            signal.signal(number, signal.SIG_IGN)  # once is enough
        raise VirtmemError(
            "task_interrupted", "The task was interrupted before it changed anything.", {}, "Run the task again."
        )

    before = {number: signal.signal(number, give_up) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interruption(hypervisor: connection.Hypervisor) -> t.Callable[[], bool]:
    """From now on, a signal is a wish to end at the next good moment; whether there is one."""
    signals: list[int] = []

    def note(number: int, _frame: t.Any) -> None:
        signals.append(number)
        hypervisor.wake()

    for number in _heard():
        signal.signal(number, note)
    return lambda: bool(signals)


def _manage(
    uri: str,
    orders: t.Sequence[Order],
    patience: Patience,
    report: Report,
    guards: Guards | None,
    tells_host: bool = False,
) -> None:
    """Read, plan, and (unless it is check mode) change and wait; the report learns every step of the way.

    If anything speaks against the plan of any domain, nothing is changed in any.
    """
    report.tolerance = patience.tolerance
    with connection.connect(uri, patience=patience.timeout) as hypervisor:
        _carry_out(hypervisor, orders, patience, report, guards)
        if tells_host and not any(job.error for job in report.jobs):
            with contextlib.suppress(VirtmemError):  # it is only told
                report.host = (hypervisor.name(), hypervisor.host_memory())


def _carry_out(
    hypervisor: connection.Hypervisor,
    orders: t.Sequence[Order],
    patience: Patience,
    report: Report,
    guards: Guards | None,
) -> None:
    from ._apply import prepare
    from ._apply.job import Planned

    observer = _observe.Observer(hypervisor)
    prepared = report.jobs = prepare.prepare(observer, orders, patience)
    planned = [job for job in prepared if isinstance(job, Planned)]
    if len(planned) == len(prepared):
        problem, report.notes = prepare.judge(hypervisor, [job.plan for job in planned], guards)
        if problem is not None:
            report.is_refused = True
            raise problem
    if report.planned_only or len(planned) < len(prepared):
        return
    if not all(prepare.is_through(job, patience) for job in planned):
        _apply(observer, planned, patience, report)


def _apply(observer: _observe.Observer, planned: t.Sequence[Planned], patience: Patience, report: Report) -> None:
    from . import _progress
    from ._apply import whole
    from ._apply.job import Running

    running = [Running(job) for job in planned]
    report.jobs = running
    with _progress.told() as tells:
        patience = patience._replace(interrupted=_interruption(observer.hypervisor), tells=tells)
        whole.apply(observer, running, patience)
    for job in running:
        if job.error:
            job.error.details.setdefault("steps_done", len(job.done))


def _named(error: VirtmemError, domain: str, many: bool) -> VirtmemError:
    """The error with the domain that it is about: always, if it could be one of many, else unless it says so itself."""
    # A name that was refused may be anything.
    name = domain if domain.isprintable() and len(domain) <= _options.LONGEST_NAME else size.shown(domain)
    if not many and name in error.msg:
        return error
    return VirtmemError(error.error_code, f"{name}: {error.msg}", {"domain": name, **error.details}, error.hint)


@contextlib.contextmanager
def _about(domain: str, many: bool = False) -> t.Iterator[None]:
    """Has an error of the options name the domain whose options they are."""
    try:
        yield
    except VirtmemError as error:
        raise _named(error, domain, many) from error


# Of so many failed domains the message says why. The result has all of them.
_MOST_TOLD = 8


def _failed(jobs: t.Sequence[Job], many: bool) -> VirtmemError | None:
    """What the task fails with, if it does: the one domain's error, or one that names them all."""
    failed = [job for job in jobs if job.error]
    if not failed or failed[0].error is None:
        return None
    if len(failed) == 1:
        return _named(failed[0].error, failed[0].order.domain, many)
    errors = [_named(job.error, job.order.domain, many=True) for job in failed if job.error]
    told = [f"{len(failed)} of {len(jobs)} domains failed.", *(error.msg for error in errors[:_MOST_TOLD])]
    if errors[_MOST_TOLD:]:
        told.append(f"As well: {', '.join(str(error.details['domain']) for error in errors[_MOST_TOLD:])}.")
    return VirtmemError(
        "domains_failed",
        "\n".join(told),
        {"domains": {job.order.domain: failure_of(job.error) for job in failed if job.error}},
        "\n".join(dict.fromkeys(error.hint for error in errors[:_MOST_TOLD])),
    )


def _module(arguments: t.Mapping[str, t.Any], **more: t.Any) -> AnsibleModule:
    return AnsibleModule(argument_spec={**_options.CONNECTION_OPTIONS, **arguments}, supports_check_mode=True, **more)


def _answer(
    module: AnsibleModule,
    report: Report,
    work: t.Callable[[], None],
    result: t.Callable[[], dict[str, t.Any]],
    many: bool = False,
) -> None:
    """Does the work and ends the module with its result, or with the error and as much of the result as there is."""
    with _ends_in_good_order():
        try:
            _require_libraries()
            work()
            error = _failed(report.jobs, many)
        except VirtmemError as raised:
            error = raised
        for number in _heard():
            signal.signal(number, signal.SIG_IGN)  # the answer is known, and comes at once
        for warning in report.warnings:
            module.warn(warning)
        if error is not None:
            # Ansible prints the message in red, and the hint only somewhere in the result.
            msg = f"{error.msg}\n{error.hint}" if "\n" in error.msg else f"{error.msg} {error.hint}"
            module.fail_json(**{**failure_of(error), "msg": msg.strip()}, **result())
        module.exit_json(**result())


def memory_device() -> None:
    """The module `memory_device`: the layout of one device."""
    module = _module(
        {
            "domain": {"type": "str", "required": True},
            **_options.DEVICE_OPTIONS,
            **_options.WAIT_OPTIONS,
        },
        required_one_of=[_options.IDENTITY],
    )
    report = Report(wants_diff=module._diff, planned_only=module.check_mode)

    def work() -> None:
        from ._apply.job import Order

        with _about(module.params["domain"]):
            declaration = Declaration((_options.wish_from(module.params),))
            order = Order(_options.text_of(module.params, "domain"), declaration)
        patience = _options.patience_from(module.params)
        _manage(_options.text_of(module.params, "uri"), [order], patience, report, None)

    _answer(module, report, work, report.device_result)


def guest_memory() -> None:
    """The module `guest_memory`: the layout of one guest, by one number."""
    module = _module(
        {
            "domain": {"type": "str", "required": True},
            "memory": {"type": "str", "required": True},
            **_options.GUEST_OPTIONS,
            **_options.GUARD_OPTIONS,
            **_options.WAIT_OPTIONS,
        }
    )
    report = Report(wants_diff=module._diff, planned_only=module.check_mode)

    def work() -> None:
        from ._apply.job import Order

        with _about(module.params["domain"]):
            order = Order(_options.text_of(module.params, "domain"), _options.guest_from(module.params))
        patience, guards = _options.patience_from(module.params), _options.guards_from(module.params)
        _manage(_options.text_of(module.params, "uri"), [order], patience, report, guards, tells_host=True)

    _answer(module, report, work, report.guest_result)


def _order(params: t.Mapping[str, t.Any]) -> Order:
    with _about(str(params["name"]), many=True):
        return _options.order_from(params)


def memory_layout() -> None:
    """The module `memory_layout`: whole domains, many in one task."""
    module = _module({**_options.LAYOUT_OPTIONS, **_options.GUARD_OPTIONS, **_options.WAIT_OPTIONS})
    report = Report(wants_diff=module._diff, planned_only=module.check_mode)

    def work() -> None:
        orders = [_order(domain) for domain in module.params["domains"]]
        patience, guards = _options.patience_from(module.params), _options.guards_from(module.params)
        _manage(_options.text_of(module.params, "uri"), orders, patience, report, guards)

    _answer(module, report, work, report.layout_result, many=True)


def _host(hypervisor: connection.Hypervisor) -> tuple[HostMemory | None, Host | None]:
    """The memory of the hypervisor's machine; None if its driver can't tell."""
    try:
        host = reading.read_host(hypervisor.capabilities())
        pools = sorted(host.page_sizes - {host.smallest_page})
        return hypervisor.host_memory(host.pages, pools), host
    except VirtmemError as error:
        if error.error_code != "libvirt_error":
            raise
        return None, None


def _inventory(
    hypervisor: connection.Hypervisor,
    params: t.Mapping[str, t.Any],
    selection: Selection,
    told: dict[str, t.Any],
) -> None:
    """One pass over the domains that are asked about."""
    from . import _survey
    from ._memory.inventory import sums

    versions = hypervisor.versions()
    told["hypervisor"] = sums.hypervisor(versions, sums.host_memory(*_host(hypervisor)))
    chosen = _survey.choose(hypervisor.list_domains(), params["domains"], params["uri"])
    for listed, answer in _survey.read_all(hypervisor, chosen, params["timeout"], guest=params["guest"]):
        if answer is None:
            continue
        if isinstance(answer, VirtmemError) and answer.error_code == "connection_lost":
            raise answer
        try:
            if isinstance(answer, VirtmemError):
                raise answer
            domain = sums.describe(_observe.decode(answer), selection, versions)
        except VirtmemError as error:
            domain = sums.unreadable(listed.name, listed.uuid, listed.state, listed.persistent, error)
        told["domains"].append(domain)
    told["summary"] = sums.summary(told["domains"])


def memory_device_info() -> None:
    """The module `memory_device_info`."""
    module = _module(_options.INFO_OPTIONS)
    report = Report(wants_diff=False, planned_only=True)
    told: dict[str, t.Any] = {"hypervisor": None, "domains": [], "summary": None}

    def result() -> dict[str, t.Any]:
        return {"changed": False, **told, "duration": report.duration}

    def work() -> None:
        selection = _options.selection_from(module.params)
        with connection.connect(_options.text_of(module.params, "uri"), read_only=True) as hypervisor:
            _inventory(hypervisor, module.params, selection, told)

    _answer(module, report, work, result)
