# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the lab has its Debian packages from, and where it keeps what it makes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "lab"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The guests' kernel comes from this release where the machine's own packages have none that fits.
GUEST_RELEASE = "bookworm"


class ArchiveError(Exception):
    """A package can't be had; the message says what to do."""


def run(*command: str, cwd: Path | None = None) -> str:
    """The output of a command.

    Raises:
        ArchiveError: it is missing or fails.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=_environment()
        )
    except FileNotFoundError as error:
        raise ArchiveError(f"{command[0]} is missing; run `make setup`.") from error
    except subprocess.CalledProcessError as error:
        words = f"{error.stdout}\n{error.stderr}".strip()[-1000:]
        raise ArchiveError(f"{' '.join(command)} failed: {words}") from error
    return done.stdout


def _environment() -> dict[str, str]:
    """A folder for temporary files that is there outside only would make packages fail in a new root."""
    environment = {**os.environ, "LC_ALL": "C"}
    environment.pop("TMPDIR", None)
    return environment


def mirror() -> str:
    """$VIRTMEM_LAB_MIRROR, or where this machine has its own Debian packages from, or mmdebstrap's default.

    Raises:
        ArchiveError: mmdebstrap is missing, or has none.
    """
    if chosen := os.environ.get("VIRTMEM_LAB_MIRROR"):
        return chosen
    for line in run("apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL) $(COMPONENT)").splitlines():
        if match := re.fullmatch(r"(https?://\S+) Debian main", line):
            return match.group(1)
    program = shutil.which("mmdebstrap")
    text = Path(program).read_text() if program else ""
    if match := re.search(r"^ *my \$mirror += '(https?://[^']+)';$", text, re.MULTILINE):
        return match.group(1)
    raise ArchiveError("mmdebstrap is missing, or names no mirror; run `make setup`, or set VIRTMEM_LAB_MIRROR.")


def apt_settings() -> str:
    """How this machine's apt reaches its sources: proxies, certificates, and what it does not check."""
    kept = re.compile(r"Acquire::(https?|Check-[A-Za-z-]+|Retries)\b")
    return "".join(f"{line}\n" for line in run("apt-config", "dump").splitlines() if kept.match(line))


def need_keyring() -> None:
    """Raises:
    ArchiveError: Debian's keys are not on this machine.
    """
    if not KEYRING.is_file():
        raise ArchiveError(f"{KEYRING} is missing; run `make setup`.")


class Archive:
    """Debian packages by name: from the machine's own sources if it is a Debian, otherwise from the mirror."""

    def __init__(self, probe: str, scratch: Path, architecture: str = "amd64") -> None:
        """
        Args:
            probe: the package that the machine's own sources must know.
            scratch: a folder for what apt keeps where they don't.
            architecture: of the packages, by Debian's name; all but the usual one are from the mirror.
        """
        # As root, apt would fetch as a user of its own, who can't enter our folders.
        self._options = ["-qq", "-o", "APT::Sandbox::User=root"]
        known = ["apt-cache", "show", "--quiet", probe]
        if architecture != "amd64" or subprocess.run(known, capture_output=True, check=False).returncode != 0:
            self._use_mirror(scratch, architecture)

    def _use_mirror(self, scratch: Path, architecture: str) -> None:
        need_keyring()
        sources = scratch / "sources.list"
        sources.write_text(f"deb [arch={architecture} signed-by={KEYRING}] {mirror()} {GUEST_RELEASE} main\n")
        for name in ("state/lists/partial", "cache/archives/partial"):
            (scratch / name).mkdir(parents=True)
        for name, value in (
            ("APT::Architecture", architecture),
            ("Dir::Etc::SourceList", str(sources)),
            ("Dir::Etc::SourceParts", "/dev/null"),
            ("Dir::State", str(scratch / "state")),
            ("Dir::State::status", "/dev/null"),
            ("Dir::Cache", str(scratch / "cache")),
        ):
            self._options += ["-o", f"{name}={value}"]
        run("apt-get", *self._options, "update")

    def needs(self, package: str) -> list[str]:
        """The packages that one depends on."""
        lines = run("apt-cache", *self._options, "depends", "--important", package).splitlines()
        pairs = [line.strip().partition(": ") for line in lines]
        return [name for kind, _colon, name in pairs if kind == "Depends"]

    def unpack(self, package: str, into: Path) -> None:
        """Unpacks a package, which is not installed."""
        run("apt-get", *self._options, "download", package, cwd=into)
        archive = next(into.glob(f"{package}_*.deb"))
        run("dpkg-deb", "-x", str(archive), str(into))
        archive.unlink()


def keep(built: Path, target: Path) -> None:
    """Moves what was built to its place in the cache; of two runs that built the same, one is the first."""
    try:
        built.rename(target)
    except OSError:
        # Another run was faster; its result is the same.
        if not target.is_dir():
            raise


def forget(prefix: str) -> None:
    """Removes from the cache what has been made of one kind."""
    for folder in CACHE.glob(f"{prefix}-*"):
        shutil.rmtree(folder)
