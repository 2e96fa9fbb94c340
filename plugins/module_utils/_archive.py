# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Has Python compile what a module imports once, and not twice.

Ansible sends a module as a zip archive. Python's zipimport finds a file in one by compiling it (find_spec asks
get_filename for its name) and compiles it again to run it: CPython 3.9 to 3.14. A task that finds everything as
declared spends most of its time so.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import pkgutil
import sys
import typing as t
import zipimport


class _Finder:
    """Finds the modules of those packages that are in an archive."""

    @staticmethod
    def find_spec(
        name: str, path: t.Sequence[str] | None = None, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Where the module is; None if it is in no archive, and the usual way finds it.

        Args:
            name: with those of its packages.
            path: where its package is.
        """
        if path is None or len(path) != 1:
            return None
        archive = pkgutil.get_importer(path[0])
        if not isinstance(archive, zipimport.zipimporter):
            return None
        try:
            is_package = archive.is_package(name)
        except zipimport.ZipImportError:
            return None
        place = f"{path[0]}/{name.rpartition('.')[2]}"
        file = f"{place}/__init__.py" if is_package else f"{place}.py"
        loader = t.cast(t.Any, archive)  # it is one, and says so from Python 3.10 on
        spec = importlib.machinery.ModuleSpec(name, loader, origin=file, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [place]
        return spec


@contextlib.contextmanager
def compiled_once() -> t.Iterator[None]:
    """Whatever is imported meanwhile."""
    sys.meta_path.insert(0, _Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_Finder)
