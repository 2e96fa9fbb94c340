# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users may write and libvirt may answer, good and bad: option sets as Ansible gets them, and domains as XML.

Most of an option set is sensible, so that it gets far; some of it is anything that YAML can hold.
"""

from __future__ import annotations

import html
import typing as t
from dataclasses import dataclass

from hypothesis import strategies as st

Options = dict[str, t.Any]

MODELS = ("dimm", "nvdimm", "virtio-mem", "virtio-pmem", "sgx-epc")

# --- what is nonsense anywhere

_TEXTS = (
    *(
        "",
        " ",
        "\n",
        "\t",
        "\0",
        "a\0b",
        "a\nb",
        "\r\n",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\ufffe",
        "\uffff",
    ),
    *(
        "<",
        ">",
        "&",
        "'",
        '"',
        "]]>",
        "<!--",
        "-->",
        "<?x?>",
        "&amp;",
        "&#0;",
        "&#x110000;",
        "<![CDATA[",
        "%s",
        "{}",
        "{{ x }}",
    ),
    *(
        "\ud800",
        "\udfff",
        "a\udc80",
        "\U0001f600",
        "\u00e9",
        "e\u0301",
        "\u202e",
        "\u0661\u0662GiB",
        "\uff11GiB",
        "\u00b2",
        "\u216b",
    ),
    *(
        "9" * 5000,
        "9" * 5000 + "GiB",
        "1" + "0" * 400 + "KiB",
        "0" * 3000 + "1GiB",
        "-" * 999,
        "0x" + "f" * 900,
        "1e400",
        "nan",
    ),
    *(
        "inf",
        "-inf",
        "None",
        "null",
        "true",
        "no",
        "-1",
        "+1",
        "1_000",
        "0b1",
        "0o17",
        "1,5GiB",
        "1.5GiB",
        "1 GiB B",
        "GiB",
        "1XiB",
    ),
    *(
        "../../etc/passwd",
        "/dev/null",
        "//",
        "~",
        "$HOME",
        "`id`",
        "a" * 5000,
        "/" + "a/" * 3000,
        "ua-",
        "ua-ua-",
        "ua-\n",
    ),
    *("0-4294967295", "0-99999999999999999999", "^0", "0,,1", "-", "0-", "1-0", ",", "0-3,^1", "0" * 999, "all"),
    *("00000000-0000-0000-0000-000000000000", "{12345678123456781234567812345678}", "urn:uuid:x", "0" * 32, "0" * 4000),
)
_NUMBERS = (
    0,
    -1,
    1,
    2**31,
    2**32,
    2**63,
    2**64,
    10**30,
    -(10**30),
    10**4000,
    0.0,
    -0.0,
    1.5,
    1e308,
    float("inf"),
    float("nan"),
)
_OTHERS: tuple[t.Any, ...] = (
    *(
        None,
        True,
        False,
        [],
        {},
        [None],
        [[]],
        ["1GiB"],
        {"a": 1},
        {"path": None},
        {"": ""},
        [{"alias": "x"}],
        {"\0": "\ud800"},
    ),
)
ANYTHING = st.one_of(
    st.sampled_from(_TEXTS), st.sampled_from(_TEXTS), st.sampled_from(_NUMBERS), st.sampled_from(_OTHERS), st.text()
)

# --- what is sensible

_SIZES = (
    *(
        "0",
        "2MiB",
        "64MiB",
        "512MiB",
        "1GiB",
        "2GiB",
        "4 GiB",
        "8GiB",
        "16G",
        "1TiB",
        "1GB",
        "1000KB",
        "3MiB",
        "1B",
        "7EiB",
        "8EiB",
    ),
    *("128KiB", "256MiB", "2048KiB"),
)
ALIASES = ("vm0", "ua-vm0", "ua-vm1", "ua-d0", "ua-n0", "ua-new", "virtiomem0", "ua-net0")
_PATHS = ("/dev/dax0.0", "/srv/a b", "/srv/<&>'\"", "/srv/\u00fc\u4e2d", "relative", "/srv/n0")
_SENSIBLE: dict[str, st.SearchStrategy[t.Any]] = {
    "state": st.sampled_from(["present", "present", "absent"]),
    "alias": st.sampled_from(ALIASES),
    "model": st.sampled_from(MODELS),
    **{name: st.sampled_from(_SIZES) for name in ("size", "requested", "block", "label_size")},
    "node": st.sampled_from([0, 0, "0", 1, 65535, 65536, "1"]),
    "access": st.sampled_from(["shared", "private"]),
    **{name: st.sampled_from([True, False, "yes", "no", 1]) for name in ("discard", "readonly", "dynamic_memslots")},
    "uuid": st.uuids().map(str),
    "source": st.fixed_dictionaries(
        {},
        optional={
            "path": st.sampled_from(_PATHS),
            "nodemask": st.sampled_from(["0", "0-1", "0-3,^1", "7", "4095"]),
            "pagesize": st.sampled_from(_SIZES),
            "alignsize": st.sampled_from(_SIZES),
            "pmem": st.booleans(),
        },
    ),
    "slot": st.sampled_from([0, 1, 15, 16, "3", True]),
    "base": st.sampled_from(["0x140000000", "0x100000000", 4294967296, "5368709120", "0xffffffffffffffff"]),
    "scope": st.sampled_from(["auto", "auto", "live", "config", "both"]),
    "resize": st.sampled_from(["any", "grow", "shrink", "never"]),
    "replace": st.booleans(),
}
_WAITING: dict[str, st.SearchStrategy[t.Any]] = {
    "wait": st.booleans(),
    "wait_timeout": st.sampled_from([0, 1, 120, "7", 10**9]),
    "wait_sleep": st.sampled_from([1, 2, "1", True]),
    "wait_tolerance": st.sampled_from(["0", "5%", "64MiB", "100%", "0%", 0]),
    "verify": st.sampled_from(["auto", "passive", "required", "none"]),
}
# Names that nothing refuses for its spelling; what they stand for is then generated too.
_DOMAINS = st.sampled_from(["web1", "web1", "0b4fd5c6-2a36-4c1e-9d5a-4f6f2e1a7c31", "w\u00ebb <1>"])

# What makes sense for a model, so that most sets get past the first rule.
_OF_MODEL: dict[str, tuple[str, ...]] = {
    "dimm": ("size", "node", "source", "slot"),
    "nvdimm": ("size", "node", "source", "label_size", "readonly", "slot"),
    "virtio-mem": ("size", "requested", "block", "node", "source", "dynamic_memslots"),
    "virtio-pmem": ("size", "source"),
    "sgx-epc": ("size", "node"),
}


def _spoiled(draw: st.DrawFn, options: Options, names: t.Sequence[str]) -> Options:
    """The options with one or two of any of these names set to anything, now and then under a name that is none."""
    spoiled = dict(options)
    for _time in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(names))
        if name == "source" and isinstance(spoiled.get("source"), dict) and draw(st.booleans()):
            inner = draw(st.sampled_from(["path", "nodemask", "pagesize", "alignsize", "pmem", "\0"]))
            spoiled["source"] = {**spoiled["source"], inner: draw(ANYTHING)}
        else:
            spoiled[name] = draw(ANYTHING)
    return spoiled


_USUAL: Options = {
    "size": ("1GiB", "2GiB", "4 GiB", "8GiB", "256MiB"),
    "requested": ("0", "512MiB", "1GiB", "256MiB"),
    "block": ("2MiB", "4MiB", "2048KiB"),
    "label_size": ("128KiB", "2MiB"),
    "node": (0, "0", 0, 1),
    "slot": (1, 3, "5"),
    "dynamic_memslots": (True, False),
    "readonly": (True, False),
}
_USUAL_SOURCE: Options = {
    "dimm": ({"pagesize": "2MiB"}, {"nodemask": "0-1"}, {"nodemask": "1", "pagesize": "4KiB"}),
    "virtio-mem": ({"pagesize": "2MiB"}, {"nodemask": "0"}),
    "nvdimm": (
        {"path": "/srv/n0"},
        {"path": "/srv/<&>'\"", "pmem": False},
        {"path": "/srv/\u4e2d", "alignsize": "2MiB"},
    ),
    "virtio-pmem": ({"path": "/srv/n0"}, {"path": "/srv/a b"}),
}
_NEEDED: dict[str, tuple[str, ...]] = {"virtio-mem": ("requested",), "nvdimm": ("source",), "virtio-pmem": ("source",)}


@st.composite
def devices(draw: st.DrawFn) -> Options:
    """The options of one device."""
    model = draw(st.sampled_from((*MODELS, "virtio-mem", "virtio-mem")))
    names = {
        "alias",
        "model",
        "size",
        *_NEEDED.get(model, ()),
        *draw(st.sets(st.sampled_from(_OF_MODEL[model]), max_size=3)),
    }
    names |= draw(st.sets(st.sampled_from(["scope", "resize", "state", "replace"]), max_size=2))
    if draw(st.integers(0, 3)) == 0:
        names |= draw(st.sets(st.sampled_from(list(_SENSIBLE)), max_size=2))
        names -= draw(st.sets(st.sampled_from(sorted(names)), max_size=2))
    options: Options = {}
    for name in sorted(names):
        usual: t.Any = _USUAL_SOURCE.get(model) if name == "source" else _USUAL.get(name)
        strange = usual is None or draw(st.integers(0, 11)) == 0
        options[name] = draw(_SENSIBLE[name]) if strange else draw(st.sampled_from(usual))
    if "model" in options:
        options["model"] = model
    if options.get("state") == "absent":
        options.pop("replace", None)
    return _spoiled(draw, options, list(_SENSIBLE)) if draw(st.integers(0, 5)) == 0 else options


@st.composite
def waiting(draw: st.DrawFn) -> Options:
    """The options of the wait."""
    names = draw(st.lists(st.sampled_from(list(_WAITING)), unique=True, max_size=2))
    options = {name: draw(_WAITING[name]) for name in names}
    return _spoiled(draw, options, list(_WAITING)) if draw(st.integers(0, 19)) == 0 else options


_PERCENTAGES = ("50%", "0%", "100%", "12.5 %", "101%", "5", "-1%", "%", "1e3%")
_GUARDS: dict[str, st.SearchStrategy[t.Any]] = {
    "max_shrink": st.one_of(st.sampled_from(_PERCENTAGES), st.sampled_from(_PERCENTAGES), ANYTHING),
    "min_requested": st.one_of(st.sampled_from(_SIZES), ANYTHING),
    "host_reserve": st.one_of(st.sampled_from(_SIZES), st.just("1000TiB"), ANYTHING),
}


@st.composite
def tasks(draw: st.DrawFn) -> tuple[str, Options]:
    """A module's name and what a task gives it."""
    common = draw(waiting())
    if draw(st.integers(0, 15)) == 0:
        common["uri"] = draw(ANYTHING)
    if draw(st.booleans()):
        options = {"domain": draw(_DOMAINS), **draw(devices()), **common}
        return "memory_device", _spoiled(draw, options, ["domain"]) if draw(st.integers(0, 15)) == 0 else options
    domains = [draw(_layouts()) for _number in range(draw(st.sampled_from([1, 1, 1, 2])))]
    options = {"domains": domains, **common}
    if draw(st.integers(0, 3)) == 0:
        options["guards"] = draw(st.fixed_dictionaries({}, optional=_GUARDS))
    return "memory_layout", _spoiled(draw, options, ["domains"]) if draw(st.integers(0, 15)) == 0 else options


