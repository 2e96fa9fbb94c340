# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Which hosts of an inventory a libvirt URI belongs to."""

from __future__ import annotations

import typing as t
from urllib.parse import urlsplit


def hosts_of(
    hosts: t.Iterable[t.Mapping[str, t.Any]], uri: str | t.Sequence[str], known: t.Mapping[str, t.Any] | None = None
) -> list[str]:
    """The hosts of an inventory that libvirt URIs belong to, by name.

    Args:
        hosts: the variables of each, with its `inventory_hostname`.
        uri: one or several, as seen from the machine that asks.
        known: hosts of URIs that can't be found out, a name or a list of names for each.

    """
    hosts = list(hosts)
    found: list[str] = []
    for one in [uri] if isinstance(uri, str) else uri:
        if known and one in known:
            found += [known[one]] if isinstance(known[one], str) else known[one]
        else:
            found += [str(host["inventory_hostname"]) for host in hosts if _belongs(host, one)]
    return list(dict.fromkeys(found))


def _belongs(host: t.Mapping[str, t.Any], uri: str) -> bool:
    name = str(host["inventory_hostname"])
    asked, own = urlsplit(uri), str(host.get("sizing_uri") or "qemu:///system")
    if asked.hostname is None or urlsplit(own).hostname is not None:
        # The same from wherever it is opened, or meant of the machine that opens it.
        is_here = host.get("ansible_connection") == "local" or name in ("localhost", "127.0.0.1")
        return own == uri and (asked.hostname is not None or is_here)
    names = (name, host.get("ansible_host"))
    return asked.hostname in {str(text).lower() for text in names if text} and asked.path == urlsplit(own).path
