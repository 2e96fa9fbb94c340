# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A socket between a module and the daemon, on which connections can be cut, fall silent, or be slow.

It knows where libvirt's messages begin and end, so that a fault can come at one certain call or answer.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

CALL, REPLY = 0, 1
# libvirt's own numbers, which are its protocol and never change.
ATTACH, DETACH, UPDATE, DEFINE, DETACH_ALIAS, GET_XML, LIST = 160, 161, 174, 350, 392, 14, 273
_REMOTE = 0x20008086
# The length of the message, itself included; program, version, procedure, kind.
_HEADER = struct.Struct(">5I")


@dataclass(frozen=True)
class Message:
    """The head of a message."""

    procedure: int
    kind: int
    number: int  # the how manieth of its procedure and kind, from 1


# Looks at a message before it is passed on; False keeps it back.
Hook = t.Callable[[Message], bool]


def passing(_message: Message) -> bool:
    """Lets everything through."""
    return True


class Proxy:
    """Listens, and passes on."""

    def __init__(self, path: Path, daemon: Path, hook: Hook = passing) -> None:
        self.uri = f"qemu+unix:///session?socket={path}"
        self.hook = hook
        self.delay = 0.0  # of each message, in seconds
        self.seen: list[Message] = []
        self._daemon = daemon
        self._flowing = threading.Event()
        self._flowing.set()
        self._streams: list[socket.socket] = []
        self._counts: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        path.chmod(0o777)
        self._door.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Closes what is open, at once."""
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """From now on nothing passes, and nothing is closed."""
        self._flowing.clear()

    def close(self) -> None:
        """Ends it."""
        self._flowing.set()
        self.cut()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._door.accept()
                daemon = socket.socket(socket.AF_UNIX)
                try:
                    daemon.connect(str(self._daemon))
                except OSError:
                    client.close()
                    continue
                self._streams += [client, daemon]
                for pair in ((client, daemon), (daemon, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while head := _exactly(source, _HEADER.size):
                length, program, _version, procedure, kind = _HEADER.unpack(head)
                body = _exactly(source, length - _HEADER.size)
                if self.delay:
                    time.sleep(self.delay)
                self._flowing.wait()
                if program != _REMOTE or self.hook(self._noted(procedure, kind)):
                    self._flowing.wait()
                    target.sendall(head + body)
        for stream in (source, target):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def _noted(self, procedure: int, kind: int) -> Message:
        with self._lock:
            number = self._counts[procedure, kind] = self._counts.get((procedure, kind), 0) + 1
        message = Message(procedure, kind, number)
        self.seen.append(message)
        return message


def _exactly(stream: socket.socket, count: int) -> bytes:
    """So many bytes, or none at the end."""
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data
