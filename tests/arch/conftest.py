# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of other architectures stand on: a lab with QEMU for each, and modules as Ansible runs them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from faultlab import LAB, ROOT, Lab, Runner

# Of the checkout, where these tests run from a copy: it keeps the images of guests.
sys.path.insert(0, str(LAB.parent))


@pytest.fixture(scope="session")
def lab() -> t.Iterator[Lab]:
    """A lab of these tests' own."""
    if os.geteuid() != 0:
        pytest.skip("only root can run this lab")
    lab = Lab(Path(f"/tmp/va-{os.getpid()}"), ("foreign",))
    try:
        lab("up")
        yield lab
    finally:
        lab("down")


@pytest.fixture(scope="session")
def run(lab: Lab) -> t.Iterator[Runner]:
    """Starts modules on the lab, from a copy of the collection."""
    folder = Path(tempfile.mkdtemp(prefix="va-tree-"))
    collection = folder / "ansible_collections" / "virtmem" / "libvirt"
    for part in ("plugins", "meta"):
        shutil.copytree(ROOT / part, collection / part)
    yield Runner(lab.uri, folder)
    shutil.rmtree(folder)
