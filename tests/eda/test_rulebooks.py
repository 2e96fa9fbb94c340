# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rulebooks of the collection, run by ansible-rulebook, with guests that are changed behind its back."""

from __future__ import annotations

import json
import os
import re
import textwrap
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_rulebook.rules_parser import parse_rule_sets
from ansible_rulebook.validators import Validate
from conftest import BEGINS, DEVICE, Begin, Rulebook, change, host
from faultlab import MIB, NODE_PYTHON, ROOT, Lab, until

THOROUGH = os.environ.get("VIRTMEM_LABS") == "all"
DECLARED = {"name": "web1", "memory": "1GiB"}
# Published are the figures of `make bench BENCHES=events`; this is what a busy machine may take.
PROMPT = 30.0


def written() -> dict[str, str]:
    """Every rulebook that people are shown or given, as text."""
    folder = ROOT / "extensions" / "eda"
    found = {path.name: path.read_text() for path in folder.glob("rulebooks/*.yml")}
    source = (folder / "plugins" / "event_source" / "memory.py").read_text()
    found["EXAMPLES"] = source.partition('EXAMPLES = r"""\n')[2].partition('"""')[0]
    guide = (ROOT / "docs" / "docsite" / "rst" / "reference_events.rst").read_text()
    blocks = re.findall(r"^\.\. code-block:: yaml\n\n((?:(?: +.*)?\n)+)", guide, re.MULTILINE)
    shown = [textwrap.dedent(block) for block in blocks]
    return {**found, **{f"guide {number}": block for number, block in enumerate(shown) if "sources:" in block}}


@pytest.mark.parametrize("name", written())
def test_a_rulebook_is_as_the_engine_has_them(name: str) -> None:
    rulebook = yaml.safe_load(written()[name])
    Validate.rulebook(rulebook)
    parsed = parse_rule_sets(rulebook, {"memory_playbook": "tell.yml"})
    assert [source.source_name for source in parsed[0].sources] == ["virtmem.libvirt.memory"]
    assert parsed[0].sources[0].source_args.keys() <= {"uris", "domains", "interval", "statistics"}


def is_as_declared(lab: Lab, name: str, mib: int = 512) -> bool:
    """Whether both scopes have it, and the guest has followed."""
    live, config = lab.device(name, "live"), lab.device(name, "config")
    sizes = (live or {}).get("requested"), (live or {}).get("current"), (config or {}).get("requested")
    return sizes == (mib * MIB,) * 3


def total(lab: Lab, name: str) -> int:
    """The guest's own MemTotal."""
    return int(lab("memtotal", name))


@pytest.fixture
def other_guest(other_lab: Lab) -> t.Iterator[str]:
    """A guest of the other hypervisor."""
    with other_lab.guest("db1", "--device", DEVICE) as name:
        yield name


@pytest.fixture
def repairing(lab: Lab, other_lab: Lab, guest: str, other_guest: str, begin: Begin) -> Rulebook:
    """A rulebook that repairs the guests of two hypervisors, and has looked once already."""
    hosts = {"hv1": host(lab, DECLARED), "hv2": host(other_lab, {"name": other_guest, "memory": "1GiB"})}
    rulebook = begin("repair", hosts, memory_uris=[lab.uri, other_lab.uri], memory_pause=1)
    until(lambda: rulebook.runs("hv1") and rulebook.runs("hv2"), "a first run for both", BEGINS)
    rulebook.settle()
    assert is_as_declared(lab, guest)
    return rulebook


def repaired(lab: Lab, guest: str, repairing: Rulebook, scopes: tuple[str, ...]) -> None:
    """Changes the guest in these scopes, and waits until it is as declared."""
    runs = repairing.runs("hv1")
    changed = change(lab, guest, "1GiB", *scopes)
    until(lambda: is_as_declared(lab, guest), f"a guest that was changed by {scopes}", PROMPT)
    print(f"{scopes}: as declared after {time.monotonic() - changed:.2f} s")
    # It is followed by a run for what it has changed itself, which a busy machine takes its time to begin.
    until(lambda: repairing.runs("hv1") >= runs + 2, "the end of the repair, and of the run after it", PROMPT)
    repairing.settle()
    assert "waiting: [" not in repairing.text, "nobody is at the terminal of a rulebook's playbook"
    # One that repairs, one for what that has changed, which finds nothing to do, and on a busy machine one for a drift
    # that is told too late to be of the same moment.
    assert repairing.runs("hv1") <= runs + 3


