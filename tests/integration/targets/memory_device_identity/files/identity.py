# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Domains in which devices are easily taken for each other, and declarations that must hit the right one or none.

Reads from its input, as JSON: lab, uri.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
import xml.etree.ElementTree as ET

import libvirt
from call import call
from checker import Checker, Wrong, need

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
BOTH = ["live", "config"]


def virtio_mem(alias: str = "", size: int = 64, requested: int = 16) -> str:
    """A device that is the same as others but for what is given, in MiB."""
    name = f"<alias name='{alias}'/>" if alias else ""
    return (
        f"<memory model='virtio-mem'><target><size unit='MiB'>{size}</size><node>0</node><block unit='MiB'>2</block>"
        f"<requested unit='MiB'>{requested}</requested></target>{name}</memory>"
    )


def dimm(alias: str = "", size: int = 64) -> str:
    """The same for a DIMM."""
    name = f"<alias name='{alias}'/>" if alias else ""
    return f"<memory model='dimm'><target><size unit='MiB'>{size}</size><node>0</node></target>{name}</memory>"


class Domain:
    """One domain of the lab, and what has to become of declarations for it."""

    def __init__(self, lab: str, checker: Checker, name: str) -> None:
        options = ["--kind=empty", "--memory=64MiB"]
        subprocess.run([lab, "guest", name, *options], check=True, capture_output=True)
        self.name = name
        self.checker = checker
        self.handle = checker.connection.lookupByName(name)

    def attach(self, live: t.Iterable[str], config: t.Iterable[str]) -> None:
        """Puts devices into each scope, in these orders."""
        for flag, elements in ((LIVE, live), (CONFIG, config)):
            for element in elements:
                self.handle.attachDeviceFlags(element, flag)

    def edit_config(self, edit: t.Callable[[ET.Element, list[ET.Element]], None]) -> None:
        """Lets a function change the configuration, given its <devices> and the memory devices therein."""
        root = ET.fromstring(self.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        devices = root.find("devices")
        if devices is None:
            raise Wrong("a domain without devices")
        edit(devices, devices.findall("memory"))
        self.checker.connection.defineXML(ET.tostring(root, encoding="unicode"))

    def devices(self, scope: str) -> list[dict[str, t.Any]]:
        """The memory devices of one scope in their order."""
        root = ET.fromstring(self.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if scope == "config" else 0))
        return [_facts(memory) for memory in root.findall("devices/memory")]

    def delivered(self, changes: t.Mapping[str, tuple[int, t.Mapping[str, t.Any] | None]], **options: t.Any) -> None:
        """The declaration changes these devices and no other, and a second run nothing.

        Args:
            changes: for each scope that changes, the device's place and what it becomes, or None if it goes.
            options: the declaration.
        """
        options = {"domain": self.name, "wait": False, **options}
        wanted = {scope: self.devices(scope) for scope in BOTH}
        for scope, (place, values) in changes.items():
            if values is None:
                del wanted[scope][place]
            else:
                wanted[scope][place].update(values)
        plan = call(check_mode=True, uri=self.checker.uri, **options)
        done = call(uri=self.checker.uri, **options)
        need("error_code" not in done, "it fails", done)
        need(done["steps"] == plan["steps"] and bool(plan["steps"]), "check mode planned otherwise", plan)
        for scope in BOTH:
            need(self.devices(scope) == wanted[scope], f"{scope} is {self.devices(scope)}, not {wanted[scope]}", done)
        again = call(uri=self.checker.uri, **options)
        need(not again["changed"] and again["restart_required"] == done["restart_required"], "not the same", again)
        need({scope: self.devices(scope) for scope in BOTH} == wanted, "the second run changed something", again)

    def refused(self, error_code: str, mentions: t.Sequence[str], **options: t.Any) -> None:
        """The declaration is refused, and no device is touched."""
        self.checker.refused({"domain": self.name, **options}, error_code, mentions)

    def restart(self) -> None:
        """Shuts the domain down and starts it."""
        self.handle.destroy()
        self.handle.create()


