"""Look at the built site as a reader does, in headless Chromium: run after ``make docs``.

The landing page, a tutorial with mathematics and pictures, and the search page must load without an
error in the console and without asking another host for anything; formulas are set by the vendored
MathJax; pictures are not empty; text and code are legible in light and in dark mode; a search finds
something. Chromium is spoken to by its DevTools protocol over a pipe, so that nothing else need be
installed. Where there is no Chromium, this says so and does nothing.

    python docs/check_site.py
    python docs/check_site.py --screenshots FOLDER
"""

import argparse
import base64
import contextlib
import functools
import http.server
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SITE = Path(__file__).resolve().parent / "_build" / "html"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PAGES = {
    "landing page": "index.html",
    "tutorial": "tutorials/counterfactual_by_twin_worlds.html",
    "search": "search.html?q=hedge",
}
LEGIBLE = 4.5  # contrast of normal text, WCAG 2 level AA
PATIENCE = 60  # seconds

# Formulas that were written, and the heights of those that were set.
FORMULAS = """(async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  return {
    written: document.querySelectorAll(".math.notranslate").length,
    heights: [...document.querySelectorAll("mjx-container")].map(
      (each) => each.getBoundingClientRect().height),
    errors: document.querySelectorAll("mjx-merror").length};
})()"""

# Of each picture in the text: its address, its width, and how many colours it has (up to 2).
PICTURES = """(async () => {
  const found = [];
  for (const each of document.querySelectorAll("article img")) {
    each.loading = "eager";
    await each.decode().catch(() => null);
    const [width, height] = [each.naturalWidth, each.naturalHeight];
    const colours = new Set();
    if (width && height) {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height];
      const brush = canvas.getContext("2d");
      brush.drawImage(each, 0, 0);
      for (const one of new Uint32Array(brush.getImageData(0, 0, width, height).data.buffer)) {
        colours.add(one);
        if (colours.size > 1) break;
      }
    }
    found.push({source: each.getAttribute("src"), width, colours: colours.size});
  }
  return found;
})()"""

# Colours of text in the article, each with the backgrounds below it, innermost first.
COLOURS = """(() => {
  const found = {};
  const walker = document.createTreeWalker(
    document.querySelector("article"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const parent = walker.currentNode.parentElement;
    if (!text || !parent.getClientRects().length || parent.closest("svg, .headerlink, button"))
      continue;
    const grounds = [];
    for (let each = parent; each; each = each.parentElement)
      grounds.push(getComputedStyle(each).backgroundColor);
    const colour = getComputedStyle(parent).color;
    const kind = parent.closest("pre, code") ? "code" : "text";
    found[[kind, colour, ...grounds].join(" ")] = {kind, colour, grounds, text: text.slice(0, 40)};
  }
  return Object.values(found);
})()"""

HITS = """(async () => {
  const until = Date.now() + 15000;
  const hits = () => [...document.querySelectorAll("#search-results ul.search li a")];
  while (!hits().length && Date.now() < until) await new Promise((go) => setTimeout(go, 100));
  return hits().map((each) => each.getAttribute("href"));
})()"""

LOADED = """new Promise((go) => document.readyState === "complete"
  ? go(true) : window.addEventListener("load", () => go(true)))"""


