"""A scan segmented from another: the answer a run gives, in the query's own grid, or one clear line."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from seal_again import change_model
from tiny import tiny_store

from baselines.ssl_alpnet import SSLALPNet
from episodes.io.nifti import NiftiImage, read_nifti, write_nifti
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from fewshot.commands.main import main
from fewshot.encoders.encoder import build_encoder
from protocols.own_scan.model_lookup import FoundModel, find_model
from protocols.own_scan.segment import SegmentedScan, segment_scan
from protocols.own_scan.segmentation_input import (
    AnnotatedScan,
    SegmentationInput,
    read_segmentation_input,
)
from results.records.files import read_records

CPU = torch.device("cpu")
AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with the untrained model of fold 0, its predictions, and its scans as files."""
    work = tmp_path_factory.mktemp("segment") / "work"
    store = tiny_store(work / "stores" / "tiny")
    run = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
    model = ["--encoder", "resnet18", "--weights", "random", "--steps", "0", "--save-predictions"]
    assert main([*run, *model, "--method", "ssl-alpnet"]) == 0
    for scan in ("0", "2"):
        stored = store.scan(scan)
        for name, array in (("image", stored.image), ("label", stored.labels)):
            path = work / f"{name}_{scan}.nii.gz"
            write_nifti(path, np.asarray(array), stored.spacing_mm, stored.origin, stored.direction)
    return work


def command(work: Path, *more: str, key: str = "") -> list[str]:
    support = ["--support", str(work / "image_2.nii.gz"), str(work / "label_2.nii.gz")]
    files = [
        *(support if "--support" not in more else ()),
        "--query",
        str(work / "image_0.nii.gz"),
        "--out",
        str(work / "out" / "p.nii.gz"),
    ]
    return ["segment", "--work", str(work), *files, "--checkpoint", key or model_key(work), *more]


def model_key(work: Path) -> str:
    (folder,) = (work / "models").iterdir()
    return folder.name


@pytest.fixture(autouse=True)
def no_output(work: Path) -> None:
    shutil.rmtree(work / "out", ignore_errors=True)


