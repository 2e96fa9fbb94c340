# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The labs' command line: a real libvirtd with real guests, without KVM and without root rights.

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

try:
    import libvirt
except ImportError:
    sys.exit("python3-libvirt is missing; run `make setup`, and use /usr/bin/python3.")

import archive
import daemon
import guest
import release
import sgx

# What other tools exit with where a test can't run here and is to be skipped.
SKIP = 77


def _keys(text: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in text.split(",")]
    if not all(equals and value for _name, equals, value in pairs):
        raise argparse.ArgumentTypeError(f"{text} is not of the form model=virtio-mem,alias=ua-vm0,size=4GiB")
    return {name: value for name, _equals, value in pairs}


def up(lab: daemon.Lab, _args: argparse.Namespace) -> None:
    daemon.up(lab)
    print(lab.uri)


def down(lab: daemon.Lab, args: argparse.Namespace) -> None:
    daemon.down(lab)
    if args.cache:
        archive.forget(release.suite(args.release) if args.release else "guest")


def restart(lab: daemon.Lab, args: argparse.Namespace) -> None:
    with daemon.stopped(lab, signal.SIGKILL if args.kill else signal.SIGTERM):
        time.sleep(args.after)


def pretend_sgx(lab: daemon.Lab, _args: argparse.Namespace) -> None:
    sgx.pretend(lab)


def uri(lab: daemon.Lab, _args: argparse.Namespace) -> None:
    daemon.connect(lab).close()
    print(lab.uri)


def _definition(args: argparse.Namespace) -> str:
    """A given definition, whose guest must have the given name: that is the one that is replaced."""
    if args.define is None:
        return ""
    try:
        text: str = args.define.read_text()
        name = ElementTree.fromstring(text).findtext("name")
    except (OSError, ElementTree.ParseError) as error:
        raise daemon.LabError(f"{args.define} can't be read: {error}") from error
    if name != args.name:
        raise daemon.LabError(f"{args.define} defines {name}, not {args.name}.")
    return text


def _wanted(args: argparse.Namespace) -> guest.Wanted:
    return guest.Wanted(
        name=args.name,
        kind=args.kind,
        memory=args.memory,
        max_memory=args.max_memory,
        slots=args.slots,
        ports=args.ports,
        cells=args.cells,
        balloon=args.balloon,
        statistics=args.statistics,
        held=args.held,
        has_max_memory=not args.no_max_memory,
        transient=args.transient,
        stopped=args.stopped,
        paused=args.paused,
        secret=args.secret,
        append=args.append,
        on_crash=args.on_crash,
        on_reboot=args.on_reboot,
        has_panic_device=args.panic_device,
        devices=args.device,
    )


def _print_guest(lab: daemon.Lab, domain: t.Any) -> None:
    known = {"name": domain.name(), "uuid": domain.UUIDString(), "console": str(guest.console(lab, domain.name()))}
    print(json.dumps(known))


def create(lab: daemon.Lab, args: argparse.Namespace) -> None:
    wanted = dataclasses.replace(_wanted(args), definition=_definition(args))
    _print_guest(lab, guest.create(lab, daemon.connect(lab), wanted))


def create_many(lab: daemon.Lab, args: argparse.Namespace) -> None:
    for domain in guest.create_many(lab, daemon.connect(lab), _wanted(args), args.count):
        _print_guest(lab, domain)


def memory_file(lab: daemon.Lab, args: argparse.Namespace) -> None:
    daemon.connect(lab).close()
    print(guest.memory_file(lab, args.name, args.size))


def delete(lab: daemon.Lab, args: argparse.Namespace) -> None:
    guest.delete_many(lab, daemon.connect(lab), args.name)


def memtotal(lab: daemon.Lab, args: argparse.Namespace) -> None:
    print(guest.report(lab, args.name)["mem_total"])


def guestinfo(lab: daemon.Lab, args: argparse.Namespace) -> None:
    print(json.dumps(guest.report(lab, args.name)))


def console(lab: daemon.Lab, args: argparse.Namespace) -> None:
    path = guest.console(lab, args.name)
    if not path.is_file():
        raise daemon.LabError(f"There is no guest {args.name} with a console.")
    sys.stdout.write(path.read_text(errors="replace"))


def names(lab: daemon.Lab, _args: argparse.Namespace) -> None:
    for domain in daemon.connect(lab).listAllDomains():
        print(domain.name(), "running" if domain.isActive() else "stopped")


def virsh(lab: daemon.Lab, args: argparse.Namespace) -> None:
    daemon.connect(lab).close()
    os.execvp("virsh", ["virsh", "-c", lab.uri, *args.arguments])


def inside(lab: daemon.Lab, args: argparse.Namespace) -> None:
    sys.exit(daemon.inside(lab, args.arguments))


def log(lab: daemon.Lab, _args: argparse.Namespace) -> None:
    print(daemon.tail_of_log(lab))


