# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elements in libvirt's format: a writer of its own, and hypothesis strategies for any device libvirt can print.

Nothing here uses the code under test: what it writes and how it reads is a second opinion.
"""

from __future__ import annotations

import html
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from hypothesis import strategies as st

KIB = 1024
Values = dict[str, t.Any]
# path of an element, name of an attribute ("" for the element itself, "text" for what stands in it), value
Fact = tuple[str, str, str]

# Where each property stands, by the name that the collection gives it.
PLACES: dict[str, tuple[str, str]] = {
    "model": ("memory", "model"),
    "access": ("memory", "access"),
    "discard": ("memory", "discard"),
    "uuid": ("memory/uuid", ""),
    "nodemask": ("memory/source/nodemask", ""),
    "pagesize": ("memory/source/pagesize", ""),
    "path": ("memory/source/path", ""),
    "alignsize": ("memory/source/alignsize", ""),
    "pmem": ("memory/source/pmem", ""),
    "dynamic_memslots": ("memory/target", "dynamicMemslots"),
    "size": ("memory/target/size", ""),
    "node": ("memory/target/node", ""),
    "label_size": ("memory/target/label/size", ""),
    "readonly": ("memory/target/readonly", ""),
    "block": ("memory/target/block", ""),
    "requested": ("memory/target/requested", ""),
    "alias": ("memory/alias", "name"),
    "slot": ("memory/address", "slot"),
    "base": ("memory/address", "base"),
}
BASE_OF_VIRTIO = ("memory/target/address", "base")

SIZES = ("size", "block", "requested", "pagesize", "alignsize", "label_size", "current")
FLAGS = ("pmem", "readonly")
DIMMS = ("dimm", "nvdimm")


def place(name: str, model: str) -> tuple[str, str]:
    """The path and the attribute of a property in a device of this model."""
    return BASE_OF_VIRTIO if name == "base" and model not in DIMMS else PLACES[name]


# --- writing


def _nodeset(nodes: t.Sequence[int]) -> str:
    """libvirt joins the runs; found here by way of the gaps."""
    starts = [node for node in nodes if node - 1 not in nodes]
    runs = [(low, next(high for high in nodes if high >= low and high + 1 not in nodes)) for low in starts]
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _line(tag: str, values: Values, name: str) -> list[str]:
    value = values.get(name)
    if value is None:
        return []
    if name in FLAGS:
        return [f"<{tag}/>"] if value else []
    if name in SIZES:
        return [f"<{tag} unit='KiB'>{value // KIB}</{tag}>"]
    text = _nodeset(value) if name == "nodemask" else html.escape(str(value), quote=False)
    return [f"<{tag}>{text}</{tag}>"]


def _attributes(pairs: t.Mapping[str, t.Any]) -> str:
    return "".join(f" {name}='{value}'" for name, value in pairs.items() if value is not None)


def _block(opening: str, tag: str, lines: t.Sequence[str]) -> list[str]:
    return [f"<{opening}>", *(f"  {line}" for line in lines), f"</{tag}>"] if lines else []


def written(values: Values, actual: str = "current", extras: t.Mapping[str, t.Sequence[str]] | None = None) -> str:
    """The element with these properties, as libvirt would print it, with unknown lines and attributes put in.

    Args:
        values: the properties, by the names of the collection, with `address` as a line of its own.
        actual: what the actual size is called.
        extras: lines that nobody knows, to stand in `memory`, `source` and `target`.
    """
    more = dict(extras or {})
    dimm = values["model"] in DIMMS
    source = [
        *_line("nodemask", values, "nodemask"),
        *_line("pagesize", values, "pagesize"),
        *_line("path", values, "path"),
        *_line("alignsize", values, "alignsize"),
        *_line("pmem", values, "pmem"),
        *more.get("source", ()),
    ]
    target = [
        *_line("size", values, "size"),
        *_line("node", values, "node"),
        *_block("label", "label", _line("size", {"size": values.get("label_size")}, "size")),
        *_line("readonly", values, "readonly"),
        *_line("block", values, "block"),
        *_line("requested", values, "requested"),
        *_line(actual, {"current": values.get("current")}, "current"),
    ]
    if not dimm and values.get("base") is not None:
        target.append(f"<address base='{values['base']:#x}'/>")
    target += more.get("target", ())
    memslots = {"dynamicMemslots": _yes_no(values.get("dynamic_memslots"))}
    lines = [
        *_line("uuid", values, "uuid"),
        *_block("source", "source", source),
        *_block(f"target{_attributes(memslots)}", "target", target),
    ]
    if values.get("alias"):
        lines.append(f"<alias name='{values['alias']}'/>")
    if dimm and values.get("slot") is not None:
        base = None if values.get("base") is None else f"{values['base']:#x}"
        lines.append(f"<address type='dimm'{_attributes({'slot': values['slot'], 'base': base})}/>")
    if values.get("address"):
        lines.append(values["address"])
    lines += more.get("memory", ())
    unknown = {"future": more.get("attribute", [None])[0]}
    head = _attributes(
        {
            **{name: values.get(name) for name in ("model", "access")},
            "discard": _yes_no(values.get("discard")),
            **unknown,
        }
    )
    return "\n".join([f"<memory{head}>", *(f"  {line}" for line in lines), "</memory>"])


# --- reading


def facts(text: str) -> list[Fact]:
    """Everything an element says, one fact a line, in the order of the document; white space says nothing."""
    builder = ET.TreeBuilder(insert_comments=True, insert_pis=True)
    root = ET.fromstring(text, ET.XMLParser(target=builder))
    return list(_facts(root, ""))


def _facts(element: ET.Element, above: str) -> t.Iterator[Fact]:
    tag = element.tag if isinstance(element.tag, str) else "<!>"
    path = f"{above}/{tag}" if above else tag
    yield path, "", ""
    for name, value in sorted(element.attrib.items()):
        yield path, name, value
    if (element.text or "").strip():
        yield path, "text", (element.text or "").strip()
    for child in element:
        yield from _facts(child, path)


def canonical(text: str) -> str:
    """What an element is, with its white space, whatever the order and the quotes of its attributes."""
    return ET.canonicalize(text, with_comments=True)


# --- what libvirt can print


@dataclass(frozen=True)
class Printed:
    """A device, and the element that libvirt prints of it."""

    values: Values
    text: str


_sizes = st.integers(1, 2**40).map(lambda number: number * KIB)
_aliases = st.one_of(st.none(), st.sampled_from(["ua-vm0", "ua-a_b-C9", "virtiomem0", "dimm3", "epc0"]))
_paths = st.sampled_from(["/dev/dax0.0", "/var/lib/libvirt/nvdimm 1", "/tmp/\u00fc-&-x", "/a/b.img"])
_pci = st.builds(
    "<address type='pci' domain='0x0000' bus='{:#04x}' slot='{:#04x}' function='{:#03x}'/>".format,
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
)
_ccw = st.builds(
    "<address type='ccw' cssid='0xfe' ssid='0x0' devno='{:#06x}'/>".format,
    st.integers(0, 65535),
)
_nodemasks = st.sets(st.integers(0, 15), min_size=1).map(lambda nodes: tuple(sorted(nodes)))
_uuids = st.uuids().map(str)

# Each property that libvirt prints of some model, without what only it sets.
_KINDS: dict[str, st.SearchStrategy[t.Any]] = {
    "access": st.sampled_from(["shared", "private"]),
    "discard": st.booleans(),
    "uuid": _uuids,
    "nodemask": _nodemasks,
    "pagesize": _sizes,
    "path": _paths,
    "alignsize": _sizes,
    "pmem": st.just(True),
    "dynamic_memslots": st.booleans(),
    "size": _sizes,
    "node": st.integers(0, 127),
    "label_size": _sizes,
    "readonly": st.just(True),
    "block": st.integers(11, 30).map(lambda power: 2**power),
    "requested": st.one_of(st.just(0), _sizes),
    "alias": _aliases,
    "slot": st.integers(0, 255),
    "base": st.integers(0, 2**52),
}
_COMMON = ("access", "alias")
MODELS: dict[str, tuple[str, ...]] = {
    "dimm": (*_COMMON, "discard", "nodemask", "pagesize", "node", "slot", "base"),
    "nvdimm": (*_COMMON, "uuid", "path", "alignsize", "pmem", "node", "label_size", "readonly", "slot", "base"),
    "virtio-mem": (
        *(*_COMMON, "discard", "nodemask", "pagesize", "dynamic_memslots", "node", "block", "requested", "base"),
    ),
    "virtio-pmem": (*_COMMON, "path", "base"),
    "sgx-epc": (*_COMMON, "nodemask", "node"),
}
_UNKNOWN_LINES = (
    "<!-- placed by hand -->",
    "<driver iommu='on' ats='off' packed='on'/>",
    "<acpi index='3'/>",
    "<future><size unit='MiB'>7</size><deep kind='1'>words</deep></future>",
    "<x:note xmlns:x='urn:example:x' x:by='me'>kept</x:note>",
    "<size xmlns='urn:example:y' unit='KiB'>5</size>",
    "<?keep this?>",
    "<long><![CDATA[a < b]]></long>",
)
_unknown = st.lists(st.sampled_from(_UNKNOWN_LINES), max_size=2)


def _slotted(values: Values) -> Values:
    """libvirt prints no base of a DIMM without its slot."""
    if values["model"] in DIMMS and values.get("slot") is None:
        return {name: value for name, value in values.items() if name != "base"}
    return values


@st.composite
def device_values(draw: st.DrawFn, models: t.Sequence[str] = tuple(MODELS)) -> Values:
    """The properties of a device of any model, some of them not there."""
    model = draw(st.sampled_from(models))
    values: Values = {"model": model, "size": draw(_sizes)}
    for name in MODELS[model]:
        if draw(st.booleans()):
            values[name] = draw(_KINDS[name])
    return _slotted({name: value for name, value in values.items() if value is not None})


@st.composite
def printed_devices(draw: st.DrawFn, models: t.Sequence[str] = tuple(MODELS)) -> Printed:
    """A device as libvirt prints it in a running or a persistent definition, with things nobody knows yet."""
    values = draw(device_values(models))
    shown = dict(values)
    if values["model"] == "virtio-mem":
        shown["current"] = draw(st.one_of(st.none(), st.just(0), _sizes))
    if values["model"] in ("virtio-mem", "virtio-pmem"):
        shown["address"] = draw(st.one_of(st.none(), _pci, _ccw))
    extras = {place: draw(_unknown) for place in ("memory", "source", "target")}
    if draw(st.booleans()):
        extras["attribute"] = ["yes"]
    return Printed(shown, written(shown, draw(st.sampled_from(["current", "actual"])), extras))


@st.composite
def edits(draw: st.DrawFn, values: Values) -> Values:
    """New values for some properties of a device of this model."""
    names = ("size", *MODELS[values["model"]])
    chosen = draw(st.lists(st.sampled_from(names), unique=True))
    changes = {name: draw(_KINDS[name]) for name in chosen}
    return {name: value for name, value in changes.items() if value is not None}
