# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation's site in a real browser, on a desk and on a phone; it is looked at in $VIRTMEM_SHOTS."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.tests.report.test_page import BROWSER

SITE = Path(os.environ["VIRTMEM_SITE"])
SHOTS = Path(os.environ.get("VIRTMEM_SHOTS", "/tmp"))
# A window of chromium is never narrower than 500 pixels; a frame in it is.
WIDTHS = {"desk": 1280, "phone": 390}
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if path.name != "search.html")
SEEN = ("index.html", "docsite/guide_quickstart.html", "guest_memory_module.html", "docsite/guide_matrix.html")

# Every page in a frame of this width: which of them have text beyond it.
FRAMES = """<!doctype html><body style="margin:0"><pre id=result>?</pre><script>
const wide = {}, pages = PAGES;
(async () => {
  for (const page of pages) {
    const frame = document.createElement("iframe");
    frame.style = "border:0;width:WIDTHpx;height:800px";
    frame.src = page;
    document.body.append(frame);
    await new Promise(done => frame.onload = done);
    await new Promise(done => setTimeout(done, 200));  // the theme goes over its tables
    // The theme hides what is too wide, so it is the text that is looked at; what can be scrolled to is not lost.
    const content = frame.contentDocument.querySelector(".rst-content"), style = frame.contentWindow.getComputedStyle;
    const reached = part => part === content || !part ? false
      : ["auto", "scroll"].includes(style(part).overflowX) || reached(part.parentElement);
    const lost = [...content.querySelectorAll("*")].filter(part =>
      [...part.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())
      && part.getBoundingClientRect().right > WIDTH && !reached(part));
    if (lost.length) wide[page] = lost.slice(0, 3).map(part => part.outerHTML.slice(0, 90));
    frame.remove();
  }
  document.getElementById("result").textContent = JSON.stringify({seen: pages.length, wide});
})();
</script>"""


def browse(*options: str, budget: int = 5000) -> str:
    """What the browser makes of a page."""
    local = ["--allow-file-access-from-files", f"--virtual-time-budget={budget}", "--enable-logging=stderr"]
    done = subprocess.run([*BROWSER, *local, *options], capture_output=True, text=True, check=True, timeout=300)
    assert "Uncaught" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("device", WIDTHS)
def test_no_page_is_wider_than_the_screen(device: str) -> None:
    frames = SITE / f"frames-{device}.html"
    frames.write_text(FRAMES.replace("PAGES", json.dumps(PAGES)).replace("WIDTH", str(WIDTHS[device])))
    try:
        answer = browse("--dump-dom", frames.as_uri(), budget=120000)
    finally:
        frames.unlink()
    found = re.search(r'<pre id="result">(.*?)</pre>', answer, re.DOTALL)
    assert found, answer[:500]
    result = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert result["seen"] == len(PAGES)
    assert result["wide"] == {}


@pytest.mark.parametrize("page", SEEN)
def test_it_is_looked_at(page: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    for device, width in WIDTHS.items():
        shot = SHOTS / f"{Path(page).stem}-{device}.png"
        browse(f"--window-size={max(width, 500)},1400", f"--screenshot={shot}", (SITE / page).as_uri())
        assert shot.stat().st_size > 20_000


def test_the_search_finds_a_module() -> None:
    answer = browse("--dump-dom", f"{(SITE / 'search.html').as_uri()}?q=wait_timeout", budget=20000)
    assert "memory_device_module.html" in answer