def _facts(memory: ET.Element) -> dict[str, t.Any]:
    alias, address = memory.find("alias"), memory.find("address")
    sizes = {tag: memory.findtext(f"target/{tag}") for tag in ("size", "requested", "block")}
    return {
        "model": memory.get("model"),
        "alias": None if alias is None else alias.get("name"),
        "address": None if address is None else dict(address.attrib),
        **{tag: None if text is None else int(text) // 1024 for tag, text in sizes.items()},
    }


# --- the situations


def two_candidates(domain: Domain) -> None:
    """Nothing tells them apart, so neither is touched."""
    domain.attach([virtio_mem(), virtio_mem()], [virtio_mem(), virtio_mem()])
    candidates = ["virtiomem0", "virtiomem1"]
    domain.refused("ambiguous_device", candidates, model="virtio-mem", requested="32MiB")
    domain.refused("ambiguous_device", candidates, model="virtio-mem", state="absent")
    domain.refused("ambiguous_device", ["ua-new", *candidates], model="virtio-mem", alias="new", size="64MiB")


def alias_in_one_scope(domain: Domain) -> None:
    """The configuration has been given a name, and the guest not been restarted: the rest joins the two sides."""
    domain.attach([virtio_mem(), virtio_mem(size=128)], [virtio_mem(size=128), virtio_mem()])

    def name(_devices: ET.Element, memories: list[ET.Element]) -> None:
        ET.SubElement(memories[1], "alias", name="ua-named")

    domain.edit_config(name)
    changes = {"live": (0, {"requested": 32}), "config": (1, {"requested": 32})}
    domain.delivered(changes, alias="named", requested="32MiB")
    domain.delivered({"config": (1, None)}, alias="named", state="absent", scope="config")


def alias_in_one_scope_of_twins(domain: Domain) -> None:
    """The guest has two that it could be."""
    domain.attach([virtio_mem(), virtio_mem()], [virtio_mem("ua-named")])
    domain.refused("ambiguous_device", ["ua-named", "virtiomem0", "virtiomem1"], alias="named", requested="32MiB")


def crossed_addresses(domain: Domain) -> None:
    """Each has the address in one scope that the other has in the other one."""
    a, b = virtio_mem("ua-a"), virtio_mem("ua-b")
    domain.attach([a, b], [b, a])
    live, config = domain.devices("live"), domain.devices("config")
    if live[0]["address"] != config[0]["address"] or live[1]["address"] != config[1]["address"]:
        raise Wrong("the addresses are not crossed")
    domain.delivered({"live": (0, {"requested": 32}), "config": (1, {"requested": 32})}, alias="a", requested="32MiB")
    domain.delivered({"live": (1, {"requested": 8})}, alias="b", requested="8MiB", scope="live")
    domain.delivered({"config": (0, {"size": 128})}, alias="b", size="128MiB", scope="config")
    domain.delivered({"config": (1, None)}, alias="a", state="absent", scope="config")


def crossed_slots(domain: Domain) -> None:
    """The same with the slots of DIMMs."""
    a, b = dimm("ua-a"), dimm("ua-b")
    domain.attach([a, b], [b, a])
    if domain.devices("live")[0]["address"]["slot"] != domain.devices("config")[0]["address"]["slot"]:
        raise Wrong("the slots are not crossed")
    domain.refused("ambiguous_device", ["ua-a", "ua-b"], model="dimm", slot=0, size="128MiB")
    domain.refused("ambiguous_device", ["ua-a", "ua-b"], model="dimm", slot=0, state="absent")
    domain.delivered({"config": (1, {"size": 128})}, alias="a", size="128MiB")
    domain.delivered({"config": (0, None)}, alias="b", state="absent", scope="config")


def reordered(domain: Domain) -> None:
    """The configuration lists them the other way round, with other addresses."""
    elements = [virtio_mem("ua-a"), dimm("ua-b"), virtio_mem("ua-c")]
    domain.attach(elements, elements)

    def reverse(devices: ET.Element, memories: list[ET.Element]) -> None:
        for memory in memories:
            devices.remove(memory)
        devices.extend(reversed(memories))

    domain.edit_config(reverse)
    if [device["alias"] for device in domain.devices("config")] != ["ua-c", "ua-b", "ua-a"]:
        raise Wrong("libvirt has another order")
    domain.delivered({"live": (2, {"requested": 32}), "config": (0, {"requested": 32})}, alias="c", requested="32MiB")
    domain.delivered({"config": (2, {"size": 128})}, alias="a", size="128MiB")
    domain.delivered({"config": (1, {"size": 128})}, model="dimm", size="128MiB")


def adopted(domain: Domain) -> None:
    """A device gets a name: the configuration at once, the guest with its next boot."""
    domain.attach([virtio_mem(), virtio_mem("ua-other")], [virtio_mem("ua-other"), virtio_mem()])
    declaration: dict[str, t.Any] = {
        "model": "virtio-mem",
        "alias": "mine",
        "size": "64MiB",
        "block": "2MiB",
        "requested": "16MiB",
    }
    # Is the one without a name meant, or another one like it? The one with a name is no question.
    domain.refused("ambiguous_device", ["ua-mine", "without a user alias"], **declaration)
    declaration["adopt"] = True
    domain.delivered({"config": (1, {"alias": "ua-mine"})}, **declaration)
    del declaration["adopt"]  # no question any longer
    staged = call(uri=domain.checker.uri, domain=domain.name, wait=False, **declaration)
    need(staged["restart_required"] and "ua-mine" in staged["restart_reasons"][0], "it is not staged", staged)
    domain.restart()
    after = call(uri=domain.checker.uri, domain=domain.name, wait=False, **declaration)
    need(not after["changed"] and not after["restart_required"], "the restart did not bring it", after)
    need(after["device"]["live"]["alias"] == "ua-mine", "the guest has another", after)
    changed = (1, {"requested": 32})
    domain.delivered({"live": changed, "config": changed}, alias="mine", requested="32MiB")


def not_adopted(domain: Domain) -> None:
    """A second device beside one that has no name, by a declaration that fits both."""
    domain.attach([dimm()], [dimm()])
    declared = {"model": "dimm", "alias": "new", "size": "64MiB"}
    declaration: dict[str, t.Any] = {"uri": domain.checker.uri, "domain": domain.name, **declared}
    done = call(adopt=False, **declaration)
    need(done["changed"] and done["device"]["converged"], "it is not attached", done)
    aliases = {scope: [device["alias"] for device in domain.devices(scope)] for scope in BOTH}
    need(aliases == {"live": ["dimm0", "ua-new"], "config": [None, "ua-new"]}, f"there are {aliases}", done)
    for again in (call(adopt=False, **declaration), call(**declaration), call(adopt=True, **declaration)):
        need(not again["changed"] and not again["restart_required"], "the second run changed something", again)


SITUATIONS = (
    two_candidates,
    alias_in_one_scope,
    alias_in_one_scope_of_twins,
    crossed_addresses,
    crossed_slots,
    reordered,
    adopted,
    not_adopted,
)


def _fault(lab: str, checker: Checker, situation: t.Callable[[Domain], None]) -> str:
    name = f"identity-{situation.__name__.replace('_', '-')}"
    try:
        situation(Domain(lab, checker, name))
    except (Wrong, libvirt.libvirtError) as wrong:
        return f"{situation.__name__}: {wrong}"
    return ""


def main() -> None:
    """Prints what is wrong, and how many situations there were."""
    given = json.load(sys.stdin)
    checker = Checker(given["uri"])
    faults = [text for situation in SITUATIONS if (text := _fault(given["lab"], checker, situation))]
    print("\n".join(faults))
    print(f"{len(SITUATIONS)} situations, {len(faults)} faults")
    sys.exit(1 if faults else 0)


# A process that is forked for a call imports this file as well.
if __name__ == "__main__":
    main()
