# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Domains with settings that exclude, limit or move memory devices: what is refused, and that what is stored starts.

Reads from its input, as JSON: lab, uri.
"""

from __future__ import annotations

import contextlib
import json
import sys
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import libvirt
from call import call

GIB = 1024**3
VM = {"alias": "vm0", "model": "virtio-mem", "size": "4GiB", "requested": "1GiB"}
DIMM = {"alias": "d0", "model": "dimm", "size": "1GiB"}
Q35 = "<controller type='pci' index='0' model='pcie-root'/>" + "<controller type='pci' model='pcie-root-port'/>" * 4
PC = "<controller type='pci' index='0' model='pci-root'/>"
RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
GIGANTIC = "<memoryBacking><hugepages><page size='1048576' unit='KiB'/></hugepages></memoryBacking>"


@dataclass
class Case:
    """A domain, a declaration, and what must become of it."""

    declared: dict[str, t.Any]
    code: str | None = None
    around: str = ""
    boot: int = 512  # MiB
    machine: str = "q35"
    expected: dict[str, str] = field(default_factory=dict)  # what the stored element has, by its place
    starts: bool = True  # whether the lab could start it: it has no pool of huge pages, and may not lock memory


CASES = {
    "an ordinary device": Case(VM, expected={"target/block": "2048"}),
    "the ordinary page": Case({**VM, "source": {"pagesize": "4KiB"}}, expected={"target/block": "2048"}),
    "huge pages of the domain": Case(VM, around=GIGANTIC, expected={"target/block": "1048576"}, starts=False),
    "half of such a page": Case({**VM, "requested": "512MiB"}, "not_aligned", GIGANTIC),
    "a block below the page": Case({**VM, "block": "2MiB"}, "invalid_block", GIGANTIC),
    "a dimm that is no whole page": Case({**DIMM, "size": "1536MiB", "source": {"pagesize": "1GiB"}}, "not_aligned"),
    "locked memory": Case(VM, "conflicting_setting", "<memoryBacking><locked/></memoryBacking>"),
    "a dimm that is locked": Case(DIMM, around="<memoryBacking><locked/></memoryBacking>", starts=False),
    "a hard limit": Case(DIMM, "conflicting_setting", "<memtune><hard_limit unit='MiB'>900</hard_limit></memtune>"),
    "a base without a slot": Case({**DIMM, "base": hex(6 * GIB)}, expected={"address/@slot": "0"}),
    "the lowest base": Case({**DIMM, "base": hex(4 * GIB)}),
    "a base below": Case({**DIMM, "base": hex(3 * GIB)}, "invalid_option"),
    "the lowest base of a larger q35": Case({**DIMM, "base": hex(6 * GIB)}, boot=4096),
    "a base below that": Case({**DIMM, "base": hex(5 * GIB)}, "invalid_option", boot=4096),
    "the lowest base of a larger pc": Case({**DIMM, "base": hex(5 * GIB)}, boot=4096, machine="pc"),
    "a base below that of a pc": Case({**DIMM, "base": hex(4 * GIB)}, "invalid_option", boot=4096, machine="pc"),
}


def definition(case: Case, devices: str = "") -> str:
    """The domain before anything is declared for it."""
    return f"""<domain type='qemu'><name>around</name><maxMemory slots='16' unit='GiB'>16</maxMemory>
  <memory unit='MiB'>{case.boot}</memory><currentMemory unit='MiB'>{case.boot - 64}</currentMemory><vcpu>1</vcpu>
  {case.around}<os><type arch='x86_64' machine='{case.machine}'>hvm</type></os><features><acpi/></features>
  <cpu mode='custom'><model>qemu64</model>
  <numa><cell id='0' cpus='0' memory='{case.boot}' unit='MiB'/></numa></cpu>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/>
  {PC if case.machine == "pc" else Q35}{devices}<memballoon model='none'/></devices></domain>"""


class Lab:
    """The lab's libvirt, with one domain at a time."""

    def __init__(self, uri: str) -> None:
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self.uri = uri
        self.connection = libvirt.open(uri)
        self.wrong: list[str] = []

    def define(self, text: str) -> t.Any:
        """The domain anew."""
        with contextlib.suppress(libvirt.libvirtError):
            old = self.connection.lookupByName("around")
            with contextlib.suppress(libvirt.libvirtError):
                old.destroy()
            old.undefine()
        return self.connection.defineXML(text)

    def try_case(self, what: str, case: Case) -> None:
        """The module does what is right, and what it has stored starts."""
        domain = self.define(definition(case))
        before = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        options = {"uri": self.uri, "domain": "around", "scope": "config", **case.declared}
        planned, done = call(check_mode=True, **options), call(**options)
        if (planned.get("error_code"), done.get("error_code")) != (case.code, case.code):
            self.wrong.append(f"{what}: {planned.get('error_code')}, {done.get('error_code')}: {done.get('msg')}")
            return
        root = ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        if case.code is not None:
            if domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) != before:
                self.wrong.append(f"{what}: refused, and changed")
            return
        memory = root.find("devices/memory")
        assert memory is not None
        for place, value in case.expected.items():
            steps, _at, attribute = place.partition("@")
            holder = memory.find(steps.rstrip("/"))
            found = None if holder is None else holder.get(attribute) if attribute else holder.text
            if found != value:
                self.wrong.append(f"{what}: {place} is {found}, not {value}")
        self._limit(what, case, root)
        again = call(**options)
        if again.get("changed") or again.get("error_code"):
            self.wrong.append(f"{what}: the second run: {again.get('msg')}")
        if case.starts:
            self.start(what, domain)

    def _limit(self, what: str, case: Case, root: ET.Element) -> None:
        """The balloon's target of the next boot holds back what it held back before."""
        dimms = sum(int(item.findtext("target/size") or 0) for item in root.findall("devices/memory[@model='dimm']"))
        left = case.boot * 1024 + dimms - int(root.findtext("currentMemory") or 0)
        if left != 64 * 1024:
            self.wrong.append(f"{what}: the balloon holds {left} KiB back")

    def start(self, what: str, domain: t.Any) -> None:
        """Starts it, without letting it run."""
        try:
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        except libvirt.libvirtError as error:
            self.wrong.append(f"{what}: stored, and does not start: {error}")

    def try_pc(self, taken: int, more: int, is_full: bool) -> None:
        """A running pc is given a device where it has a slot for it, and with the restart where it has none.

        libvirt starts no pc without a free slot: it adds a bridge. So the last ones are taken while it runs.
        """
        domain = self.define(definition(Case(VM, machine="pc"), RNG * taken))
        self.start(f"a pc with {taken} devices", domain)
        for _number in range(more):
            domain.attachDeviceFlags(RNG, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        options: dict[str, t.Any] = {"uri": self.uri, "domain": "around", "wait": False, **VM, "requested": "0"}
        planned, done = call(check_mode=True, **options), call(**options)
        scopes = [step["scope"] for step in done.get("steps", ())]
        if done.get("error_code") or planned["steps"] != done["steps"]:
            self.wrong.append(f"a pc with {taken} devices: {done.get('error_code')}: {done.get('msg')}")
        elif scopes != (["config"] if is_full else ["live", "config"]):
            self.wrong.append(f"a pc with {taken} devices: {scopes}")
        domain.destroy()
        self.start(f"a pc with {taken} devices and one more", domain)


def main() -> None:
    """Tries all cases."""
    lab = Lab(json.load(sys.stdin)["uri"])
    for what, case in CASES.items():
        lab.try_case(what, case)
    lab.try_pc(28, more=1, is_full=False)
    lab.try_pc(28, more=2, is_full=True)
    # What the tasks after this begin with.
    lab.define(definition(Case(VM)))
    if lab.wrong:
        sys.exit("\n".join(lab.wrong))
    print(f"{len(CASES) + 2} cases")


if __name__ == "__main__":
    main()
