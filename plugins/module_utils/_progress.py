# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Where a task that waits leaves word for the controller, which looks for it: a file that goes with the wait.

A module answers once, at its end. The file is beside that: the answer is the same with and without it, and whatever
goes wrong with it stays without consequence.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from pathlib import Path

# Has the path, which nobody can guess, if the controller wants to know.
VARIABLE = "VIRTMEM_PROGRESS_FILE"


class _Board:
    """The file. It is the user's own, and always whole."""

    def __init__(self, path: Path) -> None:
        self._path: Path | None = path

    def tell(self, report: t.Mapping[str, t.Any]) -> None:
        """Has the file say this from now on."""
        if self._path is None:
            return
        try:
            self._replace(self._path, json.dumps(report).encode())
        except OSError:  # a full disk, no rights: nobody is told then
            self._path = None

    @staticmethod
    def _replace(path: Path, text: bytes) -> None:
        new = path.with_suffix(".new")
        # The folder is everybody's: nothing that is there already is written to.
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, text)
        finally:
            os.close(handle)
        new.rename(path)

    def take_down(self) -> None:
        """Leaves nothing behind."""
        if self._path is not None:
            for path in (self._path, self._path.with_suffix(".new")):
                with contextlib.suppress(OSError):
                    path.unlink()


@contextlib.contextmanager
def told() -> t.Iterator[t.Callable[[t.Mapping[str, t.Any]], None] | None]:
    """What tells the controller how far the guests are, as long as the block lasts; None if it does not ask."""
    path = os.environ.get(VARIABLE, "")
    if not path.startswith("/"):
        yield None
        return
    board = _Board(Path(path))
    try:
        yield board.tell
    finally:
        board.take_down()
