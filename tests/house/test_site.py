"""The site: every page is reachable, what is made from records and code is right, and no link is dead."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from making import changed, record, score
from places import ROOT

from results.records.files import read_records
from results.records.record import Record

SITE = ROOT / "docs" / "site"
GENERATED = {
    f"{name}.md"
    for name in ("index", "reference/commands", "reference/python", "reference/protocol-words",
                 "results/boards", "results/curves")
}  # fmt: skip


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that imports a module of docs/site by its name."""
    monkeypatch.syspath_prepend(str(SITE))
    return importlib.import_module


ITEM = re.compile(r"\s{0,3}(?:[-*]|\d+\.) ")
LEFT_OPEN = re.compile(r"#|```|\s|\||$")  # lines behind which a list may start, or go on


def hidden_lists(text: str) -> list[str]:
    """Return every list item straight behind a paragraph, which the site shows as a part of it."""
    lines, found, in_code, in_list = text.splitlines(), [], False, False
    for before, line in zip(["", *lines], lines, strict=False):
        in_code ^= line.startswith("```")
        item = ITEM.match(line) is not None and not in_code
        if item and not in_list and not LEFT_OPEN.match(before):
            found.append(line)
        in_list = not in_code and bool(line.strip()) and (item or in_list)
    return found


def test_a_list_stands_behind_an_empty_line() -> None:
    assert hidden_lists("A list:\n- one\n  of two\n- two") == ["- one"]
    assert hidden_lists("A list:\n\n- one\n  of two\n- two\n\n# Head\n1. one") == []
    pages = [path for pattern in ("*.md", "docs/*.md", "results/*.md") for path in ROOT.glob(pattern)]
    assert {path.name: hidden_lists(path.read_text(encoding="utf-8")) for path in pages} == {
        path.name: [] for path in pages
    }


