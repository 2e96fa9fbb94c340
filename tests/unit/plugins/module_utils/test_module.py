# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Between Ansible and the rest: options are as documented, bad ones have their code, and keys stay the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import typing as t

import pytest

pytest.importorskip("ansible.module_utils.basic")

from ansible_collections.virtmem.libvirt.plugins.doc_fragments import (
    _connection,
    _device,
    _guards,
    _guest,
    _wait,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils import _module, _observe, _options
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import calls
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import element
from ansible_collections.virtmem.libvirt.plugins.modules import (
    guest_memory,
    memory_device,
    memory_device_info,
    memory_layout,
)
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

FAMILIES = [
    (_options.CONNECTION_OPTIONS, _connection),
    (_options.DEVICE_OPTIONS, _device),
    (_options.GUEST_OPTIONS, _guest),
    (_options.GUARD_OPTIONS, _guards),
    (_options.WAIT_OPTIONS, _wait),
]

DEFAULTS: dict[str, t.Any] = {
    **{name: option.get("default") for options, _fragment in FAMILIES for name, option in options.items()},
    "domain": "web1",
}


def options_of(documentation: str) -> t.Any:
    """The options of a documentation."""
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(documentation)["options"]


def same(spec: t.Mapping[str, t.Any], documented: t.Mapping[str, t.Any]) -> None:
    """Checks that an argument spec and its documentation say the same, at every depth."""
    assert set(spec) == set(documented)
    for name, option in spec.items():
        says = documented[name]
        assert option.get("type", "str") == says.get("type", "str"), name
        assert option.get("choices") == says.get("choices"), name
        assert option.get("default") == says.get("default"), name
        assert option.get("required", False) == says.get("required", False), name
        assert option.get("elements") == says.get("elements"), name
        assert says["description"], name
        same(option.get("options", {}), says.get("suboptions", {}))


@pytest.mark.parametrize(("spec", "fragment"), FAMILIES)
def test_the_options_are_those_of_the_documentation(spec: dict[str, t.Any], fragment: t.Any) -> None:
    same(spec, options_of(fragment.ModuleDocFragment.DOCUMENTATION))


def test_the_options_of_the_other_modules_are_documented_too() -> None:
    same(_options.LAYOUT_OPTIONS, options_of(memory_layout.DOCUMENTATION))
    same(_options.INFO_OPTIONS, options_of(memory_device_info.DOCUMENTATION))


def test_the_module_has_no_options_but_those() -> None:
    families = {name for spec, _fragment in FAMILIES for name in spec}
    assert not families & set(options_of(memory_device.DOCUMENTATION))
    assert set(options_of(guest_memory.DOCUMENTATION)) == {"domain", "memory"}


@pytest.mark.parametrize(
    ("options", "error_code", "option"),
    [
        ({"alias": "a.b"}, "invalid_alias", "alias"),
        ({"size": "1024"}, "invalid_quantity", "size"),
        ({"requested": "-1GiB"}, "invalid_quantity", "requested"),
        ({"block": "2XiB"}, "invalid_quantity", "block"),
        ({"node": -1}, "invalid_option", "node"),
        ({"source": {"pagesize": "big"}}, "invalid_quantity", "source.pagesize"),
        ({"source": {"nodemask": "a-b"}}, "invalid_option", "source.nodemask"),
        ({"wait_timeout": -1}, "invalid_option", "wait_timeout"),
        ({"wait_sleep": 0}, "invalid_option", "wait_sleep"),
        ({"node": True}, "invalid_option", "node"),
        ({"slot": False}, "invalid_option", "slot"),
        ({"wait_timeout": True}, "invalid_option", "wait_timeout"),
        ({"wait_sleep": True}, "invalid_option", "wait_sleep"),
        ({"wait_tolerance": "101%"}, "invalid_quantity", "wait_tolerance"),
    ],
)
def test_a_bad_option_has_its_code(options: dict[str, t.Any], error_code: str, option: str) -> None:
    params = {**DEFAULTS, **options}
    with pytest.raises(VirtmemError) as caught:
        (_options.patience_from if option.startswith("wait") else _options.wish_from)(params)
    assert caught.value.error_code == error_code
    assert caught.value.details["option"] == option
    assert caught.value.msg.startswith(f"{option}: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("6", "6GiB"),
        ("6144", "6144MiB"),
        ("2Gi", "Write 2GiB"),
        ("2GB", "Write 2GiB"),
        ("1.5GiB", "1536MiB"),
        ("6 gigs", "GiB"),
    ],
)
def test_a_memory_that_can_not_be_read_is_told_as_it_must_be_written(text: str, way_out: str) -> None:
    with pytest.raises(VirtmemError) as caught:
        _options.guest_from({**DEFAULTS, "memory": text})
    assert caught.value.details["option"] == "memory"
    assert caught.value.msg.startswith("memory: ")
    assert way_out in caught.value.hint


