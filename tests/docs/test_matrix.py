# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide to what happens where says what the integration tests prove, and nothing else."""

from __future__ import annotations

import itertools

import yaml
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.models import MODELS
from ansible_collections.virtmem.libvirt.tests.docs import matrix

DATA = yaml.safe_load(matrix.DATA.read_text(encoding="utf-8"))


def test_the_guide_has_the_tables_that_the_tests_run() -> None:
    assert matrix.GUIDE.read_text(encoding="utf-8").partition(matrix.BEGIN)[2].strip() == matrix.tables().strip()


def test_every_model_has_every_operation_in_every_scope_and_state() -> None:
    wanted = set(itertools.product(MODELS, ("attach", "change", "replace", "remove")))
    assert wanted <= {(rows["model"], rows["operation"]) for rows in DATA["matrix"]}
    for rows in DATA["matrix"]:
        assert list(rows["scopes"]) == ["auto", "live", "config", "both"], rows
        assert all(len(row) == len(DATA["columns"]) for row in rows["scopes"].values()), rows


def test_every_word_is_an_outcome_or_an_error_code() -> None:
    used = {word for rows in DATA["matrix"] for row in rows["scopes"].values() for word in row}
    assert used <= {*DATA["words"], *ERROR_CODES, "-"}
    assert set(DATA["words"]) <= used
