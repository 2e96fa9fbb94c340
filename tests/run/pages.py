# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the documentation's site is made: for `make docs`, and for the check that it can be."""

from __future__ import annotations

import re
import shutil
import typing as t
import zlib
from pathlib import Path

from checks import Command
from workshop import CACHE, ROOT, Workshop

FOLDER = CACHE / "docs"
HTML = FOLDER / "build" / "html"
_RST = FOLDER / "rst"
INIT: Command = [
    *("antsibull-docs", "sphinx-init", "--use-current", "--squash-hierarchy", "--fail-on-error"),
    *("--dest-dir", FOLDER, "virtmem.libvirt"),
]
COLLECT: Command = [
    *("antsibull-docs", "--config-file", FOLDER / "antsibull-docs.cfg", "collection", "--cleanup", "everything"),
    *("--fail-on-error", "--use-current", "--squash-hierarchy", "--dest-dir", _RST, "virtmem.libvirt"),
]
BUILD: Command = ["sphinx-build", "-M", "html", _RST, FOLDER / "build", "-q", "-c", FOLDER, "-W", "--keep-going"]
# What the site is called, in the place of what pages of any collection are called.
SETTINGS = """
project = 'virtmem.libvirt'
title = html_title = html_short_title = 'virtmem.libvirt: memory for running libvirt guests'
copyright = 'virtmem.libvirt contributors'
html_static_path = ['site']
html_css_files = ['site.css']
html_theme_options = {
    'documentation_home_url': 'https://virtmem.github.io/ansible-libvirt/',
    'topbar_links': {
        'Sources': 'https://github.com/virtmem/ansible-libvirt',
        'Galaxy': 'https://galaxy.ansible.com/ui/repo/published/virtmem/libvirt/',
    },
}
"""

# The pages refer to a few places of Ansible's own documentation. Their list is looked up in the network at every build,
# unless it is at hand; so here is one with what is referred to.
ANSIBLE_DOCS = "https://docs.ansible.com/projects/ansible/devel/"
LABELS = {
    "action_plugins": "plugins/action.html#action-plugins",
    "ansible_collections.ansible.builtin.debug_module": (
        "collections/ansible/builtin/debug_module.html#ansible-collections-ansible-builtin-debug-module"
    ),
    "ansible_configuration_settings": "reference_appendices/config.html#ansible-configuration-settings",
    "common_return_values": "reference_appendices/common_return_values.html#common-return-values",
}


def environment(shop: Workshop) -> dict[str, str]:
    """With the tools that make pages."""
    return shop.environment(shop.tools())


def make(run: t.Callable[[str, Command], bool]) -> bool:
    """Makes the site in HTML. Whether it could be made.

    Args:
        run: carries out a command, told by a name, and says whether it succeeded.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o755)
    if not run("the site, its settings", INIT):
        return False
    _settle()
    _RST.mkdir(mode=0o755, exist_ok=True)  # no other user may write to it
    if not run("the site, its pages", COLLECT):
        return False
    _arrange()
    return run("the site", BUILD)


def _settle() -> None:
    """The settings: the site's own, and none that need the network."""
    _inventory(FOLDER / "ansible_devel.inv")
    conf = FOLDER / "conf.py"
    mapping = f"intersphinx_mapping = {{'ansible_devel': ('{ANSIBLE_DOCS}', '../ansible_devel.inv')}}\n"
    text = re.sub(r"^intersphinx_mapping = \{.*?^\}\n", mapping, conf.read_text(), flags=re.MULTILINE | re.DOTALL)
    conf.write_text(text + SETTINGS)
    shutil.copytree(ROOT / "docs" / "site", FOLDER / "site")


def _arrange() -> None:
    """Has the site begin with its own first page; the collection's list of plugins is one of the others."""
    index = _RST / "index.rst"
    text = index.read_text()
    plugins = text[text.index(".. _plugin_index_for_virtmem.libvirt:") :]
    talk = text[
        text.index(".. _communication_for_virtmem.libvirt:") : text.index(".. toctree::\n    :maxdepth: 1\n\nBegin")
    ]
    title = "Modules, filters and roles"
    plugins = plugins.replace("Plugin Index\n------------", f"{title}\n{'=' * len(title)}", 1)
    plugins = plugins.replace("These are the plugins in the virtmem.libvirt collection:\n", "", 1)
    plugins = re.sub(
        r"^Role Index\n-+\n\nThese are the roles in the virtmem.libvirt collection:\n",
        "Roles\n~~~~~\n",
        plugins,
        flags=re.MULTILINE,
    )
    (_RST / "reference.rst").write_text(plugins + talk)
    (FOLDER / "site" / "index.rst").rename(index)
    (_RST / "environment_variables.rst").unlink()  # of plugins' options; there is none


def _inventory(path: Path) -> None:
    """A list of labels, in the format that Sphinx publishes them in."""
    head = "# Sphinx inventory version 2\n# Project: Ansible\n# Version: devel\n# zlib\n"
    lines = "".join(f"{label} std:label -1 {page} {label}\n" for label, page in LABELS.items())
    path.write_bytes(head.encode() + zlib.compress(lines.encode()))
