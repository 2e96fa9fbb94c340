# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner's own eyes: what it makes of the tools' output, most of all of a tool that did nothing and is content.

Also that the linters of a commit are those of `make lint`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import checks
import options
from checks import Count, Problem, Ran, Tally
from stages import _covered, _junit, _sanity_tests, _scenario, _target

ROOT = Path(__file__).parents[2]

JUNIT = """<testsuites>
<testsuite name="pytest" tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}">
<testcase name="one"/>{cases}</testsuite></testsuites>"""
SKIPPED = '<testcase name="two"><skipped message="no root"/></testcase>'
BROKEN = (
    '<testcase name="three"><failure message="no"/></testcase><testcase name="four"><error message="no"/></testcase>'
)


def junit(tmp_path: Path, text: str) -> Count:
    """What is made of this file."""
    path = tmp_path / "result.xml"
    path.write_text(text)
    return _junit(path, Ran(True, ""))


def test_the_numbers_of_pytest(tmp_path: Path) -> None:
    text = JUNIT.format(tests=7, failures=1, errors=2, skipped=1, cases=SKIPPED + BROKEN)
    assert junit(tmp_path, text) == Count(3, 3, ("two: no root",), ("three", "four"))


@pytest.mark.parametrize(("tests", "skipped", "why"), [(0, 0, "found no test"), (3, 3, "Every test was skipped")])
def test_a_run_of_pytest_without_a_test_is_a_problem(tmp_path: Path, tests: int, skipped: int, why: str) -> None:
    with pytest.raises(Problem, match=why):
        junit(tmp_path, JUNIT.format(tests=tests, failures=0, errors=0, skipped=skipped, cases=""))


def test_a_run_of_pytest_that_wrote_nothing_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="ran no test"):
        _junit(tmp_path / "missing.xml", Ran(True, "1 passed"))


SANITY = """Running sanity test "compile"
Running sanity test "import"
Running sanity test "compile"
WARNING: Skipping tests for Python 3.8, which was not found.
"""


def test_the_sanity_tests_are_counted_once_each() -> None:
    count = _sanity_tests(Ran(True, SANITY))
    assert (count.passed, count.failed) == (2, 0)
    assert count.skipped == ("Skipping tests for Python 3.8, which was not found.",)
    broken = SANITY + "FATAL: The 1 sanity test(s) listed below (out of 2) failed.\n"
    assert _sanity_tests(Ran(False, broken)).failed == 1


@pytest.mark.parametrize("output", ["", "WARNING: All tests skipped."])
def test_ansible_test_without_a_test_is_a_problem(output: str) -> None:
    with pytest.raises(Problem):
        _sanity_tests(Ran(True, output))


RUN = "Running memory_device_wait integration test role\n"
RECAP = "testhost                   : ok={}   changed=2    unreachable=0    failed={}    skipped=1\n"


@pytest.mark.parametrize(
    ("output", "ok", "count"),
    [(RUN + RECAP.format(12, 0), True, Count(1)), (RUN + RECAP.format(12, 1), False, Count(0, 1))],
)
def test_a_target_that_ran(output: str, ok: bool, count: Count) -> None:
    assert _target("memory_device_wait", Ran(ok, output)) == count


@pytest.mark.parametrize(
    "output", ["", RUN, RUN + RECAP.format(0, 0), RUN.replace("wait", "other") + RECAP.format(3, 0)]
)
def test_a_target_that_did_nothing_is_a_problem(output: str) -> None:
    with pytest.raises(Problem, match="memory_device_wait"):
        _target("memory_device_wait", Ran(True, output))


def test_a_scenario_that_left_something_out_is_a_problem() -> None:
    with pytest.raises(Problem, match="default"):
        _scenario("default", Ran(True, "INFO     default > create: Executed: Successful\n"))


def test_coverage_of_nothing_is_a_problem() -> None:
    with pytest.raises(Problem):
        _covered(Ran(True, "No data to report."))
    assert _covered(Ran(True, "TOTAL   2000   10   600   9   98%\n")) == Count(1)
    assert _covered(Ran(False, "TOTAL   2000   10   600   9   70%\n")) == Count(0, 1)


def test_a_commit_is_judged_by_the_versions_that_the_checks_have() -> None:
    pins = set(re.findall(r"^[\w-]+==\S+$", (ROOT / "tests/requirements/tools.txt").read_text(), re.MULTILINE))
    hooks = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repository["hooks"]
    ]
    used = {pin for hook in hooks for pin in hook["additional_dependencies"]}
    assert used
    assert used <= pins
    stages = (ROOT / "tests/run/stages.py").read_text()
    for hook in hooks:
        assert f'"{hook["entry"].split()[0]}"' in stages, hook["id"]


FRAGMENT: options.Options = {
    "size": {"description": ["The size."], "type": "str"},
    "kind": {"description": ["The kind."], "type": "str", "choices": ["a", "b"], "default": "a"},
    "source": {"description": ["Where."], "type": "dict", "suboptions": {"path": {"type": "path"}}},
}


def test_options_are_repeated_with_all_that_they_have() -> None:
    text = f"top:\n  {options.mark('_device')}\n  old:\n    type: str\nnext: 1\n"
    made = options.renewed(text, "suboptions", "_device", FRAGMENT)
    assert options.renewed(made, "suboptions", "_device", FRAGMENT) == made
    read = yaml.safe_load(made)
    assert read["next"] == 1
    assert list(read["top"]) == list(FRAGMENT)
    assert read["top"]["kind"]["choices"] == ["a", "b"]
    assert read["top"]["kind"]["default"] == "a"
    assert read["top"]["source"]["suboptions"]["path"]["description"] == [
        f"As O({options.SOURCES['_device']}:source.path)."
    ]


def test_a_document_that_was_changed_by_hand_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fragments = [f"{options.FRAGMENTS}/{fragment}.py" for fragment in options.SOURCES]
    for name in (*fragments, *(place for place, _key in options.PLACES)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(options, "ROOT", tmp_path)
    options.main(check=True)
    stale = tmp_path / options.PLACES[0][0]
    stale.write_text(stale.read_text().replace("choices: [any, grow, shrink, never]", "choices: [any, grow]"))
    with pytest.raises(SystemExit, match=options.PLACES[0][0]):
        options.main(check=True)
    options.main(check=False)
    assert stale.read_text() == (ROOT / options.PLACES[0][0]).read_text()


def test_what_failed_is_said_at_the_end_with_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LOGS", tmp_path)
    tally = Tally("unit")
    script = "print('\\n'.join(f'line {number}' for number in range(40)))"
    tally.check(
        "some tests",
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={},
        count=lambda _ran: Count(1, 1, (), ("three",)),
    )
    (failure,) = tally.failures
    assert failure.splitlines()[0] == "some tests: three"
    assert [line.strip() for line in failure.splitlines()[1:]] == [f"line {number}" for number in range(28, 40)]
