# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each module loads of the collection: Python compiles all of it in each task anew, so nothing that is not used.

A file that is named here and not loaded is no fault, one that is loaded and not named is: have who uses it import it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

import pytest

pytest.importorskip("libvirt")
pytest.importorskip("lxml")
pytest.importorskip("ansible.module_utils.basic")

PACKAGE = "ansible_collections.virtmem.libvirt.plugins.module_utils."
# Runs a module to its end in a process of its own, and prints what it has loaded.
RUN = f"""
import json, sys
import ansible.module_utils.basic as basic
from {PACKAGE}_libvirt.connection import Hypervisor
from {PACKAGE.rstrip(".")} import _module
module, options, observed = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
if observed:
    from {PACKAGE}_observe import Observer
    from {PACKAGE}_memory.device import Domain
    from {PACKAGE}_memory.support import Versions
    from {PACKAGE}_memory.xml.reading import read_definition
    live = read_definition(observed)
    Observer.observe = lambda *_: Domain("web1", "u", "running", True, live=live, config=live)
    Hypervisor.versions = lambda *_: Versions(11_003_000, 10_000_000)
basic._ANSIBLE_ARGS = json.dumps({{"ANSIBLE_MODULE_ARGS": options}}).encode()
basic._ANSIBLE_PROFILE = "legacy"
try:
    getattr(_module, module)()
except SystemExit as end:
    print()
    print(json.dumps([end.code or 0, sorted(name for name in sys.modules if name.startswith("{PACKAGE}"))]))
"""
GUEST = """
<domain type='qemu' id='1'><memory unit='GiB'>2</memory><maxMemory slots='4' unit='GiB'>8</maxMemory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<cpu><numa><cell id='0' memory='1' unit='GiB'/></numa></cpu>
<devices><memory model='virtio-mem'><target><size unit='GiB'>1</size><node>0</node><block unit='MiB'>2</block>
<requested unit='KiB'>0</requested><current unit='KiB'>0</current></target><alias name='ua-vm0'/></memory></devices>
</domain>
"""

BASE = {
    *("_module", "_options", "_observe", "_report", "_libvirt", "_memory", "_memory.xml", "_memory.rules"),
    *(f"_libvirt.{name}" for name in ("calls", "changes", "connection", "events", "opening")),
    *(f"_memory.{name}" for name in ("around", "device", "errors", "guest", "identity", "models", "platforms")),
    *(f"_memory.{name}" for name in ("progress", "properties", "size", "support", "total")),
    *("_memory.rules.around", "_memory.rules.domain"),
    *("_memory.inventory", "_memory.inventory.results"),
    *(f"_memory.xml.{name}" for name in ("around", "element", "reading")),
}
SURVEY = {"_survey", "_memory.inventory.sums", "_memory.inventory.drift"}
RULES = {f"_memory.rules.{name}" for name in ("definition", "host", "values")}
PLAN = {
    "_memory.plan",
    *(f"_memory.plan.{name}" for name in ("changes", "device", "domain", "entry", "live", "readiness", "step")),
    "_memory.xml.writing",
}
PREPARE = {"_apply", *(f"_apply.{name}" for name in ("hearing", "job", "prepare", "task", "witness"))}


def loaded(module: str, options: t.Mapping[str, t.Any], observed: str = "") -> set[str]:
    """The collection's files that a module has loaded when it ends well."""
    words = [sys.executable, "-c", RUN, module, json.dumps({"uri": "test:///default", **options}), observed]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    code, names = json.loads(ran.stdout.splitlines()[-1])
    assert code == 0, ran.stdout
    return {name.removeprefix(PACKAGE) for name in names}


def test_the_survey_loads_nothing_that_plans_or_changes() -> None:
    assert loaded("memory_device_info", {}) <= BASE | SURVEY | RULES | {"_libvirt.connection"}


@pytest.mark.parametrize("check", [False, True])
def test_a_device_that_is_as_declared_loads_nothing_that_changes_and_no_arithmetic(check: bool) -> None:
    options = {"domain": "test", "alias": "ua-vm0", "requested": "0", "_ansible_check_mode": check}
    found = loaded("memory_device", options, GUEST)
    assert found <= BASE | RULES | PLAN | PREPARE


def test_check_mode_loads_nothing_that_changes_whatever_is_to_be_done() -> None:
    options = {"domain": "test", "alias": "ua-vm0", "requested": "1GiB", "_ansible_check_mode": True}
    assert loaded("memory_device", options, GUEST) <= BASE | RULES | PLAN | PREPARE | {"_memory.plan.guards"}
