# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Signals in a worker of Ansible that has a second thread: they end it though the main thread waits.

Python runs a signal's handler in the main thread only, once that is back from what it waits for. The kernel may hand
the signal to any thread. On Ctrl-C, Ansible sends SIGINT and, before the worker's main thread had a turn on a busy
machine, SIGTERM: Linux looks for a thread that has no signal yet, and that one takes both. The main thread then waits
for the module as if nothing had been, and ansible-playbook for the worker.
"""

from __future__ import annotations

import os
import signal
import threading
import typing as t

# Its handler does nothing. That the main thread has it is enough: it comes back, and runs the others' handlers too.
_WAKE = signal.SIGURG
# So long for the main thread to come back, in seconds, before it is sent the signal again.
_TURN = 0.2


class Forwarder:
    """Wakes the main thread whenever a signal with a handler arrives at any thread."""

    def __init__(self) -> None:
        self._is_back = threading.Event()
        self._is_ended = False
        self._before: t.Any = None
        self._fd_before = -1
        self._write = -1

    def start(self) -> None:
        """From now on. Only the main thread can call it."""
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.signal(_WAKE, lambda _number, _frame: self._is_back.set())
        self._fd_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._forward, args=(read,), daemon=True).start()

    def stop(self) -> None:
        """No longer; what was set before is set again. Only the main thread can call it."""
        self._is_ended = True
        signal.set_wakeup_fd(self._fd_before)
        signal.signal(_WAKE, self._before)
        os.close(self._write)  # which ends the thread

    def _forward(self, read: int) -> None:
        main = t.cast("int", threading.main_thread().ident)
        with open(read, "rb", buffering=0) as pipe:
            while True:
                numbers = pipe.read(64)
                if not numbers:
                    return
                if all(number == _WAKE for number in numbers):
                    continue
                self._is_back.clear()
                signal.pthread_kill(main, _WAKE)
                # It may have been about to wait, and then it would not come back.
                while not self._is_back.wait(_TURN) and not self._is_ended:
                    signal.pthread_kill(main, _WAKE)