def test_a_memory_in_any_unit() -> None:
    assert _options.guest_from({**DEFAULTS, "memory": "6144 M"}).memory == 6 * GIB
    assert _options.guest_from({**DEFAULTS, "memory": "2049KiB"}).memory == 2049 * 1024


@pytest.mark.parametrize("option", ["slots", "spare_ports", "statistics_period"])
def test_yes_is_no_number_of_a_guest_either(option: str) -> None:
    with pytest.raises(VirtmemError, match=f"^{option}: .True. is not a number") as caught:
        _options.guest_from({**DEFAULTS, "memory": None, option: True})
    assert caught.value.error_code == "invalid_option"


@pytest.mark.parametrize("option", ["node", "slot", "wait_timeout"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_python_does_not_print_is_refused_as_well(option: str, sign: int) -> None:
    params = {**DEFAULTS, option: sign * 10**5000}
    with pytest.raises(VirtmemError) as caught:
        (_options.patience_from if option.startswith("wait") else _options.wish_from)(params)
    assert caught.value.error_code == "invalid_option"
    assert len(json.dumps(caught.value.details)) < 100


def test_the_options_become_a_wish() -> None:
    wish = _options.wish_from(
        {
            **DEFAULTS,
            "alias": "vm0",
            "model": "virtio-mem",
            "size": "4GiB",
            "requested": "0",
            "block": "2 MiB",
            "node": 0,
            "source": {"nodemask": "0-1,3", "pagesize": "2MiB"},
            "scope": "config",
            "resize": "grow",
        }
    )
    assert wish.given() == {
        "alias": "ua-vm0",
        "model": "virtio-mem",
        "size": 4 * GIB,
        "requested": 0,
        "block": 2 * MIB,
        "node": 0,
        "nodemask": (0, 1, 3),
        "pagesize": 2 * MIB,
    }
    assert (wish.scope, wish.resize) == ("config", "grow")


@pytest.mark.parametrize(("text", "base"), [("0010", 10), ("0x10", 16), ("0X10", 16), (" 7 ", 7)])
def test_a_base_is_read_as_libvirt_reads_it(text: str, base: int) -> None:
    assert _options.wish_from({**DEFAULTS, "base": text}).base == base


def test_a_size_is_kept_in_whole_kib_as_libvirt_keeps_it() -> None:
    assert _options.wish_from({**DEFAULTS, "label_size": "1MB"}).label_size == 1000448


def test_what_is_not_given_is_not_wished() -> None:
    assert _options.wish_from({**DEFAULTS, "source": {"nodemask": None, "pagesize": None}}).given() == {}


# --- the module as a whole, as far as it comes without a hypervisor


def run(capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    """The answer of the module to these options."""
    testing = pytest.importorskip("ansible.module_utils.testing")
    arguments = {"domain": "web1", "alias": "vm0", "uri": "test:///default", **options}
    with testing.patch_module_args(arguments), pytest.raises(SystemExit):
        memory_device.main()
    answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return answer


ALWAYS = {"changed", "domain", "device", "steps", "restart_required", "restart_reasons", "usable", "guest", "duration"}
ON_FAILURE = {"failed", "msg", "error_code", "details", "hint"}
BY_ANSIBLE = {"invocation", "warnings", "deprecations", "exception"}


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize(
    ("options", "error_code"),
    [
        ({"requested": "1024"}, "invalid_quantity"),
        ({"domain": "there is no such domain"}, "domain_not_found"),
        ({"uri": "nowhere:///"}, "connection_failed"),
    ],
)
def test_a_failure_has_every_key(
    capsys: pytest.CaptureFixture[str],
    options: dict[str, t.Any],
    error_code: str,
    check_mode: bool,
) -> None:
    pytest.importorskip("libvirt")
    answer = run(capsys, **options, _ansible_check_mode=check_mode)
    assert answer["error_code"] == error_code
    assert set(answer) - BY_ANSIBLE == ALWAYS | ON_FAILURE
    assert answer["changed"] is False


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_success_has_every_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check_mode: bool
) -> None:
    """The test driver's own domain, with a plan that is empty: nothing to do is the one thing that driver can do."""
    pytest.importorskip("libvirt")
    device = helpers.virtio_mem(requested=0, current=0)
    definition = helpers.definition(device)
    monkeypatch.setattr(_observe.Observer, "observe", lambda *_: helpers.domain(definition, definition))
    monkeypatch.setattr(_libvirt.Hypervisor, "versions", lambda *_: helpers.TRIXIE)
    answer = run(capsys, domain="test", requested="0", _ansible_check_mode=check_mode, _ansible_diff=True)
    assert set(answer) - BY_ANSIBLE == ALWAYS | {"diff"}
    assert answer["changed"] is False
    assert answer["device"]["converged"] is True
    assert answer["diff"]["before"] == answer["diff"]["after"]


@pytest.mark.parametrize(("library", "name"), [(calls, "LIBVIRT_IMPORT_ERROR"), (element, "LXML_IMPORT_ERROR")])
def test_a_library_that_is_missing_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], library: t.Any, name: str
) -> None:
    monkeypatch.setattr(calls, "LIBVIRT_IMPORT_ERROR", None)
    monkeypatch.setattr(library, name, "Traceback")
    answer = run(capsys)
    assert answer["error_code"] == "missing_dependency"
    assert answer["details"]["package"] in ("python3-libvirt", "python3-lxml")
    assert answer["details"]["package"] in answer["hint"]
    assert set(answer) - BY_ANSIBLE == ALWAYS | ON_FAILURE


