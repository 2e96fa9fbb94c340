# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the host must have for a device: NUMA nodes, pages, SGX."""

from __future__ import annotations

import typing as t

from .. import models
from ..device import CONFIG, Host, format_nodeset
from ..errors import VirtmemError
from ..size import show


def check_host(values: t.Mapping[str, t.Any], here: Host, scope_name: str) -> VirtmemError | None:
    """The host must have the nodes and the pages that a device asks for.

    What only a configuration asks for may be filled up before the next boot, so there the kind of page is enough.
    """
    if models.facts(values["model"]).host_feature and here.sgx is False:
        return VirtmemError(
            "unsupported",
            "This host can't give guests SGX memory: its processor, kernel or QEMU has none.",
            {"feature": values["model"]},
            "Use a host with SGX enabled (virsh domcapabilities shows it under features).",
        )
    nodes: t.Sequence[int] = values.get("nodemask") or sorted(here.pages)
    unknown = [node for node in nodes if node not in here.pages]
    if unknown:
        return VirtmemError(
            "no_host_node",
            f"source.nodemask: the host has no NUMA node {format_nodeset(unknown)}, only "
            f"{format_nodeset(sorted(here.pages))}.",
            {"option": "source.nodemask", "value": format_nodeset(nodes), "host_nodes": sorted(here.pages)},
            "Choose among the host's nodes (virsh capabilities lists them).",
        )
    page = values.get("pagesize")
    if page is None or page == here.smallest_page:
        return None
    if page not in here.page_sizes:
        sizes = sorted(here.page_sizes)
        return VirtmemError(
            "no_host_pages",
            f"source.pagesize: the host has no pages of {show(page)}, only of {', '.join(map(show, sizes))}.",
            {"option": "source.pagesize", "value": page, "host_page_sizes": sizes},
            "Choose one of them.",
        )
    pool = sum(here.pages[node].get(page, 0) for node in nodes) * page
    asked: int = values["requested"] if values.get("requested") is not None else values["size"]
    if scope_name == CONFIG or pool >= asked:
        return None
    return VirtmemError(
        "no_host_pages",
        f"source.pagesize: the pool of {show(page)} pages on the host's nodes {format_nodeset(nodes)} has "
        f"{show(pool)}, "
        f"and {show(asked)} are asked for.",
        {"option": "source.pagesize", "value": page, "pool": pool, "needed": asked},
        "Enlarge the host's pool (vm.nr_hugepages), or ask for less.",
    )
