# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's errors as the project's own, and what a connection for reading can do: with libvirt itself, and the driver
that it has for tests."""

from __future__ import annotations

import ast
import errno
import threading
import time
import typing as t
import weakref
from pathlib import Path

import pytest

pytest.importorskip("libvirt")

import libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import calls
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import CONFIG, LIVE
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES, VirtmemError

# The test driver's one domain, which runs and is persistent.
URI = "test:///default"
DOMAIN = "test"

DEVICE = """
<memory model='virtio-mem'>
  <target>
    <size unit='GiB'>1</size><node>0</node><block unit='MiB'>2</block><requested unit='GiB'>0</requested>
  </target>
</memory>
"""


def error(code: int, text: str = "so what", int1: int = -1) -> t.Any:
    """An error as libvirt raises it."""
    made = libvirt.libvirtError("from a test")
    # code, domain, message, level, str1, str2, str3, int1, int2
    made.err = (code, libvirt.VIR_FROM_QEMU, text, libvirt.VIR_ERR_ERROR, text, None, None, int1, -1)
    return made


def translated(raised: Exception, alive: bool = True) -> VirtmemError:
    """What becomes of an error during a call."""

    class Connection:
        def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
            return alive

        def getLibVersion(self) -> int:  # noqa: N802
            raise raised

    with pytest.raises(VirtmemError) as caught:
        _libvirt.Hypervisor(Connection(), "qemu:///system").versions()
    return caught.value


# --- errors


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, "domain_vanished"),
        (libvirt.VIR_ERR_OPERATION_DENIED, "access_denied"),
        (libvirt.VIR_ERR_ACCESS_DENIED, "access_denied"),
        (libvirt.VIR_ERR_AUTH_FAILED, "access_denied"),
        (libvirt.VIR_ERR_AUTH_CANCELLED, "access_denied"),
        (libvirt.VIR_ERR_AUTH_UNAVAILABLE, "access_denied"),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "domain_busy"),
        (libvirt.VIR_ERR_OPERATION_FAILED, "libvirt_error"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "libvirt_error"),
    ],
)
@pytest.mark.parametrize("text", ["Domain not found", "Domäne nicht gefunden", "access denied", ""])
def test_the_code_decides_and_never_the_text(code: int, expected: str, text: str) -> None:
    found = translated(error(code, text))
    assert found.error_code == expected
    assert found.error_code in ERROR_CODES
    assert text in found.msg
    assert found.details["libvirt_code"] == code
    assert found.details["libvirt_domain"] == libvirt.VIR_FROM_QEMU
    assert found.details["libvirt_message"]
    assert found.hint


@pytest.mark.parametrize("code", [libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_RPC])
def test_whatever_a_broken_connection_says_is_that_it_is_broken(code: int) -> None:
    found = translated(error(code), alive=False)
    assert found.error_code == "connection_lost"
    assert found.details == {"uri": "qemu:///system", "libvirt_code": code}


def opening(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> VirtmemError:
    """Why a hypervisor could not be opened."""

    def refuse(_uri: str) -> None:
        raise raised

    monkeypatch.setattr(libvirt, "openReadOnly", refuse)
    with pytest.raises(VirtmemError) as caught, _libvirt.connect("qemu:///system", read_only=True):
        pass
    return caught.value


@pytest.mark.parametrize(
    ("code", "int1", "expected"),
    [
        (libvirt.VIR_ERR_SYSTEM_ERROR, errno.EACCES, "access_denied"),
        (libvirt.VIR_ERR_SYSTEM_ERROR, errno.EPERM, "access_denied"),
        (libvirt.VIR_ERR_SYSTEM_ERROR, errno.ENOENT, "connection_failed"),
        (libvirt.VIR_ERR_AUTH_FAILED, -1, "access_denied"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, errno.EACCES, "connection_failed"),
    ],
)
def test_a_door_that_is_locked_is_not_one_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, code: int, int1: int, expected: str
) -> None:
    found = opening(monkeypatch, error(code, int1=int1))
    assert found.error_code == expected
    assert found.details["uri"] == "qemu:///system"
    assert found.hint


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("uri", ["nonsense:///", "test:///there/is/no/such/file"])
def test_libvirts_own_refusal_to_open(uri: str, read_only: bool) -> None:
    with pytest.raises(VirtmemError) as caught, _libvirt.connect(uri, read_only=read_only):
        pass
    assert caught.value.error_code == "connection_failed"
    assert uri in caught.value.msg


def test_libvirts_own_answer_to_a_wrong_name() -> None:
    for name in ("nobody", "0b4fd5c6-2a36-4c1e-9d5a-4f6f2e1a7c31"):
        with _libvirt.connect(URI, read_only=True) as hypervisor, pytest.raises(VirtmemError) as caught:
            hypervisor.find(name)
        assert caught.value.error_code == "domain_not_found"


# --- reading, and nothing else


def attempts(hypervisor: _libvirt.Hypervisor, uuid: str) -> dict[str, t.Callable[[], None]]:
    """Every way to change something."""
    return {
        "attach live": lambda: hypervisor.attach(uuid, LIVE, DEVICE),
        "attach config": lambda: hypervisor.attach(uuid, CONFIG, DEVICE),
        "update": lambda: hypervisor.update(uuid, CONFIG, DEVICE),
        "detach": lambda: hypervisor.detach(uuid, CONFIG, DEVICE),
        "unplug": lambda: hypervisor.unplug(uuid, "ua-vm0"),
        "poll": lambda: hypervisor.poll_statistics(uuid, LIVE, 1),
        "define": lambda: hypervisor.define("<domain type='test'><name>new</name></domain>"),
        "secrets": lambda: t.cast(None, hypervisor.config_with_secrets(uuid)),
    }


def test_a_connection_for_reading_lets_nothing_be_changed_and_no_secret_out() -> None:
    with _libvirt.connect(URI, read_only=True) as hypervisor:
        uuid = hypervisor.find(DOMAIN)
        before = hypervisor.read(uuid)
        for what, change in attempts(hypervisor, uuid).items():
            with pytest.raises(VirtmemError) as caught:
                change()
            assert caught.value.error_code == "access_denied", what
        assert hypervisor.read(uuid) == before
        assert [item.name for item in hypervisor.list_domains()] == [DOMAIN]


def test_every_call_that_changes_is_among_those_tried() -> None:
    """Whatever the hypervisor offers either reads, or is in the list above."""
    reads = {
        *("broken", "versions", "find", "read", "list_domains", "read_listed", "capabilities", "domain_capabilities"),
        *("statistics", "host_memory", "name"),
        *("watch", "listen", "forget", "next_event", "wake", "wake_calls", "notice_close", "stop_listening", "close"),
    }
    tried = {"attach", "update", "detach", "unplug", "define", "config_with_secrets", "poll_statistics"}
    assert {name for name in dir(_libvirt.Hypervisor) if not name.startswith("_")} - reads == tried


def test_nothing_but_the_reading_door_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def refuse(uri: str, *_arguments: t.Any) -> t.NoReturn:
        opened.append(uri)
        raise error(libvirt.VIR_ERR_AUTH_FAILED)

    for name in ("open", "openAuth"):
        monkeypatch.setattr(libvirt, name, refuse)
    with _libvirt.connect(URI, read_only=True) as hypervisor:
        assert hypervisor.versions().driver == "TEST"
    assert not opened
    with pytest.raises(VirtmemError), _libvirt.connect(URI):
        pass
    assert opened == [URI]


def test_the_information_module_asks_for_the_reading_door() -> None:
    """Read in the source, so that no path through it can be missed."""
    source = Path(_libvirt.__file__).parents[1].joinpath("_module.py").read_text()
    function = next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "memory_device_info"
    )
    opened = [
        {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect"
    ]
    assert opened == [{"read_only": True}]


# --- the list of all domains


DEFINITION = """
<domain type='test'>
  <name>{name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>
</domain>
"""


@pytest.fixture
def zoo(tmp_path: Path) -> t.Iterator[t.Any]:
    """Domains in several states. A driver that reads a file is one connection's own and ends with it."""
    file = tmp_path / "node.xml"
    file.write_text(f"<node>{DEFINITION.format(name=DOMAIN)}</node>")
    connection = libvirt.open(f"test://{file}")
    connection.defineXML(DEFINITION.format(name="off"))
    connection.defineXML(DEFINITION.format(name="saved")).create()
    connection.lookupByName("saved").managedSave()
    connection.defineXML(DEFINITION.format(name="paused")).create()
    connection.lookupByName("paused").suspend()
    connection.createXML(DEFINITION.format(name="brief"))
    yield connection
    connection.close()


def test_the_list_tells_the_state_of_each_domain(zoo: t.Any) -> None:
    hypervisor = _libvirt.Hypervisor(zoo, URI)
    listed = {item.name: item for item in hypervisor.list_domains()}
    assert list(listed) == ["brief", "off", "paused", "saved", DOMAIN]
    told = {name: (item.state, item.persistent, item.active, item.managed_save) for name, item in listed.items()}
    assert told == {
        "brief": ("running", False, True, False),
        "off": ("shutoff", True, False, False),
        "paused": ("", True, True, False),
        "saved": ("shutoff", True, False, True),
        DOMAIN: ("running", True, True, False),
    }
    for name, item in listed.items():
        # By the list or by the domain itself: the same.
        assert hypervisor.find(name) == item.uuid
        if name != "saved":  # the test driver does not give the XML of a saved image
            assert hypervisor.read_listed(item) == hypervisor.read(item.uuid)


def test_a_domain_that_goes_away_during_the_pass_is_none(zoo: t.Any) -> None:
    hypervisor = _libvirt.Hypervisor(zoo, URI)
    listed = {item.name: item for item in hypervisor.list_domains()}
    zoo.lookupByName("off").undefine()
    zoo.lookupByName("brief").destroy()
    assert hypervisor.read_listed(listed["off"]) is None
    assert hypervisor.read_listed(listed["brief"]) is None
    assert hypervisor.read_listed(listed["paused"]) is not None


# --- calls that don't end as they should


class Hanging:
    """A connection whose calls never return, until the test lets them."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        """The daemon answers the keepalive all the same."""
        return True

    def __getattr__(self, name: str) -> t.Callable[..., None]:
        return lambda *_arguments: t.cast(None, self.release.wait(30))


ASKING: dict[str, t.Callable[[_libvirt.Hypervisor], object]] = {
    "versions": lambda hypervisor: hypervisor.versions(),
    "find": lambda hypervisor: hypervisor.find("web1"),
    "list": lambda hypervisor: hypervisor.list_domains(),
    "capabilities": lambda hypervisor: hypervisor.capabilities(),
    "domain capabilities": lambda hypervisor: hypervisor.domain_capabilities(),
}


@pytest.mark.parametrize("what", ASKING)
def test_what_never_answers_is_an_error_and_no_hang(what: str) -> None:
    connection = Hanging()
    hypervisor = _libvirt.Hypervisor(connection, URI, limit=0.05)
    with pytest.raises(VirtmemError) as caught:
        ASKING[what](hypervisor)
    connection.release.set()
    assert caught.value.error_code == "domain_busy"
    assert "0.05 s" in caught.value.msg
    assert caught.value.details["timeout"] == 0.05
    assert "never_answered" not in caught.value.details  # nothing was to be changed


def test_one_thread_makes_one_call_after_the_other() -> None:
    threads = {calls.in_time(threading.current_thread, 30) for _call in range(20)}
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_a_call_that_fails_leaves_its_thread_to_the_next_one() -> None:
    thread = calls.in_time(threading.current_thread, 30)
    with pytest.raises(ZeroDivisionError):
        calls.in_time(lambda: 1 / 0, 30)
    assert calls.in_time(threading.current_thread, 30) is thread


def test_a_thread_whose_call_is_given_up_makes_no_other_and_ends_after_it() -> None:
    release, began = threading.Event(), []

    def hangs() -> None:
        began.append(threading.current_thread())
        release.wait(30)

    with pytest.raises(TimeoutError):
        calls.in_time(hangs, 0.05)
    assert calls.in_time(threading.current_thread, 30) is not began[0]
    release.set()
    began[0].join(30)
    assert not began[0].is_alive()


def test_a_call_from_another_thread_does_not_wait_for_one_that_is_under_way() -> None:
    release = threading.Event()
    first = threading.Thread(target=calls.in_time, args=(lambda: release.wait(30), 30))
    first.start()
    assert calls.in_time(release.is_set, 30) is False
    release.set()
    first.join(30)


def test_what_a_call_held_is_let_go_when_it_is_over() -> None:
    class Handle:
        """Of a domain."""

        def name(self) -> str:
            return "web1"

    handle = Handle()
    gone = weakref.ref(handle)
    assert calls.in_time(handle.name, 30) == "web1"
    del handle
    until = time.monotonic() + 5
    while gone() is not None and time.monotonic() < until:
        time.sleep(0.001)
    assert gone() is None


@pytest.mark.parametrize("uri", ["qemu:///system\0", "qemu:///\udcff"])
def test_an_error_that_is_not_libvirts_is_passed_on_at_once(uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"."), _libvirt.connect(uri):
        pass
    assert time.monotonic() - began < 5
    assert capfd.readouterr().err == ""


# --- events of which one end does not know all


SIZE, REJECTION = "MEMORY_DEVICE_SIZE_CHANGE", "DEVICE_REMOVAL_FAILED"
EVENTS = {name: getattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{name}") for name in (SIZE, REJECTION)}


class Register:
    """A daemon that refuses some events, with these codes."""

    def __init__(self, **refused: int) -> None:
        self.refused = {EVENTS[name]: code for name, code in refused.items()}
        self.registered: dict[int, int] = {}

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        """It works."""
        return True

    def domainEventRegisterAny(self, _domain: t.Any, event: int, _callback: t.Any, _opaque: t.Any) -> int:  # noqa: N802
        """The number of the registration."""
        if event in self.refused:
            raise error(self.refused[event])
        self.registered[event] = event + 100
        return event + 100

    def domainEventDeregisterAny(self, number: int) -> None:  # noqa: N802
        """Its end."""
        del self.registered[number - 100]


@pytest.mark.parametrize(
    "code", [libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_INVALID_ARG]
)
def test_a_daemon_that_has_no_size_event_is_watched_without(code: int) -> None:
    connection = Register(**{SIZE: code})
    _libvirt.Hypervisor(connection, URI).watch("a")
    assert EVENTS[REJECTION] in connection.registered
    assert len(connection.registered) == 4


def test_a_binding_that_has_no_size_event_watches_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{SIZE}")
    connection = Register()
    _libvirt.Hypervisor(connection, URI).watch("a")
    assert len(connection.registered) == 4


def test_half_a_registration_is_none() -> None:
    connection = Register(**{REJECTION: libvirt.VIR_ERR_INTERNAL_ERROR})
    hypervisor = _libvirt.Hypervisor(connection, URI)
    for _attempt in range(2):
        with pytest.raises(VirtmemError):
            hypervisor.watch("a")
        assert connection.registered == {}
    connection.refused.clear()
    hypervisor.watch("a")
    assert len(connection.registered) == 5


def test_a_size_event_that_is_refused_for_another_reason_is_an_error() -> None:
    connection = Register(**{SIZE: libvirt.VIR_ERR_ACCESS_DENIED})
    with pytest.raises(VirtmemError) as caught:
        _libvirt.Hypervisor(connection, URI).watch("a")
    assert caught.value.error_code == "access_denied"
    assert connection.registered == {}


# What Debian 11 has, libvirt-python 7.0, of the names that are used here.
_OLD = """getVersion
VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE VIR_CONNECT_LIST_DOMAINS_OTHER VIR_CONNECT_LIST_DOMAINS_PAUSED
VIR_CONNECT_LIST_DOMAINS_TRANSIENT VIR_DOMAIN_AFFECT_CONFIG VIR_DOMAIN_AFFECT_LIVE VIR_DOMAIN_PAUSED
VIR_DOMAIN_PAUSED_CRASHED VIR_DOMAIN_PAUSED_IOERROR VIR_DOMAIN_PAUSED_POSTCOPY_FAILED VIR_DOMAIN_PAUSED_WATCHDOG
VIR_DOMAIN_SHUTOFF VIR_DOMAIN_XML_INACTIVE VIR_DOMAIN_XML_SECURE VIR_ERR_ACCESS_DENIED VIR_ERR_AUTH_CANCELLED
VIR_ERR_AUTH_FAILED VIR_ERR_AUTH_UNAVAILABLE VIR_ERR_INTERNAL_ERROR VIR_ERR_INVALID_ARG VIR_ERR_NO_DOMAIN
VIR_ERR_NO_SUPPORT VIR_ERR_OPERATION_DENIED VIR_ERR_OPERATION_INVALID VIR_ERR_OPERATION_TIMEOUT VIR_ERR_SYSTEM_ERROR
libvirtError open
VIR_DOMAIN_EVENT_STARTED VIR_DOMAIN_EVENT_STARTED_MIGRATED VIR_DOMAIN_EVENT_STOPPED VIR_DOMAIN_EVENT_STOPPED_MIGRATED
openReadOnly registerErrorHandler virEventRegisterDefaultImpl virEventRunDefaultImpl
"""
IN_LIBVIRT_7_0 = frozenset(_OLD.split())


def test_every_name_of_libvirts_is_old_enough_or_asked_for() -> None:
    """Whatever the module names is in the oldest binding that is supported, or looked for before it is used."""
    folder = Path(_libvirt.__file__).parent
    sources = [ast.parse(path.read_text()) for path in folder.glob("*.py")]
    used = {
        node.attr
        for source in sources
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "libvirt"
    }
    assert used <= IN_LIBVIRT_7_0, used - IN_LIBVIRT_7_0


# --- what is too old, and whose version can't be told


class _Old:
    """A daemon of some version, with or without a QEMU of the host's own architecture."""

    def __init__(self, daemon: int = 9_000_000, qemu: int | None = 7_002_000, machines: str = "") -> None:
        self.daemon, self.qemu, self.machines = daemon, qemu, machines

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        return True

    def getLibVersion(self) -> int:  # noqa: N802
        return self.daemon

    def getVersion(self) -> int:  # noqa: N802
        if self.qemu is None:
            raise error(libvirt.VIR_ERR_SYSTEM_ERROR)
        return self.qemu

    def getType(self) -> str:  # noqa: N802
        return "QEMU"

    def getCapabilities(self) -> str:  # noqa: N802
        return f"<capabilities><guest><arch name='s390x'>{self.machines}</arch></guest></capabilities>"


@pytest.mark.parametrize(("version", "is_refused"), [(7_000_000, True), (7_008_000, True), (7_009_000, False)])
def test_an_old_libvirt_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, version: int, is_refused: bool
) -> None:
    """Debian 11 has 7.0, which knows no event of a virtio-mem device."""
    caught = None
    try:
        _libvirt.Hypervisor(_Old(daemon=version), "qemu:///system").versions()
    except VirtmemError as error:
        caught = error
    assert (caught is not None) == is_refused
    if caught is not None:
        assert caught.error_code == "unsupported"
        assert "7.9.0 or later" in caught.msg
        assert "qemu:///system" in caught.msg
    monkeypatch.setattr(libvirt, "getVersion", lambda: version)
    caught = None
    try:
        with _libvirt.connect(URI):
            pass
    except VirtmemError as error:
        caught = error
    assert (caught is not None) == is_refused
    assert caught is None or "client library" in caught.msg


def test_without_a_qemu_of_its_own_the_machines_tell_the_version() -> None:
    machines = "".join(f"<machine>{name}</machine>" for name in ("s390-ccw-virtio-9.2", "s390-ccw-virtio-11.1", "none"))
    versions = _libvirt.Hypervisor(_Old(qemu=None, machines=machines), "qemu:///system").versions()
    assert versions.hypervisor == 11_001_000
    with pytest.raises(VirtmemError) as caught:
        _libvirt.Hypervisor(_Old(qemu=None), "qemu:///system").versions()
    assert caught.value.error_code == "libvirt_error"
