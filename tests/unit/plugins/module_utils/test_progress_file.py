# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file in which a module that waits leaves word: always whole, the user's own, and never in the way."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils import _progress

REPORT = {"waited": 1.0, "timeout": 120, "guests": 1, "waiting": ["web1 0 of 2GiB"]}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the controller looks."""
    place = tmp_path / "word"
    monkeypatch.setenv(_progress.VARIABLE, str(place))
    return place


def test_the_newest_word_is_there_as_long_as_the_wait(path: Path) -> None:
    with _progress.told() as tells:
        assert tells is not None
        assert not path.exists()
        for waited in (1.0, 2.0):
            tells({**REPORT, "waited": waited})
            assert json.loads(path.read_text()) == {**REPORT, "waited": waited}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == []


def test_it_is_gone_after_an_error_too(path: Path) -> None:
    def work() -> None:
        with _progress.told() as tells:
            assert tells is not None
            tells(REPORT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("value", [None, "", "relative/word"])
def test_nobody_asks(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_progress.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(_progress.VARIABLE, value)
    with _progress.told() as tells:
        assert tells is None


def test_what_can_not_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(_progress.VARIABLE, str(tmp_path / "missing" / "word"))
    with _progress.told() as tells:
        assert tells is not None
        tells(REPORT)
        (tmp_path / "missing").mkdir()
        tells(REPORT)  # once is enough
    assert list((tmp_path / "missing").iterdir()) == []


@pytest.mark.parametrize("trap", ["link", "file"])
def test_nothing_that_is_there_already_is_written_to(path: Path, trap: str) -> None:
    victim = path.parent / "victim"
    victim.write_text("precious")
    new = path.with_suffix(".new")
    if trap == "link":
        new.symlink_to(victim)
    else:
        new.write_text("precious")
    with _progress.told() as tells:
        assert tells is not None
        tells(REPORT)
        assert not path.exists()
        assert new.read_text() == "precious"
    assert victim.read_text() == "precious"
