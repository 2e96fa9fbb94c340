# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of architectures says what the table of models has."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import models, platforms

PAGE = Path(__file__).resolve().parents[2] / "docs" / "docsite" / "rst" / "reference_architectures.rst"


def _rows() -> dict[str, str]:
    """The models of each row, by its architectures."""
    table = PAGE.read_text().partition("list-table::")[2]
    rows = [[cell.strip() for cell in row.split("     - ")] for row in table.split("   * - ")[2:]]
    return {row[0]: row[2] for row in rows}


@pytest.mark.parametrize("platform", platforms.PLATFORMS, ids=lambda platform: platform.name)
def test_each_platform_has_its_row(platform: platforms.Platform) -> None:
    has_them = [model for model, row in models.MODELS.items() if platform.name in row.platforms]
    assert _rows()[", ".join(platform.architectures)] == (", ".join(has_them) or "none")
