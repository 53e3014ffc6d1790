"""The probe: classes of cells by hand, features that are the label, noise, a tiny run, what is refused."""

from __future__ import annotations

import dataclasses
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_store import FakeScan, FakeStore
from probe_requests import CPU, other_weights, request
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.plan.plan import make_plan
from episodes.store.slices import Normalisation, SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.encoders.encoder import build_encoder
from protocols.studies import probe as module
from protocols.studies.batch_norm import calibrate_batch_norm
from protocols.studies.dense_features import (
    NO_CLASS,
    cell_classes,
    count_hits,
    draw_cells,
    features_at,
    scan_classes,
)
from protocols.studies.probe import Pretrainer, count_correct_cells, densecl, run_probe, votes
from results.comparison.probe import probe_json

VALUES = (1, 2)


def blocks(number: int, size: int = 64) -> np.ndarray:
    """Slices of whole 8 x 8 blocks of the labels 0, 1, 2, drawn by `number`; (3,size,size)."""
    draw = np.random.Generator(np.random.PCG64(number))
    small = draw.integers(0, 3, (3, size // 8, size // 8))
    return small.repeat(8, axis=1).repeat(8, axis=2)


def reader_of(scans: int = 3, labels: Any = blocks) -> SliceReader:
    """Slices whose image is their label, under no normalisation."""
    made = {}
    for number in range(scans):
        shown = labels(number)
        made[str(number)] = FakeScan(
            shown.astype(np.int16), shown.astype(np.uint8), np.zeros_like(shown, dtype=np.int32)
        )
    store: Any = FakeStore(made, 64)
    return SliceReader(store, Normalisation("per-scan", dict.fromkeys(made, (0.0, 1.0))))


def sides(reader: SliceReader, most: int = 50) -> tuple[Any, Any]:
    """Keys of scans 0 and 1 and queries of scan 2."""
    refs = reader._store.index.all_slices(("0", "1")), reader._store.index.all_slices(("2",))
    classes = [scan_classes(reader, some, VALUES) for some in refs]
    return tuple(
        draw_cells(some, of, [min(most, n) for n in count_hits(of, 3)], "test")
        for some, of in zip(refs, classes, strict=True)
    )


def is_the_label(images: Tensor) -> Tensor:
    return F.avg_pool2d(torch.cat([images == value for value in (0, 1, 2)], dim=1).float(), 8)


def test_the_class_of_a_cell_by_hand() -> None:
    labels = np.zeros((16, 24), dtype=np.uint8)
    labels[:8, :8].flat[:33] = 1  # more than half
    labels[:4, 8:16] = 1  # exactly half
    labels[7, 23] = 2  # one pixel
    labels[8:, :8] = 3  # a class that nobody asks for
    labels[8:, 8:16].flat[:40] = 2
    labels[8:, 8:16].flat[40:] = 1
    found = cell_classes(labels, (2, 1), (2, 3))
    assert found.dtype == np.int8
    assert found.tolist() == [1, NO_CLASS, NO_CLASS, NO_CLASS, 0, 2]


def test_the_draw_is_of_the_class_without_repetition_and_follows_its_names() -> None:
    classes = np.array([[0, 1, 1, 2], [1, NO_CLASS, 1, 2]], dtype=np.int8)
    drawn = draw_cells((), classes, (1, 3, 0), 5, "keys")
    assert drawn.classes.tolist() == classes.ravel()[drawn.positions].tolist()
    assert count_hits(drawn.classes, 3) == (1, 3, 0) and len(set(drawn.positions.tolist())) == 4
    assert drawn.positions.tolist() == sorted(drawn.positions.tolist())
    big = np.zeros((4, 500), dtype=np.int8)
    one, same, other = (draw_cells((), big, (50,), seed, "keys").positions for seed in (5, 5, 6))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    with pytest.raises(ValueError, match="larger sample"):
        draw_cells((), classes, (2, 0, 0), 5)


def test_features_that_are_the_label_find_every_cell() -> None:
    reader = reader_of()
    keys, queries = sides(reader)
    asked = count_hits(queries.classes, 3)
    assert min(asked) >= 30
    assert count_correct_cells(is_the_label, reader, keys, [queries], 3, 20, batch=2, device=CPU) == [asked]


def test_noise_finds_by_chance() -> None:
    reader = reader_of(labels=lambda number: blocks(number).repeat(4, axis=0))
    keys, queries = sides(reader, most=200)
    asked = np.array(count_hits(queries.classes, 3))
    assert asked.tolist() == [200, 200, 200] == list(count_hits(keys.classes, 3))
    generator = torch.Generator().manual_seed(0)

    def noise(images: Tensor) -> Tensor:
        return torch.randn(len(images), 16, 8, 8, generator=generator)

    (hits,) = count_correct_cells(noise, reader, keys, [queries], 3, 20, batch=2, device=CPU)
    assert np.mean(hits / asked) == pytest.approx(1 / 3, abs=0.08)  # four deviations of 600 draws


def test_features_are_those_of_the_drawn_cells_in_order() -> None:
    """Each cell of every slice has a feature of its own: its direction is the cell's place and slice."""
    reader = reader_of(1)
    refs = reader._store.index.all_slices(("0",))
    drawn = draw_cells(refs, np.zeros((3, 64), dtype=np.int8), (40,), "test")
    seen = []

    def encode(images: Tensor) -> Tensor:
        slices = [
            next(z for z in range(3) if torch.equal(one, reader.images([refs[z]])[0])) for one in images
        ]
        seen.extend(slices)
        place = torch.arange(64.0).reshape(8, 8)
        angles = torch.stack([place + 64 * z for z in slices]) / 192
        return 7 * torch.stack([angles.cos(), angles.sin()], dim=1)

    features = features_at(encode, reader, drawn, batch=2, device=CPU)
    angle = torch.from_numpy(drawn.positions) / 192
    assert torch.allclose(features, torch.stack([angle.cos(), angle.sin()], dim=1), atol=1e-6)
    seen.clear()
    one = dataclasses.replace(drawn, positions=np.array([130, 131]), classes=drawn.classes[:2])
    assert features_at(encode, reader, one, batch=2, device=CPU).shape == (2, 2) and seen == [2]


def test_no_more_than_one_batch_of_maps_is_in_memory() -> None:
    reader = reader_of()
    keys, queries = sides(reader)
    alive: list[Any] = []
    most, largest = 0, 0

    def encode(images: Tensor) -> Tensor:
        nonlocal most, largest
        maps = is_the_label(images)
        alive.append(weakref.ref(maps))
        most = max(most, sum(one() is not None for one in alive))
        largest = max(largest, len(images))
        return maps

    count_correct_cells(encode, reader, keys, [queries], 3, 20, batch=1, device=CPU)
    assert len(alive) == 9 and largest == 1 and most <= 2  # the new one, and the one before at its end


def test_a_scan_without_a_class_or_without_any_cell_is_not_answered_wrongly() -> None:
    reader = reader_of(labels=lambda number: np.minimum(blocks(number), 1) if number == 2 else blocks(number))
    keys, queries = sides(reader)
    nobody = dataclasses.replace(queries, positions=queries.positions[:0], classes=queries.classes[:0])
    first, second = count_correct_cells(
        is_the_label, reader, keys, [queries, nobody], 3, 20, batch=2, device=CPU
    )
    assert first[1] == 0 == count_hits(queries.classes, 3)[1] and first[0] > 0
    assert second == (0, 0, 0)


def test_votes_are_weighed_by_the_cosine() -> None:
    def at(cosine: float) -> list[float]:
        return [cosine, (1 - cosine**2) ** 0.5]

    keys = torch.tensor([at(0.95), at(0.4), at(0.4), at(0.1)])
    asked = torch.tensor([[1.0, 0.0]])
    classes = torch.tensor([1, 0, 0, 2])
    assert votes(keys, classes, asked, 3, 3).tolist() == [1]  # by heads it were 0
    assert votes(keys, classes, asked, 3, 1).tolist() == [1]
    assert votes(torch.tensor([at(0.6), at(0.4), at(0.4), at(0.1)]), classes, asked, 3, 3).tolist() == [0]


def test_features_that_are_not_finite_and_maps_of_another_size_are_refused() -> None:
    reader = reader_of()
    keys, _ = sides(reader)
    with pytest.raises(UserError, match="not finite"):
        features_at(lambda images: is_the_label(images) / 0, reader, keys, batch=2, device=CPU)
    with pytest.raises(ValueError, match=r"\(16, 16\) cells, expected \(8, 8\)"):
        features_at(lambda images: F.avg_pool2d(images, 4), reader, keys, batch=2, device=CPU)


@pytest.fixture(scope="module")
def store(module_work: Path) -> Store:
    return Store.open(module_work / "stores" / "tiny")


def test_every_seed_fold_and_scan_is_probed_and_twice_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def dense(backbone: nn.Module, images: Tensor) -> Tensor:
        modes.append(backbone.training)
        maps: Tensor = backbone(images.expand(-1, 3, -1, -1))
        return maps

    monkeypatch.setattr(module, "_dense", dense)
    told: list[Any] = []
    asked = request(store, folds=(0, 3))
    found = run_probe(asked, other_weights(100, told))
    assert [(t.seed, t.fold, [one.scan for one in t.scans]) for t in found.trials] == [
        (0, 0, ["0", "1"]), (0, 3, ["6", "7"]), (3, 0, ["0", "1"]), (3, 3, ["6", "7"]),
    ]  # fmt: skip
    assert modes and not any(modes)
    plan = make_plan(
        store.index, store.spec, store.hash, asked.protocol.evaluation, 1, 3, "all", store.spec.tested
    )
    encoder, scans, rules, device, seed = told[-1]
    assert (encoder, scans, device, seed) == ("resnet18", plan.training.scans, CPU, 3)
    assert rules.rule == "per-scan" and found.trials[0].before_sha256 is None
    assert len({trial.after_sha256 for trial in found.trials}) == 2
    for trial in found.trials:
        for one in trial.scans:
            assert 0 < max(one.cells) <= 12 and len(one.cells) == 5
            for hits in (one.before, one.calibrated, one.after):
                assert all(hit <= cells for hit, cells in zip(hits, one.cells, strict=True))
    scans = [one for trial in found.trials for one in trial.scans]
    assert any(one.before != one.after for one in scans)
    assert any(one.before != one.calibrated != one.after for one in scans)
    monkeypatch.undo()
    again = run_probe(request(store, seeds=(3,), folds=(3,)), other_weights(100))
    assert again.trials == found.trials[3:]  # whatever ran before


def test_bright_organs_are_told_from_air_by_a_random_encoder(store: Store) -> None:
    told = probe_json(run_probe(request(store, seeds=(0,), cells=2000), other_weights(100)))
    assert told["recall"]["before"]["mean"] > 2 * told["chance"] and told["chance"] == 0.2
    assert told["recall"]["calibrated"]["mean"] > 2 * told["chance"]


def test_equal_weights_make_no_difference(store: Store) -> None:
    told = probe_json(run_probe(request(store, seeds=(3, 4)), other_weights(0)))["differences"]
    assert set(told["after - before"]["mean"].values()) == {0.0}
    assert all(tuple(ends) == (0.0, 0.0) for ends in told["after - before"]["interval"].values())
    assert any(told["calibrated - before"]["mean"].values())


def test_keys_are_equally_many_of_every_class(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def spy(encode: Any, reader: Any, keys: Any, queries: Any, *rest: Any, **named: Any) -> Any:
        drawn.append((count_hits(keys.classes, 5), keys.positions.tobytes()))
        assert {ref.scan for ref in keys.refs} == {"3", "4", "5", "6", "7", "8", "9"}
        return [count_hits(side.classes, 5) for side in queries]

    monkeypatch.setattr(module, "count_correct_cells", spy)
    found = run_probe(request(store, cells=10**6), other_weights(1))
    (rarest,) = {trial.keys_per_class for trial in found.trials}
    assert {counts for counts, _ in drawn} == {(rarest,) * 5} and rarest > 20
    before, calibrated, after, *others = [positions for _, positions in drawn]
    assert before == calibrated == after and before not in others  # the same cells, others for another seed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"neighbours": 0}, "--neighbours 0: expected 1"),
        ({"cells": 0}, "--cells 0: expected 1"),
        ({"cells": 1, "neighbours": 6}, "fold 0 has 5 keys, 1 of each"),
        ({"folds": (9,)}, "fold 9 does not exist"),
        ({"encoder": "resnet19"}, "resnet19"),
        ({"weights": "nowhere.pt"}, "nowhere.pt"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_stage_1(
    store: Store, changes: dict[str, Any], words: str
) -> None:
    told: list[Any] = []
    with pytest.raises(UserError, match=words):
        run_probe(request(store, **changes), other_weights(1, told))
    assert told == []


def test_calibrated_statistics_are_those_of_all_slices_and_weights_stay(store: Store) -> None:
    """First layer by hand: mean and variance of its outputs over batches; each slice is read once."""
    encoder = build_encoder("resnet18", 1)
    before = {name: value.clone() for name, value in encoder.backbone.named_parameters()}
    refs = store.index.all_slices(store.index.scans[:5])
    reader = SliceReader(store, normalisation(store, "per-scan", store.index.scans[:5]))
    calibrate_batch_norm(encoder.backbone, reader, refs, 1, 0, device=CPU)
    assert not encoder.backbone.training and encoder.backbone.bn1.momentum == 0.1
    assert all(torch.equal(value, before[name]) for name, value in encoder.backbone.named_parameters())
    with torch.no_grad():
        first = encoder.backbone.conv1(reader.images(list(refs)).expand(-1, 3, -1, -1))
    # 40 slices are two batches of 20, so the mean over batches is the mean over slices
    assert len(refs) == 40 and int(encoder.backbone.bn1.num_batches_tracked) == 2
    mean = first.mean(dim=(0, 2, 3))
    assert torch.allclose(encoder.backbone.bn1.running_mean, mean, atol=1e-5)
    inner = first.var(dim=(0, 2, 3))
    assert (encoder.backbone.bn1.running_var <= inner * 1.001).all()  # less the variance between batches
    again = build_encoder("resnet18", 1)
    calibrate_batch_norm(again.backbone, reader, refs, 1, 0, device=CPU)
    state = again.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in encoder.backbone.state_dict().items())
    with pytest.raises(ValueError, match="0 slices: expected one or more of both"):
        calibrate_batch_norm(again.backbone, reader, [], 1, device=CPU)


def test_a_class_that_fills_no_cell_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.scan_classes
    monkeypatch.setattr(
        module, "scan_classes", lambda *given: np.where(real(*given) == 1, NO_CLASS, real(*given))
    )
    with pytest.raises(UserError, match="no cell of the training scans shows right-kidney"):
        run_probe(request(store), other_weights(1))


def test_options_of_other_stages_are_refused() -> None:
    with pytest.raises(UserError, match="unknown option 'window'"):
        densecl({"window": "2"})


def test_the_command_prints_the_table_and_keeps_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def pretraining(settings: dict[str, str]) -> Pretrainer:
        asked.append(settings)
        return other_weights(50)

    monkeypatch.setattr(module, "densecl", pretraining)
    command = ["probe", "--work", str(store.path.parent.parent), "--dataset", "tiny", "--encoder", "resnet18"]
    command += ["--seeds", "1,2", "--option", "epochs=1", "--neighbours", "5", "--cells", "10"]
    assert main([*command, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    file = tmp_path / "probe.json"
    assert main([*command, "--device", "cpu", "--format", "json", "--out", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(file)
    assert asked == [{"epochs": "1"}] * 2
    lines = [line.split() for line in said.splitlines()]
    assert lines[3] == ["liver", "right-kidney", "left-kidney", "spleen", "background", "mean"]
    arms = ("before", "calibrated", "after")
    assert [line[:3] for line in lines[5:11]] == [["seed", seed, arm] for seed in "12" for arm in arms]
    assert "chance of the mean: 20.0 (1 of 5 classes)" in said and "epochs=1" in said
    kept = json.loads(file.read_text())
    assert [trial["seed"] for trial in kept["probe"]["trials"]] == [1, 2]
    assert f"{100 * kept['recall']['before']['mean']:.1f}" in lines[11] and lines[11][:2] == [
        "mean",
        "before",
    ]
    assert main([*command[:-8], "--seeds", "1,1"]) == 2
