# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the checks work with: Python interpreters, virtual environments, and a copy of the collection.

Everything is kept in .cache of the checkout, so that the next run is quick, and nothing outside of it is touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Whether nothing is left out to save time.
THOROUGH = os.environ.get("VIRTMEM_LABS") == "all"
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"
TREE = CACHE / "tree"
PLACE = Path("ansible_collections", "virtmem", "libvirt")
COLLECTION = TREE / PLACE
REQUIREMENTS = ROOT / "tests" / "requirements"

# The managed node's Python, which has libvirt and lxml from the distribution.
NODE_PYTHON = Path("/usr/bin/python3")

Version = tuple[int, int]
# What the collection's modules run on, and what the pinned controller tools were found to run on.
OLDEST_PYTHON: Version = (3, 9)
CONTROLLER_PYTHONS: tuple[Version, Version] = ((3, 11), (3, 14))

# What the tools write into the copy, which is not to be lost when the collection is copied again.
KEPT = (".git/", "tests/output/", "tests/integration/inventory", "tests/integration/integration_config.yml")

# ansible-test fetches pip's installer from a host of its own, which not every network reaches. This does the same with
# what Python brings along.
GET_PIP = """\
import subprocess, sys
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *wanted])
"""


class WorkshopError(Exception):
    """Something that the checks need can't be had; the message says what."""


# --- interpreters


def _candidates() -> t.Iterator[Path]:
    """Files that may be Python interpreters; the distribution's come first."""
    folders = [Path("/usr/bin"), Path("/usr/local/bin")]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders += sorted(pyenv.glob("*/bin"))
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in folders:
        for path in sorted(folder.glob("python3*")):
            if re.fullmatch(r"python3(\.\d+)?", path.name) and os.access(path, os.X_OK):
                yield path


