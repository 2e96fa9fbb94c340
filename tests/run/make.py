# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Makefile makes besides the checks: `build` (the tarball), `docs` (the pages), `options` (where they are
repeated), `changelog` (a release), `review` (what reviewers ask)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pages
from checks import Command, die
from workshop import CACHE, COLLECTION, ROOT, TREE, Workshop, WorkshopError


def _run(command: Command, cwd: Path, env: t.Mapping[str, str]) -> None:
    if subprocess.run([str(word) for word in command], cwd=cwd, env=dict(env), check=False).returncode != 0:
        die(f"{command[0]} failed.")


def build(shop: Workshop) -> None:
    """The tarball, in .cache/build."""
    folder = CACHE / "build"
    command: Command = ["ansible-galaxy", "collection", "build", "--force", "--output-path", folder]
    _run(command, COLLECTION, shop.environment(shop.controller()))


def options(shop: Workshop) -> None:
    """The options of a device, in the documents that repeat them."""
    _run(["python", ROOT / "tests" / "run" / "options.py"], ROOT, shop.environment(shop.controller()))


def docs(shop: Workshop) -> None:
    """The documentation's site, in .cache/docs/build/html."""
    env = pages.environment(shop)

    def run(_name: str, command: Command) -> bool:
        _run(command, TREE, env)
        return True

    pages.make(run)
    print(f"The site begins at {pages.HTML / 'index.html'}")


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


def review(shop: Workshop) -> None:
    """The table of what reviewers ask."""
    python = shop.controller() / "bin" / "python"
    command = [str(python), str(ROOT / "tests" / "run" / "review.py"), *sys.argv[2:]]
    sys.exit(subprocess.run(command, check=False).returncode)


def main() -> None:
    """Makes what is asked for."""
    targets = {"build": build, "docs": docs, "options": options, "changelog": changelog, "review": review}
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
