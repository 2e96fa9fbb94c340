# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the documentation's pages are made: for `make docs`, and for the check that they can be."""

from __future__ import annotations

import re
import shutil
import zlib
from pathlib import Path

from checks import Command
from workshop import CACHE, Workshop

FOLDER = CACHE / "docs"
INIT: Command = [
    *("antsibull-docs", "sphinx-init", "--use-current", "--squash-hierarchy", "--fail-on-error"),
    *("--dest-dir", FOLDER, "virtmem.libvirt"),
]
BUILD: Command = ["bash", "build.sh"]

# The pages refer to a few places of Ansible's own documentation. Their list is looked up in the network at every build,
# unless it is at hand; so here is one with what is referred to.
ANSIBLE_DOCS = "https://docs.ansible.com/projects/ansible/devel/"
LABELS = ("common_return_values", "ansible_configuration_settings", "ansible_collections.ansible.builtin.debug_module")


def environment(shop: Workshop) -> dict[str, str]:
    """With the tools that make pages."""
    return shop.environment(shop.venv("docs", shop.controller_python(), "controller", "docs"))


def begin() -> None:
    """An empty folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o755)


def settle() -> None:
    """The settings, so that the network is not needed."""
    _inventory(FOLDER / "ansible_devel.inv")
    conf = FOLDER / "conf.py"
    mapping = f"intersphinx_mapping = {{'ansible_devel': ('{ANSIBLE_DOCS}', '../ansible_devel.inv')}}\n"
    conf.write_text(
        re.sub(r"^intersphinx_mapping = \{.*?^\}\n", mapping, conf.read_text(), flags=re.MULTILINE | re.DOTALL)
    )


def _inventory(path: Path) -> None:
    """A list of labels, in the format that Sphinx publishes them in."""
    head = "# Sphinx inventory version 2\n# Project: Ansible\n# Version: devel\n# zlib\n"
    lines = "".join(f"{label} std:label -1 index.html#{label} {label}\n" for label in LABELS)
    path.write_bytes(head.encode() + zlib.compress(lines.encode()))
