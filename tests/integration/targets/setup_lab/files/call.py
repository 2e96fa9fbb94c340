# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls the module memory_device as a task would, a hundred times as often: each call is a process of its own.

They are forked from one that has loaded the module and nothing of libvirt's, so that two can also be on their way at
the same time to within a few milliseconds. $VIRTMEM_PATHS has the folders of ansible_collections and of ansible.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sys
import typing as t
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

# At the end: the controller's folder may have other packages in it, made for its own Python.
sys.path.extend(os.environ["VIRTMEM_PATHS"].split(":"))

from ansible.module_utils.testing import patch_module_args
from ansible_collections.virtmem.libvirt.plugins.module_utils import _module

_SERVER = multiprocessing.get_context("forkserver")
# Which loads all that is loaded above.
_SERVER.set_forkserver_preload([__name__])


def _work(answer: Connection, arguments: dict[str, t.Any]) -> None:
    printed = io.StringIO()
    with patch_module_args(arguments), redirect_stdout(printed), suppress(SystemExit):
        _module.memory_device()
    answer.send(printed.getvalue())


@dataclass
class Call:
    """A call that is on its way."""

    process: t.Any
    answer: Connection

    def result(self) -> dict[str, t.Any]:
        """What the module answers."""
        with self.answer:
            try:
                text = self.answer.recv()
            except EOFError:
                sys.exit("The module ended without an answer.")
        self.process.join()
        result: dict[str, t.Any] = json.loads(text)
        return result


def start(check_mode: bool = False, **options: t.Any) -> Call:
    """Begins a call."""
    ours, theirs = _SERVER.Pipe(duplex=False)
    arguments = {**options, "_ansible_check_mode": check_mode, "_ansible_diff": True}
    process = _SERVER.Process(target=_work, args=(theirs, arguments))
    process.start()
    theirs.close()
    return Call(process, ours)


def call(check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """What the module answers to these options."""
    return start(check_mode, **options).result()
