# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stages of `make test`: a function and a row in STAGES each."""

from __future__ import annotations

import functools
import os
import re
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import demo
import labs
import packaging
import pages
from checks import Command, Count, Problem, Ran, Tally, say
from workshop import CACHE, COLLECTION, NODE_PYTHON, OLDEST_PYTHON, ROOT, THOROUGH, TREE, Workshop, WorkshopError, show

# The sentence of CONTRIBUTING that has the number.
COVERAGE = r"take (\d+) % of the lines and branches"
# The ansible-core whose module_utils the unit tests get on a Python that no controller of today runs on.
OLDEST_CORE = "ansible-core==2.19.14"


@dataclass(frozen=True)
class Stage:
    """One part of the whole; those of different lanes run at the same time."""

    name: str
    lane: str
    what: str
    run: t.Callable[[Workshop, Tally], None]
    named: bool = False  # whether it only runs where it is named, since it takes long


def _junit(path: Path, _ran: Ran) -> Count:
    """The numbers of a pytest run, and the names of what it skipped and of what failed."""
    if not path.is_file():
        raise Problem("pytest ran no test.")
    root = ET.parse(path).getroot()
    suites, cases = list(root.iter("testsuite")), list(root.iter("testcase"))
    total, failures, errors, skips = (
        sum(int(suite.get(name, "0")) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    if total == skips:
        raise Problem("Every test was skipped." if total else "pytest found no test.")
    names = tuple(f"{case.get('name')}: {skipped.get('message')}" for case in cases for skipped in case.iter("skipped"))
    broken = tuple(
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    )
    return Count(total - failures - errors - skips, failures + errors, names, broken)


def _pytest(
    tally: Tally,
    name: str,
    venv: Path,
    env: t.Mapping[str, str],
    folder: str,
    *options: str,
    limit: float = 900,
    python: t.Sequence[str] = ("-m",),
) -> None:
    result = CACHE / "junit" / f"{tally.stage}-{re.sub(r'[^a-z0-9.]+', '-', name.lower())}.xml"
    result.unlink(missing_ok=True)
    command: Command = [
        venv / "bin" / "python",
        *python,
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        f"--junitxml={result}",
        *options,
        folder,
    ]
    tally.check(
        name,
        command,
        cwd=COLLECTION,
        env={**env, "PYTHONPATH": str(TREE)},
        count=functools.partial(_junit, result),
        limit=limit,
    )


# --- lint


def lint(shop: Workshop, tally: Tally) -> None:
    """Everything that can be said of the text."""
    venv = shop.tools()
    env = shop.environment(venv)
    check = functools.partial(tally.check, cwd=COLLECTION, env=env)
    check("ruff", ["ruff", "check", "--quiet", "--output-format", "concise", "."])
    check("ruff, the layout", ["ruff", "format", "--quiet", "--diff", "."])
    mypy: Command = ["mypy", "--config-file", COLLECTION / "pyproject.toml"]
    here = "ansible_collections/virtmem/libvirt"
    check("mypy, the plugins", [*mypy, f"{here}/plugins"], cwd=TREE)
    check("mypy, the event source", [*mypy, f"{here}/extensions/eda/plugins/event_source/memory.py"], cwd=TREE)
    folders = ("docs", "fuzz", "generating.py", "model", "report", "site", "unit")
    tests: Command = [f"{here}/tests/{folder}" for folder in folders]
    lab = {**env, "MYPYPATH": str(COLLECTION / "tests" / "lab")}  # which tests/site boots a guest of
    check("mypy, the tests", [*mypy, "--python-version", "3.10", *tests], cwd=TREE, env=lab)
    for folder, path in (
        ("tests/lab", "tests/lab"),
        ("tests/run", "tests/run"),
        ("tests/faults", "tests/faults:tests/lab"),
        ("tests/guests", "tests/lab"),
        ("tests/arch", "tests/arch:tests/faults:tests/lab"),
        ("tests/eda", "tests/eda:tests/faults"),
        ("tests/bench", f"tests/bench:tests/lab:tests/run:{TREE}"),
    ):
        check(f"mypy, {folder}", [*mypy, "--python-version", "3.10", folder], env={**env, "MYPYPATH": path})
    files = sorted(COLLECTION.glob("tests/integration/targets/*/files/*.py"))
    path = f"tests/integration/targets/setup_lab/files:{TREE}"
    check("mypy, the targets", [*mypy, "--python-version", "3.10", *files], env={**env, "MYPYPATH": path})
    check("the options of a device, in each document", ["python", "tests/run/options.py", "--check"])
    check("yamllint", ["yamllint", "--strict", "."])
    check("codespell and the glossary", ["codespell", "-D", "-", "-D", "tests/run/glossary.txt"])
    lint_ansible: Command = ["ansible-lint", "--nocolor", "-qf", "pep8"]
    # Without a profile that is more than the profile `production`, which only leaves rules out.
    # Each playbook takes a second and more; molecule runs those of the scenarios.
    excluded: Command = ["--exclude", "tests", *([] if THOROUGH else ["--exclude", "extensions/molecule"])]
    check("ansible-lint, every rule", [*lint_ansible, "--strict", *excluded])
    check("ansible-lint, the examples", [*lint_ansible, "--strict", "--offline", "-c", os.devnull, "examples"])
    # The targets hand variables to each other, name their tasks after what they test, and make up the arguments.
    tests_only = "name[template],var-naming[no-role-prefix],args[module]"
    if THOROUGH:
        check("ansible-lint, the targets", [*lint_ansible, "--strict", "-x", tests_only, "tests/integration/targets"])
    docs = ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self", "."]
    check("antsibull-docs", docs)
    check("antsibull-changelog", ["antsibull-changelog", "lint"])
    schema = "--builtin-schema"
    workflows = sorted(COLLECTION.glob(".github/workflows/*.yml"))
    check("the workflows", ["check-jsonschema", schema, "vendor.github-workflows", *workflows])
    dependabot = COLLECTION / ".github" / "dependabot.yml"
    check("dependabot", ["check-jsonschema", schema, "vendor.dependabot", dependabot])
    check("reuse", ["reuse", "lint", "--lines"])
    scripts: Command = [
        "shellcheck",
        ".ci/run",
        *sorted(COLLECTION.glob("tests/*/*.sh")),
        *sorted(COLLECTION.glob("roles/*/files/*.sh")),
    ]
    check("shellcheck", scripts)
    # What automation hubs ask of event sources.
    hub = "D100,D104,INP001,FA102,UP001,UP010,I001,FA100,PLR0913,E501"
    sources = "extensions/eda/plugins"
    check(
        "ruff, as hubs have it",
        ["ruff", "check", "--quiet", "--no-cache", "--isolated", "--select", "ALL", "--ignore", hub, sources],
    )
    check("pylint, the event source", ["pylint", "--score=n", *COLLECTION.glob(f"{sources}/*/*.py")])
    check("darglint, the event source", ["darglint", *COLLECTION.glob(f"{sources}/*/*.py")])
    check("what reviewers ask", ["python", ROOT / "tests" / "run" / "review.py"], cwd=ROOT)
    _pytest(tally, "the examples of the documentation", venv, env, "tests/docs")


# --- sanity


def _sanity_tests(ran: Ran) -> Count:
    names = set(re.findall(r'^Running sanity test "([^"]+)"', ran.output, re.MULTILINE))
    summary = re.search(r"The (\d+) sanity test\(s\) listed below", ran.output)
    broken = int(summary.group(1)) if summary else 0
    skipped = tuple(re.findall(r"^WARNING: (.*(?:[Ss]kipping|not found).*)$", ran.output, re.MULTILINE))
    if not names:
        raise Problem("ansible-test ran no sanity test.")
    return Count(len(names) - broken, broken, skipped)


def _sanity_faults(output: str) -> str:
    """Without what pip tells of the tools that ansible-test installs."""
    return "\n".join(re.findall(r"^(?:ERROR|FATAL): .*$", output, re.MULTILINE)) or output


def sanity(shop: Workshop, tally: Tally) -> None:
    """ansible-test sanity, with the oldest Python that the modules run on and the newest, or with all (THOROUGH)."""
    venv = shop.tools()
    shop.folder_of_pythons()
    shop.stand_in_for_get_pip(venv)
    env = shop.environment(venv)
    command: Command = ["ansible-test", "sanity", "--color", "no"]
    check = functools.partial(tally.check, cwd=COLLECTION, env=env, count=_sanity_tests, shown=_sanity_faults)
    if THOROUGH:
        check("ansible-test", command)
        return
    # Its pylint takes as long as all the rest, and ruff has most of the same rules.
    check("ansible-test", [*command, "--skip-test", "pylint"])
    tally.skipped.append("pylint of ansible-test: `make test-labs` and `make test-matrix` run it")


# --- unit


def _generating(env: dict[str, str]) -> dict[str, t.Any]:
    """The environment with the caller's own settings of generating tests, and as long as those may take."""
    prefixes = ("VIRTMEM_FUZZ_", "VIRTMEM_MODEL_", "VIRTMEM_UNIT_", "VIRTMEM_SEED")
    knobs = {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
    return {"env": {**env, **knobs}, "limit": 6 * 3600 if knobs else 900}


def unit(shop: Workshop, tally: Tally) -> None:
    """The unit tests on the managed node's own Python, and on the oldest that the modules run on."""
    node = shop.node()
    env = {**shop.environment(node), "COVERAGE_FILE": str(CACHE / "coverage")}
    measured = ("-m", "coverage", "run", "--branch", f"--source={TREE / 'ansible_collections'}", "-m")
    _pytest(tally, "the node's Python", node, folder="tests/unit", python=measured, **_generating(env))
    also = (*measured[:3], "--append", *measured[3:])
    # All but those that have stages of their own, so that nobody has to name a new file here.
    elsewhere = [f"--ignore=tests/model/test_{name}.py" for name in ("promises", "model_on_lab")]
    _pytest(tally, "tasks on a model of libvirt", node, env, "tests/model", *elsewhere, python=also)
    _coverage(tally, node, env)
    _pytest(
        tally,
        "the runner, and what CONTRIBUTING promises",
        node,
        env,
        "tests/run",
    )
    oldest = shop.pythons.get(OLDEST_PYTHON)
    if oldest is None:
        tally.skipped.append(f"Python {show(OLDEST_PYTHON)} is not on this machine")
        return
    # Its ansible-core is the one whose modules run on it, though no playbook does.
    extra = ("--no-deps", "--ignore-requires-python", OLDEST_CORE)
    venv = shop.venv("unit-oldest", oldest, "unit", "node", extra=extra)
    # What is generated is the same as on the node's Python; here, a tenth of it shows that this Python takes the code.
    how = _generating({"VIRTMEM_UNIT_EXAMPLES": "10", **shop.environment(venv)})
    # What runs on managed nodes, and in a rulebook; the rest is the controller's.
    watching = "tests/unit/plugins/plugin_utils/test_watch.py"
    parts = ("tests/unit/plugins/module_utils", watching)
    _pytest(tally, f"Python {show(OLDEST_PYTHON)}", venv, how["env"], *parts, limit=how["limit"])


def _coverage(tally: Tally, venv: Path, env: t.Mapping[str, str]) -> None:
    """The branches of the core and of what applies plans that the tests above take: no fewer than CONTRIBUTING says."""
    said = re.search(COVERAGE, (COLLECTION / "CONTRIBUTING.md").read_text())
    least = said.group(1) if said else "100"
    judged = ",".join(f"*/plugins/module_utils/{part}" for part in ("_memory/*", "_apply/*", "_observe.py"))
    report: Command = [venv / "bin" / "coverage", "report", f"--include={judged}", f"--fail-under={least}"]
    tally.check(f"coverage with branches, at least {least} %", report, cwd=COLLECTION, env=env, count=_covered)


def _covered(ran: Ran) -> Count:
    total = re.search(r"^TOTAL .* (\d+)%$", ran.output, re.MULTILINE)
    if total is None:
        raise Problem("coverage has measured nothing.")
    say(f"coverage: {total.group(1)} % of the lines and branches that are judged")
    return Count(1) if ran.ok else Count(0, 1)


# --- generated


def fuzz(shop: Workshop, tally: Tally) -> None:
    """Generated options, XML, and sequences of tasks and faults on a model of libvirt."""
    venv = shop.node()
    how = _generating(shop.environment(venv))
    _pytest(tally, "generated options and XML", venv, folder="tests/fuzz", **how)
    _pytest(tally, "the promises on a model of libvirt", venv, folder="tests/model/test_promises.py", **how)


def model(shop: Workshop, tally: Tally) -> None:
    """Whether the model of libvirt does what libvirt does, on each lab."""
    venv = shop.node()
    for kind in (labs.HERE, *((labs.TRIXIE,) if THOROUGH else ()), labs.NEWEST):
        if not kind.is_there:
            tally.skipped.append(f"the model against {kind.what}: this user can't run that lab")
            continue
        try:
            with labs.up(kind, "model") as lab:
                here = {"VIRTMEM_LAB": str(lab.command), "VIRTMEM_LAB_URI": lab.uri}
                how = _generating({**shop.environment(venv), **here})
                _pytest(tally, f"the model against {kind.what}", venv, folder="tests/model/test_model_on_lab.py", **how)
        except labs.LabError as error:
            tally.fail("the lab", str(error))


# --- arch


def arch(shop: Workshop, tally: Tally) -> None:
    """Guests of other architectures: stopped ones, and with $VIRTMEM_LABS=all (THOROUGH) those that boot."""
    if not labs.NEWEST.is_there:
        tally.skipped.append("other architectures: this user can't run that lab")
        return
    venv = shop.node()
    env = {**shop.environment(venv), "VIRTMEM_LAB_PY": str(labs.LAB)}
    _pytest(tally, "guests of other architectures", venv, env, "tests/arch", limit=3600)


# --- faults


def faults(shop: Workshop, tally: Tally) -> None:
    """What can go wrong around a task, for real, on a lab of the tests' own; with $VIRTMEM_FAULTS=all, all of it."""
    venv = shop.node()
    env = {**shop.environment(venv), "VIRTMEM_LAB_PY": str(labs.LAB)}
    if os.environ.get("VIRTMEM_FAULTS") == "all":
        _pytest(tally, "all faults", venv, env, "tests/faults", limit=3600)
    else:
        _pytest(tally, "some faults of every kind", venv, env, "tests/faults", "-m", "quick")


# --- eda


def eda(shop: Workshop, tally: Tally) -> None:
    """The rulebooks of the collection, by the real ansible-rulebook, on two labs of the tests' own."""
    venv = shop.venv("rulebook", NODE_PYTHON, "controller", "rulebook", "unit", system=True)
    env = {**shop.environment(venv), "VIRTMEM_LAB_PY": str(labs.LAB)}
    _pytest(tally, "the rulebooks", venv, env, "tests/eda")


# --- integration


# In the file `aliases` of a target.
ON_EVERY_LAB = (
    "# What it tests depends on the versions of libvirt and QEMU: it runs on this machine's and on the newest."
)
# What would only take time in each run, since one generation shows what the others do.
ON_ONE_LAB = (
    "# What it tests seldom depends on the versions of libvirt and QEMU: `make test` runs it on the newest only."
)


def _targets(kind: labs.Kind) -> list[str]:
    """The names of the targets that are tests, not helpers of tests; of $VIRTMEM_TARGETS, where that is set.

    With $VIRTMEM_LABS=all (THOROUGH), or where they are chosen, those that depend on the hypervisor run on each lab.
    """
    folder = COLLECTION / "tests" / "integration" / "targets"
    marks = {
        path.parent.name: set(path.read_text().splitlines())
        for path in folder.glob("*/aliases")
        if not path.parent.name.startswith("setup_")
    }
    chosen = set(os.environ.get("VIRTMEM_TARGETS", "").split()) or set(marks)
    if unknown := chosen - set(marks):
        raise WorkshopError(f"There is no target {', '.join(sorted(unknown))}.")
    if kind is not labs.HERE:
        return sorted(name for name in chosen if marks[name] & {ON_EVERY_LAB, ON_ONE_LAB})
    all_of_them = THOROUGH or chosen != set(marks) or not labs.NEWEST.is_there
    return sorted(name for name in chosen if all_of_them or ON_ONE_LAB not in marks[name])


def _target(name: str, ran: Ran) -> Count:
    """ansible-test is content with a target that it left out, so this looks for what it did."""
    recaps = re.findall(r"^testhost +: ok=(\d+) .*failed=(\d+)", ran.output, re.MULTILINE)
    done = sum(int(ok) for ok, _failed in recaps)
    if f"Running {name} integration test role" not in ran.output or not done:
        raise Problem(f"The target {name} did not run.")
    return Count(1) if ran.ok else Count(0, 1)


def _target_faults(output: str) -> str:
    """The tasks that failed, and the end."""
    blocks = re.split(r"^(?=TASK |PLAY RECAP )", output, flags=re.MULTILINE)
    faults = [block for block in blocks[:-1] if re.search(r"^(?:fatal|failed): ", block, re.MULTILINE)]
    return "".join([*faults, blocks[-1]]).rstrip()


def integration(kind: labs.Kind, shop: Workshop, tally: Tally) -> None:
    """Every integration target on a lab of one kind."""
    if not kind.is_there:
        tally.skipped.append(f"the targets on {kind.what}: this user can't run that lab")
        return
    shop.folder_of_pythons()
    targets = _targets(kind)
    if not targets and not os.environ.get("VIRTMEM_TARGETS"):
        tally.fail("targets", "There is no integration target.")
    if targets:
        _run_targets(shop, tally, kind, targets, shop.controller())


def _run_targets(
    shop: Workshop, tally: Tally, kind: labs.Kind, targets: t.Iterable[str], venv: Path, of: str = ""
) -> None:
    """Runs targets on a lab of their own with the Ansible of an environment; `of` comes before their names."""
    try:
        tree, collection = TREE, COLLECTION
        if kind is not labs.HERE:  # whose targets run at the same time
            tree = CACHE / f"tree-{kind.name}"
            collection = shop.copy_collection(tree)
        with labs.up(kind, "test") as lab:
            (collection / "tests" / "integration" / "integration_config.yml").write_text(lab.variables())
            for target in targets:
                tasks = collection / "tests" / "integration" / "targets" / target / "tasks" / "main.yml"
                if not tasks.is_file():
                    tally.fail(target, "It has no tasks/main.yml, so it tests nothing.")
                    continue
                command: Command = ["ansible-test", "integration", "--color", "no", "--allow-destructive", "-v", target]
                tally.check(
                    f"{of}{target}",
                    command,
                    cwd=collection,
                    env={**shop.environment(venv), "ANSIBLE_COLLECTIONS_PATH": str(tree)},
                    count=functools.partial(_target, target),
                    shown=_target_faults,
                )
    except labs.LabError as error:
        tally.fail("the lab", str(error))


# --- molecule


def _scenario(name: str, ran: Ran) -> Count:
    """molecule is content with a scenario that leaves out what it tests, so this looks for what it did."""
    done = set(re.findall(rf"^{name} > (\w+): Executed: Successful$", ran.output, re.MULTILINE))
    if ran.ok and not {"create", "converge", "verify", "destroy"} <= done:
        raise Problem(f"The scenario {name} did not run as a whole; it did {', '.join(sorted(done)) or 'nothing'}.")
    return Count(1) if ran.ok else Count(0, 1)


def _scenario_faults(output: str) -> str:
    """What went wrong, without all that went well before."""
    found = re.search(r"^\[ERROR\].*?(?=^PLAY RECAP)", output, re.MULTILINE | re.DOTALL)
    return found.group() if found else output[-4000:]


# Scenarios whose way other tests go too, so that `make test-labs` alone runs them.
SHOWN_ELSEWHERE = {"readiness", "ci_runner"}


def molecule(shop: Workshop, tally: Tally) -> None:
    """Roles, playbooks and examples as their users run them, on one or two hypervisors."""
    scenarios = {path.parent.name for path in COLLECTION.glob("extensions/molecule/*/molecule.yml")}
    _scenarios(shop, tally, shop.tools(), scenarios - (set() if THOROUGH else SHOWN_ELSEWHERE))


def _scenarios(shop: Workshop, tally: Tally, venv: Path, scenarios: t.Iterable[str], of: str = "") -> None:
    """Runs scenarios with the Ansible of an environment; `of` comes before their names."""
    second = labs.NEWEST if labs.NEWEST.is_there else labs.HERE
    if second is labs.HERE:
        tally.skipped.append(
            f"as the second hypervisor, {labs.NEWEST.what}: only root can run it; there are two of this machine's"
        )
    try:
        with labs.up(labs.HERE, "molecule") as one, labs.up(second, "molecule-second") as two:
            env = {**shop.environment(venv), "VIRTMEM_LAB": str(one.command), "VIRTMEM_SECOND_LAB": str(two.command)}
            for scenario in sorted(scenarios):
                tally.check(
                    f"{of}{scenario}",
                    ["molecule", "test", "--scenario-name", scenario],
                    cwd=COLLECTION,
                    env=env,
                    count=functools.partial(_scenario, scenario),
                    shown=_scenario_faults,
                )
    except labs.LabError as error:
        tally.fail("the labs", str(error))


# --- matrix

# The ansible-cores that people have, and the next, each with the Pythons of its controllers; `make test` has the
# newest that is released.
CORES = {
    "2.16.19": ((3, 10), (3, 12)),
    "2.18.19": ((3, 11), (3, 13)),
    "2.20.10": ((3, 12), (3, 14)),
    "2.22.0rc1": ((3, 13), (3, 15)),
}
# What of the targets and scenarios shows whether a core takes the modules, the roles and the playbooks.
SAMPLE_TARGET, SAMPLE_SCENARIO = "memory_device_resize", "default"


def matrix(shop: Workshop, tally: Tally) -> None:
    """The collection on other ansible-cores: ansible-test sanity, a target, the roles and playbooks."""
    shop.folder_of_pythons()
    chosen = os.environ.get("VIRTMEM_CORES", "").split() or list(CORES)
    for core in chosen:
        oldest, newest = CORES[core]
        fitting = [path for version, path in shop.pythons.items() if oldest <= version <= newest]
        if not fitting:
            tally.skipped.append(f"ansible-core {core}: no Python from {show(oldest)} to {show(newest)} is here")
            continue
        venv = shop.venv(f"core-{core}", fitting[-1], extra=(f"ansible-core=={core}",))
        shop.stand_in_for_get_pip(venv)
        command: Command = ["ansible-test", "sanity", "--color", "no"]
        if "rc" in core:  # its pylint is a checkout of another host, until the release
            command = [*command, "--skip-test", "pylint"]
            tally.skipped.append(f"pylint with ansible-core {core}")
        env = shop.environment(venv)
        tally.check(f"{core}: sanity", command, cwd=COLLECTION, env=env, count=_sanity_tests, shown=_sanity_faults)
        _run_targets(shop, tally, labs.HERE, [SAMPLE_TARGET], venv, f"{core}: ")
        venv = shop.venv(f"molecule-{core}", fitting[-1], "molecule", extra=(f"ansible-core=={core}",))
        _scenarios(shop, tally, venv, [SAMPLE_SCENARIO], f"{core}: ")


# --- guests


def guests(shop: Workshop, tally: Tally) -> None:
    """The role guest on a Debian that really runs, whose disk is built first."""
    venv = shop.node()
    env = {**shop.environment(venv), "VIRTMEM_LAB_PY": str(labs.LAB)}
    _pytest(tally, "the role guest", venv, env, "tests/guests", limit=3600)


# --- shown


def shown(shop: Workshop, tally: Tally) -> None:
    """What people are shown, or stand on: the pages, the demo, and the labs with all their commands."""
    env = pages.environment(shop)
    if pages.make(functools.partial(tally.check, cwd=TREE, env=env)):
        node = shop.node()
        site = {**shop.environment(node), "VIRTMEM_SITE": str(pages.HTML)}
        _pytest(tally, "the site's pages and links", node, site, "tests/site/test_pages.py")
        plain = {**shop.environment(node), "VIRTMEM_LAB_PY": str(labs.LAB)}
        _pytest(tally, "the quick start, as it is printed", node, plain, "tests/site/test_quickstart.py")
    venv = shop.controller()
    try:
        with labs.up(labs.HERE, "demo") as lab:
            demo.boot(lab)
            env = {**shop.environment(venv), **demo.QUIET}
            tally.check("the demo", demo.playbook(venv, lab), cwd=COLLECTION, env=env, count=_demo)
            if THOROUGH:  # it is the whole demo once more up to its first change
                killed: list[str | Path] = [NODE_PYTHON, ROOT / "tests" / "run" / "cut_off.py", lab.command, demo.GUEST]
                tally.check("the demo, killed", [*killed, *demo.playbook(venv, lab)], cwd=COLLECTION, env=env)
    except labs.LabError as error:
        tally.fail("the demo's lab", str(error))
    node = shop.node()
    env = {**shop.environment(node), "VIRTMEM_LAB_PY": str(labs.LAB)}
    # Its guests and commands are what all targets stand on: a few of its tests show whether they can be believed.
    mine = [] if THOROUGH else ["-k", "not trixie and (leave_nothing or no_root_rights or own_python)"]
    _pytest(tally, "the labs themselves", node, env, "tests/lab", *mine)


def _demo(ran: Ran) -> Count:
    done = re.search(r"^localhost +: ok=(\d+) .*failed=0 ", ran.output, re.MULTILINE)
    if ran.ok and (done is None or int(done.group(1)) < 5):
        raise Problem("The demo showed nothing.")
    return Count(1) if ran.ok else Count(0, 1)


# --- browser


def browser(shop: Workshop, tally: Tally) -> None:
    """The report and the documentation in a real browser, and what Prometheus' own tool says of metrics and alerts."""
    node = shop.node()
    env = {**shop.environment(node), "VIRTMEM_SHOTS": str(CACHE / "shots")}
    _pytest(tally, "the report's page, metrics and alerts", node, env, "tests/report")
    made = functools.partial(tally.check, cwd=TREE, env=pages.environment(shop))
    if pages.make(made):
        _pytest(tally, "the site", node, {**env, "VIRTMEM_SITE": str(pages.HTML)}, "tests/site/test_browser.py")


DEPENDING = "the targets that depend on the hypervisor"
# In the order in which they run inside their lane. A stage for another lab is one more row with another labs.Kind.
# Four lanes for two processors, since those with guests wait for half of their time.
STAGES: tuple[Stage, ...] = (
    Stage("integration", "here", f"the targets on {labs.HERE.what}", functools.partial(integration, labs.HERE)),
    Stage(
        "integration-forky", "newest", f"{DEPENDING}, on {labs.FORKY.what}", functools.partial(integration, labs.FORKY)
    ),
    Stage(
        "integration-trixie",
        "newest",
        f"{DEPENDING}, on {labs.TRIXIE.what}",
        functools.partial(integration, labs.TRIXIE),
        named=True,
    ),
    Stage("shown", "shown", "the documentation's pages, the demo, the labs' own tests", shown),
    Stage("lint", "text", "style, types, YAML, documentation, licences", lint),
    Stage("sanity", "text", "ansible-test sanity", sanity),
    Stage("package", "text", "build, install, galaxy-importer, an execution environment", packaging.package),
    Stage("unit", "text", "the unit tests", unit),
    Stage("fuzz", "text", "generated options, XML, tasks and faults", fuzz),
    Stage("molecule", "shown", "roles, playbooks and examples, as their users run them", molecule),
    Stage("model", "here", "the model of libvirt against the real ones", model),
    Stage("arch", "text", "guests of other architectures", arch),
    Stage("eda", "here", "the event source and the rulebooks, by the real ansible-rulebook", eda),
    Stage("faults", "shown", "daemons, guests, connections and disks that fail, a sample of each kind", faults),
    Stage("matrix", "text", "other ansible-cores: sanity, a target, the roles and playbooks", matrix, named=True),
    Stage("guests", "shown", "the role guest on a stock Debian", guests, named=True),
    Stage(
        "browser", "text", "the report and the documentation in a browser, the metrics by promtool", browser, named=True
    ),
)