@st.composite
def _layouts(draw: st.DrawFn) -> Options:
    options: Options = {"name": draw(_DOMAINS), "devices": draw(st.lists(devices(), max_size=3))}
    for name, values in (
        ("exclusive", st.booleans()),
        ("memory", st.sampled_from(("2GiB", "4GiB", "6GiB", "1500MiB", "2GB", *_SIZES))),
        ("resize", st.sampled_from(("any", "grow", "shrink", "never"))),
        ("max_memory", st.sampled_from(("16GiB", "32GiB", "64GiB", *_SIZES))),
        ("slots", st.sampled_from([0, 1, 16, "32", 70000])),
        ("spare_ports", st.sampled_from([0, 1, 4])),
        ("statistics_period", st.sampled_from([0, 1, 10, "5", 70000])),
    ):
        if draw(st.integers(0, 2)) == 0:
            options[name] = draw(values)
    names = ["name", "devices", "exclusive", "memory", "resize", "max_memory", "slots", "spare_ports"]
    return _spoiled(draw, options, names) if draw(st.integers(0, 19)) == 0 else options


# --- domains


@dataclass(frozen=True)
class Told:
    """A domain as a hypervisor may tell of it."""

    state: str
    live: str | None
    config: str | None
    error_paused: bool = False


def _kib(number: int) -> str:
    return f"unit='KiB'>{number}"


