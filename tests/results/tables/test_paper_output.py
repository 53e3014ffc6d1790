"""Output for papers: LaTeX of every table, short labels, other names, tidy scans, BibTeX."""

from __future__ import annotations

import csv
import io
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from making import record, score
from places import ROOT

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.commands.options import parse_names
from fewshot.learners.registry import METHODS
from results.leaderboard.board import Board, leaderboard
from results.leaderboard.board_formats import render_board, render_paper_board
from results.leaderboard.paper_board import paper_caption, paper_grid, with_names
from results.records.files import write_record
from results.records.record import Record
from results.tables.citations import bibtex, read_citations
from results.tables.fold_tables import render
from results.tables.latex import PACKAGES, render_tex, tex_text
from results.tables.text_table import Grid, render_markdown

LATEX = shutil.which("pdflatex")
BIBTEX = shutil.which("bibtex")


def method(name: str, percents: tuple[int, int], **changes: object) -> list[Record]:
    """Return the complete records of a method with one Dice per fold, in percent."""
    made = []
    for fold, percent in enumerate(percents):
        for group, names in {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}.items():
            scores = [score(organ, str(fold), percent) for organ in names]
            made.append(record(fold, group, scores, method={"name": name}, **changes))
    return made


@pytest.fixture(scope="module")
def records() -> list[Record]:
    longer = {"steps": 600}
    return [
        *method("panet", (40, 60)), *method("panet", (50, 60), model=longer), *method("kmeans", (30, 30)),
        *method("all-foreground", (10, 10), model={"encoder": None, "initial_weights": None, "steps": None}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def board(records: list[Record]) -> Board:
    return leaderboard(records, "tiny", 2)


def test_labels_hold_what_differs_and_the_caption_what_is_shared(board: Board) -> None:
    assert [row[0] for row in paper_grid(board).rows] == [
        "panet (600 steps)", "panet (300 steps)", "kmeans (300 steps)", "all-foreground",
    ]  # fmt: skip
    caption = paper_caption(board)
    assert "all trained rows: resnet18, random weights, 1 seed;" in caption and "300 steps" not in caption
    assert "R: RANDOM initial weights" in caption and "V: " not in caption


def test_cells_are_mean_and_deviation_and_the_best_is_bold(board: Board) -> None:
    grid = paper_grid(board)
    assert grid.rows[0][2:] == ("55.00 ± 7.07",) * 6
    assert grid.rows[1][2:] == ("50.00 ± 14.14",) * 6
    assert grid.best == {(0, place) for place in range(2, 8)}
    assert "| **55.00 ± 7.07** |" in render_paper_board(board, "md")
    assert r"\textbf{55.00 $\pm$ 7.07}" in render_board(board, "tex")
    assert "**" not in render_paper_board(board, "text")


def test_equal_means_are_all_bold() -> None:
    twins = leaderboard([*method("panet", (40, 60)), *method("kmeans", (50, 50))], "tiny", 2)
    assert {number for number, _place in paper_grid(twins).best} == {0, 1}
    alone = leaderboard(method("panet", (40, 60)), "tiny", 2)
    assert paper_grid(alone).best == frozenset()


def test_other_names_stand_in_every_format(board: Board) -> None:
    longest = board.lines[0].row.configuration_id
    named = with_names(board, {"panet": "PANet", longest[:5]: "Ours"})
    assert [row[0] for row in paper_grid(named).rows][:2] == ["Ours (600 steps)", "PANet (300 steps)"]
    for format in ("text", "md", "csv", "tex", "html"):
        text = render_board(named, format)
        assert "Ours (" in text and "PANet (" in text and "panet (" not in text
    with pytest.raises(UserError, match=r"unknown method or id of the board 'panett': did you mean 'panet'"):
        with_names(board, {"panett": "x"})


def test_names_are_read_strictly() -> None:
    assert parse_names(["a=B = C", "#12ab=D"]) == {"a": "B = C", "#12ab": "D"}
    for texts, message in (
        (["a"], "expected OLD=NEW"),
        (["a= "], "expected OLD=NEW"),
        (["a=b", "a=c"], "once"),
    ):
        with pytest.raises(UserError, match=message):
            parse_names(texts)


def test_every_special_character_is_escaped() -> None:
    text = tex_text(r"a_b & 50 % #1 {x} ~ ^ \cmd $ ± < > [1] *" + "\u2013\u4e00é")
    assert text == (
        r"a\_b \& 50 \% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}cmd \$ $\pm$ "
        r"\textless{} \textgreater{} {[}1{]} {*}--?é"
    )
    bare = re.sub(r"\\[&%#_{}$]|\\[a-z]+\{\}|\$\\pm\$|\{[\[\]*]\}", "", text)
    assert not re.search(r"[&%#_~^\\$]", bare)


def test_a_table_names_its_packages_and_shows_its_gaps() -> None:
    grid = Grid(("a", "b"), (("x", "1"), ("y" * 40, "2")), ("mean", "1.5"), frozenset({(1, 1)}))
    text = render_tex("title", "more", grid, ["units", "MARKED: not\ncomparable"])
    assert text.splitlines()[0] == r"% needs \usepackage{booktabs}\usepackage{graphicx}"
    assert "% units" in text and r"\raggedright MARKED: not" in text and r"\caption{Title. More}" in text
    assert r"\begin{tabular}{p{12em}r}" in text and r"\textbf{2}" in text and r"\textbf{1.5}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") and r"\columnwidth" in text
    assert "| **2** |" in render_markdown("title", "", grid, [])


def test_scans_are_tidy_and_as_in_the_records(records: list[Record]) -> None:
    rows = list(csv.DictReader(io.StringIO(render(records, "scans", {"panet": "PANet"}))))
    assert len(rows) == sum(len(one.scores) for one in records) == 24
    found = {(row["method"], row["fold"], row["class"], row["dice"]) for row in rows}
    assert ("PANet", "1", "liver", "0.6") in found and ("kmeans", "0", "spleen", "0.3") in found
    assert all(
        2 * int(r["tp"]) / (2 * int(r["tp"]) + int(r["fp"]) + int(r["fn"])) == float(r["dice"]) for r in rows
    )


def test_tables_take_other_names_and_refuse_unknown_ones(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, one in enumerate(records):
        write_record(tmp_path / f"{number}.json", one)
    base = ["table", "--records", str(tmp_path), "--names"]
    assert main([*base, "panet=PANet"]) == 0
    printed = capsys.readouterr().out
    assert "PANet on tiny, setting 2" in printed and "panet" not in printed
    assert main([*base, "nothing=x"]) == 2
    assert "unknown method of the records 'nothing'" in capsys.readouterr().err


def test_every_method_and_dataset_has_bibtex_or_is_made_here() -> None:
    citations = read_citations()
    assert set(METHODS) - set(citations) == {"all-foreground", "copy-support", "register-support"}
    assert {"chaost2", "sabs", "cmr", "acdc"} <= set(citations)
    keys = [facts["key"] for facts in citations.values()]
    assert len(set(keys)) == len(keys)
    documents = "".join(
        path.read_text(encoding="utf-8")
        for path in [*(ROOT / "baselines").rglob("*.py"), *(ROOT / "episodes" / "datasets").glob("*.toml")]
    )
    documents = re.sub(r"\s+", " ", documents)
    for name, facts in citations.items():
        if "eprint" in facts:  # the numbers are those of the code's own documents
            assert facts["eprint"] in documents, name
        if "doi" in facts:
            assert facts["doi"] in documents, name
        text = bibtex(name, facts)
        assert text.count("{") == text.count("}") and "pages" not in text


def test_a_wrong_citation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[a]\nkey = "a"\ntype = "book"\nauthor = "x"\ntitle = "y"\npages = "1"', encoding="utf-8")
    with pytest.raises(UserError, match=r"unknown fields \['pages'\], lacks \['year'\]"):
        read_citations(path)


def test_cite_names_what_records_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(ROOT / "results" / "data" / "h200")
    assert main(["cite", "dspnet", "--records", folder]) == 0
    out = capsys.readouterr()
    assert re.findall(r"^% (.+)$", out.out, re.MULTILINE) == ["dspnet", "ssl-alpnet", "chaost2"]
    assert "no citation is known for copy-support" in out.err
    assert main(["cite", "dsp"]) == 2
    assert "did you mean 'dspnet'" in capsys.readouterr().err


@pytest.mark.slow
def test_what_the_page_writes_compiles_into_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the two columns of the article class; LaTeX warns of a box that is wider than its column."""
    if LATEX is None or BIBTEX is None:
        pytest.skip("no pdflatex")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    page = (ROOT / "docs" / "paper-output.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    typed = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    more = ["paper", "dspnet", "--format", "tex", "--records", "results/data/h200", "--out", "measured.tex"]
    for words in [*typed, more]:
        assert main(words) == 0, words
    assert main(["cite", "--out", "methods.bib"]) == 0  # every entry
    files = sorted(tmp_path.glob("*.tex"))
    assert len(files) == 5 and len(typed) == 8
    packages = "".join(rf"\usepackage{{{name}}}" for name in PACKAGES)
    parts = [rf"\input{{{file.name}}}\clearpage" for file in files]
    figure = r"\begin{figure}\includegraphics[width=\columnwidth]{figures/by-class.pdf}\end{figure}"
    body = "\n".join([*parts, figure, r"\nocite{*}\bibliographystyle{plain}\bibliography{methods}"])
    document = rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "page.tex").write_text(document, encoding="utf-8")
    for command in ([LATEX, "-interaction=nonstopmode", "-halt-on-error", "page.tex"], [BIBTEX, "page"]):
        run = subprocess.run(command, capture_output=True, text=True, errors="replace")
        assert run.returncode == 0, run.stdout[-3000:]
    assert "Warning--" not in run.stdout, run.stdout  # bibtex finds every field that it wants
    log = (tmp_path / "page.log").read_text(encoding="utf-8", errors="replace")
    assert "Overfull" not in log, log[log.find("Overfull") - 200 :][:800]
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
