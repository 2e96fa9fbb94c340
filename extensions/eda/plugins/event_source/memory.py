# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+
# (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Event source: what happens to the memory of libvirt guests.

Documentation, and the way to the collection's own code. Event-Driven Ansible runs this file by its
path, so that it has no package of its own. It finds the collection that it is a part of, wherever
that is: installed, in a checkout, or in a decision environment.

To see what it tells, without a rulebook: python memory.py qemu:///system
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
name: memory
short_description: Tells what happens to the memory of libvirt guests
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Tells when a memory device of a running guest comes, goes or has another size, when a guest
    starts, stops or migrates, and when what runs, what is stored and what was asked for differ.
  - It listens to libvirt's events, and looks at all domains once in a while for what no event
    tells.
  - A connection that breaks is tried again. What has changed meanwhile is told as soon as it is
    back.
  - What a guest has at the end is always told. What changes faster than the rulebook takes its
    events is told as one change, so that nothing piles up.
options:
  uris:
    description:
      - The libvirt URIs of the hypervisors, one or a list of them. Reading is all that it asks for.
    type: list
    elements: str
    default: ["qemu:///system"]
  domains:
    description:
      - The names of the domains, as globs, or their UUIDs.
    type: list
    elements: str
    default: ["*"]
  interval:
    description:
      - How often all domains are looked at, in seconds, from 1 to 86400.
      - A guest that stands still for so long on its way is told as C(not_converged).
    type: float
    default: 60
  statistics:
    description:
      - Whether the guests are asked how much memory they count as their own, so that memory they
        can't use is told. It takes the balloon's statistics, see C(statistics_period) of
        M(virtmem.libvirt.memory_layout).
    type: bool
    default: false
notes:
  - The Python that runs the rulebook needs libvirt-python and lxml.
  - Each event is a dictionary with the key C(memory). All its keys are always there; those that
    don't apply are null. The file C(extensions/eda/schemas/memory.json) of the collection describes
    it as a JSON schema.
"""

EXAMPLES = r"""
- name: What happens on two hypervisors
  hosts: all
  sources:
    - virtmem.libvirt.memory:
        uris: ["qemu+ssh://hv1/system", "qemu+ssh://hv2/system"]
        domains: ["web*"]
  rules:
    - name: A guest refuses to give memory back
      condition: event.memory.kind == "not_converged"
      action:
        debug:
          msg: "{{ event.memory.message }}"
"""

# The collection under a name of its own: `ansible_collections` can only be imported where Ansible's
# controller runs.
PACKAGE = "_virtmem_libvirt"


def _package() -> str:
    """Make the plugins of the collection a package that can be imported, once for the process.

    Returns:
        The name of the package.

    Raises:
        RuntimeError: This file is not where it belongs.

    """
    plugins = Path(__file__).resolve().parents[4] / "plugins"
    if not (plugins / "plugin_utils" / "_watch.py").is_file():
        message = f"{__file__} must stay in the collection virtmem.libvirt; there is no {plugins}."
        raise RuntimeError(message)
    if PACKAGE not in sys.modules:
        spec = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(plugins)]
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    return PACKAGE


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Put an event into the queue whenever something happens, as long as the rulebook runs.

    Args:
        queue: The rulebook's.
        args: The options.

    """
    await importlib.import_module(f"{_package()}.plugin_utils._watch").watch(queue, args)


async def _show(uris: list[str]) -> None:
    """Print each event as a line of JSON.

    Args:
        uris: The hypervisors, or none for the default.

    """
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)

    async def show() -> None:
        while True:
            sys.stdout.write(f"{json.dumps(await queue.get())}\n")
            sys.stdout.flush()

    await asyncio.gather(main(queue, {"uris": uris} if uris else {}), show())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_show(sys.argv[1:]))
