"""The page of all boards: what it holds, that it loads nothing, and that it works in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from making import changed, record, score
from places import ROOT

from fewshot.commands.main import main
from results.board_page.boards import page_boards
from results.board_page.cards import class_grid, fold_grid, method_card
from results.board_page.document import board_page
from results.leaderboard.html import Picture
from results.records.configuration import configuration_id
from results.records.files import read_records, write_record
from results.records.record import Record

EVIL = """a<img src=x onerror="document.title='broken'">'&"""
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


def method(name: str, percent: int, **changes: object) -> list[Record]:
    """Return the complete records of a method whose Dice is `percent` in every scan."""
    groups = {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}
    made = []
    for fold in (0, 1):
        for group, names in groups.items():
            scores = [
                score(organ, str(scan), percent) for organ in names for scan in (2 * fold, 2 * fold + 1)
            ]
            made.append(record(fold, group, scores, method={"name": name}, **changes))
    return made


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Three methods on one board, one of them on a second one, and one incomplete."""
    small = {"name": "small", "hash": "d" * 64, "prepared_by": "fewshot"}
    yardstick = [changed(one, method={"regime": "yardstick"}) for one in method("plum", 50)]
    return [
        *method("apple", 40), *method("pear", 60), *yardstick, *method("pear", 30, dataset=small),
        *method("fig", 70)[:-1],
    ]  # fmt: skip


def page_of(records: list[Record], **more: dict[str, object]) -> str:
    boards, notes = page_boards(records)
    given: dict[str, dict[str, object]] = {"cards": {}, "facts": {}, "pictures": {}}
    return board_page(boards, notes=notes, **(given | more))  # type: ignore[arg-type]


def test_boards_rank_only_what_is_comparable(records: list[Record]) -> None:
    boards, left_out = page_boards(records)
    assert [one.title for one in boards] == [
        "small, setting 2, alpnet-ep1, 3 parts", "tiny, setting 2, alpnet-ep1, 3 parts",
    ]  # fmt: skip
    assert [(name, line.rank) for name, line in boards[0].named_lines()] == [("pear", 1)]
    ranks = {name: line.rank for name, line in boards[1].named_lines()}
    assert ranks == {"pear": 1, "plum": 2, "apple": 3, "fig": None} and left_out == []


def test_two_preparations_of_a_dataset_are_two_boards(records: list[Record]) -> None:
    other = {"name": "tiny", "hash": "e" * 64, "prepared_by": "fewshot"}
    boards, _left_out = page_boards([*records[:4], *method("apple", 40, dataset=other)])
    assert [one.dataset for one in boards] == ["tiny (bbbbbb)", "tiny (eeeeee)"]


def test_the_page_holds_every_configuration_and_dataset_and_fetches_nothing(records: list[Record]) -> None:
    picture = Picture("", "best scan", "AAAA")
    name = configuration_id(records[0])
    text = page_of(
        records, pictures={name: [picture]}, cards={name: {"summary": "it cuts"}},
        facts={"tiny": {"title": "made for tests"}},
    )  # fmt: skip
    ids = re.findall(r'<article id="([^"]+)"', text)
    expected = {configuration_id(one) for one in records}
    assert expected < set(ids) and len(ids) == len(set(ids)) == len(expected) + 2
    for target in re.findall(r'href="#([^"]+)"', text):
        assert target in {*ids, "board", "rows"}
    fetched = re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:image/png;base64,|#)[^"'\s>]+""", text)
    assert fetched == [] and "@import" not in text and "url(" not in text
    assert "<dt>summary</dt><dd>it cuts</dd>" in text and "<dt>title</dt><dd>made for tests</dd>" in text
    assert text.count("data:image/png;base64,AAAA") == 1
    assert "fewshot run --dataset tiny --setting 2 --protocol alpnet-ep1 --method apple" in text
    assert 'data-marks="I' in text and ">incomplete<" in text


