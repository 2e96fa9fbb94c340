# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Opens a connection, or says why there is none: a wrong URI, a daemon that hangs, a libvirt that is too old."""

from __future__ import annotations

import contextlib
import errno
import typing as t

from .._memory.errors import VirtmemError
from .._memory.support import OLDEST_LIBVIRT, show_version
from .calls import ACCESS_HINT, in_time, translate

with contextlib.suppress(ImportError):  # calls.py reports it
    import libvirt

# How long it may take, in seconds.
_TIMEOUT = 60.0


def refuse_old(what: str, version: int) -> None:
    """Raises:
    VirtmemError: `unsupported`: there is no event that tells when a guest has taken or given back memory.
    """
    if version < OLDEST_LIBVIRT:
        needed = show_version(OLDEST_LIBVIRT)
        raise VirtmemError(
            "unsupported",
            f"{what} version {show_version(version)}; this collection needs {needed} or later at both ends.",
            {"feature": "libvirt", "libvirt": show_version(version), "libvirt_needed": needed},
            "Update libvirt there (Debian 12, RHEL 9 and Ubuntu 22.04 have a later one).",
        )


def _connect_error(error: t.Any, uri: str) -> VirtmemError:
    """Why a URI could not be opened."""
    translated = translate(error, f"open {uri}", {"uri": uri})
    # A socket that may not be opened is a system error; libvirt keeps its errno in int1.
    refused = error.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() in (errno.EACCES, errno.EPERM)
    if refused:
        return VirtmemError("access_denied", translated.msg, translated.details, ACCESS_HINT)
    if translated.error_code == "access_denied":
        return translated
    return VirtmemError(
        "connection_failed",
        translated.msg,
        translated.details,
        f"Check the URI and that libvirtd (or virtqemud) runs there: virsh -c {uri} version.",
    )


def open_in_time(uri: str, read_only: bool) -> t.Any:
    """Opens a connection; a daemon may accept it and then say nothing."""
    try:
        return in_time(lambda: libvirt.openReadOnly(uri) if read_only else libvirt.open(uri), _TIMEOUT)
    except TimeoutError:
        raise VirtmemError(
            "connection_failed",
            f"{uri} did not answer within {_TIMEOUT:g} s.",
            {"uri": uri, "timeout": _TIMEOUT},
            "Check whether the daemon hangs, or whether the connection waits for a password or for a host key to be "
            "confirmed.",
        ) from None
    except libvirt.libvirtError as error:
        raise _connect_error(error, uri) from error
