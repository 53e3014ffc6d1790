"""Builds the pages of the site: gathers documents, generates reference and results, runs mkdocs strictly.

Everything generated lies in build/site-source and is committed nowhere else. Usage: build.py [--gather],
which leaves out mkdocs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import front_board
import gathered_pages
import navigation
import reference_pages
import result_pages
import yaml

from fewshot.files.atomic_io import atomic_write

ROOT = Path(__file__).resolve().parent.parent.parent
STYLE = """/* Wide tables scroll; commands wrap; pictures fit the page; the method of a board has room. */
.md-grid { max-width: 78rem; }
.md-typeset .board td:nth-child(2), .md-typeset .board th:nth-child(2) { min-width: 16em; }
.md-typeset .board td:nth-child(1) { white-space: nowrap; }
.md-typeset .board td:nth-child(2), .md-typeset .board th:nth-child(2) { text-align: left !important; }
.md-typeset table:not([class]) { display: block; overflow-x: auto; }
.md-typeset table:not([class]) th { min-width: 0; }
.md-typeset table:not([class]) th, .md-typeset table:not([class]) td { padding: .5em .65em; }
.md-typeset :is(.language-sh, .language-toml, .language-text) code { white-space: pre-wrap; }
.md-typeset img { max-width: 100%; height: auto; }
@media print { .md-typeset table:not([class]) { overflow: visible; } }
"""


def main(words: list[str]) -> int:
    """Gather and generate the pages, and build the site; return mkdocs' exit status."""
    source = ROOT / "build" / "site-source"
    gather(source)
    if words == ["--gather"]:
        return 0
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    with atomic_write(ROOT / "build" / "mkdocs.yml") as stream:
        yaml.safe_dump(navigation.configuration(ROOT), stream, sort_keys=False)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "build/mkdocs.yml"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def gather(source: Path) -> None:
    """Fill the folder `source` with every page and every file that a page links to."""
    shutil.rmtree(source, ignore_errors=True)
    board = front_board.with_board((ROOT / "README.md").read_text(encoding="utf-8"))
    gathered_pages.gather(ROOT, source, {"README.md": board})
    pages = {**reference_pages.pages(), **result_pages.pages(source)}
    for name, text in {**pages, "site.css": STYLE}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(source / name) as stream:
            stream.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
