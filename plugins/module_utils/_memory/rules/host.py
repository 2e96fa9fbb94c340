# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the host must have for a device: NUMA nodes, pages, SGX."""

from __future__ import annotations

import typing as t

from .. import models
from ..device import CONFIG, Definition, Host, format_nodeset
from ..errors import VirtmemError
from ..size import show
from .around import page_of


def check_host(
    definition: Definition, values: t.Mapping[str, t.Any], here: Host, scope_name: str
) -> VirtmemError | None:
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
    # A device without nodes of its own takes them from its cell, if that is bound to some.
    bound = definition.around.strict_nodes.get(values.get("node") or 0, ())
    nodes: t.Sequence[int] = values.get("nodemask") or [node for node in bound if node in here.pages]
    nodes = nodes or sorted(here.pages)
    unknown = [node for node in nodes if node not in here.pages]
    if unknown:
        return VirtmemError(
            "no_host_node",
            f"source.nodemask: the host has no NUMA node {format_nodeset(unknown)}, only "
            f"{format_nodeset(sorted(here.pages))}.",
            {"option": "source.nodemask", "value": format_nodeset(nodes), "host_nodes": sorted(here.pages)},
            "Choose among the host's nodes (virsh capabilities lists them).",
        )
    return _check_pool(values, page_of(definition, values), here, nodes, scope_name)


def _check_pool(
    values: t.Mapping[str, t.Any], page: int, here: Host, nodes: t.Sequence[int], scope_name: str
) -> VirtmemError | None:
    """There must be pages of this size, and for a running guest enough of them that are free."""
    if not page or page == here.smallest_page:
        return None
    option = "the domain's <hugepages>" if values.get("pagesize") is None else "source.pagesize"
    if page not in here.page_sizes:
        sizes = sorted(here.page_sizes)
        return VirtmemError(
            "no_host_pages",
            f"{option}: the host has no pages of {show(page)}, only of {', '.join(map(show, sizes))}.",
            {"option": option, "value": page, "host_page_sizes": sizes},
            "Choose one of them.",
        )
    pages = here.pages if here.free is None else here.free
    pool = sum(pages.get(node, {}).get(page, 0) for node in nodes) * page
    asked: int = values["requested"] if values.get("requested") is not None else values["size"]
    if scope_name == CONFIG or pool >= asked:
        return None
    return VirtmemError(
        "no_host_pages",
        f"{option}: the pool of {show(page)} pages on the host's nodes {format_nodeset(nodes)} has {show(pool)} free, "
        f"and {show(asked)} are asked for.",
        {"option": option, "value": page, "pool": pool, "needed": asked},
        "Enlarge the host's pool (vm.nr_hugepages), or ask for less.",
    )