def _is_binary(path: Path) -> bool:
    """pyenv's shims are scripts that call whatever python is chosen elsewhere, or none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(2) != b"#!"
    return False


def _probe(path: Path) -> Version | None:
    """The version of a released CPython that can make virtual environments and is no such environment itself."""
    code = (
        "import ensurepip, ssl, sys, venv\n"
        "released = sys.implementation.name == 'cpython' and sys.version_info[3] == 'final'\n"
        "if released and sys.prefix == sys.base_prefix:\n"
        "    print(*sys.version_info[:2])\n"
    )
    try:
        answer = subprocess.run([path, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=True)
        major, minor = answer.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return int(major), int(minor)


def interpreters() -> dict[Version, Path]:
    """The real interpreters of this machine, oldest first."""
    found: dict[Version, Path] = {}
    seen = set()
    for path in _candidates():
        real = path.resolve()
        if real in seen or not _is_binary(real):
            continue
        seen.add(real)
        version = _probe(real)
        if version is not None and version >= OLDEST_PYTHON:
            found.setdefault(version, real)
    return dict(sorted(found.items()))


def show(version: Version) -> str:
    """`3.11` for (3, 11)."""
    return ".".join(map(str, version))


# --- the workshop


class Workshop:
    """The environments and the copy, made when they are first asked for."""

    def __init__(self) -> None:
        CACHE.mkdir(exist_ok=True)
        LOGS.mkdir(exist_ok=True)
        self.pythons = interpreters()
        self._lock = threading.RLock()
        self._making: dict[str, threading.Lock] = {}  # one for each environment: two can be made at the same time

    @contextlib.contextmanager
    def alone(self) -> t.Iterator[None]:
        """Keeps a second run in the same checkout waiting, since both would write the same copy, and cleans up."""
        with (CACHE / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Another run is going on in this checkout; waiting for it.", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            # Not every tool takes away its temporary files. The path is short, for sockets.
            with tempfile.TemporaryDirectory(prefix="virtmem-run-", ignore_cleanup_errors=True) as folder:
                Path(folder).chmod(0o755)  # the lab's own user has to come through
                os.environ["TMPDIR"] = tempfile.tempdir = folder
                yield

    def controller_python(self) -> Path:
        """The newest interpreter that the pinned tools run on, or $VIRTMEM_PYTHON.

        Raises:
            WorkshopError: there is none.
        """
        if chosen := os.environ.get("VIRTMEM_PYTHON"):
            return Path(chosen)
        oldest, newest = CONTROLLER_PYTHONS
        fitting = [path for version, path in self.pythons.items() if oldest <= version <= newest]
        if not fitting:
            raise WorkshopError(f"There is no Python from {show(oldest)} to {show(newest)} with the module venv here.")
        return fitting[-1]

    def venv(
        self, name: str, python: Path, *requirements: str, system: bool = False, extra: t.Sequence[str] = ()
    ) -> Path:
        """A virtual environment with what the requirement files name; made anew when one of them changes.

        Args:
            name: what it is for; an older one of the same name is removed.
            python: the interpreter.
            requirements: names of files in tests/requirements, without `.txt`.
            system: whether the interpreter's own packages can be seen.
            extra: arguments of one more `pip install`.
        """
        files = [REQUIREMENTS / f"{requirement}.txt" for requirement in requirements]
        recipe = hashlib.sha256()
        version = subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout
        for part in [str(python), version, str(system), *extra, *(file.read_text() for file in files)]:
            recipe.update(part.encode() + b"\0")
        folder = CACHE / "venv" / f"{name}-{recipe.hexdigest()[:10]}"
        complete = folder / ".complete"
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        with making:
            if complete.exists():
                return folder
            for older in folder.parent.glob(f"{name}-*"):
                if re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{10}}", older.name):
                    shutil.rmtree(older)
            quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", *quiet]
            self._make([str(python), "-m", "venv", *(["--system-site-packages"] if system else []), str(folder)])
            if files:
                self._make([*pip, *(word for file in files for word in ("--requirement", str(file)))])
            if extra:
                self._make([*pip, *extra])
            complete.touch()
        return folder

    @staticmethod
    def _make(command: list[str]) -> None:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise WorkshopError(f"{shlex.join(command)} failed:\n{done.stdout}")

    def controller(self) -> Path:
        """The environment that runs playbooks."""
        return self.venv("controller", self.controller_python(), "controller")

    def node(self) -> Path:
        """The environment of tests that are to see what a managed node has: the distribution's libvirt and lxml."""
        return self.venv("unit-node", NODE_PYTHON, "controller", "unit", system=True)

    def tools(self) -> Path:
        """The environment with all that judges the collection, makes its pages and runs its scenarios."""
        return self.venv("tools", self.controller_python(), "controller", "tools", "docs", "molecule")

    def folder_of_pythons(self) -> Path:
        """A folder with a link python3.N to the real interpreters that tools look up on PATH."""
        folder = CACHE / "pythons"
        with self._lock:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for version, path in self.pythons.items():
                # What runs on the oldest and on the newest runs on those between.
                if THOROUGH or version in (min(self.pythons), max(self.pythons)):
                    (folder / f"python{show(version)}").symlink_to(path)
        return folder

    def environment(self, venv: Path) -> dict[str, str]:
        """Variables of a process: the environment's commands first, and a home that is not the caller's."""
        home = CACHE / "home"
        with self._lock:
            if not home.is_dir():
                home.mkdir()
                # Where the caller's pip is told to use an index of its own, so must be the pip that ansible-test calls.
                for name in (".config/pip", ".pip", ".netrc"):
                    if (Path.home() / name).exists():
                        (home / name).parent.mkdir(exist_ok=True)
                        (home / name).symlink_to(Path.home() / name)
        proxies = ("http_proxy", "https_proxy", "no_proxy")
        kept = {"TERM", "TMPDIR", "VIRTMEM_LABS", *proxies, *(name.upper() for name in proxies)}
        return {
            **{name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")},
            "HOME": str(home),
            "PATH": f"{venv}/bin:{CACHE}/pythons:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "VIRTUAL_ENV": str(venv),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ANSIBLE_COLLECTIONS_PATH": str(TREE),
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_LOCAL_TEMP": str(home / ".ansible" / "tmp"),
            "ANSIBLE_PIPELINING": "True",  # nothing is copied before it is run; tests/faults has the other way
            "ANSIBLE_NOCOWS": "1",
            "NO_COLOR": "1",
        }

    def stand_in_for_get_pip(self, venv: Path) -> None:
        """Puts the installer of pip where this ansible-test looks before it tries to fetch it."""
        sources = list(venv.glob("lib/python3*/site-packages/ansible_test/_internal/python_requirements.py"))
        versions = re.findall(r"\bpip='([\d.]+)'", sources[0].read_text()) if sources else []
        if not versions:
            raise WorkshopError("This ansible-test does not say which pip it wants; see Workshop.stand_in_for_get_pip.")
        folder = CACHE / "home" / ".ansible" / "test" / "cache"
        folder.mkdir(parents=True, exist_ok=True)
        for version in versions:
            (folder / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)

    def copy_collection(self, tree: Path = TREE) -> Path:
        """Brings a copy of the collection up to date with the checkout, committed or not.

        ansible-test only works inside ansible_collections/NAMESPACE/NAME, and does not follow links there. It writes
        into it, so that two at the same time need a tree each.
        """
        collection = tree / PLACE
        git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            raise WorkshopError(f"The checks need a git checkout: {listed.stderr.strip()}")
        names = {name for name in listed.stdout.split("\0") if name and os.path.lexists(ROOT / name)}
        for name in names:
            source, target = ROOT / name, collection / name
            if (
                target.is_file()
                and not target.is_symlink()
                and filecmp.cmp(source, target)
                and _mode(source) == _mode(target)
            ):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
        self._remove_others(collection, names)
        # The tools ask git for the files, and would else be told that the whole of .cache is ignored.
        for git in (["git", "init", "--quiet", "--template="], ["git", "add", "--all"]):
            subprocess.run(git, cwd=collection, check=True)
        return collection

    @staticmethod
    def _remove_others(collection: Path, names: set[str]) -> None:
        """Removes from a copy what is not, or no longer, in the checkout."""
        for folder, subfolders, files in os.walk(collection, topdown=False):
            here = Path(folder).relative_to(collection)
            if f"{here}/".startswith(KEPT):
                continue
            for name in (str(here / file) for file in files):
                if name not in names and not name.startswith(KEPT):
                    (collection / name).unlink()
            for subfolder in subfolders:
                with contextlib.suppress(OSError):  # not empty
                    (Path(folder) / subfolder).rmdir()


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777