def test_with_a_range_the_answer_is_that_of_a_run_under_alpnet_ep1(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scan 2 is the support of fold 0; the range given is the liver's in scan 0, slices 1 to 4."""
    more = ["--label", "1", "--slices", "1:4", "--prepared", "--picture", str(work / "out" / "p.png")]
    assert main(command(work, *more, key=model_key(work)[:8])) == 0
    told = capsys.readouterr().out
    (record,) = read_records(work / "records")
    (folder,) = (work / "predictions").iterdir()
    run = read_nifti(folder / "counted" / "scan_0_label_1.nii.gz").array
    mine = read_nifti(work / "out" / "p.nii.gz")
    assert np.array_equal(mine.array[1:5], run[1:5]) and mine.array[1:5].any()
    assert not mine.array[[0, 5, 6, 7]].any() and mine.array.dtype == np.uint8
    found = int(mine.array.sum())
    assert found == next(s.tp + s.fp for s in record.scores if (s.class_name, s.scan) == ("liver", "0"))
    assert f"found {found} voxels, {found * 7.7 * 1.25 * 1.25 / 1000:.1f} ml" in told
    assert "slices 1 to 4 of 8 (prepared), 4 segmented" in told and "note" not in told
    assert (work / "out" / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


class Marker:
    """Answers with the support's mask on every slice and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Support, torch.Tensor]] = []

    def segment(self, support: Support, query: torch.Tensor) -> torch.Tensor:
        self.asked.append((support, query))
        return support.masks[:1].float().expand(len(query), -1, -1)


def marker(size: int = 64, **facts: object) -> tuple[Marker, FoundModel]:
    learner = Marker()
    return learner, replace(
        FoundModel(learner, "marker", "chaost2", "mr", size, "per-scan", None, ""), **facts
    )  # type: ignore[arg-type]


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (7.7, 1.25, 1.25)) -> NiftiImage:
    return NiftiImage(Path("made.nii.gz"), array, spacing, (-30.0, 12.0, 5.0), AXES)


def made(slices: tuple[int, int] | None = None, depth: int = 10) -> SegmentationInput:
    """Return a question whose support shows value 3 on slices 2 to 7, one row longer on each."""
    draw = np.random.Generator(np.random.PCG64(3))
    mask = np.zeros((depth, 64, 64), dtype=np.int16)
    for z in range(2, 8):
        mask[z, : z + 1, :4] = 3
    mask[:, 40:50, 40:50] = 1  # another class
    images = [volume(draw.normal(100, 10, (depth, 64, 64)).astype(np.float32)) for _ in range(2)]
    return SegmentationInput((AnnotatedScan(images[0], volume(mask)),), images[1], (3,), slices)


def ask(question: SegmentationInput, model: FoundModel, **more: object) -> SegmentedScan:
    settings = {"modality": None, "prepared": True, "device": CPU, "batch": 4, **more}
    return segment_scan(question, model, **settings)  # type: ignore[arg-type]


def test_without_a_range_the_middle_class_slice_serves_every_slice() -> None:
    answer = ask(made(), marker()[1])
    assert answer.supports == {3: (((0, 5),),)}  # class slices 2..7, index int(6 / 2) = 3
    assert answer.predicted_slices == tuple(range(10)) == answer.shown(3)
    assert (answer.label_map[:, :6, :4] == 3).all() and answer.voxels(3) == 10 * 6 * 4
    assert answer.volume_ml(3) == pytest.approx(240 * 7.7 * 1.25 * 1.25 / 1000)


def test_with_a_range_thirds_are_served_by_thirds_and_the_rest_is_empty() -> None:
    answer = ask(made((1, 6)), marker()[1])
    assert answer.supports == {3: (((0, 3),), ((0, 5),), ((0, 7),))}  # indices 1, 3, 5 of 2..7
    rows = (answer.label_map[:, :, 0] == 3).sum(axis=1).tolist()
    # int((z - 1) // (5 / 3)): 0 0 1 1 2 2 for z = 1..6; the support on slice z is z + 1 rows long
    assert rows == [0, 4, 4, 6, 6, 8, 8, 0, 0, 0]
    one = ask(made((4, 4)), marker()[1])
    assert one.supports == {3: (((0, 3),),)} and one.shown() == one.predicted_slices == (4,)


def test_each_mr_volume_is_normalised_by_its_own_voxels() -> None:
    learner, model = marker()
    question = made()
    question = replace(question, query=volume(question.query.array * 7 + 11))
    ask(question, model)
    shown = question.supports[0].image.array
    support, query = learner.asked[0][0].images, torch.cat([asked for _support, asked in learner.asked])
    for image, array in ((support[0, 0], shown[5]), (query[:, 0], question.query.array)):
        whole = shown if array.ndim == 2 else array
        wanted = (array.astype(np.float64) - whole.mean(dtype=np.float64)) / whole.std(dtype=np.float64)
        assert np.allclose(image.numpy(), wanted, rtol=0, atol=1e-5)


def test_ct_takes_the_training_statistics_and_says_where_it_cannot() -> None:
    ct = {"modality": "ct", "rule": "training-scans"}
    learner, model = marker(**ct, mean_std=(90.0, 20.0))
    question = made()
    assert ask(question, model).notes == ()
    wanted = (question.query.array[:4].astype(np.float64) - 90) / 20
    images = torch.cat([query[:, 0] for _support, query in learner.asked])[:4]
    assert np.allclose(images.numpy(), wanted, rtol=0, atol=1e-5)
    for unknown in (
        marker(**ct, reason="no store sabs")[1],
        marker(modality=None, rule=None, reason="a checkpoint file does not hold them")[1],
    ):
        (note,) = ask(question, unknown, modality="ct").notes
        assert "are not known (" in note and unknown.reason in note and "each volume's own" in note
    assert ask(question, marker(modality=None, rule=None)[1], modality="mr").notes == ()
    crossed = ask(question, marker(**ct, mean_std=(90.0, 20.0))[1], modality="mr").notes
    assert (
        len(crossed) == 2
        and "trained on ct" in crossed[0]
        and "those of the training are of ct" in crossed[1]
    )


def test_a_training_by_training_scans_is_read_from_its_store(work: Path) -> None:
    """Fold 0 trains on scans 3 to 9; their statistics are known while the store is there."""
    copy = work.parent / "ct"
    shutil.copytree(work / "stores", copy / "stores")
    shutil.copytree(work / "models" / model_key(work), copy / "models" / "abc")
    folder = change_model(copy / "models" / "abc", lambda spec: spec.update(normalisation="training-scans"))
    method: object = None
    model = find_model(folder.name, copy, method, CPU, 256)  # type: ignore[arg-type]
    store = Store.open(copy / "stores" / "tiny")
    voxels = np.stack([store.scan(str(scan)).image for scan in range(3, 10)]).astype(np.float64)
    assert model.mean_std == pytest.approx((voxels.mean(), voxels.std()), rel=1e-12)
    assert (model.modality, model.image_size) == ("mr", 64)
    shutil.rmtree(copy / "stores")
    model = find_model(str(folder / "last.pt"), copy, method, CPU, 256)  # type: ignore[arg-type]
    assert model.mean_std is None and model.modality is None and "no store tiny" in model.reason


@pytest.mark.parametrize(
    ("modality", "shape", "spacing"),
    [("mr", (24, 300, 280), (5.5, 1.1, 1.1)), ("ct", (6, 512, 512), (5.0, 0.8, 0.8))],
)
def test_the_answer_comes_back_to_the_grid_of_the_query(
    modality: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """Support and query are one scan and the learner copies the support: a column comes back as it was."""
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    inside = (rows - shape[1] // 2) ** 2 + (columns - shape[2] // 2 - 20) ** 2 < 40**2
    mask = np.broadcast_to(inside, shape).astype(np.uint8)
    draw = np.random.Generator(np.random.PCG64(1))
    image = volume(draw.integers(-120, 270, shape).astype(np.int16), spacing)
    model = marker(256, modality=modality)[1]
    annotated = AnnotatedScan(image, volume(mask, spacing))
    question = SegmentationInput((annotated,), image, (1,), (1, shape[0] - 2))
    answer = ask(question, model, prepared=False)
    assert answer.label_map.shape == shape and not answer.label_map[[0, -1]].any()
    inner, truth = answer.label_map[1:-1] == 1, mask[1:-1].astype(bool)
    assert 2 * (inner & truth).sum() / (inner.sum() + truth.sum()) > 0.98
    if modality == "mr":  # slices 1..22 at 5.5 mm lie at 0.71..15.71 of 7.7 mm, widened to 0..16
        assert answer.predicted_slices == tuple(range(17)) and answer.depth == math.floor(24 * 5.5 / 7.7 + 1)


def test_a_released_checkpoint_file_serves_too(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = work / "released.pth"
    torch.save(SSLALPNet(build_encoder("resnet18", 5)).state_dict(), file)
    more = ["--encoder", "resnet18", "--image-size", "64", "--prepared", "--label", "4"]
    assert main(command(work, *more, key=str(file))) == 2
    assert "--modality" in capsys.readouterr().err
    assert main(command(work, *more, "--modality", "ct", key=str(file))) == 0
    told = capsys.readouterr().out
    assert "note: intensities: the training's mean and deviation are not known" in told
    assert "class of value 4" in told and (work / "out" / "p.nii.gz").is_file()


def replaced(work: Path, place: str, array: np.ndarray, dtype: type = np.int16) -> list[str]:
    """Return the arguments with another volume in the place of IMG, MASK or the query."""
    path = work / "out" / f"{place}.nii.gz"
    if array.ndim == 3:
        write_nifti(path, array.astype(dtype), (7.7, 1.25, 1.25), (0.0, 0.0, 0.0), AXES)
    else:
        import nibabel

        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array.astype(dtype), np.eye(4)), path)
    image, mask, query = (str(work / name) for name in ("image_2.nii.gz", "label_2.nii.gz", "image_0.nii.gz"))
    files = {"image": image, "mask": mask, "query": query, place: str(path)}
    return ["--support", files["image"], files["mask"], "--query", files["query"]]


ONES, P = np.ones((8, 65, 65)), ["--prepared", "--label", "1"]
SMALL = np.arange(8.0 * 60 * 60).reshape(8, 60, 60)
MISTAKES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "absent value": (lambda w: ["--prepared", "--label", "9"], "no voxel of value 9, only 1, 2, 3, 4"),
    "empty mask": (lambda w: [*P, *replaced(w, "mask", 0 * ONES)], "only 0, expected voxels of a class"),
    "not whole": (
        lambda w: ["--prepared", *replaced(w, "mask", ONES / 2, np.float32)],
        "the value 0.5, expected whole numbers",
    ),
    "other shape": (lambda w: [*P, *replaced(w, "mask", ONES[:7])], "has shape (7, 65, 65)"),
    "four dimensions": (lambda w: [*P, *replaced(w, "query", np.ones((4, 4, 4, 2)))], "expected three dim"),
    "not finite": (lambda w: [*P, *replaced(w, "query", ONES * np.nan, np.float32)], "NaN or infinite"),
    "constant": (lambda w: [*P, *replaced(w, "query", ONES)], "one intensity everywhere"),
    "small slices": (
        lambda w: [*P, *replaced(w, "query", SMALL)],
        "60 x 60 pixels, expected at least 64 x 64",
    ),
    "missing file": (lambda w: [*P, "--query", str(w / "no.nii.gz")], "no such file"),
    "slices beyond": (lambda w: [*P, "--slices", "2:8"], "it has slices 0 to 7"),
    "slices turned": (lambda w: [*P, "--slices", "5:2"], "slices 5:2"),
    "slices wrong": (lambda w: [*P, "--slices", "5"], "expected A:B"),
    "no support slices": (lambda w: [*P, "--support-slices", "0"], "expected 1 to 99"),
    "no model": (lambda w: [*P, "--checkpoint", "0000"], "no such file, and none under"),
    "no model folder": (lambda w: [*P, "--checkpoint", str(w)], "a folder without spec.json"),
    "no checkpoint": (
        lambda w: [*P, "--checkpoint", str(w / "image_0.nii.gz")],
        "is a gzip file, expected a file of torch.save",
    ),
    "nothing to load": (
        lambda w: [*P, "--checkpoint", str(w / "image_0.nii.gz"), "--method", "copy-support"],
        "has nothing to load",
    ),
    "other ending": (lambda w: [*P, "--out", str(w / "out" / "p.png")], "ends in .nii.gz"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    mistake: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = MISTAKES[mistake]
    assert main(command(work, *make(work))) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert not list((work / "out").glob("p.*"))


def test_a_mask_whose_header_tells_another_place_is_refused(work: Path, tmp_path: Path) -> None:
    label = read_nifti(work / "label_2.nii.gz")
    write_nifti(tmp_path / "mask.nii.gz", label.array, (5.0, 1.25, 1.25), label.origin, label.direction)
    with pytest.raises(UserError, match="spacing"):
        read_segmentation_input(
            [(work / "image_2.nii.gz", tmp_path / "mask.nii.gz")], work / "image_0.nii.gz", [1]
        )


def test_a_model_of_a_set_that_is_prepared_otherwise_wants_prepared_scans() -> None:
    for dataset in ("prostate", "amos-mr"):
        _learner, model = marker(64, dataset=dataset, reason=f"no store {dataset}")
        with pytest.raises(UserError, match=rf"trained on {dataset}.*no store {dataset}.*--prepared"):
            ask(made(), model, prepared=False)


def test_turned_axes_are_told(work: Path) -> None:
    question = made()
    turned = replace(question.query, direction=(-1.0, *AXES[1:]))
    (note,) = ask(replace(question, query=turned), marker()[1]).notes
    assert "different axes" in note