@pytest.fixture(name="number", params=[signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def heeded(request: pytest.FixtureRequest) -> t.Iterator[signal.Signals]:
    """Each of the signals, heeded even if whoever runs the tests has it ignored, as nohup does."""
    former = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, former)


def test_a_signal_before_anything_is_changed_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    monkeypatch.setattr(calls, "LIBVIRT_IMPORT_ERROR", None)
    before = signal.getsignal(number)

    def connect(_uri: str, **_more: t.Any) -> t.NoReturn:
        os.kill(os.getpid(), number)
        time.sleep(5)  # the signal comes long before
        raise AssertionError

    monkeypatch.setattr(_libvirt, "connect", connect)
    answer = run(capsys)
    assert (answer["error_code"], answer["changed"]) == ("task_interrupted", False)
    assert signal.getsignal(number) == before


def test_a_name_that_no_domain_can_have_is_refused_in_short() -> None:
    with pytest.raises(VirtmemError) as caught:
        _options.text_of({"domain": "9" * 4000}, "domain")
    assert caught.value.error_code == "invalid_option"
    assert len(caught.value.msg) < 200
    assert _options.text_of({"domain": "9" * 255}, "domain")
    assert _options.text_of({"uri": "qemu:///" + "9" * 4000}, "uri")


MODULES: dict[str, dict[str, t.Any]] = {
    "memory_device": {"domain": "test", "alias": "vm0"},
    "memory_layout": {"domains": [{"name": "test"}]},
    "memory_device_info": {},
}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("uri", ["", "qemu:///system\0", "qemu:///\n", "q" * 5000])
def test_no_module_opens_what_is_no_uri(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, uri: str
) -> None:
    testing = pytest.importorskip("ansible.module_utils.testing")
    monkeypatch.setattr(calls, "LIBVIRT_IMPORT_ERROR", None)
    monkeypatch.setattr(_libvirt, "connect", lambda *_some, **_more: pytest.fail("it was opened"))
    with testing.patch_module_args({**MODULES[module], "uri": uri}), pytest.raises(SystemExit):
        getattr(_module, module)()
    answer = json.loads(capsys.readouterr().out)
    assert (answer["error_code"], answer["details"]["option"]) == ("invalid_option", "uri")


IGNORING = """
import os, signal, sys
from ansible_collections.virtmem.libvirt.plugins.module_utils import _module
with _module._ends_in_good_order():
    os.kill(os.getpid(), signal.SIGHUP)
    interrupted = _module._interruption(None)
    os.kill(os.getpid(), signal.SIGHUP)
    assert not interrupted()
assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
print("still here")
"""


def test_a_signal_that_is_ignored_from_the_start_stays_ignored() -> None:
    """As nohup has it."""
    command = ["sh", "-c", 'trap \'\' HUP; exec "$0" -c "$1"', sys.executable, IGNORING]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (done.stdout, done.returncode) == ("still here\n", 0), done.stderr


@pytest.mark.parametrize("name", ["9" * 4000, "web\0one", "\ud800"])
def test_a_layout_does_not_repeat_such_a_name(name: str) -> None:
    with pytest.raises(VirtmemError) as caught:
        _module._order({"name": name, "devices": []})
    told = caught.value
    assert told.error_code == "invalid_option"
    assert len(told.msg) < 300
    assert told.msg.isprintable()
    assert len(told.details["domain"]) < 300
    assert told.details["domain"].isprintable()
