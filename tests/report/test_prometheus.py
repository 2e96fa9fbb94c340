# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prometheus' own tool judges the metrics and the alerts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _metrics
from ansible_collections.virtmem.libvirt.tests.unit.plugins.plugin_utils import test_report as made

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "extensions" / "monitoring" / "virtmem.rules.yml"


def promtool(*arguments: str, text: str = "") -> None:
    """Runs it; anything that it says is wrong."""
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_as_prometheus_wants_them() -> None:
    text = _metrics.metrics(
        made.fleet(made.survey(made.guest(requested=3, current=2), made.off(), reserve="8GiB"), "hv2"), made.NOW
    )
    promtool("check", "metrics", text=text)


def test_the_alerts_are_rules_and_come_when_they_must() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(Path(__file__).with_name("alerts.yml")))


def test_alerts_and_dashboard_are_about_metrics_that_there_are() -> None:
    dashboard = RULES.with_name("virtmem.dashboard.json").read_text()
    assert json.loads(dashboard)["panels"]
    used = set(re.findall(r"virtmem_\w+", RULES.read_text() + dashboard))
    assert used <= set(_metrics.METRICS), used - set(_metrics.METRICS)