def _element(draw: st.DrawFn, number: int) -> tuple[str, str, int]:
    """A device in both scopes, and its size in KiB."""
    model = draw(st.sampled_from((*MODELS, "virtio-mem", "virtio-mem", "future-mem")))
    size = draw(st.sampled_from([262144, 1048576, 4194304, 1000, 8388608]))
    alias = draw(st.sampled_from([f"ua-vm{number}", f"ua-vm{number}", f"ua-d{number}", f"ua-n{number}", ""]))
    node = "" if model == "virtio-pmem" else f"<node>{draw(st.sampled_from([0, 0, 1]))}</node>"
    extra, source = draw(st.sampled_from(["", "<future kind='1'>words</future>", "<driver iommu='on'/>"])), ""
    target = f"<size {_kib(size)}</size>{node}"
    if model == "virtio-mem":
        asked = draw(st.sampled_from([0, 1048576, size]))
        target += f"<block {_kib(2048)}</block><requested {_kib(min(asked, size))}</requested>"
    if model in ("nvdimm", "virtio-pmem"):
        source = f"<source><path>{html.escape(draw(st.sampled_from(_PATHS)))}</path></source>"
    current = ""
    if model == "virtio-mem":
        current = f"<current {_kib(draw(st.sampled_from([0, 1048576, size])))}</current>"
    where = f"<address type='pci' bus='{number + 1:#x}'/>" if model.startswith("virtio") else ""
    if model in ("dimm", "nvdimm"):
        base = draw(st.sampled_from(["", " base='0x100000000'"]))
        where = f"<address type='dimm' slot='{number}'{base}/>"

    def written(live: bool) -> str:
        name = alias or (f"{model.replace('-', '')}{number}" if live else "")
        named = f"<alias name='{name}'/>" if name else ""
        return (
            f"<memory model='{model}'>{source}<target>{target}{current if live else ''}</target>"
            f"{named}{where}{extra}</memory>"
        )

    return written(True), written(False), size


