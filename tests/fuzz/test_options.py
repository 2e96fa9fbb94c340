# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generated option sets through all of argument check, options, rules and plan, against generated domains.

What comes out is a plan that says what was declared, or an error that is on the list and has a hint.
"""

from __future__ import annotations

import json
import traceback
import typing as t
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

pytest.importorskip("ansible.module_utils.common.arg_spec")

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtmem.libvirt.plugins.module_utils import _module, _options
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import prepare
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Order, Planned, Refused
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import calls
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import support
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    ABSENT,
    CONFIG,
    LIVE,
    Declaration,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES, VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.domain import ATTACH, DevicePlan, Plan, Step
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.guards import NO_GUARDS
from ansible_collections.virtmem.libvirt.plugins.module_utils._observe import Observer
from ansible_collections.virtmem.libvirt.tests.fuzz import _generated as generated
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils._memory import _elements as elements
from hypothesis import given, settings
from hypothesis import strategies as st

VERSIONS = (
    support.Versions(9_000_000, 7_002_022),
    support.Versions(11_003_000, 10_000_002),
    support.Versions(7_000_000, 5_000_000),
)
# The specs as the modules hand them to Ansible; one of these names must be given.
VALIDATORS = {
    "memory_device": ArgumentSpecValidator(
        {
            **_options.CONNECTION_OPTIONS,
            "domain": {"type": "str", "required": True},
            **_options.DEVICE_OPTIONS,
            **_options.WAIT_OPTIONS,
        },
        required_one_of=[_options.IDENTITY],
    ),
    "memory_layout": ArgumentSpecValidator(
        {**_options.CONNECTION_OPTIONS, **_options.LAYOUT_OPTIONS, **_options.GUARD_OPTIONS, **_options.WAIT_OPTIONS}
    ),
}


class Anyone(model.Connection):
    """A connection to the model of libvirt that has each domain by whatever name, one after the other."""

    asked = 0

    def find(self, domain: str) -> str:
        """The next domain; there are none with very long names."""
        if len(domain) > 200:
            raise VirtmemError("domain_not_found", "There is none.", {}, "Look for it.")
        self.asked += 1
        machines = list(self.libvirt.machines)
        # A domain that is asked for once more is another one, or the same again.
        return machines[(self.asked - 1) % len(machines)]


def hypervisor(told: t.Sequence[generated.Told], known: support.Versions, sgx: bool) -> Anyone:
    """The model with these domains, as they are told of: nothing is refused on the way in."""
    libvirt = model.Libvirt(known, capabilities=generated.CAPABILITIES)
    libvirt.domain_capabilities = generated.DOMAIN_CAPABILITIES.format("yes" if sgx else "no")
    for number, domain in enumerate(told):
        config, live = (None if text is None else ET.fromstring(text) for text in (domain.config, domain.live))
        machine = model.Machine(f"domain{number}", f"uuid{number}", config, live)
        machine.state, machine.error_paused = domain.state, domain.error_paused
        libvirt.machines[machine.uuid] = machine
    return Anyone(libvirt)


SEEN: Counter[str] = Counter()


def declared(error: VirtmemError) -> None:
    """Checks that this is an error that users can do something with, and that can be handed to Ansible."""
    SEEN[error.error_code] += 1
    assert error.error_code in ERROR_CODES
    assert error.msg.strip()
    assert len(error.msg) < 2000, error.msg
    assert error.hint.strip()
    json.dumps(error.details, allow_nan=False)
    assert len(json.dumps(error.details)) < 20_000
    error.msg.encode()
    error.hint.encode()


# --- what a plan says


def says(text: str, wish: Wish, name: str, live: bool) -> bool:
    """Whether an element has a property as it was declared; read without the code under test."""
    model = ET.fromstring(text).get("model", "")
    path, attribute = elements.place(name, model)
    found = [value for where, key, value in elements.facts(text) if where == path and key == (attribute or "text")]
    there = any(where == path for where, _key, _value in elements.facts(text))
    wanted = getattr(wish, name)
    if name in elements.FLAGS:
        return bool(there == wanted)
    if not found:
        return wanted is False or (name == "requested" and wanted == 0)
    if name in elements.SIZES:
        has = int(found[0]) * 1024
        return has == wanted or (live and name == "size" and wanted <= has < wanted + 2**28)
    if name == "base":
        return bool(int(found[0], 16) == wanted)
    if name == "nodemask":
        return found[0] == elements._nodeset(wanted)  # the writer of the tests, not the collection's
    yes_no = {True: "yes", False: "no"}
    return found[0] == (yes_no[wanted] if isinstance(wanted, bool) else str(wanted))


def last(steps: t.Sequence[Step], scope: str) -> Step | None:
    """The step that leaves a device as it will be in this scope."""
    return next((step for step in reversed(steps) if step.scope == scope), None)


def check_device(plan: DevicePlan) -> None:
    """Every element parses, and in the end the device is as declared, as far as the plan claims it."""
    for taken in plan.steps:
        assert ET.fromstring(taken.xml).tag == "memory"
    wish = plan.wish
    if wish.state == ABSENT:
        assert plan.cut or all(plan.after[scope] is None for scope in plan.scopes if scope == CONFIG)
        return
    for scope in plan.scopes:
        step, device = last(plan.steps, scope), plan.before[scope]
        text = step.xml if step else device.xml if device else None
        if plan.cut or (scope == LIVE and plan.restart_reasons):
            continue
        assert text is not None, (scope, wish)
        for name in wish.given():
            free = name == "requested" and wish.resize != "any" and not (step and step.op == ATTACH)
            assert free or says(text, wish, name, scope == LIVE), (name, scope, wish, text)


def check_plan(plan: Plan, declaration: Declaration) -> None:
    """The whole plan says what is declared."""
    for device in plan.devices:
        check_device(device)
    for step in plan.steps:
        described = step.describe()
        assert set(described) == {"op", "scope", "xml", *(["adds"] if step.ready is not None else [])}
        if step.ready is not None:
            assert described["adds"]
            root = ET.fromstring(step.xml)
            limit = root.find("maxMemory")
            if declaration.slots is not None and limit is not None and limit.get("slots"):
                assert limit.get("slots") == str(declaration.slots)
    json.dumps([device.diff() for device in plan.devices], allow_nan=False)


def checked(module: str, options: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """The options as Ansible hands them on, None if it refuses them."""
    try:
        result = VALIDATORS[module].validate(options)
    except (TypeError, ValueError, OverflowError) as error:
        # Ansible's own (2.19): an infinite number for an integer, a number where suboptions should be. It never
        # gets to a module; what is raised in ours does not come past here.
        if "/ansible/module_utils/common/" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise
        return None
    return None if result.error_messages else dict(result.validated_parameters)


def printable(params: dict[str, t.Any]) -> bool:
    """Whether Ansible can repeat the options in its result, as it does in every one: no half characters, no numbers
    that Python refuses to print."""
    try:
        json.dumps(params, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def orders(module: str, params: dict[str, t.Any]) -> list[Order]:
    """The orders of a module's checked options, as `_module` makes them."""
    if module == "memory_device":
        declaration = Declaration((_options.wish_from(params),))
        return [Order(_options.text_of(params, "domain"), declaration)]
    return [_module._order(domain) for domain in params["domains"]]


