# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A callback that writes what the controller's own process took, as JSON, to the file named by BENCH_WEIGHTS."""

from __future__ import annotations

import json
import os
import resource
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: weights
type: aggregate
short_description: Write what the controller took
description:
  - At the end of the play, writes the processor time, the memory and the length of all results to the file that the
    environment variable E(BENCH_WEIGHTS) names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """Adds results up as they come."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "weights"
    CALLBACK_NEEDS_ENABLED = True

    results = 0

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """A task has ended on a host."""
        self.results += len(json.dumps(result._result, default=str))

    def v2_playbook_on_stats(self, stats: t.Any) -> None:  # noqa: ARG002 - as Ansible calls it
        """The end. The processes that ran the tasks are not counted, only the one that holds the results."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        told = {"seconds": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * 1024, "results": self.results}
        Path(os.environ["BENCH_WEIGHTS"]).write_text(json.dumps(told), encoding="utf-8")
