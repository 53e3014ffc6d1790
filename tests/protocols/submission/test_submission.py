"""Submissions: one work folder packs, another accepts; every kind of tampering is refused in one line."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from places import ROOT
from tiny import tiny_store

from fewshot.commands.main import main
from fewshot.commands.parsers import command_parser
from fewshot.files.seals import add_seal
from protocols.scoring.plan_file import PlanFile
from protocols.submission.method_card import MEANINGS, card_faults, card_template, read_card
from protocols.submission.published_plans import plan_names, plan_of, read_plans
from protocols.submission.submission_checks import submission_faults
from protocols.submission.submission_file import Submission, read_submission, write_submission
from results.records.configuration import configuration_id
from results.records.files import parse_record, read_records, record_texts
from results.records.record import Record
from results.summary.screening import record_text

PHANTOMS = ROOT / "results" / "data" / "phantoms"


def filled(record: Record, folder: Path) -> dict[str, Any]:
    """Return a card with every line filled in, as TOML gives it."""
    text = card_template(record)
    for name in MEANINGS:
        value = "none" if name in ("paper", "code", "licence") else f"text of {name}"
        text = text.replace(f'{name} = ""', f'{name} = "{value}"')
    path = folder / "filled.toml"
    path.write_text(text, encoding="utf-8")
    return read_card(path)


@pytest.fixture(scope="module")
def plans() -> list[PlanFile]:
    return read_plans()


@pytest.fixture(scope="module")
def records() -> tuple[Record, ...]:
    """The committed records of a configuration that fulfils every check."""
    path = PHANTOMS / "phantom-mri-setting1-universeg.jsonl"
    return tuple(parse_record(text) for text in record_texts(path))


@pytest.fixture(scope="module")
def known() -> tuple[Record, ...]:
    return tuple(read_records(PHANTOMS))


def texts(records: Iterable[Record]) -> list[str]:
    return sorted(record_text(record) for record in records)


@pytest.fixture
def packed(tmp_path: Path, records: tuple[Record, ...]) -> Path:
    path = tmp_path / "universeg.submission.json"
    write_submission(path, records, filled(records[0], tmp_path))
    return path


def refusals(path: Path, plans: list[PlanFile], known: tuple[Record, ...] = ()) -> list[str]:
    submission, faults = read_submission(path)
    return faults if submission is None else [*faults, *submission_faults(submission, plans, known)]


def test_committed_records_with_a_filled_card_are_accepted(
    packed: Path, plans: list[PlanFile], records: tuple[Record, ...], known: tuple[Record, ...]
) -> None:
    assert refusals(packed, plans, known) == []
    submission, _faults = read_submission(packed)
    assert submission is not None and texts(submission.records) == texts(records)
    again = packed.with_name("again.json")
    write_submission(again, records[::-1], submission.card)
    assert again.read_bytes() == packed.read_bytes()


def change_score(content: dict[str, Any]) -> None:
    """Move a hundred pixels from false negatives to true positives, and compute the Dice anew."""
    score = content["records"][0]["scores"][0]
    moved = min(100, score["fn"] or 100)
    score["tp"], score["fn"] = score["tp"] + moved, max(score["fn"] - moved, 0)
    score["dice"] = 2 * score["tp"] / (2 * score["tp"] + score["fp"] + score["fn"])


def more_pixels(content: dict[str, Any]) -> None:
    """Invent true positives in every score of a record."""
    for score in content["records"][0]["scores"]:
        score["tp"] += 50
        score["dice"] = 2 * score["tp"] / (2 * score["tp"] + score["fp"] + score["fn"])


def other_plan(content: dict[str, Any]) -> None:
    content["records"][0]["plan_hash"] = "0" * 16


def drop_scan(content: dict[str, Any]) -> None:
    scores = content["records"][0]["scores"]
    worst = min(scores, key=lambda score: score["dice"] or 0)
    scores[:] = [score for score in scores if score is not worst]


def fewer_slices(content: dict[str, Any]) -> None:
    content["records"][0]["scores"][0]["slices"] -= 1


def other_version(content: dict[str, Any]) -> None:
    content["records"][0]["versions"]["evaluation"] = 99


def other_method_version(content: dict[str, Any]) -> None:
    for record in content["records"]:
        record["method"]["version"] = 99


RESEALED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a cell less": (lambda c: c["records"].pop(), "1 of 10 cells are missing: fold"),
    "a cell twice": (lambda c: c["records"].append(c["records"][0]), "several records of fold"),
    "a scan is dropped": (drop_scan, "the record lacks 1 scores"),
    "another plan": (other_plan, "plan is 0000000000000000, the published one"),
    "fewer slices": (fewer_slices, "slices, the plan"),
    "an audit less": (lambda c: c["records"][0]["checks"].pop(), "it lacks passed audits: query slices"),
    "another version": (other_version, "version of evaluation is 99, this program has 1"),
    "another method version": (other_method_version, "version of universeg is 99"),
    "a hybrid": (lambda c: c["records"][0]["audits"].append("hybrid: x"), "a hybrid cannot be submitted"),
    "invented pixels": (more_pixels, "true pixels (tp + fn), other records of this plan"),
    "another seed's record": (
        lambda c: c["records"][0]["model"].update(seed=7), "seed 7: 9 of 10 cells are missing",
    ),
    "two configurations": (lambda c: c["records"][0]["method"]["options"].update(x=1), "2 configurations: "),
    "another configuration": (lambda c: c.update(configuration="00000000"), "configuration is 00000000"),
    "another dataset": (
        lambda c: [r["dataset"].update(hash="0" * 16) for r in c["records"]],
        "no published plan for phantom-mri",
    ),
    "markup": (lambda c: c["records"][0]["audits"].append("<b>best</b>"), "holds markup"),
    "an empty line of the card": (lambda c: c["card"].update(summary=" "), "method card: summary is"),
    "a missing line of the card": (lambda c: c["card"].pop("code"), "method card: code is missing"),
    "a new line of the card": (lambda c: c["card"].update(rank="1"), "method card: unknown line 'rank'"),
    "other labels on the card": (lambda c: c["card"].update(labels_used="none"), "card: labels_used is"),
    "no URL on the card": (lambda c: c["card"].update(paper="a journal"), 'expected a URL or "none"'),
    "markup on the card": (lambda c: c["card"].update(title="<b>x</b>"), "method card: title has markup"),
    "no records": (lambda c: c.update(records=[]), "holds no list of records"),
    "another format": (lambda c: c.update(submission=2), "expected card, configuration"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RESEALED)
def test_tampering_is_refused_although_every_seal_is_made_anew(
    kind: str, packed: Path, plans: list[PlanFile], known: tuple[Record, ...]
) -> None:
    edit, expected = RESEALED[kind]
    content = json.loads(packed.read_text(encoding="utf-8"))
    edit(content)
    content["records"] = [add_seal(record) for record in content["records"]]
    packed.write_text(json.dumps(add_seal(content)), encoding="utf-8")
    found = refusals(packed, plans, known)
    assert any(expected in line for line in found), found
    assert all("\n" not in line for line in found)


def test_an_edit_without_a_new_seal_is_refused(packed: Path, plans: list[PlanFile]) -> None:
    content = json.loads(packed.read_text(encoding="utf-8"))
    change_score(content)
    packed.write_text(json.dumps(content), encoding="utf-8")
    assert "was changed after it was written" in refusals(packed, plans)[0]
    packed.write_text(json.dumps(add_seal(content)), encoding="utf-8")  # the file's seal alone is new
    assert "records[0] was changed after it was written" in refusals(packed, plans)[0]
    packed.write_text("{}", encoding="utf-8")
    assert "has no seal" in refusals(packed, plans)[0]
    packed.write_text("PK\x03\x04", encoding="utf-8")
    assert "not JSON" in refusals(packed, plans)[0]


def test_a_dice_that_contradicts_its_counts_is_refused(packed: Path, plans: list[PlanFile]) -> None:
    content = json.loads(packed.read_text(encoding="utf-8"))
    content["records"][0]["scores"][0]["dice"] = 0.99
    content["records"] = [add_seal(record) for record in content["records"]]
    packed.write_text(json.dumps(add_seal(content)), encoding="utf-8")
    assert "of its counts" in refusals(packed, plans)[0]


def test_seeds_of_one_submission_must_agree_on_the_true_pixels(
    records: tuple[Record, ...], plans: list[PlanFile], tmp_path: Path
) -> None:
    card = filled(records[0], tmp_path)
    content = [copy.deepcopy(record.to_json()) for record in records]
    for one in content:
        one["model"]["seed"] = 1
    change = {"records": content}
    more_pixels(change)
    seeds = (*records, *(Record.from_json(one) for one in content))
    found = submission_faults(Submission(configuration_id(records[0]), "", card, seeds), plans)
    assert len(found) == 1 and "true pixels" in found[0]


def test_an_empty_template_is_refused_line_by_line(records: tuple[Record, ...], tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_text(card_template(records[0]), encoding="utf-8")
    faults = card_faults(read_card(path), records[0])
    assert len(faults) == len(MEANINGS) and all("fill it in" in fault for fault in faults)
    assert card_faults(None, records[0]) and card_faults(filled(records[0], tmp_path), records[0]) == []


def test_shipped_plans_are_those_of_the_committed_records(plans: list[PlanFile]) -> None:
    assert "phantom-mri-setting1-alpnet-ep1" in plan_names()
    for folder in ("phantoms", "real"):
        for record in read_records(ROOT / "results" / "data" / folder):
            file = plan_of(record, plans)
            # other plans have 0.4 to 3 MB each; users make them with `fewshot plan --out`
            if record.dataset.name != "sabs" and record.protocol.name == "alpnet-ep1":
                assert file is not None and file.cells[record.fold, record.group] == record.plan_hash


ONE_FOLDER = ["--dataset", "tiny", "--setting", "2"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two work folders of one dataset; `mine` has the records and masks of a yardstick."""
    home = tmp_path_factory.mktemp("submission")
    tiny_store(home / "mine" / "stores" / "tiny")
    shutil.copytree(home / "mine", home / "theirs")
    run = ["run", "--work", str(home / "mine"), *ONE_FOLDER, "--method", "copy-support"]
    assert main([*run, "--save-predictions"]) == 0
    plan = ["plan", "--work", str(home / "mine"), *ONE_FOLDER, "--out", str(home / "plans" / "tiny.json")]
    (home / "plans").mkdir()
    assert main(plan) == 0
    return home


