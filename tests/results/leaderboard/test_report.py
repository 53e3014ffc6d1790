"""The report: one file that fetches nothing, escapes every name, and sorts and filters in a browser."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from making import changed, record, score
from places import ROOT

from fewshot.commands import shared
from fewshot.commands.experiment import run as run_command
from fewshot.commands.main import main
from protocols.training.method_config import build_method_config
from results.leaderboard.board import leaderboard
from results.leaderboard.html import Prose, Sheet, page
from results.leaderboard.report import commands, picture, report_parts
from results.records.files import read_records, write_record
from results.records.record import Record
from results.tables.text_table import Grid

EVIL = """a<img src=x onerror="document.title='broken'">'&"""
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


def records() -> list[Record]:
    """Return three methods, complete, of 40, 60 and 50 percent in all scores."""
    made = []
    for name, percent in (("apple", 40), ("pear", 60), ("plum", 50)):
        for fold in (0, 1):
            scan = str(fold + 1)
            method = {"name": name, "options": {"it's": "a b"}}
            for group, names in {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}.items():
                scores = [score(organ, scan, percent) for organ in names]
                made.append(record(fold, group, scores, method=method))
    return made


@pytest.fixture
def report(tmp_path: Path) -> Path:
    for number, one in enumerate(records()):
        write_record(tmp_path / "records" / f"{number}.json", one)
    ask = ["report", "--work", str(tmp_path), "--dataset", "tiny", "--setting", "2"]
    assert main(ask) == 0
    return tmp_path / "reports" / "tiny-setting-2.html"


def test_the_report_holds_all_parts_and_fetches_nothing(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    for title in (
        "Dice by class and method",
        "By fold",
        "Protocol alpnet-ep1",
        "Audits",
        "Environment",
        "Commands",
    ):
        assert f"<h2>{title}" in text
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    fetched = re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:image/png;base64,)[^"'\s>]+""", text)
    assert fetched == [] and "@import" not in text and "url(" not in text
    assert text.count("data:image/png;base64,") == 5
    assert "--method apple" in text and "--option &#x27;it&#x27;&quot;&#x27;&quot;&#x27;s=a b&#x27;" in text
    assert (report.parent / "tiny-setting-2" / "by-class.svg").is_file()


def test_every_name_is_escaped() -> None:
    made = [changed(one, method={"name": EVIL}, audits=[EVIL]) for one in records()[:4]]
    board = leaderboard(made, "tiny", 2)
    text = page(board.title, report_parts(board, [], [EVIL], Prose(EVIL, (EVIL,))))
    assert "<img" not in text and "&lt;img src=x onerror=&quot;" in text
    assert "&lt;img" in page("x", [commands(board)])


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"cannot read .*none\.png: No such file"):
        picture("a", "b", tmp_path / "none.png")


def test_a_page_marks_text_and_number_columns() -> None:
    text = page("x", [Sheet("t", Grid(("a", "b"), (("word", "1.5"), ("8e", "2 (1-3)")), None), ())])
    assert '<td class="text">word</td><td>1.5</td>' in text and "<td>2 (1-3)</td>" in text


def densemp_of(setting: int, stages: list[int]) -> Record:
    """Return a committed record of DenseMP, told as with other stages where it was trained in all three."""
    every = read_records(ROOT / "results" / "data" / "real")
    made = changed(next(r for r in every if r.method.name == "densemp"), setting=setting)
    assert made.method.options["stages"] == [1, 2, 3] and made.model.steps == 840
    if stages != [1, 2, 3]:
        left_out = ("stage3_", "annotated") if 3 not in stages else ()
        options = {n: v for n, v in made.method.options.items() if not n.startswith(left_out or " ")}
        steps = 800 if 2 in stages else 0
        assert made.model.recipe is not None
        trained = {
            "superpixels": {"steps": steps},
            "annotated": {},
            "densecl": {},
        }
        kept = [
            stage
            for stage in made.to_json()["model"]["stages"]
            if stage["name"] != "annotated" or 3 in stages
        ]
        model = {
            "recipe": {**made.model.recipe, "steps": steps},
            "stages": [stage | trained[stage["name"]] for stage in kept],
            "steps": steps + (40 if 3 in stages else 0),
        }
        made = changed(made, method={"options": options | {"stages": stages}}, model=model)
    return made


