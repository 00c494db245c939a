"""Run the Python of the pages and compare what it prints with the text that stands below it.

Of each page the blocks marked ``python`` are run from top to bottom in one namespace; a block
marked ``text`` that follows one holds its output. Blocks marked ``py`` are shown only: they need
another package or other hardware. Pages that are notebooks are run when the site is built.

    python docs/check_pages.py                    # all pages
    python docs/check_pages.py docs/how_to/*.md   # some
    python docs/check_pages.py --write ...        # put the output in
"""

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```(?P<kind>python|text)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """All pages with blocks to run, but for notebooks and what is built."""
    found = [p for p in sorted(HERE.rglob("*.md")) if not {"_build", "generated"} & {*p.parts}]
    texts = {path: path.read_text(encoding="utf-8") for path in found}
    return [p for p, text in texts.items() if "```python\n" in text and "{code-cell}" not in text]


def run(text: str, name: str) -> str:
    """The page with the output that its blocks really print."""
    namespace: dict[str, object] = {"__name__": "page"}
    pieces, start, printed = [], 0, None
    for block in BLOCK.finditer(text):
        if block["kind"] == "python":
            line = text[: block.start("body")].count("\n")
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * line + block["body"], name, "exec"), namespace)
            printed = "\n".join(each.rstrip() for each in out.getvalue().splitlines()) + "\n"
        elif printed is not None:
            pieces += [text[start : block.start("body")], printed]
            start, printed = block.end("body"), None
    return "".join([*pieces, text[start:]])


def main() -> int:
    """Check or write; 1 if a page is not what it prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("error")
    bad = 0
    for path in [page.resolve() for page in asked.pages] or pages():
        text = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            home = Path.cwd()
            os.chdir(folder)
            try:
                found = run(text, str(path))
            finally:
                os.chdir(home)
        if found != text and asked.write:
            path.write_text(found, encoding="utf-8")
        elif found != text:
            bad += 1
            print(f"{path}: the text is not what the code prints; run with --write and look")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
