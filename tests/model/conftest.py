# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is tried, and from which seed: $VIRTMEM_MODEL_RUNS sequences (150), $VIRTMEM_SEED (1).

The seed `new` is another one each time; it stands at the end of every run. The model is compared with the real libvirt
for $VIRTMEM_MODEL_SECONDS (15).
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.virtmem.libvirt.tests import generating
from hypothesis import HealthCheck

RUNS = int(os.environ.get("VIRTMEM_MODEL_RUNS", "150"))
generating.set_hypothesis(RUNS, stateful_step_count=12, suppress_health_check=list(HealthCheck))


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    """Says how to run the same again."""
    terminalreporter.write_line(f"VIRTMEM_SEED={generating.SEED} VIRTMEM_MODEL_RUNS={RUNS}")
