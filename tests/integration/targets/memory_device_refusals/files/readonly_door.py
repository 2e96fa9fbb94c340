# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A socket that lets clients into a libvirt daemon for reading only, as the read-only socket of a system's daemon does.

A daemon of a single user has no such socket. This one passes everything on, and sets the read-only flag in the one
message with which a client opens its connection. It ends when its socket is removed.

Usage: readonly_door.py SOCKET DAEMONS-SOCKET
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from pathlib import Path

PROGRAM, OPEN, CALL, READ_ONLY = 0x20008086, 1, 0, 1
# The length of the message, itself included; program, version, procedure, kind.
HEADER = struct.Struct(">5I")


def exactly(stream: socket.socket, count: int) -> bytes:
    """So many bytes, or none at the end."""
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


def messages(source: socket.socket, target: socket.socket, change: bool) -> None:
    """Passes messages on until one side closes."""
    with contextlib.suppress(OSError):
        while head := exactly(source, HEADER.size):
            length, program, _version, procedure, kind = HEADER.unpack(head)
            body = exactly(source, length - HEADER.size)
            if change and (program, procedure, kind) == (PROGRAM, OPEN, CALL):
                # The flags are the last word of the call.
                flags = int.from_bytes(body[-4:], "big") | READ_ONLY
                body = body[:-4] + flags.to_bytes(4, "big")
            target.sendall(head + body)
    for stream in (source, target):
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Opens the door, and serves until it is taken away."""
    path = Path(sys.argv[1])
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen()
    door.settimeout(0.5)
    while path.exists():
        try:
            client, _address = door.accept()
        except TimeoutError:
            continue
        client.settimeout(None)
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(sys.argv[2])
        for arguments in ((client, daemon, True), (daemon, client, False)):
            threading.Thread(target=messages, args=arguments, daemon=True).start()


main()