def test_every_page_is_in_the_navigation_once(part: Callable[[str], ModuleType], tmp_path: Path) -> None:
    navigation = part("navigation")
    listed = list(navigation.listed_pages(navigation.configuration(ROOT)["nav"]))
    pages = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.md", "docs/*.md", "results/*.md")
        for path in ROOT.glob(pattern)
    }
    assert sorted(listed) == sorted({*pages, *GENERATED} - {"README.md"})
    (tmp_path / "docs").mkdir()
    new = Path("docs") / "new.md"
    (tmp_path / new).write_text("# A new page\n")
    (tmp_path / "mkdocs.yml").write_text("nav:\n  - How to:\n      - Old: old\n")
    assert navigation.configuration(tmp_path)["nav"][0]["How to"][1:] == [{"A new page": str(new)}]


def test_the_board_of_the_readme_is_that_of_the_records(part: Callable[[str], ModuleType]) -> None:
    """After new records: python docs/site/front_board.py --write."""
    front_board = part("front_board")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count(front_board.BEGIN) == text.count(front_board.END) == 1
    assert front_board.with_board(text) == text
    caption, _method, rest = front_board.front_board().partition("| method |")
    assert "The same 5 trained models" in rest and "under `open-ep`" in rest
    assert "setting 1" in caption and "the published recipe" in caption and "Seed" in caption


def test_the_times_of_the_readme_are_measured_ones() -> None:
    rows = json.loads((ROOT / "bench" / "demo" / "demo.json").read_text())
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(row["ok"] for row in rows)
    for row, command in zip(rows, ("fewshot demo --quick", "make demo"), strict=True):
        assert re.search(rf"^{command} +# {row['value_U']:.0f} s of one core", text, re.MULTILINE)


def test_the_drawing_of_the_settings_is_the_programs(
    part: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    """After a change: python docs/site/draw_settings.py."""
    part("draw_settings").main(tmp_path / "settings.svg")
    drawn = (tmp_path / "settings.svg").read_bytes()
    assert drawn == (ROOT / "docs" / "settings.svg").read_bytes() and len(drawn) > 10_000


def test_a_docstring_becomes_markdown(part: Callable[[str], ModuleType]) -> None:
    markdown = part("reference_pages").markdown
    text = (
        "Do it.\n\nArgs:\n    first: one line\n        and more.\n    other, last: both.\n\nReturns:\n    It."
    )
    assert markdown(text).splitlines() == [
        "Do it.", "", "", "**Args**", "", "- `first`: one line", "  and more.", "- `other, last`: both.",
        "", "", "**Returns**", "", "  It.",
    ]  # fmt: skip


def test_a_curve_has_a_point_for_each_length_of_training(part: Callable[[str], ModuleType]) -> None:
    curves_of = part("result_pages").curves_of

    def trained(steps: int, percent: int) -> list[Record]:
        return [
            changed(
                record(
                    fold, "upper", [score(name, "3", percent + 10 * fold) for name in ("liver", "spleen")]
                ),
                model={"steps": steps},
                grid={"folds": 2, "groups": {"upper": ["liver", "spleen"]}},
            )
            for fold in (0, 1)
        ]

    ((label, steps, means, deviations),) = curves_of([*trained(0, 20), *trained(100, 40), *trained(300, 50)])
    assert steps == [0, 100, 300] and means == pytest.approx([25, 45, 55])
    assert deviations == pytest.approx([7.0711] * 3, abs=1e-3) and "seed" in label
    assert curves_of(trained(300, 50)) == []
    assert curves_of([*trained(0, 20), *trained(300, 50)]) == []  # two points show no course
    other = [changed(one, method={"options": {"window": 4}}) for one in trained(0, 20)]
    assert (
        curves_of([*other, *trained(100, 40), *trained(300, 50)]) == []
    )  # another option is another configuration


def test_learning_curves_of_checkpoints_have_a_section(
    part: Callable[[str], ModuleType], tmp_path: Path, unrendered: None
) -> None:
    pages = part("result_pages")
    records = [one for one in read_records(ROOT / "results/data/phantoms") if one.method.name == "adnet"]
    chosen = {"step": 20, "candidates": [10, 20], "on": "scan 19", "dice": 0.5, "dices": [0.25, 0.5]}
    scans = [scan for scan in records[0].training.scans if scan != "19"]
    of_fold = [
        changed(
            one, key=None, model={"checkpoint": "validation", "selected": chosen}, training={"scans": scans}
        )
        for one in records
        if one.fold == 0
    ]
    assert pages.has_curve(of_fold) and not pages.has_curve(records)
    made = pages.learning_curves(of_fold, "phantom-mri", 1)
    lines = pages.checkpoint_section(made, "phantoms", "name", tmp_path)
    assert lines[0] == "## phantoms, by checkpoint" and "never of a test fold: scan 19 (fold 0)" in lines[4]
    assert (tmp_path / "results" / "curves" / "name-checkpoints.svg").is_file()


def test_a_link_to_nothing_is_refused(part: Callable[[str], ModuleType], tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "page.md").write_text("[there](other.md) and `[x](y)`\n")
    gather = part("gathered_pages").gather
    with pytest.raises(FileNotFoundError, match=r"page.md links to other.md"):
        gather(tmp_path / "root", tmp_path / "source", {})


def test_version_and_workflow_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"] and citation["license"] == project["license"]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = [step["run"].split() for step in workflow["jobs"]["tests"]["steps"] if "run" in step]
    assert used and all(words[0] == "make" and words[1] in targets for words in used)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy"}


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def dead_links(folder: Path) -> list[str]:
    """Return every link of a built site that leads to no file or anchor of it; others are not fetched."""
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            lost = target in pages and unquote(parts.fragment) not in pages[target].anchors
            if not target.is_file() or (lost and not parts.fragment.startswith("__")):
                dead.append(f"{path.relative_to(folder)}: {link}")
    return dead


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p id="x"><a href="b.html#y"></a><a href="#x"></a><img src="c.png">')
    (tmp_path / "b.html").write_text('<a href="a.html"></a><a href="https://example.invalid/">out</a>')
    assert dead_links(tmp_path) == ["a.html: b.html#y", "a.html: c.png"]


@pytest.mark.slow
def test_the_site_builds_strictly_and_no_link_is_dead() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    built = subprocess.run(
        [sys.executable, str(SITE / "build.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    folder = ROOT / "build" / "site"
    assert dead_links(folder) == []
    commands = (folder / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "fewshot check-method" in commands
    assert "resolve_method" in (folder / "reference" / "python.html").read_text(encoding="utf-8")
    assert len(list((folder / "results" / "boards").glob("*.html"))) >= 5


@pytest.mark.slow
def test_the_notebook_runs() -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "examples" / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(notebook, timeout=300).execute()
    text = json.dumps(notebook.cells)
    assert text.count("Spread(mean=") == 2 and "brightness" in text