def _add_guest_options(parser: argparse.ArgumentParser, kind: str, memory: str) -> None:
    kinds = (
        "driver: takes and gives back memory; nodriver: does not answer virtio-mem; pinned: gives back in part only; "
        "unmovable: refuses to give back; offline: new memory stays offline; mute: no balloon driver; "
        "empty: has no operating system"
    )
    device = (
        "a memory device, such as model=virtio-mem,alias=ua-vm0,size=4GiB,requested=1GiB,block=2MiB,node=0; "
        f"keys: {', '.join(sorted(guest.KEYS))}; may be repeated"
    )
    parser.add_argument("--kind", choices=guest.KINDS, default=kind, help=f"{kinds} (default: {kind})")
    parser.add_argument("--memory", default=memory, help=f"memory to boot with ({memory})")
    parser.add_argument("--max-memory", default="16GiB", help="maxMemory (16GiB)")
    parser.add_argument("--no-max-memory", action="store_true", help="a domain that can't take memory devices")
    parser.add_argument("--slots", type=int, default=16, help="memory slots (16)")
    parser.add_argument("--ports", type=int, default=8, help="free hot-plug ports (8)")
    parser.add_argument("--cells", type=int, default=1, help="NUMA cells (1)")
    parser.add_argument("--balloon", choices=("none", "virtio"), default="none")
    parser.add_argument("--statistics", type=int, default=0, help="poll the balloon so often, in seconds (never)")
    parser.add_argument("--held", default="", help="what the balloon holds back of the memory to boot with (nothing)")
    parser.add_argument("--secret", default="", help="a VNC password in the definition")
    parser.add_argument("--append", default="", help="more words for the kernel's command line, such as lab.reboot=3")
    parser.add_argument("--on-crash", choices=guest.END_OF_GUEST, default="destroy", help="(destroy)")
    parser.add_argument("--on-reboot", choices=guest.END_OF_GUEST, default="restart", help="(restart)")
    parser.add_argument("--panic-device", action="store_true", help="let libvirt know of a panic")
    parser.add_argument("--device", type=_keys, action="append", default=[], help=device)
    parser.add_argument("--transient", action="store_true", help="without a persistent configuration")
    parser.add_argument("--stopped", action="store_true", help="define it only")
    parser.add_argument("--paused", action="store_true", help="start it paused")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="A real libvirtd of an unprivileged user with real guests under plain emulation. "
        "Its folder is /tmp/virtmem-lab-…, or $VIRTMEM_LAB_DIR. Everything else is in README.md beside this file.",
        epilog=f"Exit code {SKIP}: this lab needs root here.",
    )
    parser.add_argument(
        "--release",
        choices=release.RELEASES,
        default=os.environ.get("VIRTMEM_LAB_RELEASE") or None,
        help="the lab with the libvirt and QEMU of this Debian release, which only root can run; "
        "default: $VIRTMEM_LAB_RELEASE, otherwise the lab with those of this machine",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, function: t.Callable[[daemon.Lab, argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    command("up", up, "start the lab, unless it runs; prints its URI")
    command("down", down, "end the lab and leave nothing").add_argument(
        "--cache",
        action="store_true",
        help="forget what was built for it too: the guests' image, or the release's root",
    )
    again = command("restart", restart, "end the daemon, if it has not ended yet, and start it again; the guests go on")
    again.add_argument("--after", type=float, default=0, metavar="SECONDS", help="so long after it has ended (0)")
    again.add_argument("--kill", action="store_true", help="by SIGKILL, so that it can't end cleanly")
    command("sgx", pretend_sgx, "let definitions have sgx-epc devices, though no guest can be started with one")
    command("uri", uri, "print the lab's URI")
    command("list", names, "list the guests")
    command("log", log, "print the daemon's last words")
    one = command("guest", create, "create a guest, in the place of one of the same name, and wait until it is ready")
    one.add_argument("name")
    one.add_argument(
        "--define", type=Path, metavar="FILE", help="the definition, as it is, instead of the options for one"
    )
    _add_guest_options(one, "driver", "512MiB")
    many = command("guests", create_many, "create the guests NAME1 to NAMEn")
    many.add_argument("name")
    many.add_argument("count", type=int)
    _add_guest_options(many, "empty", "64MiB")
    command("delete", delete, "end guests and forget them").add_argument("name", nargs="+")
    for name, function, text in (
        ("memtotal", memtotal, "print the guest's own MemTotal in bytes"),
        ("guestinfo", guestinfo, "print what the guest says of itself, as JSON"),
        ("console", console, "print what the guest has written to its console"),
    ):
        command(name, function, text).add_argument("name")
    file = command("file", memory_file, "print the path of a sparse file for a memory device; it is created if missing")
    file.add_argument("name")
    file.add_argument("size", help="such as 256MiB")
    command("virsh", virsh, "run virsh on the lab").add_argument("arguments", nargs=argparse.REMAINDER)
    run = command("inside", inside, "run a command as the lab's user, in the root of its release where it has one")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def main() -> None:
    parser = _parser()
    args = parser.parse_args()
    if args.release not in (None, *release.RELEASES):  # a default is not checked against the choices
        parser.error(f"there is no lab of {args.release}")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        args.function(daemon.this_lab(args.release), args)
    except daemon.NeedsRoot as error:
        print(error, file=sys.stderr)
        sys.exit(SKIP)
    except (daemon.LabError, archive.ArchiveError, OSError) as error:
        sys.exit(str(error))
    except libvirt.libvirtError as error:
        sys.exit(f"libvirt: {error}")


if __name__ == "__main__":
    main()
