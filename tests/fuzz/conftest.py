# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is generated, and from which seed: $VIRTMEM_FUZZ_RUNS option sets (3000), $VIRTMEM_SEED (1).

The seed `new` is another one each time. It stands at the end of every run; with it, the run can be had again.
"""

from __future__ import annotations

import os
import random
import tempfile
import typing as t

import pytest
from hypothesis import HealthCheck, configuration, seed, settings

RUNS = int(os.environ.get("VIRTMEM_FUZZ_RUNS", "3000"))
# Always the same one, unless asked for: nobody's change is to fail by bad luck.
_ASKED = os.environ.get("VIRTMEM_SEED", "1")
SEED = random.randrange(2**32) if _ASKED == "new" else int(_ASKED)  # noqa: S311 - no secret
# In the environment, so that whoever imports this file once more has the same one.
os.environ["VIRTMEM_SEED"] = str(SEED)

configuration.set_hypothesis_home_dir(tempfile.mkdtemp(prefix="hypothesis-"))
settings.register_profile(
    "fuzz", deadline=None, database=None, print_blob=True, max_examples=RUNS, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fuzz")


def pytest_collection_modifyitems(items: t.Sequence[pytest.Item]) -> None:
    """Gives every generating test the seed of this run."""
    for item in items:
        function: t.Any = getattr(item, "obj", None)
        if getattr(function, "is_hypothesis_test", False):
            seed(SEED)(getattr(function, "__func__", function))


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    """Says how to run the same again."""
    terminalreporter.write_line(f"VIRTMEM_SEED={SEED} VIRTMEM_FUZZ_RUNS={RUNS}")
