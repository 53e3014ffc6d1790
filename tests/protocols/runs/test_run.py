"""The main line from a prepared store to tables, through the console command, on a tiny dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from seal_again import edit_index
from tiny import tiny_store

from baselines.ssl_alpnet import SSLALPNet
from episodes.io.nifti import read_nifti
from fewshot.commands.main import main
from fewshot.encoders.encoder import build_encoder
from results.records.files import read_record

TRAINED = ["--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random", "--steps", "2"]
ASKED = ["--dataset", "tiny", "--folds", "0,1"]

Fewshot = Callable[..., int]


@pytest.fixture(scope="module")
def done(module_work: Path) -> Path:
    """A work folder in which setting 1 and 2 were run with two steps on two folds."""
    command = ["run", "--work", str(module_work), *ASKED, *TRAINED, "--save-predictions"]
    for setting in ("1", "2"):
        assert main([*command, "--setting", setting]) == 0
    return module_work


def records_of(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((work / "records").glob("*.json"))}


def test_setting_1_shares_a_model_between_groups_and_setting_2_does_not(done: Path) -> None:
    models: dict[tuple[int, int], set[str]] = {}
    for path in (done / "records").glob("*.json"):
        record = read_record(path)
        models.setdefault((record.setting, record.fold), set()).add(record.model.key)
    assert {cell: len(keys) for cell, keys in models.items()} == {(1, 0): 1, (1, 1): 1, (2, 0): 2, (2, 1): 2}
    assert len(list((done / "models").glob("*/last.pt"))) == 6


def test_the_same_command_gives_the_same_bytes(done: Path, work: Path) -> None:
    assert main(["run", "--work", str(work), *ASKED, *TRAINED, "--setting", "1"]) == 0
    again = records_of(work)
    assert len(again) == 4
    assert again.items() <= records_of(done).items()


def test_a_finished_run_trains_and_evaluates_nothing(done: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for path in done.rglob("*")
        if path.is_file() and "lock" not in path.name
    }
    assert main(["run", "--work", str(done), *ASKED, *TRAINED]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_an_answer_in_bf16_is_a_cell_of_its_own_and_says_so(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    shutil.copytree(done, work)
    before = records_of(work)
    models = set((work / "models").iterdir())
    assert main(["run", "--work", str(work), *ASKED, *TRAINED, "--eval-precision", "bf16"]) == 0
    assert "2 steps, evaluated in bf16" in capsys.readouterr().out
    new = {name: content for name, content in records_of(work).items() if name not in before}
    assert len(new) == 4 and before.items() <= records_of(work).items()
    assert all(json.loads(content)["model"]["answer_precision"] == "bf16" for content in new.values())
    assert set((work / "models").iterdir()) == models
    assert not any("answer_precision" in json.loads(content)["model"] for content in before.values())


@pytest.mark.slow
@pytest.mark.usefixtures("as_traced")
def test_a_compiled_training_is_a_model_of_its_own_and_says_so(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0", *TRAINED]
    assert main(asked) == 0
    plain = {path.name for path in (work / "models").iterdir()}
    assert main([*asked, "--compile"]) == 0
    assert "2 steps, compiled" in capsys.readouterr().out
    (key,) = {path.name for path in (work / "models").iterdir()} - plain
    assert json.loads((work / "models" / key / "spec.json").read_text())["compiled"] is True
    made = [json.loads(content) for content in records_of(work).values()]
    assert [one["model"].get("compiled") for one in made if one["model"]["key"] == key] == [True] * 2
    assert main(["evaluate", key, "--work", str(work), "--dataset", "tiny", "--protocol", "adnet-ep2"]) == 0


def test_a_yardstick_has_nothing_to_compile(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["run", "--work", str(work), "--dataset", "tiny", "--method", "copy-support", "--compile"]
    assert main(asked) == 2
    assert "leave out --compile" in capsys.readouterr().err


def test_the_table_is_rebuilt_from_records_alone(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--work", str(done), *ASKED, *TRAINED]) == 0
    printed = capsys.readouterr().out
    for path in (done / "records").glob("*.json"):
        if read_record(path).setting == 1:
            (tmp_path / "records").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "records")
    assert main(["table", "--records", str(tmp_path / "records")]) == 0
    assert capsys.readouterr().out == printed
    assert "random" in printed.lower() and "incomplete" in printed.lower()


def test_setting_2_records_what_was_excluded(done: Path) -> None:
    assert len(records_of(done)) == 8
    for path in (done / "records").glob("*.json"):
        record = read_record(path)
        training = record.training
        assert training.slices + training.slices_excluded == 8 * len(training.scans)
        assert (training.slices_excluded > 0) == (record.setting == 2)
        assert not set(training.scans) & {score.scan for score in record.scores}
        assert not set(training.scans) & {scan for score in record.scores for scan in score.supports}


def test_every_cell_has_its_log_and_its_sacred_run(done: Path) -> None:
    assert len(records_of(done)) == 8
    for path in (done / "records").glob("*.json"):
        log = json.loads((done / "logs" / f"{read_record(path).key}.json").read_text())
        run = done / "runs" / log["sacred_run"]
        assert json.loads((run / "config.json").read_text())["cell"]["fold"] == read_record(path).fold
        losses = json.loads((run / "info.json").read_text())["losses"]
        assert losses["steps"] == 2 and losses["first"]["total"] > 0 and losses["last"]["defined"] == 1
        assert (done / "runs" / losses["file"]).resolve().is_relative_to((done / "models").resolve())
        assert json.loads((run / "metrics.json").read_text()) == {}  # no copy of the lines
        assert (run / path.name).read_bytes() == path.read_bytes()


def test_predictions_cover_the_whole_prepared_volume(done: Path) -> None:
    path = next(p for p in (done / "records").glob("*.json") if read_record(p).group == "upper")
    record = read_record(path)
    folder = done / "predictions" / str(record.key) / "counted"
    assert len(list(folder.iterdir())) == len(record.scores) == 4
    for score in record.scores:
        value = {"liver": 1, "spleen": 4}[score.class_name]
        image = read_nifti(folder / f"scan_{score.scan}_label_{value}.nii.gz")
        assert image.array.shape == (8, 65, 65) and image.spacing_mm == pytest.approx((7.7, 1.25, 1.25))
        assert image.array[1:-1].sum() >= score.tp + score.fp > 0
        assert not image.array[:, 64:].any() and not image.array[:, :, 64:].any()


def test_overlay_draws_the_cell(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = next((done / "records").glob("*.json")).stem
    assert main(["overlay", "--work", str(done), key[:10]]) == 0
    picture = Path(capsys.readouterr().out.strip())
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size > 20_000


def test_a_film_shows_every_scored_slice_of_every_class(done: Path, tmp_path: Path) -> None:
    record = min(
        (read_record(path) for path in (done / "records").glob("*.json")), key=lambda each: -len(each.scores)
    )
    file = tmp_path / "cell.gif"
    command = ["overlay", "--work", str(done), str(record.key), "--film", "--out", str(file)]
    scans = sorted({score.scan for score in record.scores})
    for chosen in ([], scans[:1]):
        assert main([*command, *(word for scan in chosen for word in ("--scan", scan))]) == 0
        with Image.open(file) as film:
            shown = [score.slices for score in record.scores if not chosen or score.scan in chosen]
            assert film.n_frames == sum(shown) > 1


def test_evaluate_takes_the_beginning_of_a_model_key(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = records_of(done)
    key = next(
        read_record(path).model.key
        for path in (done / "records").glob("*.json")
        if read_record(path).setting == 2
    )
    assert main(["evaluate", "--work", str(done), key[:12], "--overwrite"]) == 0
    assert "setting 2" in capsys.readouterr().out
    assert records_of(done) == before


def test_evaluate_refuses_a_question_that_the_training_does_not_allow(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = next(
        read_record(path).model.key
        for path in (done / "records").glob("*.json")
        if read_record(path).setting == 2
    )
    assert main(["evaluate", "--work", str(done), key, "--setting", "1"]) == 2
    assert "training slices" in capsys.readouterr().err


def released(path: Path) -> Path:
    learner = SSLALPNet(build_encoder("resnet18", 5))
    state = {
        **learner.state_dict(),
        "encoder.asppconv.0.weight": torch.zeros(1),
        "encoder.aspp_out.bias": torch.zeros(1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


CHECKPOINT = [*ASKED, "--setting", "1", "--encoder", "resnet18"]


def test_released_checkpoints_are_evaluated_by_pattern(work: Path) -> None:
    for fold in (0, 1):
        released(work / f"released_{fold}.pth")
    pattern = str(work / "released_{fold}.pth")
    assert main(["evaluate", "--work", str(work), *CHECKPOINT, "--checkpoint", pattern]) == 0
    records = [read_record(path) for path in (work / "records").glob("*.json")]
    assert len(records) == 4
    assert {record.model.checkpoint for record in records} == {"external"}
    mark = "not the published recipe: encoder resnet18 (published resnet101)"
    assert all(record.audits == (mark,) for record in records)
    assert {record.method.labels_used for record in records} == {"external"}


def test_one_checkpoint_for_several_folds_is_refused_unless_asked_for(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(released(work / "one.pth"))
    assert main(["evaluate", "--work", str(work), *CHECKPOINT, "--checkpoint", file]) == 2
    message = capsys.readouterr().err
    assert "folds 0, 1" in message and "--same-checkpoint" in message and message.count("\n") == 1
    assert not (work / "records").exists()
    command = ["evaluate", "--work", str(work), *CHECKPOINT, "--checkpoint", file, "--same-checkpoint"]
    assert main(command) == 0
    records = [read_record(path) for path in (work / "records").glob("*.json")]
    assert all("leakage possible" in record.audits[0] for record in records) and len(records) == 4


MISTAKES = [
    (["frobnicate"], "unknown command 'frobnicate'"),
    (["rnu"], "did you mean 'run'"),
    (["run", "--dataset", "tyni", "--method", "all-foreground"], "did you mean 'tiny'"),
    (["run", "--dataset", "sabs", "--method", "all-foreground"], "not prepared"),
    (["run", "--dataset", "tiny", "--method", "ssl-alpnte"], "did you mean 'ssl-alpnet'"),
    (["run", "--dataset", "tiny", "--method", "no/such.py:Method"], "no such file"),
    (["run", "--dataset", "tiny", "--method", "all-foreground", "--protocol", "alpnet-ep2"], "'alpnet-ep1'"),
    (["run", "--dataset", "tiny", "--method", "all-foreground", "--groups", "uper"], "did you mean 'upper'"),
    (["run", "--dataset", "tiny", "--method", "all-foreground", "--folds", "7"], "no fold 7"),
    (["run", "--dataset", "tiny", "--method", "all-foreground", "--setting", "3"], "--setting"),
    (["run", "--dataset", "tiny", "--method", "all-foreground", "--steps", "9"], "nothing to train"),
    (["run", "--dataset", "tiny", *TRAINED, "--option", "treshold=0.9"], "did you mean 'threshold'"),
    (["run", "--dataset", "tiny", *TRAINED, "--option", "threshold=high"], "threshold"),
    (["run", "--dataset", "tiny", *TRAINED, "--option", "learning_rate=fast"], "learning_rate"),
    (["run", "--dataset", "tiny", *TRAINED, "--option", "threshold"], "expected name=value"),
    (["run", "--dataset", "tiny", "--method", "ssl-alpnet"], "download.pytorch.org"),
    (
        ["run", "--dataset", "tiny", "--method", "ssl-alpnet", "--encoder", "resnet19"],
        "did you mean 'resnet18'",
    ),
    (["run", "--dataset", "tiny", *TRAINED, "--steps", "-1"], "steps"),
    (["run", "--dataset", "tiny", "--method", "ssl-alpnet", "--checkpoint", "no.pth"], "fewshot evaluate"),
    (["evaluate", "--dataset", "tiny", "--setting", "1", "--checkpoint", "no.pth"], "does not exist"),
    (["evaluate", "0123"], "expected exactly one key; see fewshot list models"),
    (["overlay", "0123"], "expected exactly one key; see fewshot list cells"),
    (["table"], "no folder of records"),
]


@pytest.mark.parametrize(("command", "said"), MISTAKES, ids=[" ".join(m[0][-4:])[:60] for m in MISTAKES])
def test_a_mistake_is_one_line_and_leaves_nothing(
    command: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = [command[0], "--work", str(work), *command[1:]]
    assert main(full) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1 and message.startswith("fewshot: error: ")
    assert [path.name for path in work.iterdir()] == ["stores"]


def test_a_class_absent_from_the_support_scan_names_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tiny_store(tmp_path / "work" / "stores" / "tiny")
    edit_index(store.path / "index.json", lambda index: index["scans"][2]["class_slices"].update(spleen=[]))
    command = ["run", "--work", str(tmp_path / "work"), "--dataset", "tiny", "--method", "all-foreground"]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "spleen" in message and "'2'" in message and "fold 0" in message
    assert not (tmp_path / "work" / "records").exists()