@given(
    generated.tasks(),
    st.lists(generated.domains(), min_size=1, max_size=2),
    st.sampled_from(VERSIONS),
    st.booleans(),
)
def test_a_plan_or_a_declared_error(
    task: tuple[str, dict[str, t.Any]], told: list[generated.Told], versions: support.Versions, sgx: bool
) -> None:
    module, options = task
    params = checked(module, options)
    if params is None:
        SEEN["refused by Ansible"] += 1
        return
    try:
        wanted = orders(module, params)
        patience = _options.patience_from(params)
        _options.text_of(params, "uri")
        guards = _options.guards_from(params) if module == "memory_layout" else NO_GUARDS
        asked = t.cast("_libvirt.Hypervisor", hypervisor(told, versions, sgx))
        jobs = prepare.prepare(Observer(asked), wanted, patience)
        planned = [job.plan for job in jobs if isinstance(job, Planned)]
        problem = prepare.judge(asked, planned, guards)[0] if len(planned) == len(jobs) else None
        if problem is not None:
            declared(problem)
    except VirtmemError as error:
        declared(error)
        return
    for job in jobs:
        if isinstance(job, Refused):
            declared(job.error)
        else:
            SEEN["planned"] += 1
            check_plan(job.plan, job.order.declaration)


def test_the_generated_got_everywhere() -> None:
    """The test above is worth nothing if all it generates is refused at the door."""
    total = sum(SEEN.values())
    if total < 1000:
        pytest.skip("too few were generated to tell")
    assert SEEN["planned"] > total / 20, SEEN
    assert len([code for code in SEEN if code in ERROR_CODES]) >= 15, SEEN


