# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is generated, and from which seed: $VIRTMEM_FUZZ_RUNS option sets (1000), $VIRTMEM_SEED (1).

The seed `new` is another one each time. It stands at the end of every run; with it, the run can be had again.
"""

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.virtmem.libvirt.tests import generating
from hypothesis import HealthCheck, seed

RUNS = int(os.environ.get("VIRTMEM_FUZZ_RUNS", "1000"))
generating.set_hypothesis(RUNS, suppress_health_check=list(HealthCheck))


def pytest_collection_modifyitems(items: t.Sequence[pytest.Item]) -> None:
    """Gives every generating test the seed of this run."""
    for item in items:
        function: t.Any = getattr(item, "obj", None)
        if getattr(function, "is_hypothesis_test", False):
            seed(generating.SEED)(getattr(function, "__func__", function))


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    """Says how to run the same again."""
    terminalreporter.write_line(f"VIRTMEM_SEED={generating.SEED} VIRTMEM_FUZZ_RUNS={RUNS}")