class Browser:
    """A headless Chromium with one page, spoken to over a pipe."""

    def __init__(self, program: str, profile: str) -> None:
        flags = [
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--no-first-run",
            "--disable-gpu",
            "--window-size=1280,1000",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]
        # Chromium reads descriptor 3 and writes descriptor 4
        pipes = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
        self.process = subprocess.Popen(
            ["sh", "-c", pipes, program, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.events: list[dict[str, Any]] = []
        self.session: dict[str, str] = {}
        self.number = 0
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def _listen(self) -> None:
        buffer = b""
        while piece := os.read(self.process.stdout.fileno(), 1 << 16):
            *whole, buffer = (buffer + piece).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    self.answers.put(message)
                else:
                    self.events.append(message)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params, **self.session}
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        answer = self.answers.get(timeout=PATIENCE)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression on the page, awaited."""
        found = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"on the page: {found['exceptionDetails']}")
        return found["result"].get("value")

    def open(self, address: str, scheme: str) -> None:
        """Load a page under a colour scheme, forgetting what happened before."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self.send("Page.navigate", url=address)
        self.evaluate(LOADED)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write a screenshot."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(Exception):
            self.session = {}
            self.send("Browser.close")
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.listener.join(timeout=10)
        self.process.stdin.close()
        self.process.stdout.close()


def complaints(events: list[dict[str, Any]], home: str) -> list[str]:
    """Errors in the console, and what was asked of other hosts."""
    found = []
    for event in events:
        params = event.get("params", {})
        match event["method"]:
            case "Runtime.exceptionThrown":
                found.append(f"exception: {params['exceptionDetails']['text']}")
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                told = [str(each.get("value", "")) for each in params["args"]]
                found.append(f"console: {' '.join(told)}")
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                address = params["request"]["url"]
                if not address.startswith((home, "data:", "blob:")):
                    found.append(f"asks another host: {address}")
    return found


def illegible(colours: list[dict[str, Any]]) -> list[str]:
    """Text and code whose contrast to what is behind it is too low."""
    found = []
    for each in colours:
        ratio = contrast(each["colour"], each["grounds"])
        if ratio < LEGIBLE:
            found.append(
                f"{each['kind']} {each['text']!r} is {each['colour']} on "
                f"{each['grounds'][0]}: contrast {ratio:.1f}, expected {LEGIBLE} or more"
            )
    return found


def contrast(colour: str, grounds: list[str]) -> float:
    """The contrast ratio of WCAG 2 of a colour on layers of background, innermost first."""
    behind = (255.0, 255.0, 255.0)
    for ground in reversed(grounds):
        behind = _blend(ground, behind)
    bright, dark = sorted((_luminance(_blend(colour, behind)), _luminance(behind)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _blend(colour: str, behind: tuple[float, ...]) -> tuple[float, ...]:
    """A computed colour, ``rgb(...)`` or ``rgba(...)``, laid over another."""
    parts = [float(number) for number in re.findall(r"[\d.]+", colour)]
    opacity = parts[3] if len(parts) > 3 else 1.0
    return tuple(
        opacity * own + (1 - opacity) * other for own, other in zip(parts, behind, strict=False)
    )


def _luminance(colour: tuple[float, ...]) -> float:
    shares = [part / 255 for part in colour]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def judge(name: str, browser: Browser) -> list[str]:
    """What is wrong with the page that is open."""
    found = illegible(browser.evaluate(COLOURS))
    if name == "search":
        hits = browser.evaluate(HITS)
        return found + ([] if hits else ["the search finds nothing"])
    pictures = browser.evaluate(PICTURES)
    found += [
        f"the picture {each['source']} is empty: {each['width']} wide, {each['colours']} colours"
        for each in pictures
        if not each["width"] or each["colours"] < 2
    ]
    found += [] if pictures else ["there is no picture"]
    formulas = browser.evaluate(FORMULAS)
    set_ones = [height for height in formulas["heights"] if height > 0]
    if len(set_ones) < formulas["written"] or formulas["errors"]:
        found.append(f"{len(set_ones)} of {formulas['written']} formulas were set by MathJax")
    if name == "tutorial" and not formulas["written"]:
        found.append("there is no formula; name another tutorial in PAGES")
    return found


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The site on an address of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def find_chromium() -> str | None:
    """Where Chromium is installed, if it is."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


def main() -> int:
    """Check the pages; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--screenshots", type=Path, help="a folder to write them to")
    asked = parser.parse_args()
    program = find_chromium()
    if program is None:
        print(f"site check skipped: no Chromium here (looked for {', '.join(CHROMIUM)})")
        return 0
    if not (SITE / "index.html").exists():
        print(f"there is no site in {SITE}; build it with make docs")
        return 1
    bad = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, served(SITE) as home:
        browser = Browser(program, profile)
        try:
            for scheme in ("light", "dark"):
                for name, path in PAGES.items():
                    browser.open(home + path, scheme)
                    wrong = judge(name, browser) + complaints(browser.events, home)
                    print(f"{name}, {scheme}: {'; '.join(wrong) or 'good'}")
                    bad += len(wrong)
                    if asked.screenshots:
                        asked.screenshots.mkdir(parents=True, exist_ok=True)
                        browser.picture(asked.screenshots / f"{name}-{scheme}.png", whole=True)
        finally:
            browser.close()
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
