# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Makefile makes besides the checks: `build` (the tarball), `docs` (the pages), `options` (where they are
repeated), `changelog` (a release)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import typing as t
import zlib
from pathlib import Path

from checks import Command, die
from workshop import CACHE, COLLECTION, ROOT, TREE, Workshop, WorkshopError

# The pages refer to a few places of Ansible's own documentation. Their list is looked up in the network at every build,
# unless it is at hand; so here is one with what is referred to.
ANSIBLE_DOCS = "https://docs.ansible.com/projects/ansible/devel/"
LABELS = ("common_return_values", "ansible_configuration_settings", "ansible_collections.ansible.builtin.debug_module")


def _run(command: Command, cwd: Path, env: t.Mapping[str, str]) -> None:
    if subprocess.run([str(word) for word in command], cwd=cwd, env=dict(env), check=False).returncode != 0:
        die(f"{command[0]} failed.")


def build(shop: Workshop) -> None:
    """The tarball, in .cache/build."""
    folder = CACHE / "build"
    command: Command = ["ansible-galaxy", "collection", "build", "--force", "--output-path", folder]
    _run(command, COLLECTION, shop.environment(shop.controller()))


def _inventory(path: Path) -> None:
    """A list of labels, in the format that Sphinx publishes them in."""
    head = "# Sphinx inventory version 2\n# Project: Ansible\n# Version: devel\n# zlib\n"
    lines = "".join(f"{label} std:label -1 index.html#{label} {label}\n" for label in LABELS)
    path.write_bytes(head.encode() + zlib.compress(lines.encode()))


def options(shop: Workshop) -> None:
    """The options of a device, in the documents that repeat them."""
    _run(["python", ROOT / "tests" / "run" / "options.py"], ROOT, shop.environment(shop.controller()))


def docs(shop: Workshop) -> None:
    """The documentation's pages, in .cache/docs/build/html."""
    venv = shop.venv("docs", shop.controller_python(), "controller", "docs")
    env = shop.environment(venv)
    folder = CACHE / "docs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    init = ["antsibull-docs", "sphinx-init", "--use-current", "--squash-hierarchy", "--fail-on-error"]
    _run([*init, "--dest-dir", folder, "virtmem.libvirt"], TREE, env)
    _inventory(folder / "ansible_devel.inv")
    conf = folder / "conf.py"
    mapping = f"intersphinx_mapping = {{'ansible_devel': ('{ANSIBLE_DOCS}', '../ansible_devel.inv')}}\n"
    conf.write_text(
        re.sub(r"^intersphinx_mapping = \{.*?^\}\n", mapping, conf.read_text(), flags=re.MULTILINE | re.DOTALL)
    )
    _run(["bash", "build.sh"], folder, env)
    print(f"The pages begin at {folder / 'build' / 'html' / 'index.html'}")


def changelog(shop: Workshop) -> None:
    """Turns the fragments into the release of galaxy.yml's version, in the checkout."""
    venv = shop.tools()
    command: Command = ["antsibull-changelog", "release"]
    _run(command, COLLECTION, shop.environment(venv))
    for name in ("CHANGELOG.md", "CHANGELOG.rst", "changelogs/changelog.yaml"):
        shutil.copyfile(COLLECTION / name, ROOT / name)
    for fragment in (ROOT / "changelogs" / "fragments").glob("*.y*ml"):
        if not (COLLECTION / "changelogs" / "fragments" / fragment.name).exists():
            fragment.unlink()


def main() -> None:
    """Makes what is asked for."""
    targets = {"build": build, "docs": docs, "options": options, "changelog": changelog}
    os.umask(0o022)
    shop = Workshop()
    with shop.alone():
        shop.copy_collection()
        targets[sys.argv[1]](shop)


if __name__ == "__main__":
    try:
        main()
    except WorkshopError as error:
        die(str(error))