# --- the modules as a whole


@pytest.fixture
def any_domain(monkeypatch: pytest.MonkeyPatch) -> list[Anyone]:
    """The one connection that there is, to be put in."""
    there: list[Anyone] = []

    class Connection:
        """In the place of `_libvirt.connect`."""

        def __init__(self, _uri: str, read_only: bool = False, **_more: t.Any) -> None:
            assert not read_only

        def __enter__(self) -> Anyone:
            return there[0]

        def __exit__(self, *_exc: object) -> None:
            """Nothing is open."""

    monkeypatch.setattr(_libvirt, "connect", Connection)
    monkeypatch.setattr(calls, "LIBVIRT_IMPORT_ERROR", None)
    return there


ALWAYS = {"changed", "restart_required", "restart_reasons", "duration"}


@settings(max_examples=max(settings().max_examples // 10, 1))
@given(generated.tasks(), generated.domains(), st.sampled_from(VERSIONS))
def test_the_whole_module_answers_in_json(
    any_domain: list[Anyone],
    capsys: pytest.CaptureFixture[str],
    task: tuple[str, dict[str, t.Any]],
    told: generated.Told,
    versions: support.Versions,
) -> None:
    testing = pytest.importorskip("ansible.module_utils.testing")
    module, options = task
    params = checked(module, options)
    if params is None or not printable(params):
        return
    any_domain[:] = [hypervisor([told], versions, True)]
    capsys.readouterr()
    arguments = {**options, "_ansible_check_mode": True, "_ansible_diff": True}
    with testing.patch_module_args(arguments), pytest.raises(SystemExit):
        getattr(_module, module)()
    printed, complained = capsys.readouterr()
    assert not complained
    answer = json.loads(printed)
    if answer.get("failed") and "error_code" not in answer:
        return  # by Ansible's own check
    assert set(answer) >= ALWAYS
    assert "exception" not in answer or answer["error_code"]
    if answer.get("failed"):
        assert answer["error_code"] in ERROR_CODES
        assert answer["hint"]


URIS = ("test:///default", "test:///default\0", "", "\0", "\ud800", "nonsense:///", " ", "x" * 5000, "test://\n")
NAMES = st.one_of(st.sampled_from(["test", "te*", "[", "", "\0", "\ud800"]), st.text(max_size=8))


@settings(max_examples=max(settings().max_examples // 10, 1))
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "uri": st.sampled_from(URIS),
            "domains": st.lists(NAMES, max_size=3),
            "models": st.lists(st.sampled_from(["dimm", "virtio-mem"]), max_size=2),
            "aliases": st.lists(st.one_of(st.sampled_from(["vm0", "ua-vm0"]), NAMES), max_size=2),
            "guest": st.booleans(),
            "timeout": st.one_of(st.floats(), st.integers(-(10**30), 10**30)),
        },
    )
)
def test_the_information_module_answers_in_json(capsys: pytest.CaptureFixture[str], options: dict[str, t.Any]) -> None:
    """With libvirt itself, and its driver for tests."""
    testing = pytest.importorskip("ansible.module_utils.testing")
    if not printable(options):
        options = {name: value for name, value in options.items() if printable({name: value})}
    capsys.readouterr()
    with testing.patch_module_args({"uri": "test:///default", **options}), pytest.raises(SystemExit):
        _module.memory_device_info()
    printed, complained = capsys.readouterr()
    assert not complained
    answer = json.loads(printed)
    if answer.get("failed") and "error_code" not in answer:
        return  # by Ansible's own check
    assert answer["duration"] < 10
    if answer.get("failed"):
        assert answer["error_code"] in ERROR_CODES
        assert answer["hint"]
    else:
        assert answer["summary"]["domains"] == len(answer["domains"])