def pack(home: Path, work: str, result: str, out: Path) -> int:
    common = ["submit-result", result, "--work", str(home / work), "--plans", str(home / "plans")]
    card = home / f"{work}.toml"
    assert main([*common, "--write-card", "--out", str(card)]) == 0
    text = card.read_text(encoding="utf-8").replace(' = ""', ' = "none"')
    card.write_text(text, encoding="utf-8")
    return main([*common, "--card", str(card), "--out", str(out)])


def check(home: Path, file: Path, *more: str) -> int:
    return main(["check-submission", str(file), "--plans", str(home / "plans"), *more])


def test_a_submission_of_one_work_folder_is_accepted_by_another(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.submission.json"
    assert pack(folders, "mine", "copy-support", file) == 0
    accepted = tmp_path / "accepted"
    assert check(folders, file, "--work", str(folders / "theirs"), "--out", str(accepted)) == 0
    printed = capsys.readouterr().out
    assert "accepted: " in printed and "copy-support on tiny, setting 2" in printed
    stored = read_records(accepted)
    assert texts(stored) == texts(read_records(folders / "mine" / "records")) and len(stored) == 10
    assert len(list(accepted.glob("tiny-setting2-*.card.toml"))) == 1
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"fold": 1', '"fold": 2', 1), encoding="utf-8")
    assert check(folders, file) == 1
    assert capsys.readouterr().err.startswith(f"refused: {file} was changed after it was written")


def test_masks_under_a_published_plan_become_a_submission(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their program reads the plan of one work folder; another work folder scores its masks."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in (folders / "mine" / "predictions").glob("*/counted/*.nii.gz"):
        shutil.copy(path, masks)
    score = [
        "score",
        str(masks),
        "--work",
        str(folders / "theirs"),
        "--plan",
        str(folders / "plans" / "tiny.json"),
    ]
    assert main([*score, "--grid", "store", "--name", "their-net", "--labels-used", "external"]) == 0
    file = tmp_path / "their.submission.json"
    assert pack(folders, "theirs", "their-net", file) == 0
    assert check(folders, file, "--records", str(folders / "mine" / "records")) == 0
    mine = {(r.fold, r.group): r.scores for r in read_records(folders / "mine" / "records")}
    submission, _faults = read_submission(file)
    assert submission is not None
    assert {(r.fold, r.group): r.scores for r in submission.records} == mine
    assert (
        check(folders, file, "--records", str(PHANTOMS)) == 0
    )  # known records of another plan do not matter
    capsys.readouterr()
    assert main(["check-submission", str(file)]) == 1
    assert "refused: no published plan for tiny" in capsys.readouterr().err


def test_nothing_is_packed_without_a_card_or_for_a_name_of_two_results(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["submit-result", "--work", str(folders / "mine"), "--out", str(tmp_path / "out.json")]
    assert main([*base, "copy-support"]) == 2
    assert "--card is missing" in capsys.readouterr().err
    assert main([*base, "nothing"]) == 2
    assert "names 0 configurations" in capsys.readouterr().err
    (tmp_path / "card.toml").write_text("title = 'x'", encoding="utf-8")
    plans = ["--plans", str(folders / "plans")]
    assert main([*base, "copy-support", *plans, "--card", str(tmp_path / "card.toml")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "method card: method is missing" in lines[0] and "nothing written" in lines[-1]
    assert not (tmp_path / "out.json").exists()


def commands_of(page: Path) -> list[list[str]]:
    """Return the words of every command in the code blocks of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plans: list[PlanFile]
) -> None:
    """On the full phantoms, so that the shipped plan is the one that store and protocol give."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEWSHOT_WORK", raising=False)
    typed = commands_of(ROOT / "docs" / "submission.md")
    assert len(typed) == 11
    for words in typed:
        if words[0] == "score":
            (tmp_path / "masks").mkdir()
            for path in (tmp_path / "work" / "predictions").glob("*/counted/*.nii.gz"):
                shutil.copy(path, tmp_path / "masks")
        assert main(words) == 0, words
        if "--write-card" in words:
            card = Path(words[-1])
            card.write_text(card.read_text(encoding="utf-8").replace(' = ""', ' = "none"'), encoding="utf-8")
    assert len(read_records(tmp_path / "accepted")) == 10
    shipped = next(file for file in plans if (file.dataset, file.setting) == ("phantom-mri", 1))
    assert shipped.path.read_bytes() == (tmp_path / "plan.json").read_bytes()


def test_the_workflow_runs_a_command_that_exists() -> None:
    text = (ROOT / ".github" / "workflows" / "submission.yml").read_text(encoding="utf-8")
    line = next(line.strip() for line in text.splitlines() if line.strip().startswith("fewshot "))
    words = shlex.split(line.partition(" || ")[0])[1:]
    parsed = command_parser(words[0]).parse_args(words[1:])
    assert all((ROOT / folder).is_dir() for folder in parsed.records) and len(parsed.records) == 3
