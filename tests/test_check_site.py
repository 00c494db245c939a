"""The check of the built site sees what a reader would see."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[1] / "docs" / "check_site.py"
spec = importlib.util.spec_from_file_location("check_site", PATH)
assert spec is not None
assert spec.loader is not None
site: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)

BROKEN = """<!doctype html><body><article>
<p style="color: #777; background: #fff">pale</p>
<pre style="color: #000; background: #fff">fine</pre>
<p style="color: rgba(0, 0, 0, 0.3)">translucent</p>
<span class="math notranslate">x</span>
<img src="blank.svg"><img src="missing.png"><img src="drawn.svg">
<script>console.error("broken"); fetch("http://elsewhere.test/").catch(() => null)</script>
</article></body>"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'
SQUARE = '<rect width="5" height="9" fill="red"/>'


def test_contrast_is_that_of_the_guidelines() -> None:
    assert site.contrast("rgb(0, 0, 0)", ["rgb(255, 255, 255)"]) == pytest.approx(21)
    assert site.contrast("rgb(118, 118, 118)", ["rgb(255, 255, 255)"]) == pytest.approx(
        4.54, abs=0.005
    )
    # a translucent layer on an opaque one: half white on black is grey 127.5
    layers = ["rgba(255, 255, 255, 0.5)", "rgba(0, 0, 0, 0)", "rgb(0, 0, 0)"]
    grey = site.contrast("rgb(0, 0, 0)", ["rgb(127.5, 127.5, 127.5)"])
    assert site.contrast("rgb(0, 0, 0)", layers) == pytest.approx(grey)


def test_requests_to_other_hosts_and_errors_are_complaints() -> None:
    home = "http://127.0.0.1:1/"
    asked = [
        {"request": {"url": url}} for url in (home + "a.js", "data:,", "https://cdn.test/b.js")
    ]
    events = [{"method": "Network.requestWillBeSent", "params": each} for each in asked]
    for kind in ("log", "error"):
        args = [{"value": f"a {kind}"}]
        events.append(
            {"method": "Runtime.consoleAPICalled", "params": {"type": kind, "args": args}}
        )
    assert site.complaints(events, home) == [
        "asks another host: https://cdn.test/b.js",
        "console: a error",
    ]


def test_without_chromium_nothing_is_checked_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(site.shutil, "which", lambda name: None)
    monkeypatch.setattr("sys.argv", ["check_site.py"])
    assert site.main() == 0
    assert "skipped: no Chromium" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(site.find_chromium() is None, reason="no Chromium is installed")
def test_a_broken_page_is_found_out_in_the_browser(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(BROKEN)
    (tmp_path / "blank.svg").write_text(SVG.format(""))
    (tmp_path / "drawn.svg").write_text(SVG.format(SQUARE))
    with site.served(tmp_path) as home:
        browser = site.Browser(site.find_chromium(), str(tmp_path / "profile"))
        try:
            browser.open(home, "light")
            found = site.judge("tutorial", browser)
            told = " ".join(site.complaints(browser.events, home))
        finally:
            browser.close()
    assert [line.split(" is ")[0] for line in found] == [
        "text 'pale'",
        "text 'translucent'",
        "the picture blank.svg",
        "the picture missing.png",
        "0 of 1 formulas were set by MathJax",
    ]
    assert "console: broken" in told
    assert "asks another host: http://elsewhere.test/" in told
