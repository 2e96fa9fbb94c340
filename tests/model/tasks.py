# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks on the model of libvirt: a hypervisor with a few domains, a task over them, and what came of it."""

from __future__ import annotations

import typing as t

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import prepare, whole
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Job, Order, Planned, Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.task import Patience
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._observe import Observer
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model

MIB, GIB = 1024**2, 1024**3
OLD, NEW = Versions(9_000_000, 7_002_022), Versions(11_003_000, 10_000_002)

DOMAIN = """<domain type='qemu'>
  <name>{name}</name><uuid>{name}</uuid>
  <maxMemory slots='8' unit='GiB'>16</maxMemory><memory unit='GiB'>1</memory>
  <vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
  <cpu><numa><cell id='0' cpus='0' memory='1' unit='GiB'/></numa></cpu>
  <devices>
    <controller type='pci' index='0' model='pcie-root'/>{ports}{devices}
    <memballoon model='{balloon}'>{stats}</memballoon>
  </devices>
</domain>"""


def vm(alias: str = "ua-vm0", requested: int = 0, size: int = 2 * GIB) -> str:
    """A virtio-mem device, as a user writes it."""
    return (
        f"<memory model='virtio-mem'><target><size unit='b'>{size}</size><node>0</node><block unit='MiB'>2</block>"
        f"<requested unit='b'>{requested}</requested></target><alias name='{alias}'/></memory>"
    )


def dimm(alias: str, size: int = GIB) -> str:
    """A DIMM, as a user writes it."""
    target = f"<target><size unit='b'>{size}</size><node>0</node></target>"
    return f"<memory model='dimm'>{target}<alias name='{alias}'/></memory>"


def libvirt(
    versions: Versions = NEW, balloon: str = "none", period: int = 0, **domains: t.Sequence[str]
) -> model.Libvirt:
    """A hypervisor with these domains, running, each guest with all that is requested of it."""
    made = model.Libvirt(versions)
    stats = f"<stats period='{period}'/>" if period else ""
    for name, devices in domains.items():
        ports = "<controller type='pci' model='pcie-root-port'/>" * 6
        made.define(DOMAIN.format(name=name, ports=ports, devices="".join(devices), balloon=balloon, stats=stats))
        made.start(name)
    made.advance(made.now + 10)
    return made


def size(host: model.Libvirt, uuid: str, what: str, alias: str = "ua-vm0", scope: str = model.LIVE) -> int | None:
    """One of the sizes of a device, in bytes; None if the device is not there."""
    root = host.definition(uuid, scope)
    found = next((item for item in model.memories(root) if model.alias_of(item) == alias), None)
    return None if found is None else (model.number(found, f"target/{what}") or 0) * 1024


def run(
    host: model.Libvirt,
    declared: t.Mapping[str, Declaration],
    connection: model.Connection | None = None,
    timeout: float = 30.0,
    **how: t.Any,
) -> t.Sequence[Job]:
    """A task over these domains, as the modules run one: nothing is changed if anything speaks against a plan.

    `how` is how the task waits, by the names of `Patience`.
    """
    connection = connection or model.Connection(host)
    patience = Patience(timeout=timeout, interrupted=lambda: connection.interrupted, **how)
    observer = Observer(t.cast("t.Any", connection))
    jobs = prepare.prepare(observer, [Order(*item) for item in declared.items()], patience)
    planned = [job for job in jobs if isinstance(job, Planned)]
    running = [Running(job) for job in planned]
    if len(running) == len(jobs) and not all(prepare.is_through(job, patience) for job in planned):
        whole.apply(observer, running, patience, connection.clock)
    connection.close()
    return running if len(running) == len(jobs) else jobs


def codes(jobs: t.Sequence[Job]) -> list[str | None]:
    """How each domain ended."""
    return [job.error.error_code if job.error else None for job in jobs]


def requests(requested: int, alias: str = "ua-vm0", **more: t.Any) -> Declaration:
    """A declaration of one virtio-mem device."""
    return Declaration((Wish(alias=alias, requested=requested, **more),))
