#!/usr/bin/python3
# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's command line: a real libvirtd with real guests, without KVM and without root rights.

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import typing as t

try:
    import libvirt
except ImportError:
    sys.exit("python3-libvirt is missing; run `make setup`, and use /usr/bin/python3.")

import daemon
import guest
import image


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
        image.forget()


def uri(lab: daemon.Lab, _args: argparse.Namespace) -> None:
    daemon.connect(lab).close()
    print(lab.uri)


def create(lab: daemon.Lab, args: argparse.Namespace) -> None:
    wanted = guest.Wanted(
        name=args.name,
        kind=args.kind,
        memory=args.memory,
        max_memory=args.max_memory,
        slots=args.slots,
        ports=args.ports,
        cells=args.cells,
        balloon=args.balloon,
        has_max_memory=not args.no_max_memory,
        transient=args.transient,
        stopped=args.stopped,
        paused=args.paused,
        secret=args.secret,
        devices=args.device,
    )
    domain = guest.create(lab, daemon.connect(lab), wanted)
    print(json.dumps({"name": args.name, "uuid": domain.UUIDString(), "console": str(guest.console(lab, args.name))}))


def delete(lab: daemon.Lab, args: argparse.Namespace) -> None:
    guest.delete(lab, daemon.connect(lab), args.name)


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


def log(lab: daemon.Lab, _args: argparse.Namespace) -> None:
    print(daemon.tail_of_log(lab))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="A real libvirtd of an unprivileged user with real guests under plain emulation. "
        "Its folder is /tmp/virtmem-lab-…, or $VIRTMEM_LAB_DIR."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: t.Callable[[daemon.Lab, argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    command("up", up, "start the lab, unless it runs; prints its URI")
    command("down", down, "end the lab and leave nothing").add_argument(
        "--cache", action="store_true", help="forget the guest image too"
    )
    command("uri", uri, "print the lab's URI")
    command("list", names, "list the guests")
    command("log", log, "print the daemon's last words")
    new = command("guest", create, "create a guest, in the place of one of the same name, and wait until it is ready")
    new.add_argument("name")
    new.add_argument("--kind", choices=guest.KINDS, default="driver", help="default: driver; empty has no operating system")
    new.add_argument("--memory", default="512MiB", help="memory to boot with (512MiB)")
    new.add_argument("--max-memory", default="16GiB", help="maxMemory (16GiB)")
    new.add_argument("--no-max-memory", action="store_true", help="a domain that can't take memory devices")
    new.add_argument("--slots", type=int, default=16, help="memory slots (16)")
    new.add_argument("--ports", type=int, default=8, help="free hot-plug ports (8)")
    new.add_argument("--cells", type=int, default=1, help="NUMA cells (1)")
    new.add_argument("--balloon", choices=("none", "virtio"), default="none")
    new.add_argument("--secret", default="", help="a VNC password in the definition")
    new.add_argument("--device", type=_keys, action="append", default=[], help="model=virtio-mem,alias=ua-vm0,size=4GiB,requested=1GiB,block=2MiB,node=0; may be repeated")
    new.add_argument("--transient", action="store_true", help="without a persistent configuration")
    new.add_argument("--stopped", action="store_true", help="define it only")
    new.add_argument("--paused", action="store_true", help="start it paused")
    for name, function, text in (
        ("delete", delete, "end a guest and forget it"),
        ("memtotal", memtotal, "print the guest's own MemTotal in bytes"),
        ("guestinfo", guestinfo, "print what the guest says of itself, as JSON"),
        ("console", console, "print what the guest has written to its console"),
    ):
        command(name, function, text).add_argument("name")
    command("virsh", virsh, "run virsh on the lab").add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def main() -> None:
    args = _parser().parse_args()
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        args.function(daemon.this_lab(), args)
    except (daemon.LabError, image.ImageError) as error:
        sys.exit(str(error))
    except libvirt.libvirtError as error:
        sys.exit(f"libvirt: {error}")


if __name__ == "__main__":
    main()