def test_numbers_of_a_detail_are_those_of_the_records(records: list[Record]) -> None:
    text = page_of(method("apple", 40))
    article = text.partition("<article")[2].partition("</article>")[0]
    rows = [
        [
            html.unescape(re.sub(r"<[^>]+>", "", cell))
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", article)
    ]
    assert ["liver", "40.00", "40.00 to 40.00, 1 seed", "0.00", "0.00", ""] in rows
    assert ["1", "40.00", "40.00", "40.00", "40.00", "40.00", "40.00", "2", "9"] in rows  # fold 1
    assert ["3", "1", "40.00", "40.00", "40.00"] in rows  # scan 3 of fold 1
    assert "Mean Dice 40.00 %" in article


def test_cards_name_what_the_records_hold(records: list[Record]) -> None:
    boards, _notes = page_boards(records)
    one = boards[1]
    card = dict(method_card(one.board.lines[0], {}))
    assert card["method"] == "pear" and card["labels in training"] == "none"
    assert card["comparable with papers"].startswith("no: random initial weights")
    assert "training" not in card and card["passed audits"] == "none recorded"
    assert fold_grid(one).rows[0] == ("0", "lower", "0, 1", "9", "c" * 16)
    assert [row[:4] for row in class_grid(one).rows] == [
        ("left-kidney", "lower", "4", "0"), ("liver", "upper", "4", "0"), ("spleen", "upper", "4", "0"),
    ]  # fmt: skip


def test_every_name_is_escaped() -> None:
    made = [changed(one, method={"name": EVIL}, audits=[EVIL]) for one in method("apple", 40)]
    name = configuration_id(made[0])
    text = page_of(made, cards={name: {"summary": EVIL}}, facts={"tiny": {"title": EVIL}})
    assert "<img" not in text and text.count("&lt;img src=x onerror=&quot;") > 5


def test_the_command_writes_the_committed_records(tmp_path: Path) -> None:
    folders = [str(ROOT / "results" / "data" / name) for name in ("phantoms", "h200")]
    out = tmp_path / "board.html"
    assert main(["leaderboard-page", "--work", str(tmp_path), "--records", *folders, "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    records = [record for folder in folders for record in read_records(Path(folder))]
    count = len({(configuration_id(record), record.dataset.hash) for record in records})
    assert f"{count} configurations on 2 boards, from {len(records)} records" in text
    assert "Kavur et al., Medical Image Analysis 2021" in text and "Reported by papers" in text


def test_pictures_and_submitted_cards_enter_the_page(
    tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "--work", str(work), "--dataset", "tiny", "--method", "copy-support", "--folds", "0"]
    assert main([*run, "--groups", "upper", "--save-predictions"]) == 0
    card = ["submit-result", "copy-support", "--work", str(work), "--write-card"]
    path = work / "records" / "x.card.toml"
    draft = tmp_path / "card.toml"
    assert main([*card, "--out", str(draft)]) == 0
    path.write_text(draft.read_text(encoding="utf-8").replace(' = ""', ' = "none"'), encoding="utf-8")
    (work / "records" / "y.card.toml").write_text('configuration = "nothing"', encoding="utf-8")
    assert main(["leaderboard-page", "--work", str(work)]) == 0
    text = (work / "reports" / "leaderboard.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 1 and "<dt>training data</dt><dd>none</dd>" in text
    assert "note: y.card.toml: no record of its configuration" in capsys.readouterr().err


PROBE = """<script>
const names = () => [...document.querySelectorAll("#rows tbody tr")].filter(row => !row.hidden)
  .map(row => row.cells[0].dataset.value);
const seen = {start: names()};
const head = [...document.querySelectorAll("#rows thead th")].find(one => one.textContent.startsWith("mean"));
head.firstChild.click(); seen.down = names(); seen.sort = head.getAttribute("aria-sort");
head.firstChild.click(); seen.up = names();
const choose = (key, value) => { const select = document.querySelector(`select[data-key=${key}]`);
  select.value = value; select.dispatchEvent(new Event("change")); };
choose("dataset", "tiny"); choose("regime", "few-shot"); seen.filtered = names();
const box = document.querySelector("input[data-mark=I]");
box.checked = false; box.dispatchEvent(new Event("change")); seen.complete = names();
const link = location.hash;
document.getElementById("reset").click(); seen.reset = names().length;
const words = document.getElementById("text");
words.value = "PLUM"; words.dispatchEvent(new Event("input"));
seen.words = names(); seen.count = document.getElementById("count").textContent;
const shown = () => [...document.querySelectorAll("article")].filter(one => one.offsetParent !== null)
  .map(one => one.id);
seen.hidden = shown();
location.hash = link; show(); seen.again = names();
location.hash = IDENTITY; show(); seen.detail = shown(); seen.focus = document.activeElement.id;
seen.board = document.getElementById("board").offsetParent === null;
document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"})); show(); seen.back = shown();
seen.unnamed = [...document.querySelectorAll("button, select, input, a")].filter(one =>
  !(one.textContent.trim() || one.closest("label"))).length;
document.body.dataset.seen = JSON.stringify(seen);
</script>"""


def browse(folder: Path, *words: str) -> str:
    """Return what Chromium prints."""
    assert BROWSER is not None
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


@pytest.mark.slow
def test_it_sorts_filters_and_links_in_a_browser(records: list[Record], tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no chromium")
    identity = configuration_id(records[0])
    path = tmp_path / "page.html"
    probe = PROBE.replace("IDENTITY", f'"{identity}"')
    path.write_text(page_of(records).replace("</body>", f"{probe}</body>"), encoding="utf-8")
    dom = browse(tmp_path, "--dump-dom", path.as_uri())
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found is not None, dom[-2000:]
    seen = json.loads(html.unescape(found.group(1)))
    assert seen["start"] == ["pear", "pear", "plum", "apple", "fig"]
    assert seen["down"] == ["pear", "plum", "apple", "pear", "fig"] and seen["sort"] == "descending"
    assert seen["up"] == ["pear", "apple", "plum", "pear", "fig"]  # a missing mean is last both ways
    assert seen["filtered"] == ["apple", "pear", "fig"]
    assert seen["complete"] == seen["again"] == ["apple", "pear"]
    assert seen["reset"] == 5 and seen["words"] == ["plum"]
    assert seen["count"] == "1 of 5 configurations shown"
    assert seen["hidden"] == [] and seen["detail"] == [identity] and seen["back"] == []
    assert seen["focus"] == identity and seen["board"] is True and seen["unnamed"] == 0


WIDTHS = """<script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => { const page = frame.contentDocument.documentElement;
  document.body.dataset.widths = JSON.stringify([page.scrollWidth, page.clientWidth]); });
</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_its_screen(width: int, records: list[Record], tmp_path: Path) -> None:
    """The board and a detail, in a frame as wide as a phone or a desktop."""
    if BROWSER is None:
        pytest.skip("no chromium")
    for number, target in enumerate(("#board", f"#{configuration_id(records[0])}")):
        (tmp_path / "page.html").write_text(page_of(records), encoding="utf-8")
        frame = f'<iframe src="page.html{target}" style="width:{width}px;height:900px;border:0"></iframe>'
        (tmp_path / "frame.html").write_text(f"<body>{frame}{WIDTHS}</body>", encoding="utf-8")
        dom = browse(
            tmp_path, "--allow-file-access-from-files", "--window-size=1400,1000", "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        )  # fmt: skip
        found = re.search(r'data-widths="\[(\d+),(\d+)\]"', dom)
        assert found is not None and found.group(1) == found.group(2), (number, found)
        shot = tmp_path / "shot.png"
        browse(
            tmp_path, "--window-size=1400,1000", f"--screenshot={shot}", (tmp_path / "frame.html").as_uri()
        )
        import matplotlib.image

        pixels = matplotlib.image.imread(shot)[:900, :width, :3]
        assert (pixels.min(axis=2) < 0.5).mean() > 0.005  # text is drawn


def test_a_record_folder_with_a_card_can_still_be_read(records: list[Record], tmp_path: Path) -> None:
    write_record(tmp_path / "a.json", records[0])
    (tmp_path / "a.card.toml").write_text("", encoding="utf-8")
    assert main(["table", "--records", str(tmp_path)]) == 0