# What may stand around the memory devices.
_AROUND = (
    "<memoryBacking><locked/></memoryBacking>",
    "<memoryBacking><hugepages/></memoryBacking>",
    "<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages></memoryBacking>",
    "<memoryBacking><hugepages><page size='1' unit='G' nodeset='1'/><page size='4'/></hugepages></memoryBacking>",
    "<launchSecurity type='sev'/>",
    "<memtune><hard_limit unit='MiB'>2000</hard_limit></memtune>",
    "<numatune><memory mode='strict' nodeset='0-1'/><memnode cellid='0' mode='strict' nodeset='1'/></numatune>",
    "<numatune><memory mode='strict' placement='auto'/></numatune>",
)


def _definition(draw: st.DrawFn, elements: t.Sequence[str], sizes: int, cells: int, live: bool) -> str:
    most = draw(st.sampled_from([67108864, 67108864, 16777216, 1100000, None]))
    slots = draw(st.sampled_from([16, 16, 2, 0]))
    limit = "" if most is None else f"<maxMemory slots='{slots}' {_kib(most)}</maxMemory>"
    base = 524288
    each = "".join(f"<cell id='{cell}' cpus='{cell}' memory='{base // cells}' unit='KiB'/>" for cell in range(cells))
    ports = "".join(
        f"<controller type='pci' index='{port + 1}' model='pcie-root-port'/>"
        for port in range(draw(st.sampled_from([0, 2, 8])))
    )
    express, conventional = (f"<controller type='pci' index='0' model='{kind}'/>" for kind in ("pcie-root", "pci-root"))
    root = draw(st.sampled_from([express] * 3 + [conventional, ""]))
    balloon = draw(
        st.sampled_from(["", "<memballoon model='none'/>", "<memballoon model='virtio'><stats period='5'/>"])
    )
    around = draw(st.sampled_from(_AROUND)) if draw(st.integers(0, 3)) == 0 else ""
    arch = draw(st.sampled_from(["x86_64"] * 6 + ["s390x", "ppc64le", "aarch64"]))
    active = " id='3'" if live else ""
    return (
        f"<domain{active}><name>web1</name>{limit}<memory {_kib(base + sizes)}</memory>"
        f"<currentMemory {_kib(base + sizes)}</currentMemory><vcpu>2</vcpu><os><type arch='{arch}'>hvm</type></os>"
        f"<features>{draw(st.sampled_from(['<acpi/>', '<acpi/>', '']))}</features>"
        f"<cpu>{f'<numa>{each}</numa>' if cells else ''}</cpu>{around}<devices>{root}{ports}{''.join(elements)}"
        f"{balloon}{'</memballoon>' if 'stats' in balloon else ''}"
        f"<interface type='user'><alias name='ua-net0'/></interface></devices></domain>"
    )


