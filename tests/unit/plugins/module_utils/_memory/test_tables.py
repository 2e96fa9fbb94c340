# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of properties and that of models: complete, and the only places that tell one from another."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils import _options
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import models, properties, support
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Device, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import element

PLUGINS = Path(models.__file__).parents[2]
ELSEWHERE = sorted(
    str(path.relative_to(PLUGINS))
    for folder in ("module_utils", "plugin_utils", "filter")
    for path in (PLUGINS / folder).rglob("*.py")
    if path.name != "models.py"
)
CONSTANTS = {
    name for name, value in vars(models).items() if name.isupper() and isinstance(value, str) and value in models.MODELS
}


def test_every_property_has_a_field_and_every_field_a_row() -> None:
    assert {item.name for item in fields(properties.Properties)} == set(properties.PROPERTIES)
    beside = {item.name for item in fields(Device)} - set(properties.PROPERTIES)
    assert beside == {"current", "address", "xml", "position"}
    assert {item.name for item in fields(Wish)} - set(properties.PROPERTIES) == {
        *("state", "scope", "resize", "replace", "adopt", "live_requested"),
    }


def test_every_property_has_an_option() -> None:
    source = _options.DEVICE_OPTIONS["source"]["options"]
    for row in properties.PROPERTIES.values():
        holder, _dot, key = row.option.rpartition(".")
        assert key in (source if holder else _options.DEVICE_OPTIONS), row.option


@pytest.mark.parametrize(
    "row",
    [
        "new  text  target/new  new  -  -  -",
        "new  text  target/new  new  -  -  -  -  -",
        "new  text  target/new  new  -  compred  -  -",
        "new  text  target/new  new  compared  -  -  -",
    ],
)
def test_a_row_without_a_column_or_with_a_wrong_one_is_no_row(row: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        properties._row(row)


def test_every_property_that_a_model_has_stands_somewhere_in_its_element() -> None:
    for model, row in models.MODELS.items():
        placed = {item.name for item in element.properties_of(model)}
        assert row.options <= placed, model
        assert set(row.required) <= placed


def test_every_property_is_one_of_some_model() -> None:
    had = models._EVERY_MODEL.union(*(row.options for row in models.MODELS.values()))
    assert had == set(properties.PROPERTIES)


def test_every_feature_of_a_model_is_known() -> None:
    features = {*support.NEEDS, models.ALWAYS, models.NEVER}
    for model, row in models.MODELS.items():
        assert {row.hot_unplug, row.boot, row.base} <= features, model
        assert model in support.NEEDS


def asks_which_model(node: ast.AST) -> bool:
    """Whether this is a comparison with the name of a model."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [part for side in (node.left, *node.comparators) for part in ast.walk(side)]
    named = any(isinstance(part, ast.Name) and part.id in CONSTANTS for part in sides)
    return named or any(isinstance(part, ast.Constant) and part.value in models.MODELS for part in sides)


@pytest.mark.parametrize("path", ELSEWHERE)
def test_nothing_else_asks_which_model_it_is(path: str) -> None:
    tree = ast.parse((PLUGINS / path).read_text(encoding="utf-8"))
    found = [ast.unparse(node) for node in ast.walk(tree) if asks_which_model(node)]
    if "/xml/" in path:
        # The bus of a module is named like the model of one.
        found = [text for text in found if not text.startswith("kind in")]
    assert found == []


@pytest.mark.parametrize(
    "code", ["model == VIRTIO_MEM", "a.model in (DIMM, 'x')", "'dimm' != model", "x in {'sgx-epc'}"]
)
def test_a_question_for_the_model_would_be_found(code: str) -> None:
    assert any(asks_which_model(node) for node in ast.walk(ast.parse(code)))


def test_what_a_question_is_not() -> None:
    for code in ("row.resizable", "model == other", "f(VIRTIO_MEM)"):
        assert not any(asks_which_model(node) for node in ast.walk(ast.parse(code)))


def test_no_column_of_a_model_has_a_default() -> None:
    with pytest.raises(TypeError):
        models.Model(**{name: value for name, value in models.MODELS["dimm"]._asdict().items() if name != "bus"})