@pytest.mark.parametrize("setting", [1, 2])
@pytest.mark.parametrize("stages", [[1, 2, 3], [1, 2], [1, 3]])
def test_the_command_of_a_record_in_stages_settles_to_the_record(setting: int, stages: list[int]) -> None:
    """Read by the command's own parser, as a user's shell hands it over."""
    made = densemp_of(setting, stages)
    model = {"precision": "bf16", "answer_precision": "bf16", "compiled": True, "checkpoint": "oracle"}
    made = changed(made, model=model)
    assert made.model.recipe is not None
    board = leaderboard([made], "chaost2", setting)
    program, command, *words = shlex.split(commands(board).lines[0])
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    args = parser.parse_args(words)
    method = build_method_config(
        args.method,
        shared.parse_options(args.option),
        encoder=args.encoder,
        weights=args.weights,
        steps=args.steps,
        seed=args.seed,
        precision=args.precision,
        recipe=args.recipe,
        compiled=args.compile,
    )
    assert (program, command, args.dataset, args.setting) == ("fewshot", "run", "chaost2", setting)
    assert json.loads(json.dumps(method.description["options"])) == made.method.options
    assert method.recipe is not None and (method.recipe.encoder, method.recipe.weights) == (
        "resnet18",
        "densecl",
    )
    recipe = dataclasses.asdict(method.recipe)
    assert {name: recipe[name] for name in made.model.recipe} == made.model.recipe
    assert (method.seed, method.precision, args.checkpoint_policy) == (0, "bf16", "oracle")
    assert args.eval_precision == "bf16" and method.compiled


PROBE = """<script>
const table = document.querySelector("table.sortable"), names = () =>
  [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[1].textContent.split(" ")[0]);
const mean = [...table.tHead.rows[0].cells].find(head => head.textContent === "mean").firstChild;
const found = [names()];
mean.click(); found.push(names()); mean.click(); found.push(names());
const input = document.getElementById(table.dataset.filter);
input.value = "PLUM"; input.dispatchEvent(new Event("input")); found.push(names());
document.body.dataset.found = JSON.stringify(found);
</script>"""


@pytest.mark.slow
def test_it_sorts_and_filters_in_a_browser_and_can_be_looked_at(report: Path, tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no chromium")
    probed = tmp_path / "probed.html"
    probed.write_text(
        report.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8"
    )
    base = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    base += ["--host-resolver-rules=MAP * ~NOTFOUND"]
    dom = subprocess.run(
        [*base, "--dump-dom", probed.as_uri()], capture_output=True, text=True, timeout=240, check=True
    ).stdout
    found = re.search(r'data-found="([^"]*)"', dom)
    assert found is not None
    wanted = [["pear", "plum", "apple"], ["pear", "plum", "apple"], ["apple", "plum", "pear"], ["plum"]]
    assert found.group(1).replace("&quot;", '"') == str(wanted).replace("'", '"').replace(", ", ",")
    shot = tmp_path / "shot.png"
    subprocess.run(
        [*base, "--window-size=1400,2400", f"--screenshot={shot}", report.as_uri()],
        capture_output=True, timeout=240, check=True,
    )  # fmt: skip
    import matplotlib.image

    pixels = matplotlib.image.imread(shot)[..., :3]
    assert pixels.shape == (2400, 1400, 3)
    rows = (pixels.min(axis=2) < 0.9).any(axis=1)
    assert rows[:300].any() and rows[300:2000].mean() > 0.2  # something is drawn, all the way down
