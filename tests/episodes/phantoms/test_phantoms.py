"""Phantoms: repeatable to the byte, complete, arranged like the real sets, and neither easy nor hopeless."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.io.nifti import write_nifti
from episodes.phantoms.generate import KINDS, phantom_scan, phantom_spec, prepare_phantom, same_phantoms
from episodes.phantoms.pathology import PATHOLOGY
from episodes.plan.plan import make_plan
from episodes.store.dataset import load_dataset_spec
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from protocols.request import Request
from protocols.rules.spec import load_protocol
from protocols.runs.runner import run
from protocols.training.method_config import build_method_config
from results.records.files import read_record

SIZE = 48
COUNTS = {"phantom-mri": (20, "chaost2"), "phantom-ct": (30, "sabs"), "phantom-cmr": (35, None)}

# phantoms of the sets that few-shot methods are tested on
ORGANS = [name for name in KINDS if name != PATHOLOGY]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("phantoms")
    return {
        name: prepare_phantom(phantom_spec(name, SIZE), folder / name, slices=12, workers=1)
        for name in ORGANS
    }


def centre(labels: np.ndarray, value: int) -> np.ndarray:
    return np.argwhere(labels == value).mean(axis=0)


@pytest.mark.parametrize("name", ORGANS)
def test_scans_depend_on_name_number_and_size_alone(name: str) -> None:
    spec = phantom_spec(name, SIZE)
    image, labels = phantom_scan(spec, "3")
    phantom_scan(spec, "4")
    again, labels_again = phantom_scan(spec, "3")
    assert image.tobytes() == again.tobytes() and labels.tobytes() == labels_again.tobytes()
    other, _labels = phantom_scan(spec, "4")
    assert image.shape != other.shape or (image != other).any()


@pytest.mark.parametrize("name", ORGANS)
def test_sizes_and_types(name: str) -> None:
    spec = phantom_spec(name, 64)
    image, labels = phantom_scan(spec, "0", 10)
    assert image.shape == labels.shape and image.shape[1:] == (64, 64) and 8 <= len(image) <= 12
    assert image.dtype == (np.uint8 if spec.modality == "ct" else np.int16) and labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, *spec.classes.values()}
    assert spec.superpixel_min_size == 25  # 400 pixels at 256 x 256, by area
    if spec.modality == "ct":
        assert (image[:, 0, 0] == 0).all()  # air


@pytest.mark.parametrize("name", ORGANS)
def test_a_larger_picture_shows_the_same_subject(name: str) -> None:
    small = phantom_scan(phantom_spec(name, 64), "5", 10)[1]
    large = phantom_scan(phantom_spec(name, 128), "5", 10)[1][:, 1::2, 1::2]
    inter, total = ((small == large) & (small > 0)).sum(), (small > 0).sum() + (large > 0).sum()
    assert 2 * inter / total > 0.9


@pytest.mark.parametrize("name", ORGANS)
def test_every_scan_shows_every_class(stores: dict[str, Store], name: str) -> None:
    store = stores[name]
    assert store.index.scans == tuple(str(number) for number in range(COUNTS[name][0]))
    for class_name in store.spec.classes:
        for scan in store.index.scans:
            shown = store.index.slices_of(class_name, scan)
            assert len(shown) >= 3, (class_name, scan, shown)
    assert all(store.index.superpixel_slices[scan] for scan in store.index.scans)


@pytest.mark.parametrize("name", ["phantom-mri", "phantom-ct"])
def test_abdominal_organs_lie_as_in_the_real_sets(stores: dict[str, Store], name: str) -> None:
    store, value = stores[name], stores[name].spec.classes
    for scan in store.index.scans:
        labels = np.asarray(store.scan(scan).labels)
        places = {organ: centre(labels, value[organ]) for organ in store.spec.tested}
        liver, spleen = places["liver"], places["spleen"]
        right, left = places["right-kidney"], places["left-kidney"]
        assert liver[2] < spleen[2] and right[2] < left[2]
        assert right[1] < liver[1] and left[1] < liver[1]  # kidneys at smaller y
        assert right[0] < liver[0]  # z goes up
        assert all((labels == value[organ]).sum() < (labels == value["liver"]).sum() for organ in ("spleen",))


def test_the_left_ventricle_lies_within_its_muscle(stores: dict[str, Store]) -> None:
    store = stores["phantom-cmr"]
    for scan in store.index.scans:
        labels = np.asarray(store.scan(scan).labels)
        assert np.linalg.norm(centre(labels, 1)[1:] - centre(labels, 2)[1:]) < 0.06 * SIZE
        assert centre(labels, 3)[2] < centre(labels, 2)[2]


@pytest.mark.parametrize("name", ORGANS)
def test_facts_are_those_of_the_real_set(name: str) -> None:
    spec, (count, real) = load_dataset_spec(name), COUNTS[name]
    assert len(spec.scans) == count == spec.fold_borders[-1] and len(spec.fold_borders) == 6
    if real is not None:
        wanted = load_dataset_spec(real)
        assert spec.fold_borders == wanted.fold_borders and spec.tested == wanted.tested
        assert spec.modality == wanted.modality and spec.classes.items() <= wanted.classes.items()
    else:
        assert set(spec.tested) == {"lv-myo", "lv-bp", "rv"} and spec.fold_borders == (0, 7, 14, 21, 28, 35)


@pytest.mark.parametrize("name", ORGANS)
def test_every_fold_and_group_can_be_planned(stores: dict[str, Store], name: str) -> None:
    store, protocol = stores[name], load_protocol("alpnet-ep1")
    groups = protocol.groups_for(store.spec)
    assert set(groups) == ({"heart"} if name == "phantom-cmr" else {"upper", "lower"})
    for fold in range(5):
        for group, classes in groups.items():
            plan = make_plan(
                store.index, store.spec, store.hash, protocol.evaluation, 1, fold, group, classes
            ).evaluation
            assert not plan.undefined and len(plan.query_scans) == len(store.index.scans) // 5


def test_bad_sizes_are_one_line() -> None:
    for size in (40, 100, 0):
        with pytest.raises(UserError, match="multiple of 8"):
            phantom_spec("phantom-mri", size)
    with pytest.raises(UserError, match="at least 8"):
        phantom_scan(phantom_spec("phantom-mri", SIZE), "0", 3)
    with pytest.raises(UserError, match="phantom-mri"):
        phantom_spec("phantom-mrt")


def test_same_phantoms_are_known_again(stores: dict[str, Store]) -> None:
    store = stores["phantom-mri"]
    assert same_phantoms(store, store.spec, 12)
    assert not same_phantoms(store, store.spec, 13)
    assert not same_phantoms(store, replace(store.spec, image_size=56), 12)


def test_a_question_about_phantoms_makes_those_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = replace(load_dataset_spec("phantom-cmr"), image_size=SIZE)  # smaller, for the time it takes
    monkeypatch.setattr("episodes.phantoms.generate.load_dataset_spec", lambda _name: usual)
    ask = ["plan", "--work", str(tmp_path), "--dataset", "phantom-cmr", "--folds", "0"]
    assert main(ask) == 0
    assert "plan of phantom-cmr" in capsys.readouterr().out
    store = Store.open(tmp_path / "stores" / "phantom-cmr")
    assert store.spec == usual and (store.path / "contact.png").is_file()
    written = (store.path / "index.json").stat().st_mtime_ns
    assert main(ask) == 0
    assert (store.path / "index.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("command", [["plan"], ["run", "--method", "copy-support"]])
@pytest.mark.parametrize("wrong", [["--folds", "9"], ["--groups", "nothing"]])
def test_no_phantoms_are_made_for_an_unknown_fold_or_group(
    command: list[str], wrong: list[str], tmp_path: Path
) -> None:
    ask = [*command, "--work", str(tmp_path), "--dataset", "phantom-cmr", *wrong]
    assert main(ask) == 2
    assert not (tmp_path / "stores").exists()


def test_prepare_makes_phantoms_without_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["prepare", "phantom-mri", "--work", str(tmp_path), "--size", "48", "--phantom-slices", "8"]
    assert main(asked) == 0
    assert (tmp_path / "stores" / "phantom-mri" / "contact.png").stat().st_size > 10_000
    before = (tmp_path / "stores" / "phantom-mri" / "index.json").read_bytes()
    assert main(asked) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (tmp_path / "stores" / "phantom-mri" / "index.json").read_bytes() == before
    assert main([*asked[:-1], "9"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["prepare", "phantom-mri", str(tmp_path), "--work", str(tmp_path)]) == 2
    assert main(["prepare", "chaost2", "--work", str(tmp_path)]) == 2
    assert "FOLDER" in capsys.readouterr().err


EVERY_FOLD = (0, 1, 2, 3, 4)


def mean_dice(
    store: Store, work: Path, method: str, steps: int | None = None, folds: tuple[int, ...] = EVERY_FOLD
) -> float:
    """Return the mean over classes of the mean Dice over all scans of `folds`, percent, in setting 1."""
    protocol = load_protocol("alpnet-ep1")
    groups = tuple(protocol.groups_for(store.spec))
    request = Request(store, protocol, 1, folds, groups, work, torch.device("cpu"), 2)
    settings = {} if steps is None else {"learning_rate": "0.005"}
    encoder, weights = (None, None) if steps is None else ("resnet18", "random")
    settled = build_method_config(method, settings, encoder=encoder, weights=weights, steps=steps)
    found: dict[str, list[float]] = {}
    for path in run(request, settled):
        for score in read_record(path).scores:
            found.setdefault(score.class_name, []).append(score.dice)
    return 100 * float(np.mean([np.mean(dices) for dices in found.values()]))


@pytest.mark.parametrize("name", ORGANS)
def test_neither_place_nor_share_of_the_picture_gives_the_organs(
    stores: dict[str, Store], name: str, tmp_path: Path
) -> None:
    assert mean_dice(stores[name], tmp_path, "copy-support") <= 35
    assert mean_dice(stores[name], tmp_path, "all-foreground") <= 35


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of floats depend on the number of threads, and so, a little, does where a training ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ORGANS)
def test_training_helps_and_is_needed(name: str, tmp_path: Path) -> None:
    """The calibration: 300 steps of a narrow ResNet-18, seed 0, of a fold where they help by more than 10."""
    folds = ({"phantom-mri": 3, "phantom-ct": 0, "phantom-cmr": 1}[name],)
    store = prepare_phantom(phantom_spec(name), tmp_path / name)
    assert store.prepared_by == "fewshot"
    assert mean_dice(store, tmp_path, "copy-support") <= 35
    assert mean_dice(store, tmp_path, "all-foreground") <= 35
    untrained = mean_dice(store, tmp_path, "ssl-alpnet", 0, folds)
    trained = mean_dice(store, tmp_path, "ssl-alpnet", 300, folds)
    assert untrained <= 60
    assert trained >= untrained + 10


def test_the_truth_as_prediction_is_100(
    stores: dict[str, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    shutil.copytree(stores["phantom-mri"].path, work / "stores" / "phantom-mri")
    store, plan = stores["phantom-mri"], tmp_path / "plan.json"
    assert (
        main(["plan", "--work", str(work), "--dataset", "phantom-mri", "--folds", "0", "--out", str(plan)])
        == 0
    )
    for scan in store.index.scans:
        stored = store.scan(scan)
        for name in store.spec.tested:
            value = store.spec.classes[name]
            mask = (np.asarray(stored.labels) == value).astype(np.uint8)
            file = tmp_path / "truth" / f"scan_{scan}_label_{value}.nii.gz"
            write_nifti(file, mask, stored.spacing_mm, stored.origin, stored.direction)
    scoring = ["score", "--work", str(work), str(tmp_path / "truth"), "--plan", str(plan), "--name", "truth"]
    scoring += ["--labels-used", "none"]
    assert main(scoring) == 0
    dices = [s.dice for path in (work / "records").glob("*.json") for s in read_record(path).scores]
    assert dices == [1.0] * 16
    assert "100.00" in capsys.readouterr().out
