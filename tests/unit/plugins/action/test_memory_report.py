# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""memory_report writes what the hosts' variables have: three files, whole ones, and nothing in check mode.

extensions/molecule/default runs it with real guests, and test_report.py has what is in the files.
"""

from __future__ import annotations

import json
import os
import re
import stat
import types
import typing as t
from pathlib import Path

import pytest
import yaml

pytest.importorskip("jinja2")  # what only a controller has

from ansible.errors import AnsibleActionFail
from ansible_collections.virtmem.libvirt.plugins.action import memory_report
from ansible_collections.virtmem.libvirt.plugins.modules import memory_report as documentation
from ansible_collections.virtmem.libvirt.tests.unit.plugins.plugin_utils import test_report as made

Dict = dict[str, t.Any]
KNOWN: dict[str, Dict] = {
    "hv1": {"memory": made.survey(made.guest(requested=2, current=1))["info"]},
    "hv2": {"memory": {"msg": "No socket.", "failed": True}},
    "hv3": {},
    "hv4": {"memory": "{{ other }}"},
}


class _Variables(dict[str, Dict]):
    """What Ansible knows of hosts. Whoever asks for anything but what is written there has it templated."""

    def raw_get(self, host: str) -> Dict:
        return super().__getitem__(host)

    def __getitem__(self, host: str) -> Dict:
        raise AssertionError(host)


class _Loader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_basedir(self) -> str:
        return str(self._folder)


class _Task:
    async_val = 0
    check_mode = False
    diff = False

    def __init__(self, **arguments: t.Any) -> None:
        self.args = arguments


def run(folder: Path, task: _Task | None = None, **arguments: t.Any) -> Dict:
    """The task's result."""
    task = task or _Task(**{"dest": str(folder / "page"), "result": "memory", **arguments})
    loader: t.Any = _Loader(folder)
    connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir="/nowhere"))
    action = memory_report.ActionModule(task, connection, None, loader, None, None)
    known = {"ansible_play_hosts_all": ["hv2", "hv1", "hv3"], "hostvars": _Variables(KNOWN)}
    return action.run(None, known)


def test_all_hosts_of_the_play_are_on_the_page(tmp_path: Path) -> None:
    result = run(tmp_path)
    folder = tmp_path / "page"
    assert (result["changed"], result["dest"], result["hosts"]) == (True, str(folder), 3)
    assert [(fault["host"], fault["kind"], fault["domain"]) for fault in result["faults"]] == [
        ("hv2", "unreachable", None),
        ("hv3", "unreachable", None),
        ("hv1", "not_converged", "web1"),
    ]
    assert result["faults"][0]["message"] == "hv2: No socket."
    written = json.loads((folder / "survey.json").read_text())
    assert {host["host"]: host["info"] for host in written["hosts"]} == {
        name: variables.get("memory") for name, variables in KNOWN.items() if name != "hv4"
    }
    page = made.Page((folder / "index.html").read_text())
    assert [row[1] for row in page.tables[0][1:]] == ["hv2", "hv3", "hv1"]
    assert "<h1>Memory of libvirt guests</h1>" in (folder / "index.html").read_text()
    assert 'virtmem_survey_success{host="hv1",uri=""} 1' in (folder / "virtmem.prom").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "survey.json", "virtmem.prom"]


def test_a_host_may_be_told_about(tmp_path: Path) -> None:
    about = [{"host": "hv1", "uri": "qemu+ssh://hv1/system", "reserve": "40GiB"}, "hv3"]
    result = run(tmp_path, hosts=about, title="Of <today>")
    assert [(fault["host"], fault["kind"]) for fault in result["faults"]][:2] == [
        ("hv3", "unreachable"),
        ("hv1", "room"),
    ]
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Of &lt;today&gt;" in page
    assert "qemu+ssh://hv1/system" in page


def test_a_web_server_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run(tmp_path)
    finally:
        os.umask(before)
    folder = tmp_path / "page"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir(mode=0o700)
    (folder / "other").touch()
    (folder / "index.html").write_text("yesterday")
    run(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "other").exists()
    assert "yesterday" not in (folder / "index.html").read_text()


def test_a_relative_folder_is_beside_the_playbook(tmp_path: Path) -> None:
    assert run(tmp_path, dest="page")["dest"] == str(tmp_path / "page")
    assert (tmp_path / "page" / "index.html").exists()


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    task = _Task(dest=str(tmp_path / "page"), result="memory")
    task.check_mode = True
    result = run(tmp_path, task)
    assert result["changed"] is True
    assert len(result["faults"]) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error_code", "told"),
    [
        ({"hosts": [{"uri": "x"}]}, "invalid_option", "hosts: {'uri': 'x'} is neither a host's name nor a dictionary"),
        ({"hosts": [{"host": "hv1", "url": "x"}]}, "invalid_option", "is neither a host's name nor a dictionary"),
        ({"hosts": [7]}, "invalid_option", "hosts: 7 is neither"),
        ({"hosts": ["hv9"]}, "invalid_option", "there is no host hv9 in the inventory"),
        ({"hosts": ["hv4"]}, "invalid_option", "Write `register: memory` at the task"),
        ({"hosts": [{"host": "hv1", "reserve": "8"}]}, "invalid_quantity", "reserve of hv1"),
        ({"dest": ""}, "invalid_option", "dest: it is empty"),
        ({"result": None}, "invalid_option", "result: it is empty"),
        ({"dest": "/dev/null/page"}, "invalid_option", "dest: /dev/null/page can't be written"),
    ],
)
def test_what_can_not_be_done_is_said_and_nothing_is_written(
    tmp_path: Path, arguments: Dict, error_code: str, told: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(told)) as failed:
        run(tmp_path, **arguments)
    assert failed.value.result["error_code"] == error_code
    assert failed.value.__cause__ is None  # Ansible would say it twice
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["dest", "result"])
def test_what_must_be_given(tmp_path: Path, missing: str) -> None:
    task: t.Any = _Task(**{name: "x" for name in ("dest", "result") if name != missing})
    with pytest.raises(AnsibleActionFail, match=f"missing required arguments: {missing}"):
        run(tmp_path, task)


def test_half_a_file_is_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file can't be renamed, the old one is as it was, and nothing is left beside it."""
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "index.html").write_text("yesterday")

    def refuse(_aside: Path, _path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(AnsibleActionFail, match="No space left on device"):
        run(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    assert (folder / "index.html").read_text() == "yesterday"


def test_the_options_are_those_that_are_documented() -> None:
    """Sanity compares them only where a module has both."""
    documented = yaml.safe_load(documentation.DOCUMENTATION)["options"]
    for option in documented.values():
        del option["description"]
    assert documented == memory_report._OPTIONS
