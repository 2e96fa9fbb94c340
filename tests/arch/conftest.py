# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of other architectures stand on: a lab with QEMU for each, and modules as Ansible runs them."""

from __future__ import annotations

import os
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from faultlab import LAB, Lab, Runner, tree_of_collection

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
    with tree_of_collection() as folder:
        yield Runner(lab.uri, folder)
