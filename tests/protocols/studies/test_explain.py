"""Looking into DSPNet: the sets give its scores, the masks are its answers, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dspnet_cases import CASES, learner, noise
from matplotlib.image import imread
from seal_again import edit_index, rename_in_index
from tiny import tiny_store
from torch import Tensor, nn

from baselines.dspnet import fspa as semantic
from baselines.dspnet.explanation import VARIANTS, candidate_kinds, explain_features
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef, Support
from fewshot.commands.main import main
from fewshot.learners.prototypes import resize_masks, set_scores
from fewshot.learners.registry import resolve_method
from fewshot.studies.offers import check_explainer
from protocols.rules.spec import load_protocol
from protocols.studies.explain import explain_slice, find_target, intensities_for
from protocols.training.models import open_model
from results.figures.explanation import SEED_COLOURS

MODEL = ["--method", "dspnet", "--encoder", "resnet18", "--weights", "random", "--steps", "2"]


@pytest.fixture(scope="module")
def done(module_work: Path) -> Path:
    """A work folder with DSPNet of fold 0, two steps."""
    asked = ["--work", str(module_work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
    assert main(["run", *asked, *MODEL]) == 0
    return module_work


def key_of(work: Path) -> str:
    (found,) = (work / "models").iterdir()
    return found.name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("modules", VARIANTS.values(), ids=VARIANTS)
def test_the_sets_give_the_scores_of_the_method(case: str, modules: tuple[bool, bool]) -> None:
    masks = torch.stack(CASES[case])
    model = learner(fspa=modules[0], bcma=modules[1])
    support, query = noise(len(masks), 6, 32, 32, seed=1), noise(1, 6, 32, 32, seed=2)
    prepared = model.prepare(masks)
    wanted, _ = model.logits(support, masks, query, prepared=prepared, branch="query")
    sets = model.prototype_sets(support, masks, query, prepared=prepared, branch="query")
    similar = model.candidate_similarities(sets, query)
    assert torch.equal(set_scores(similar, sets.members.float(), model.options.scale), wanted)
    assert not sets.members.all(dim=0).any() and sets.members.any(dim=1).all()
    kinds = candidate_kinds(sets)
    background = (kinds == 0) | (kinds == 3)
    assert len(kinds) == similar.shape[1]
    assert not sets.members[0, ~background].any() and not sets.members[1, background].any()


def test_no_background_is_the_global_prototype() -> None:
    masks = torch.ones(1, 256, 256, dtype=torch.bool)
    found = explain_features(learner(), noise(1, 6, 32, 32, seed=1), masks, noise(1, 6, 32, 32, seed=2))
    assert found.kinds["local background"] == 0 and found.kinds["global background"] == 1
    assert found.kinds["semantic foreground"] == 1 and found.kinds["local foreground"] == 256


def painted(places: list[tuple[slice, slice]]) -> tuple[Tensor, Tensor]:
    """Features of two channels, the first of the background; the second where `places` are."""
    features = torch.zeros(1, 2, 32, 32)
    features[0, 0] = 1
    mask = torch.zeros(1, 256, 256, dtype=torch.bool)
    for rows, columns in places:
        features[0, :, rows, columns] = torch.tensor([0.0, 1.0])[:, None, None]
        mask[0, 8 * rows.start : 8 * rows.stop, 8 * columns.start : 8 * columns.stop] = True
    return features, mask


def test_positions_are_most_like_their_own_class() -> None:
    """Background and class are orthogonal, so every position has the kind that it was painted with."""
    support, mask = painted([(slice(4, 20), slice(6, 22))])
    query, truth = painted([(slice(10, 14), slice(3, 9))])
    model = learner(channels=2, w=(0.0, 1.0, 0.0), alpha_foreground=0.0, alpha_background=0.0)
    with torch.no_grad():
        model.cls_unit.cal.copy_(torch.eye(2))
    found = explain_features(model, support, mask, query)
    assert torch.equal(found.nearest > 0, truth[0, ::8, ::8])
    assert found.kinds["local foreground"] == 64  # 16 x 16 positions in windows of 2
    assert set(found.masks) == set(VARIANTS) and found.trained == "both"
    # FSPA takes the sum of the average and what is fused: the direction stays, and so does every answer
    assert all(torch.equal(found.masks["neither"], mask) for mask in found.masks.values())


def test_details_lie_in_the_class_and_their_weights_sum_to_one() -> None:
    masks = torch.stack(CASES["five seeds"])
    found = explain_features(learner(), noise(1, 6, 32, 32, seed=1), masks, noise(1, 6, 32, 32, seed=2))
    details = found.details
    assert details is not None and found.note == ""
    assert details.seeded.all() and details.counts.all()
    assert torch.allclose(details.weights.sum(dim=(2, 3)), torch.ones(1, 5), atol=1e-5)
    rows, columns = torch.arange(32.0)[:, None], torch.arange(32.0)[None]
    middles = [(details.weights * axis).sum(dim=(2, 3)) for axis in (rows, columns)]
    assert torch.allclose(details.places, torch.stack(middles, dim=2), atol=1e-3)
    inside = resize_masks(masks, (32, 32))[0] >= semantic.INSIDE
    assert float(details.weights[0, :, ~inside].max()) < 1e-30


def test_a_small_class_has_a_note_in_place_of_details() -> None:
    masks = torch.stack(CASES["no seeds"])
    found = explain_features(learner(), noise(1, 6, 32, 32, seed=1), masks, noise(1, 6, 32, 32, seed=2))
    assert found.note == "no detail prototypes: 90 positions, expected 150"
    assert found.details is not None and not found.details.counts.any()


def test_the_variants_are_those_of_learners_with_these_options() -> None:
    masks = torch.stack(CASES["five seeds"])
    support, query = noise(1, 6, 32, 32, seed=1), noise(1, 6, 32, 32, seed=2)
    model = learner()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = explain_features(model, support, masks, query)
    for name, (fspa, bcma) in VARIANTS.items():
        own = learner(fspa=fspa, bcma=bcma)
        scores, _ = own.logits(support, masks, query, prepared=own.prepare(masks), branch="query")
        up = nn.functional.interpolate(scores[:, 1:] - scores[:, :1], size=(256, 256), mode="bilinear")
        assert torch.equal(found.masks[name], up[0, 0] > 0), name
    assert len({mask.numpy().tobytes() for mask in found.masks.values()}) == 4
    assert model.options.fspa and all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_both_is_the_mask_of_segment(done: Path) -> None:
    store, protocol = Store.open(done / "stores" / "tiny"), load_protocol("alpnet-ep1")
    method, spec, model = open_model(done / "models" / key_of(done), torch.device("cpu"))
    asked = find_target(store, protocol, "0", "liver", None, None)
    reader = SliceReader(store, intensities_for(spec, "m", protocol, store, store, "0"))
    found = explain_slice(method, model, asked, reader, torch.device("cpu"))
    masks = np.stack([reader.mask(ref, asked.task.class_value) for ref in asked.task.support])
    support = Support(reader.images(asked.task.support), torch.from_numpy(masks))
    with torch.inference_mode():
        wanted = model.learner.segment(support, reader.images([asked.query]))[0] > 0.5
    assert np.array_equal(found.masks["both"], wanted.numpy()) and found.trained == "both"
    assert int(found.nearest.size) == 64 and np.array_equal(found.support_mask, masks[0])


def test_the_question_is_that_of_the_plan(done: Path) -> None:
    store, protocol = Store.open(done / "stores" / "tiny"), load_protocol("alpnet-ep1")
    asked = find_target(store, protocol, "0", "liver", None, None)
    areas = {z: int((store.scan("0").labels[z] == 1).sum()) for z in range(1, 5)}
    assert asked.fold == 0 and asked.scored and areas[asked.query.z] == max(areas.values())
    assert asked.task.support[0].scan == "2" and asked.query in asked.task.queries
    outside = find_target(store, protocol, "5", "liver", "upper", 7)
    assert (outside.fold, outside.query, outside.scored) == (2, SliceRef("5", 7), False)


def test_the_picture_shows_the_seeds(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On 8 x 8 positions no class is large enough for a seed, unless a seed needs fewer of them."""
    command = ["explain", key_of(done)[:6], "--work", str(done), "--scan", "1", "--class", "liver"]
    assert main([*command, "--out", str(tmp_path / "none.png")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in told[:4]] == list(VARIANTS) and told[3].endswith("(as trained)")
    assert told[4] == str(tmp_path / "none.png")
    assert seed_pixels(tmp_path / "none.png") == [0, 0, 0, 0, 0]
    monkeypatch.setattr(semantic, "AREA_PER_SEED", 4)
    for name in ("seeds.png", "again.png"):
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "seeds.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    picture = imread(tmp_path / "seeds.png")
    assert picture.shape[0] > 700 and picture.shape[1] > 1200
    found = seed_pixels(tmp_path / "seeds.png")
    assert found[0] > 50 and found[1] > 50


def seed_pixels(path: Path) -> list[int]:
    picture = imread(path)[..., :3]
    colours = [np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for text in SEED_COLOURS]
    return [int((np.abs(picture - colour).max(axis=-1) < 0.02).sum()) for colour in colours]


def test_the_picture_lies_among_the_figures_by_default(done: Path) -> None:
    command = ["explain", key_of(done), "--work", str(done), "--scan", "0", "--class", "left-kidney"]
    assert main([*command, "--slice", "0", "--protocol", "open-ep"]) == 0
    (path,) = (done / "figures").iterdir()
    assert path.name == f"{key_of(done)}_0_left-kidney_0.png" and path.stat().st_size > 50_000


MISTAKES: list[tuple[list[str], str]] = [
    (["--scan", "77", "--class", "liver"], "unknown scan of tiny '77'"),
    (["--scan", "0", "--class", "livr"], "did you mean 'liver'"),
    (["--scan", "0", "--class", "liver", "--group", "lower"], "unknown tested class of lower 'liver'"),
    (["--scan", "0", "--class", "liver", "--group", "lowr"], "did you mean 'lower'"),
    (["--scan", "0", "--class", "liver", "--slice", "8"], "--slice 8: scan 0 has slices 0 to 7"),
    (["--scan", "0", "--class", "liver", "--slice", "-1"], "--slice -1: scan 0 has slices 0 to 7"),
    (["--scan", "5", "--class", "liver"], "was trained on scan 5; choose one it has not seen: 0, 1, 2"),
    (["--scan", "0", "--class", "liver", "--protocol", "alpnet-ep9"], "did you mean 'alpnet-ep1'"),
    (["--scan", "0", "--class", "liver", "--dataset", "othr"], "unknown dataset 'othr'"),
]


@pytest.mark.parametrize(("more", "said"), MISTAKES, ids=[said for _more, said in MISTAKES])
def test_a_mistake_is_one_line(
    more: list[str], said: str, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    assert main(["explain", key_of(done), "--work", str(done), *more, "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1 and not out.exists()


def test_an_unknown_model_is_one_line(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "zz", "--work", str(done), "--scan", "0", "--class", "liver"]) == 2
    message = capsys.readouterr().err
    assert "model 'zz': no key under" in message and message.count("\n") == 1


@pytest.mark.parametrize("method", ["ssl-alpnet", "panet", "adnet", "densemp", "copy-support"])
def test_a_method_without_such_parts_is_told_so(method: str) -> None:
    with pytest.raises(UserError, match=f"'{method}' has no explanation; .* that have: dspnet; overlay"):
        check_explainer(resolve_method(method), method)


def test_a_class_absent_from_the_scan_names_those_it_shows(tmp_path: Path) -> None:
    made = tiny_store(tmp_path / "tiny")
    edit_index(made.path / "index.json", lambda index: index["scans"][0]["class_slices"].update(spleen=[]))
    with pytest.raises(UserError, match="'spleen' is absent from scan 0, which shows liver, right-kidney"):
        find_target(Store.open(made.path), load_protocol("alpnet-ep1"), "0", "spleen", None, None)


def test_another_store_is_refused_unless_all_of_the_first_was_trained_on(done: Path, tmp_path: Path) -> None:
    store, protocol = Store.open(done / "stores" / "tiny"), load_protocol("alpnet-ep1")
    spec = {"store": store.hash, "training_scans": ["1"], "normalisation": "per-scan"}
    with pytest.raises(UserError, match="trained on another prepared dataset: 0, "):
        intensities_for({**spec, "store": "0"}, "m", protocol, store, store, "0")
    tiny_store(tmp_path / "other", scans=9)
    rename_in_index(tmp_path / "other" / "index.json", {"tiny": "other"})
    other = Store.open(tmp_path / "other")
    with pytest.raises(UserError, match="1 of 10 scans of tiny; to look at other"):
        intensities_for(spec, "m", protocol, store, other, "0")
    every = {**spec, "training_scans": list(store.index.scans)}
    found = intensities_for(every, "m", protocol, store, other, "0")
    assert found == normalisation(other, "per-scan", ())
