# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A callback that writes how long each task took, as lines of JSON, to the file named by BENCH_DURATIONS."""

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: durations
type: aggregate
short_description: Write how long each task took
description:
  - Writes a line of JSON for each task to the file that the environment variable E(BENCH_DURATIONS) names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """From the start of a task on the one host to its result."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "durations"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:  # noqa: ARG002 - as Ansible calls it
        """The task begins."""
        self.started = time.perf_counter()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """It has ended well; a task that has not ends the play, and the bench with it."""
        took = time.perf_counter() - self.started
        with Path(os.environ["BENCH_DURATIONS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": result._task.get_name(), "seconds": took}) + "\n")
