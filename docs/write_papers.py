"""Write `papers.md` from the references in the docstrings and the worked examples in the tests.

Titles are those of `references.bib`, which must have an entry for each paper.

python docs/write_papers.py
"""

import importlib
import inspect
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from paper_titles import PARTLY, SAME, SKIPPED, TO_COME
from pybtex.database import parse_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENTRIES = parse_file(str(HERE / "references.bib"), encoding="utf-8").entries
KEYS = {entry.fields["cited"]: key for key, entry in ENTRIES.items()}
SECTION = re.compile(r"References?:\n((?:    .*\n?|\n)+)")
NAME = r"(?:van der |van |de |Van )?[A-ZÀ-Þ][\w'’-]+(?: Olea| Tchetgen)?"
CITED = re.compile(
    rf"(?P<authors>{NAME}(?:, {NAME})*(?:,? (?:and|et) (?:al\.|{NAME}))?)"
    r" \((?P<years>\d{4}(?:, \d{4})*)\)(?:, (?P<title>[^;]+?)(?=;|\. [A-Z]|\.?$))?"
)
REMARK = re.compile(
    r"(?:, |^)(?:section|figure|theorem|definition|chapter|equation|algorithm|proposition|example|"
    r"for|who|with|whose|as in|against|complete|page|sections|figures|chapters)\b.*|"
    r": (?:the effect of|m-separation|not by|an experiment).*|"
    r" \((?:the|parallel|thickets|abduction|k-hat).*|; .*"
)


@dataclass
class Paper:
    """One paper: how it is cited, where it is used, and where it is tested."""

    cited: str
    names: set[str] = field(default_factory=set)
    cases: set[str] = field(default_factory=set)


def main() -> None:
    """Write the page."""
    papers: dict[str, Paper] = {}
    for name, text in docstrings():
        for authors, year, title in cited(text):
            paper_of(papers, authors, year, title).names.add(name)
    for file in sorted((ROOT / "tests" / "papers").glob("*.py")):
        for authors, year, title in cited(strings(file.read_text(encoding="utf-8"))):
            known = key_of(authors, year, title) in papers
            if known or title:
                paper_of(papers, authors, year, title).cases.add(f"papers/{file.name}")
    if missing := sorted(papers.keys() - KEYS.keys()):
        sys.exit(f"references.bib has no entry that is cited as {'; '.join(missing)}")
    rows = sorted(papers.values(), key=lambda paper: order(paper.cited))
    (HERE / "papers.md").write_text(page(rows), encoding="utf-8")
    print(f"{len(rows)} papers")


def order(cited: str) -> tuple[str, str, str]:
    """Authors, year and key, by which papers are listed."""
    authors, _, year = cited.partition(" (")
    return authors.lower(), year[:4], KEYS[cited]


def docstrings() -> list[tuple[str, str]]:
    """Public names, without the package's own, and the references in their docstrings."""
    found = []
    for folder in sorted(path.parent.name for path in (ROOT / "causalppl").glob("*/__init__.py")):
        module = importlib.import_module(f"causalppl.{folder}")
        for name in getattr(module, "__all__", []):
            text = SECTION.search(inspect.getdoc(getattr(module, name)) or "")
            if text:
                found.append((f"{folder}.{name}", " ".join(text[1].split())))
    return found


def strings(source: str) -> str:
    """The text of a file of worked examples, with adjacent strings joined."""
    return re.sub(r'"\s*\n?\s*(?:\w+ \+= )?f?"', "", source).replace("\n", "; ").replace('"', ";")


def cited(text: str) -> list[tuple[str, str, str]]:
    """Authors, year and title (perhaps empty) of each citation."""
    found = []
    for match in CITED.finditer(text):
        title = REMARK.sub("", match["title"] or "").strip(" ,.:")
        for year in match["years"].split(", "):
            found.append((match["authors"], year, title if ", " not in match["years"] else ""))
    return found


def key_of(authors: str, year: str, title: str) -> str:
    """How `references.bib` names a paper, however many of its authors are named."""
    asked = SAME.get(f"{authors} ({year})", f"{authors} ({year})")
    second = f"{asked}: {title}"
    return second if second in KEYS else asked


def paper_of(papers: dict[str, Paper], authors: str, year: str, title: str) -> Paper:
    """The entry of a paper, made where it is new."""
    at = key_of(authors, year, title)
    return Paper(at) if at in SKIPPED else papers.setdefault(at, Paper(at))


def head(key: str) -> str:
    """A citation, and the title of what is cited."""
    title = re.sub(r"[{}]", "", ENTRIES[key].fields["title"])
    return f"{{cite:t}}`{key}`, *{title}*"


def page(rows: list[Paper]) -> str:
    """The page as text."""
    lines = [
        "# Papers",
        "",
        "What is built on which paper, alphabetically; functions are in the folder before the dot."
        " *Tested in* names the files with the paper's own worked examples or figures, else a file"
        " in which the function is tested. This page is written by `docs/write_papers.py` from the"
        " references in the docstrings and from the sources named in `tests/papers`; where a paper"
        " appeared is told in the {doc}`bibliography <bibliography>`.",
        "",
        "- *covered*: a public function cites the paper and has tests; its docstring says which"
        " part of the paper it is.",
        "- *partly*: the same, with what is missing.",
        "- *examples*: the paper's worked examples are tested; they are answered by functions that"
        " rest on another paper.",
        "- *used*: data, or the setting of an example, are taken from it.",
        "",
    ]
    lines += [row(paper) for paper in rows]
    lines += ["## Not yet", ""]
    lines += [f"{head(key)}\n: {what}\n" for key, what in sorted(TO_COME.items())]
    return "\n".join([*lines, ""])


def row(paper: Paper) -> str:
    """One paper, with what is known of it below."""
    names = sorted(paper.names)
    tests = sorted(paper.cases) or sorted({test for name in names for test in tests_of(name)})[:3]
    used = all(name.startswith(("data.", "examples.")) for name in names)
    if paper.cited in PARTLY:
        state = f"partly: {PARTLY[paper.cited]}"
    elif not names:
        state = "examples"
    else:
        state = "used" if used else "covered" if tests else "not tested yet"
    told = [state, listed(names), f"tested in {listed(tests)}" if tests else ""]
    return f"{head(KEYS[paper.cited])}\n: {'; '.join(part for part in told if part)}\n"


def listed(names: list[str]) -> str:
    """Names in code type."""
    return ", ".join(f"`{name}`" for name in names)


def tests_of(name: str) -> list[str]:
    """The test file of its folder that is named after it, else the one that names it most."""
    folder, _, plain = name.partition(".")
    word = re.compile(rf"\b{re.escape(plain)}\b")
    counted = {
        file: len(word.findall(file.read_text(encoding="utf-8")))
        for file in sorted((ROOT / "tests" / folder).glob("test_*.py"))
    }
    found = [file for file, count in counted.items() if count]
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain).lower()
    own = [file for file in found if snake in file.stem or file.stem[5:] in snake]
    best = max(own or found, key=lambda file: counted[file], default=None)
    return [f"{folder}/{best.name}"] if best else []


if __name__ == "__main__":
    sys.exit(main())
