# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is tried, and from which seed: $VIRTMEM_MODEL_RUNS sequences (400), $VIRTMEM_SEED (1).

The seed `new` is another one each time; it stands at the end of every run. The model is compared with the real libvirt
for $VIRTMEM_MODEL_SECONDS (30).
"""

from __future__ import annotations

import os
import random
import tempfile
import typing as t

from hypothesis import HealthCheck, configuration, settings

RUNS = int(os.environ.get("VIRTMEM_MODEL_RUNS", "400"))
# Always the same one, unless asked for: nobody's change is to fail by bad luck.
_ASKED = os.environ.get("VIRTMEM_SEED", "1")
SEED = random.randrange(2**32) if _ASKED == "new" else int(_ASKED)  # noqa: S311 - no secret
# In the environment, so that whoever imports this file once more has the same one.
os.environ["VIRTMEM_SEED"] = str(SEED)

configuration.set_hypothesis_home_dir(tempfile.mkdtemp(prefix="hypothesis-"))
settings.register_profile(
    "model",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=RUNS,
    stateful_step_count=12,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("model")


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    """Says how to run the same again."""
    terminalreporter.write_line(f"VIRTMEM_SEED={SEED} VIRTMEM_MODEL_RUNS={RUNS}")
