# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module of this name, all of it: writes what all hosts have as a page, as metrics and as JSON.

It takes the results from the hosts' variables as they are. What is given to a task as an option is templated on the
way, which takes Ansible some seconds for a thousand guests.
"""

from __future__ import annotations

import datetime
import json
import tempfile
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._memory.errors import VirtmemError
from ..plugin_utils import _fleet, _metrics, _page

_OPTIONS: dict[str, dict[str, t.Any]] = {
    "dest": {"type": "path", "required": True},
    "result": {"type": "str", "required": True},
    "hosts": {"type": "list", "elements": "raw"},
    "title": {"type": "str", "default": "Memory of libvirt guests"},
}
_FOLDER, _FILE = 0o755, 0o644
_OF_HOST = ("host", "uri", "reserve")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """What Ansible looks for."""

    _requires_connection = False

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Writes the three files."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validated, options = self.validate_argument_spec(_OPTIONS)
        for name in ("dest", "result"):
            if not options[name]:
                raise _refused(f"{name}: it is empty.")
        hosts = variables["ansible_play_hosts_all"] if options["hosts"] is None else options["hosts"]
        now = datetime.datetime.now(datetime.timezone.utc)
        surveys = [_survey(host, options["result"], variables["hostvars"]) for host in hosts]
        try:
            fleet = _fleet.hosts_of(surveys)
        except VirtmemError as error:
            raise _refused(f"{error.msg} {error.hint}", error.error_code) from None
        texts = {
            "index.html": _page.page(fleet, options["title"], f"{now:%Y-%m-%d %H:%M} UTC"),
            "virtmem.prom": _metrics.metrics(fleet, now.timestamp()),
            "survey.json": json.dumps({"made": now.isoformat(" ", "seconds"), "hosts": surveys}),
        }
        folder = Path(self._loader.get_basedir(), options["dest"])
        if not self._task.check_mode:
            _write(folder, texts)
        faults = _page.faults(fleet)
        return {"changed": True, "dest": str(folder), "hosts": len(fleet), "faults": faults}


def _refused(msg: str, error_code: str = "invalid_option") -> AnsibleActionFail:
    return AnsibleActionFail(f"{msg} Nothing was written.", result={"error_code": error_code})


def _survey(given: t.Any, result: str, known: t.Any) -> dict[str, t.Any]:
    """What is known of a host."""
    about = {"host": given} if isinstance(given, str) else given
    if not isinstance(about, t.Mapping) or "host" not in about or not set(about) <= set(_OF_HOST):
        msg = f"hosts: {given!r} is neither a host's name nor a dictionary with host, and perhaps uri and reserve."
        raise _refused(msg)
    texts = {name: str(about.get(name) or "") for name in _OF_HOST}
    if texts["host"] not in known:
        msg = f"hosts: there is no host {texts['host']} in the inventory."
        raise _refused(msg)
    info = known.raw_get(texts["host"]).get(result)
    if info is not None and not isinstance(info, t.Mapping):
        msg = (
            f"result: the variable {result} of {texts['host']} is no result of a task. "
            f"Write `register: {result}` at the task virtmem.libvirt.memory_device_info."
        )
        raise _refused(msg)
    return {**texts, "info": info}


def _write(folder: Path, texts: t.Mapping[str, str]) -> None:
    """Writes all files aside and renames them, so that nobody ever reads half of one, or one of yesterday beside it."""
    aside: dict[str, Path] = {}
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(_FOLDER)  # whatever the umask: a web server reads it
        for name, text in texts.items():
            with tempfile.NamedTemporaryFile(
                "w", prefix=f".{name}.", dir=folder, encoding="utf-8", delete=False
            ) as file:
                aside[name] = Path(file.name)
                file.write(text)
            aside[name].chmod(_FILE)
        for name, path in aside.items():
            path.replace(folder / name)
    except OSError as error:
        # Without the cause, which Ansible would add to the message once more.
        raise _refused(f"dest: {folder} can't be written on the controller: {error}.") from None
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)
