# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The model of libvirt against the real one: the same operations on both, the same XML and the same refusals.

$VIRTMEM_LAB is the command of a lab that is up (tests/lab), $VIRTMEM_LAB_URI its URI. The guests have no operating
system, so they never answer.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import time
import typing as t
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("libvirt")

import libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.tests.generating import SEED
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model

URI = os.environ.get("VIRTMEM_LAB_URI", "")
SECONDS = float(os.environ.get("VIRTMEM_MODEL_SECONDS", "15"))

pytestmark = pytest.mark.skipif(not URI, reason="no lab: VIRTMEM_LAB_URI is not set")

NAME = "model"
DOMAIN = f"""<domain type='qemu'><name>{NAME}</name><uuid>6c0f3a52-11aa-4c3b-8d55-6f0c5b0f7e21</uuid>
  <maxMemory slots='6' unit='MiB'>4096</maxMemory><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
  <cpu mode='custom'><model>qemu64</model><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>
  <devices><controller type='usb' model='none'/><controller type='pci' index='0' model='pcie-root'/>
  {"<controller type='pci' model='pcie-root-port'/>" * 3}<memballoon model='none'/></devices></domain>"""


def sides(reading: _libvirt.Reading) -> dict[str, list[str]]:
    """What both must agree on of a domain: everything about its memory but where QEMU puts it."""
    told = {}
    for scope, text in (("live", reading.live_xml), ("config", reading.config_xml)):
        if text is None:
            continue
        root = ET.fromstring(text)
        lines = [f"{tag} {model.number(root, tag)}" for tag in ("memory", "currentMemory", "maxMemory")]
        for number, device in enumerate(model.memories(root)):
            for address in device.iter("address"):
                address.attrib.pop("base", None)
            lines += [f"{number} {fact}" for fact in sorted(facts(device))]
        ports = [item.get("index") for item in root.findall("devices/controller[@model='pcie-root-port']")]
        told[scope] = [*lines, f"ports {sorted(map(str, ports))}"]
    return told


def facts(element: ET.Element, above: str = "") -> t.Iterator[str]:
    """What an element says, a line each; an address without its place says nothing."""
    path = f"{above}/{element.tag}"
    if element.attrib or (element.text or "").strip() or len(element):
        yield f"{path} {sorted(element.attrib.items())} {(element.text or '').strip()}"
    for child in element:
        yield from facts(child, path)


def refusal(call: t.Callable[..., object], *arguments: str) -> VirtmemError | None:
    """The error of a call, None if there is none."""
    try:
        call(*arguments)
    except VirtmemError as error:
        return error
    return None


class Pair:
    """The real domain and its model."""

    def __init__(self, hypervisor: _libvirt.Hypervisor, connection: t.Any) -> None:
        self.real, self.connection = hypervisor, connection
        with contextlib.suppress(libvirt.libvirtError):
            connection.lookupByName(NAME).destroy()
        with contextlib.suppress(libvirt.libvirtError):
            connection.lookupByName(NAME).undefine()
        self.domain = connection.defineXML(DOMAIN)
        self.uuid = hypervisor.find(NAME)
        self.libvirt = model.Libvirt(known=hypervisor.versions())
        self.libvirt.define(hypervisor.config_with_secrets(self.uuid))
        self.libvirt.machine(self.uuid).guest = "nodriver"
        self.model = model.Connection(self.libvirt)
        self.log: list[str] = []

    def both(self, what: str, *arguments: str) -> bool:
        """The same call to both, and whether it went well; they must agree."""
        shown = " ".join(re.sub(r"\s*\n\s*", "", argument)[-600:] for argument in arguments[1:] or [""])
        self.log.append(f"{what} {shown if what != 'define' else ''}")
        outcomes = []
        for side in (self.real, self.model):
            error = refusal(getattr(side, what), *arguments)
            outcomes.append(f"{error.error_code} {error.details.get('libvirt_code')}" if error else "")
            self.log += [error.msg] if error else []
        assert outcomes[0] == outcomes[1], "\n".join([f"real and model: {outcomes}", *self.log])
        self.agree()
        return not outcomes[0]

    def power(self, what: str) -> None:
        """Starts or stops both."""
        self.log.append(what)
        codes = []
        try:
            self.domain.create() if what == "start" else self.domain.destroy()
            codes.append(0)
        except libvirt.libvirtError as error:
            codes.append(error.get_error_code())
            self.log.append(str(error))
        try:
            getattr(self.libvirt, what)(self.uuid)
            codes.append(0)
        except model.Refused as error:
            codes.append(error.code)
            self.log.append(str(error))
        assert codes[0] == codes[1], "\n".join([f"real and model: {codes}", *self.log])
        self.agree()

    def agree(self) -> None:
        """Both describe the domain alike."""
        real, modelled = (sides(side.read(self.uuid)) for side in (self.real, self.model))
        for scope in ("live", "config"):
            assert real.get(scope) == modelled.get(scope), "\n".join([scope, *self.log])

    def devices(self, scope: str) -> list[ET.Element]:
        """The devices of the real domain in this scope."""
        reading = self.real.read(self.uuid)
        text = reading.live_xml if scope == "live" else reading.config_xml
        return model.memories(ET.fromstring(text)) if text else []


MODELS = ("virtio-mem", "virtio-mem", "dimm", "dimm", "nvdimm", "virtio-pmem")


