# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stage `package`: what users install, as Galaxy judges it, and as it runs in an execution environment."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import typing as t
from pathlib import Path

from checks import Command, Count, Problem, Ran, Tally
from workshop import CACHE, COLLECTION, NODE_PYTHON, Workshop

# What the tarball may hold. Whatever else is in the repository must be named here or in build_ignore of galaxy.yml.
IN_TARBALL = {
    ".ansible-lint",
    "CHANGELOG.md",
    "CHANGELOG.rst",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "FILES.json",
    "LICENSES",
    "MANIFEST.json",
    "README.md",
    "REUSE.toml",
    "changelogs",
    "docs",
    "examples",
    "extensions",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}


def _tarball(shop: Workshop, tally: Tally) -> Path | None:
    """The built collection, or None if it can't be built."""
    venv = shop.controller()
    folder = CACHE / "build"
    for older in folder.glob("*.tar.gz"):
        older.unlink()
    command: Command = ["ansible-galaxy", "collection", "build", "--force", "--output-path", folder]
    tally.check("build", command, cwd=COLLECTION, env=shop.environment(venv))
    return next(folder.glob("virtmem-libvirt-*.tar.gz"), None)


def package(shop: Workshop, tally: Tally) -> None:
    """The tarball: built, looked into, judged as Galaxy judges it, and installed."""
    tarball = _tarball(shop, tally)
    if tarball is None:
        return
    with tarfile.open(tarball) as archive:
        strangers = sorted({name.split("/")[0] for name in archive.getnames()} - IN_TARBALL)
    if strangers:
        why = f"Not meant for users: {', '.join(strangers)}. Add them to build_ignore of galaxy.yml, or to IN_TARBALL."
        tally.fail("contents", why)
    else:
        tally.ok("contents")

    env = shop.environment(shop.controller())
    installed = CACHE / "installed"
    command: Command = [
        "ansible-galaxy",
        "collection",
        "install",
        "--offline",
        "--force",
        "--collections-path",
        installed,
        tarball,
    ]
    if tally.check("install", command, cwd=CACHE, env={**env, "ANSIBLE_COLLECTIONS_PATH": str(installed)}):
        command = ["ansible-doc", "--type", "module", "virtmem.libvirt.memory_device"]
        env["ANSIBLE_COLLECTIONS_PATH"] = str(installed)
        tally.check("ansible-doc of what was installed", command, cwd=CACHE, env=env)

    importer = shop.venv("importer", shop.controller_python(), "controller", "importer")
    folder = CACHE / "importer"
    folder.mkdir(exist_ok=True)
    config = folder / "importer.cfg"
    config.write_text(
        "[galaxy-importer]\nRUN_ANSIBLE_TEST = False\nCHECK_REQUIRED_TAGS = True\nCHECK_CHANGELOG = True\n"
    )
    env = {**shop.environment(importer), "GALAXY_IMPORTER_CONFIG": str(config)}
    command = [importer / "bin" / "python", "-m", "galaxy_importer.main", tarball]
    tally.check("galaxy-importer", command, cwd=folder, env=env, count=_importer)
    _run_in_environment(shop, tally, installed, importer)


# A playbook as it runs inside an execution environment; libvirt's test driver has a domain of its own.
IN_AN_ENVIRONMENT = """\
- hosts: localhost
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  gather_facts: false
  tasks:
    - virtmem.libvirt.memory_device_info: {uri: "test:///default"}
      register: found
    - ansible.builtin.assert:
        that: found.domains | map(attribute='name') | list == ['test']
"""


def _run_in_environment(shop: Workshop, tally: Tally, installed: Path, importer: Path) -> None:
    """An execution environment without a container engine: its context, its packages in a clean venv, a playbook."""
    folder = CACHE / "environment"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    env = shop.environment(importer)
    what: dict[str, t.Any] = {"version": 3, "images": {"base_image": {"name": "debian:12"}}}
    what["dependencies"] = {"galaxy": {"collections": [{"name": "virtmem.libvirt"}]}}
    definition, context = folder / "execution-environment.yml", folder / "context"
    definition.write_text(json.dumps(what))
    command: Command = ["ansible-builder", "create", "--file", definition, "--context", context]
    tally.check("an execution environment's context", command, cwd=folder, env=env)
    names = folder / "requirements.txt"
    command = ["ansible-builder", "introspect", f"--write-pip={names}", installed]
    if not tally.check("ansible-builder", command, cwd=folder, env=env, count=_builder):
        return
    wanted = [line.partition("#")[0].strip() for line in names.read_text().splitlines()]
    # libvirt-python is built against the machine's own libvirt.
    venv = shop.venv("environment", NODE_PYTHON, "controller", extra=[line for line in wanted if line])
    env = {**shop.environment(venv), "ANSIBLE_COLLECTIONS_PATH": str(installed)}
    playbook = folder / "play.yml"
    playbook.write_text(IN_AN_ENVIRONMENT)
    run: Command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", playbook]
    tally.check("a playbook in an execution environment", run, cwd=folder, env=env)


def _importer(ran: Ran) -> Count:
    complaints = re.findall(r"^(?:WARNING|ERROR): .*$", ran.output, re.MULTILINE)
    if complaints:
        raise Problem("galaxy-importer is not content.")
    if "Importer processing completed successfully" not in ran.output:
        raise Problem("galaxy-importer did not come to its end.")
    return Count(1)


def _builder(ran: Ran) -> Count:
    python, _system, packages = ran.output.partition("system:")
    if not all(f"'{name}  #" in python for name in ("libvirt-python", "lxml")) or "libvirt-devel" not in packages:
        raise Problem("An environment would lack what the modules and the event source import.")
    return Count(1)