@st.composite
def domains(draw: st.DrawFn) -> Told:
    """A domain with a few devices, its scopes mostly alike."""
    made = [_element(draw, number) for number in range(draw(st.integers(0, 3)))]
    cells = draw(st.sampled_from([1, 1, 1, 2, 0]))
    one_sided = draw(st.integers(0, 5)) == 0
    live = [element for element, _config, _size in made]
    config = [element for _live, element, _size in (made[1:] if one_sided else made)]
    kind = draw(st.sampled_from(["running", "running", "shutoff", "paused", "crashed"]))
    persistent = kind == "shutoff" or draw(st.integers(0, 5)) > 0
    return Told(
        state=kind,
        live=None if kind == "shutoff" else _definition(draw, live, sum(size for *_texts, size in made), cells, True),
        config=_definition(draw, config, sum(s for *_x, s in (made[1:] if one_sided else made)), cells, False)
        if persistent
        else None,
        error_paused=kind == "paused" and draw(st.booleans()),
    )


CAPABILITIES = (
    "<capabilities><host><cpu><pages unit='KiB' size='4'/><pages unit='KiB' size='2048'/></cpu><topology>"
    "<cells num='2'>"
    "<cell id='0'><pages unit='KiB' size='4'>1000000</pages><pages unit='KiB' size='2048'>600</pages></cell>"
    "<cell id='1'><pages unit='KiB' size='4'>1000000</pages></cell></cells></topology></host></capabilities>"
)
DOMAIN_CAPABILITIES = "<domainCapabilities><features><sgx supported='{}'/></features></domainCapabilities>"