def element(chance: random.Random, files: t.Sequence[str]) -> str:
    """A new device, mostly a good one."""
    kind = chance.choice(MODELS)
    sizes = ("<size unit='MiB'>128</size>", "<size unit='MiB'>256</size>", "<size unit='KiB'>131072</size>")
    size = chance.choice(sizes)
    odd = chance.random()
    if odd < 0.08:
        size = chance.choice(("<size unit='GiB'>5</size>", "<size>131073</size>", ""))
    node = "" if kind == "virtio-pmem" else chance.choice(("<node>0</node>",) * 20 + ("<node>1</node>", ""))
    inner, source, address = "", "", ""
    if kind == "virtio-mem":
        block = chance.choice(("<block unit='MiB'>2</block>",) * 8 + ("<block>3000</block>", "<block>1024</block>", ""))
        asked = chance.choice(("0", "4096", "65536", "131072") * 3 + ("1", "99999999"))
        inner = f"{block}<requested unit='KiB'>{asked}</requested>"
    elif kind in ("nvdimm", "virtio-pmem"):
        source = chance.choice((f"<source><path>{chance.choice(files)}</path></source>",) * 8 + ("",))
    elif chance.random() < 0.3:
        address = f"<address type='dimm' slot='{chance.choice((0, 1, 2, 5, 6))}'/>"
    alias = chance.choice(("ua-a", "ua-b", "ua-c", "ua-d", "ua-e", "", "", "ua-b.c", "dimm0"))
    named = f"<alias name='{alias}'/>" if alias else ""
    return f"<memory model='{kind}'>{source}<target>{size}{node}{inner}</target>{named}{address}</memory>"


def requested(chance: random.Random, device: ET.Element) -> str:
    """The device with another size requested, now and then with something else that is not as it was."""
    target = t.cast("ET.Element", device.find("target"))
    if device.get("model") == "virtio-mem":
        model.set_number(target, "requested", chance.choice((0, 2048, 65536, 131072, 1000)))
    odd = chance.random()
    for path, least in (("address", 0.9), ("alias", 0.8)):
        found = device.find(path)
        if found is not None and least < odd < least + 0.1:
            device.remove(found)
    return ET.tostring(device, encoding="unicode")


def redefined(chance: random.Random, text: str) -> str:
    """A configuration with one device less, another size, or more room."""
    root = ET.fromstring(text)
    devices = model.memories(root)
    what = chance.choice(("less", "size", "room", "ports"))
    if what == "less" and devices:
        t.cast("ET.Element", root.find("devices")).remove(chance.choice(devices))
    elif what == "size" and devices:
        model.set_number(t.cast("ET.Element", chance.choice(devices).find("target")), "size", 262144)
    elif what == "room":
        t.cast("ET.Element", root.find("maxMemory")).set("slots", str(chance.choice((1, 6, 8))))
    else:
        ET.SubElement(t.cast("ET.Element", root.find("devices")), "controller", type="pci", model="pcie-root-port")
    return ET.tostring(root, encoding="unicode")


def step(pair: Pair, chance: random.Random, files: t.Sequence[str]) -> None:
    """One operation on both."""
    running = pair.libvirt.machine(pair.uuid).live is not None
    scope = "live" if running and chance.random() < 0.6 else "config"
    devices = pair.devices(scope)
    what = chance.choice(("attach", "attach", "attach", "update", "update", "detach", "define"))
    if what == "attach" or not devices:
        pair.both("attach", pair.uuid, scope, element(chance, files))
    elif what == "update":
        pair.both("update", pair.uuid, scope, requested(chance, chance.choice(devices)))
    elif what == "define":
        pair.both("define", redefined(chance, pair.real.config_with_secrets(pair.uuid)))
    elif scope == "config":
        device = chance.choice(devices)
        if chance.random() < 0.1:
            model.set_number(t.cast("ET.Element", device.find("target")), "size", 4096)
        pair.both("detach", pair.uuid, scope, ET.tostring(device, encoding="unicode"))
    else:
        # A guest without an operating system never gives a DIMM back; a virtio-mem device needs its answer too.
        pair.both("unplug", pair.uuid, chance.choice([model.alias_of(item) or "" for item in devices] + ["ua-none"]))


def test_the_model_does_what_libvirt_does() -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    lab = os.environ["VIRTMEM_LAB"].split()
    files = []
    for number in range(4):
        command = [*lab, "file", f"model{number}", "256MiB"]
        made = subprocess.run(command, check=True, capture_output=True, text=True)
        files.append(made.stdout.strip())
    began, sequences, steps = time.monotonic(), 0, 0
    with _libvirt.connect(URI) as hypervisor:
        connection = libvirt.open(URI)
        try:
            # One sequence at least, and then as many as there is time for.
            while not sequences or time.monotonic() - began < SECONDS:
                pair = Pair(hypervisor, connection)
                for phase in ("config", "live", "config"):
                    if phase == "live":
                        pair.power("start")
                    for _step in range(10):
                        step(pair, chance, files)
                        steps += 1
                if pair.domain.isActive():
                    pair.power("stop")
                sequences += 1
        finally:
            with contextlib.suppress(libvirt.libvirtError):
                connection.lookupByName(NAME).destroy()
            with contextlib.suppress(libvirt.libvirtError):
                connection.lookupByName(NAME).undefine()
            connection.close()
    print(f"{sequences} sequences, {steps} operations")
    assert steps >= 30
