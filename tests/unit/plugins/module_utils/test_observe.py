# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what libvirt says of a domain to values: what a stopped domain has, and that nothing old is ever shown."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("lxml")

from ansible_collections.virtmem.libvirt.plugins.module_utils import _observe
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.connection import Reading
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB

CONFIG = "<domain><memory unit='GiB'>{}</memory></domain>"
LIVE = CONFIG.replace("<domain>", "<domain id='1'>")


class Daemon:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.says: dict[str, Reading] = {}

    def read(self, uuid: str, _scopes: t.Sequence[str]) -> Reading:
        """The domain, whatever scopes are asked for."""
        return self.says[uuid]._replace(uuid=uuid)


def reading(live: int | None, config: int | None, saved: int | None = None) -> Reading:
    """A domain with so many GiB in each scope."""
    sizes = ((LIVE, live), (CONFIG, config), (CONFIG, saved))
    texts = [None if size is None else text.format(size) for text, size in sizes]
    return Reading("web1", "u", "running", True, False, texts[0], texts[1], texts[2])


def test_each_scope_is_decoded() -> None:
    domain = _observe.decode(reading(3, 2, 1))
    assert domain.live is not None
    assert domain.config is not None
    assert domain.saved is not None
    assert (domain.live.total, domain.config.total, domain.saved.total) == (3 * GIB, 2 * GIB, GIB)


def test_a_domain_that_stopped_while_it_was_read_has_no_running_guest() -> None:
    said = Reading("web1", "u", "running", True, False, CONFIG.format(2), CONFIG.format(2))
    domain = _observe.decode(said)
    assert (domain.state, domain.live) == ("shutoff", None)


def test_what_is_as_it_was_is_decoded_once_and_what_is_not_is_decoded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    usual = _observe.read_definition

    def counting(text: str) -> t.Any:
        decoded.append(text)
        return usual(text)

    monkeypatch.setattr(_observe, "read_definition", counting)
    daemon = Daemon()
    observer = _observe.Observer(t.cast("t.Any", daemon))
    daemon.says = {"a": reading(1, 1), "b": reading(1, 1)}
    assert observer.observe("a") == observer.observe("a")
    assert len(decoded) == 2
    # Another domain of the same text is another one.
    assert observer.observe("b").live is not observer.observe("a").live
    assert len(decoded) == 4
    for live in (2, 1, 2):
        daemon.says["a"] = reading(live, 1)
        seen = observer.observe("a").live
        assert seen is not None
        assert seen.total == live * GIB
    assert len(decoded) == 7
