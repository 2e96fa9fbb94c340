# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the role `report` in a real browser: it sorts, it filters, and it is looked at in .cache/shots."""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Statistics
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.plugin_utils import test_report as made

SHOTS = Path(os.environ.get("VIRTMEM_SHOTS", "/tmp"))
BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]


def guest(number: int) -> dict[str, t.Any]:
    """A guest; some of them lack memory, differ from their configuration, have little left, or do not run."""
    requested, kind = 1 + number % 3, number % 10
    if kind == 7:
        return made.off(f"db{number}")
    current = requested - 1 if kind == 3 else requested
    said = Statistics(
        total=(1 + current) * GIB - 130 * MIB,
        usable=(60 if kind == 5 else 400 + number) * MIB,
        balloon=(1 + current) * GIB,
        updated=1,
        minor_faults=1,
        age=1.0,
    )
    more = {"config": 4} if kind == 9 else {}
    return made.guest(f"web{number}", requested=requested, current=current, guest=said, **more)


def surveys(guests: int) -> list[t.Any]:
    """So many guests on up to four hypervisors, and one that was not reached."""
    hosts = min(4, -(-guests // 3))
    return [
        *(
            made.survey(
                *(guest(number) for number in range(host, guests, hosts)),
                host=f"hv{host + 1}",
                uri=f"qemu+ssh://hv{host + 1}/system",
                available=(3, 20, 40, 50)[host],
            )
            for host in range(hosts)
        ),
        "hv9",
    ]


@pytest.fixture
def page(tmp_path: Path) -> t.Callable[[int, str], Path]:
    """Writes a page of so many guests, with a script at its end that the role does not write."""

    def write(guests: int, script: str = "") -> Path:
        path = tmp_path / f"{guests}.html"
        text = made.page(*surveys(guests))
        path.write_text(text.replace("</body>", f"<pre id=result></pre><script>{script}</script></body>"))
        return path

    return write


def browse(path: Path, *options: str) -> str:
    """What the browser makes of a page; an error on its console is one here."""
    done = subprocess.run(
        [*BROWSER, "--enable-logging=stderr", "--virtual-time-budget=2000", *options, path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def result(path: Path) -> t.Any:
    """What the script at the end of the page found."""
    found = re.search(r"<pre id=\"result\">(.*?)</pre>", browse(path, "--dump-dom"), re.DOTALL)
    assert found is not None
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


TOOLS = """
const names = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
const tables = [...document.querySelectorAll(".guests")];
const buttons = (table) => [...table.querySelectorAll("th button")];
const heads = (title) => tables.map((table) => buttons(table).find((one) => one.textContent === title));
const tell = (what) => { document.getElementById("result").textContent = JSON.stringify(what); };
"""


def test_a_column_is_sorted_down_and_up(page: t.Callable[[int, str], Path]) -> None:
    script = """
    const values = () => [...tables[0].tBodies[0].rows].map((row) => Number(row.cells[3].dataset.n));
    const told = {};
    const head = heads("Has")[0];
    head.click(); told.down = values(); told.downs = head.closest("th").ariaSort;
    head.click(); told.up = values(); told.ups = head.closest("th").ariaSort;
    const guest = heads("Guest")[0];
    guest.click(); told.names = names(tables[0]);
    tell(told);
    """
    told = result(page(40, TOOLS + script))
    assert told["down"] == sorted(told["down"], reverse=True)
    assert told["up"] == sorted(told["up"])
    assert (told["downs"], told["ups"]) == ("descending", "ascending")
    assert told["names"] == sorted(told["names"])
    assert len(set(told["down"])) > 1


def test_what_is_looked_for_is_shown_alone(page: t.Callable[[int, str], Path]) -> None:
    script = """
    const shown = () => tables.flatMap(names);
    const find = document.getElementById("find"), wrong = document.getElementById("wrong");
    const told = {all: shown().length};
    find.value = "DB"; find.dispatchEvent(new Event("input")); told.found = shown();
    find.value = "web running"; find.dispatchEvent(new Event("input")); told.both = shown().length;
    find.value = ""; find.dispatchEvent(new Event("input"));
    wrong.checked = true; wrong.dispatchEvent(new Event("change")); told.wrong = shown();
    tell(told);
    """
    told = result(page(40, TOOLS + script))
    assert told["all"] == 40
    assert sorted(told["found"]) == ["db17", "db27", "db37", "db7"]
    assert told["both"] == 36
    assert {int(name.removeprefix("web")) % 10 for name in told["wrong"]} == {3, 5, 9}


def test_every_number_is_that_of_the_survey(page: t.Callable[[int, str], Path]) -> None:
    script = """
    tell(Object.fromEntries(tables.flatMap((table) => [...table.tBodies[0].rows].map((row) => [
      row.cells[0].textContent, [3, 4, 5, 6, 7, 8].map((cell) => Number(row.cells[cell].dataset.n))]))));
    """
    told = result(page(40, TOOLS + script))
    domains = [domain for survey in surveys(40) if survey != "hv9" for domain in survey["info"]["domains"]]
    for domain in domains:
        memory, word = domain["memory"], domain["guest"] or {}
        used = word["total"] - word["usable"] if word.get("usable") else -1
        current = -1 if memory["current"] is None else memory["current"]
        sizes = [memory["effective"], memory["boot"], memory["requested"], current, memory["boot"] + 4 * GIB, used]
        assert told[domain["name"]] == sizes, domain["name"]
    assert len(told) == len(domains)


@pytest.mark.parametrize(
    ("name", "guests", "options"),
    [
        ("light", 3, ["--window-size=1280,900"]),
        ("dark", 3, ["--window-size=1280,900", "--blink-settings=preferredColorScheme=0"]),
        ("phone", 3, ["--window-size=500,1300"]),
        ("thousand", 1000, ["--window-size=1280,1200"]),
    ],
)
def test_it_is_looked_at(page: t.Callable[[int, str], Path], name: str, guests: int, options: list[str]) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = SHOTS / f"{name}.png"
    shot.unlink(missing_ok=True)
    browse(page(guests, ""), f"--screenshot={shot}", *options)
    assert shot.stat().st_size > 10_000