def test_what_is_changed_behind_its_back_is_as_declared_again(
    lab: Lab, other_lab: Lab, guest: str, other_guest: str, repairing: Rulebook
) -> None:
    before = total(lab, guest)
    # In both scopes, where nothing differs within libvirt, and in the running guest alone.
    for scopes in (("--live", "--config"), ("--live",)) if THOROUGH else (("--live", "--config"),):
        repaired(lab, guest, repairing, scopes)
    until(lambda: total(lab, guest) == before, "a guest that counts what it had")

    # The other hypervisor's is repaired by itself.
    untouched = repairing.runs("hv1")
    change(other_lab, other_guest, "1GiB", "--live")
    until(lambda: is_as_declared(other_lab, other_guest), "the other hypervisor's guest", PROMPT)
    repairing.settle()
    assert repairing.runs("hv1") == untouched

    # A start from an old configuration.
    lab.virsh("destroy", guest)
    change(lab, guest, "768MiB", "--config")
    lab.virsh("start", guest)
    until(lambda: is_as_declared(lab, guest), "a guest that was started with old values", PROMPT)

    # What happens while nobody listens, and both scopes agree, so that nothing differs within libvirt.
    repairing.settle()
    lab.kill()
    lab("restart")
    restarted = change(lab, guest, "1GiB", "--live", "--config")
    until(lambda: is_as_declared(lab, guest), "a guest that was changed while nobody listened", PROMPT)
    print(f"Changed while nobody listened: as declared after {time.monotonic() - restarted:.2f} s")
    # The next tests begin with a guest that has followed.
    until(lambda: lab.device(guest, "live")["current"] == 512 * MIB, "a guest that has followed", PROMPT)  # type: ignore[index]


def test_a_repair_that_fails_is_told_and_is_not_the_end(lab: Lab, guest: str, begin: Begin, tmp_path: Path) -> None:
    playbook, told = tmp_path / "tell.yml", tmp_path / "told.json"
    # Written anew each time, though it says the same.
    copy = {"content": "{{ {'at': now() | string, 'memory': memory} | to_json }}", "dest": str(told), "mode": "0600"}
    tasks = [{"name": "Keep it", "ansible.builtin.copy": copy}]
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    too_much = {"name": guest, "memory": "64GiB"}
    rulebook = begin(
        "repair",
        {"hv1": host(lab, too_much)},
        memory_uris=lab.uri,
        memory_pause=1,
        memory_playbook=str(playbook),
    )
    until(told.exists, "a failure that is told", BEGINS)
    until(told.read_text, "all of it")
    event = json.loads(told.read_text())["memory"]
    assert (event["kind"], event["uri"]) == ("repair_failed", lab.uri)
    assert f"{guest}: memory: 64GiB is declared" in event["message"]
    # What a busy machine tells of too late to be of the same moment is a reason of its own.
    rulebook.settle()
    before = told.stat().st_mtime
    time.sleep(5)
    assert told.stat().st_mtime == before, "it is tried for ever"
    # What happens next is a reason to try again, and to tell.
    change(lab, guest, "768MiB", "--live", "--config")
    until(lambda: told.stat().st_mtime > before, "a second failure that is told", BEGINS)


def test_what_people_must_know_is_handed_to_their_playbook(lab: Lab, guest: str, begin: Begin, tmp_path: Path) -> None:
    playbook = tmp_path / "tell.yml"
    shell: dict[str, t.Any] = {
        "name": "Keep it",
        "ansible.builtin.lineinfile": {
            "path": str(tmp_path / "told"),
            "line": "{{ memory.kind }} {{ memory.message }}",
        },
    }
    shell["ansible.builtin.lineinfile"]["create"] = True
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [shell]}]))
    change(lab, guest, "768MiB", "--config")
    hosts = {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": NODE_PYTHON}}
    begin("notify", hosts, memory_uris=lab.uri, memory_domains=["web*"], memory_playbook=str(playbook))
    until((tmp_path / "told").exists, "a playbook that is told", BEGINS)
    told = (tmp_path / "told").read_text()
    assert told == "drift requested of ua-vm0 is 512MiB in the running guest and 768MiB in the configuration.\n"
