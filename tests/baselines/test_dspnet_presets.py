"""The authors' constants by region and setting: chosen by the protocol, shown in records, marked if odd."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import tiny_store
from torch import nn

from baselines.dspnet.model import DSPNet
from baselines.panet import PANet
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.encoders.checkpoints import load_released
from fewshot.learners.options import options_from
from protocols.training.method_config import build_method_config, with_dataset_constants
from results.records.files import read_record

Options = DSPNet.Options
TABLE = {
    ("abdomen", 1): ("setting1-abdomen", 0.3, (0.2, 0.8, 0.2)),
    ("heart", 1): ("setting1-cmr", 0.3, (0.1, 0.9, 0.1)),
    ("abdomen", 2): ("setting2-abdomen", 0.2, (0.3, 0.6, 0.3)),
    ("heart", 2): ("setting2-abdomen", 0.2, (0.3, 0.6, 0.3)),
}


@pytest.mark.parametrize("asked", TABLE)
def test_auto_is_the_authors_row(asked: tuple[str, int]) -> None:
    options, marks = DSPNet.constants_for(Options(), *asked)
    preset, alpha, w = TABLE[asked]
    assert (options.preset, options.alpha_foreground, options.alpha_background, options.w) == (
        preset, alpha, 0.2, w,
    )  # fmt: skip
    assert len(marks) == (asked == ("heart", 2))
    if marks:
        assert marks[0] == (
            "dspnet: the authors give no constants for heart in setting 2; taken: setting2-abdomen"
        )
    assert DSPNet.constants_for(options, *asked) == (options, marks)


def test_another_preset_is_taken_and_marked() -> None:
    options, marks = DSPNet.constants_for(Options(preset="setting1-cmr"), "abdomen", 1)
    assert options.w == (0.1, 0.9, 0.1)
    assert marks == (
        "dspnet: preset setting1-cmr on abdomen in setting 1, for which the authors give setting1-abdomen",
    )


def test_a_number_given_stands_above_the_preset() -> None:
    given = options_from(Options, {"alpha_foreground": "0", "w": "0.1,0.7,0.2", "preset": "auto"})
    options, marks = DSPNet.constants_for(given, "abdomen", 2)
    assert (options.alpha_foreground, options.alpha_background, options.w) == (0.0, 0.2, (0.1, 0.7, 0.2))
    assert marks == ()


def test_without_a_protocol_the_constants_are_the_released_ones() -> None:
    assert Options().constants == (0.2, 0.2, (0.3, 0.8, 0.3)) == Options(preset="released").constants


def test_options_come_back_from_json() -> None:
    options, _ = DSPNet.constants_for(Options(), "heart", 1)
    assert Options(**json.loads(json.dumps(dataclasses.asdict(options)))) == options


def test_other_methods_stay_as_they_are() -> None:
    assert PANet.constants_for(PANet.Options(), "heart", 2) == (PANet.Options(), ())
    for name in ("ssl-alpnet", "copy-support"):
        method = build_method_config(name, {})
        assert with_dataset_constants(method, "heart", 2) == method


MODEL = ["--method", "dspnet", "--encoder", "resnet18", "--weights", "random", "--steps", "1"]
ASKED = ["--dataset", "tiny", "--folds", "0", "--groups", "upper"]


@pytest.fixture(scope="module")
def done(module_work: Path) -> Path:
    """A work folder where both settings were run, and setting 1 with another preset."""
    for more in (["--setting", "1"], ["--setting", "2"], ["--option", "preset=released"]):
        assert main(["run", "--work", str(module_work), *ASKED, *MODEL, *more]) == 0
    return module_work


def test_records_hold_the_settled_numbers_and_the_marks(done: Path) -> None:
    records = [read_record(path) for path in (done / "records").glob("*.json")]
    found = {}
    for record in records:
        options = record.method.options
        numbers = (options["alpha_foreground"], options["w"], list(record.audits[:-1]))
        assert record.audits[-1].startswith("not the published recipe: encoder resnet18")
        found[record.setting, options["preset"]] = numbers
    mark = "dspnet: preset released on abdomen in setting 1, for which the authors give setting1-abdomen"
    assert found == {
        (1, "setting1-abdomen"): (0.3, [0.2, 0.8, 0.2], []),
        (2, "setting2-abdomen"): (0.2, [0.3, 0.6, 0.3], []),
        (1, "released"): (0.2, [0.3, 0.8, 0.3], [mark]),
    }
    assert len({record.model.key for record in records}) == 3


def test_evaluate_by_key_gives_the_same_records(done: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (done / "records").glob("*.json")}
    shutil.copytree(done, tmp_path / "work")
    for content in before.values():
        record = json.loads(content)
        command = ["evaluate", "--work", str(tmp_path / "work"), record["model"]["key"], "--overwrite"]
        asked = ["--setting", str(record["setting"]), "--groups", "upper"]
        assert main([*command, *asked]) == 0
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "work" / "records").glob("*.json")}


def test_the_same_run_gives_the_same_bytes(done: Path, tmp_path: Path) -> None:
    tiny_store(tmp_path / "work" / "stores" / "tiny")
    assert main(["run", "--work", str(tmp_path / "work"), *ASKED, *MODEL]) == 0
    (again,) = (tmp_path / "work" / "records").glob("*.json")
    assert again.read_bytes() == (done / "records" / again.name).read_bytes()


def small() -> DSPNet:
    return DSPNet(nn.Conv2d(1, 6, 8, stride=8))


def test_a_released_checkpoint_loads_strictly(tmp_path: Path) -> None:
    state = {**small().state_dict(), "encoder.asppconv.0.weight": torch.zeros(1)}
    assert sorted(state) == [
        "cls_unit.cal", "encoder.asppconv.0.weight", "encoder.bias", "encoder.weight",
    ]  # fmt: skip
    state["cls_unit.cal"] = torch.full((6, 6), 7.0)
    torch.save(state, tmp_path / "released.pth")
    learner = small()
    load_released(tmp_path / "released.pth", learner)
    assert bool((learner.cls_unit.cal == 7).all())
    del state["cls_unit.cal"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"1 missing \(cls_unit\.cal\)"):
        load_released(tmp_path / "other.pth", learner)
