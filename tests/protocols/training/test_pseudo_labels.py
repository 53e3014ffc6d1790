"""Where episodes come from: the spec of each kind, and a supervoxel training through `fewshot run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from episodes.plan.plan import make_plan
from episodes.pseudo_labels.supervoxels import stored_supervoxels
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.learners.recipe import EPISODES, Recipe
from protocols.rules.spec import load_protocol
from protocols.training.method_config import build_method_config
from protocols.training.model_spec import model_spec
from protocols.training.pseudo_labels import KINDS, superpixels, supervoxels
from protocols.training.spec_file import model_key

MODEL = ["--method", "adnet", "--encoder", "resnet18", "--weights", "random", "--steps", "3"]
ASKED = ["--dataset", "tiny", "--folds", "0", "--groups", "upper", *MODEL]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


def test_every_kind_of_a_recipe_has_a_source() -> None:
    assert tuple(KINDS) == EPISODES


def test_the_spec_of_superpixels_is_what_it_was(store: Store) -> None:
    plan = plan_of(store, 1)
    method = build_method_config("ssl-alpnet", {}, encoder="resnet18", weights="random", steps=2)
    initial = {"name": "random", "sha256": None}
    spec = model_spec(method, initial, plan.training, store, "per-scan", superpixels(store).description)
    about = {"kind": "superpixels", "min_size": 60, "hash": store.superpixels_hash}
    assert spec["pseudo_labels"] == about
    assert set(spec) == {
        "schema", "dataset", "store", "training_scans", "training_slices", "training_slices_hash",
        "normalisation", "pseudo_labels", "method", "encoder", "initial_weights", "recipe", "seed",
        "image_size", "precision", "channels_last", "versions",
    }  # fmt: skip
    assert set(spec["recipe"]) == {
        "steps", "learning_rate", "momentum", "weight_decay", "decay", "decay_every", "snapshot_every",
        "batch", "episode", "augmentation", "draw",
    }  # fmt: skip
    keys = [
        model_key(spec | {"initial_weights": {"name": name, "sha256": content * 64}})
        for name, content in (("a.pt", "0"), ("b.pt", "0"), ("a.pt", "1"))
    ]
    assert keys[0] == keys[1] != keys[2], "a file of weights is its content, not its name"
    assert model_key(spec) != model_key(spec | {"pseudo_labels": about | {"hash": "0" * 16}})
    assert not (store.path / "supervoxels").exists()


def plan_of(store, setting: int):  # type: ignore[no-untyped-def]
    protocol = load_protocol("alpnet-ep1")
    return make_plan(
        store.index, store.spec, store.hash, protocol.evaluation, setting, 0, "upper", ("liver", "spleen")
    )


def test_draw_released_means_nothing_for_supervoxels() -> None:
    with pytest.raises(
        UserError, match=r"draw is 'released' but episode is 'supervoxel'.*leave draw=present"
    ):
        Recipe(episode="supervoxel", draw="released")
    with pytest.raises(UserError, match="unknown episode kind 'supervoxels': did you mean 'supervoxel'"):
        Recipe(episode="supervoxels")
    assert Recipe(draw="released").episode == "superpixel"


def test_a_run_makes_supervoxels_and_records_and_the_next_reuses_both(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--work", str(work), *ASKED, "--setting", "2"]
    assert main([*command, "--option", "draw=released"]) == 2
    message = capsys.readouterr().err
    assert "draw=present" in message and message.count("\n") == 1
    assert main(command) == 0
    (spec,) = [json.loads(path.read_text()) for path in (work / "models").glob("*/spec.json")]
    maps = stored_supervoxels(tiny_store_at(work))
    assert maps is not None
    assert spec["pseudo_labels"] == {"kind": "supervoxels", "min_size": 5000, "hash": maps.hash}
    assert spec["recipe"]["episode"] == "supervoxel" and spec["recipe"]["decay"] == 0.95
    (folder,) = (work / "models").iterdir()
    assert (folder / "losses.csv").read_text().startswith("step,query,alignment,threshold,total,")
    made = files(work)
    assert sum(name.startswith("records/") for name in made) == 1
    assert main(command) == 0
    assert files(work) == made


def tiny_store_at(work: Path) -> Store:
    return Store.open(work / "stores" / "tiny")


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(work: Path, tmp_path: Path) -> None:
    from episodes.sampling.prefetch import prefetch
    from fewshot.training.loop import train
    from protocols.training.models import new_learner

    store = tiny_store_at(work)
    plan, rules = plan_of(store, 1), normalisation(tiny_store_at(work), "per-scan", ())
    method = build_method_config("adnet", {}, encoder="resnet18", weights="random", steps=4)
    assert method.recipe is not None

    class StopError(Exception):
        pass

    def trained(folder: Path, stop: int) -> bytes:
        learner, _ = new_learner(method, tmp_path, ())
        assert method.recipe is not None
        source = supervoxels(store).episodes(
            SliceReader(store, rules), plan.training, method.recipe, 0, learner.prepare
        )

        def episodes(steps: range):  # type: ignore[no-untyped-def]
            for step, episode in zip(steps, prefetch(source.episode, steps, 2), strict=True):
                if step == stop:
                    raise StopError
                yield episode

        train(
            learner, method.recipe, folder, seed=0, device=torch.device("cpu"), episodes=episodes,
            checkpoint_every=2,
        )  # fmt: skip
        return b"".join(value.numpy().tobytes() for value in learner.state_dict().values())

    whole = trained(tmp_path / "whole", -1)
    with pytest.raises(StopError):
        trained(tmp_path / "stopped", 3)
    assert trained(tmp_path / "stopped", -1) == whole
    for name in ("losses.csv", "episodes.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_setting_2_never_samples_an_excluded_slice(work: Path) -> None:
    store = tiny_store_at(work)
    plan, recipe = plan_of(store, 2), Recipe(episode="supervoxel", augmentation="none", batch=50)
    excluded = {(scan, z) for scan in plan.training.scans for z in range(8)} - set(plan.training.slices)
    assert excluded
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    source = supervoxels(store).episodes(reader, plan.training, recipe, 0, lambda _masks: {})
    seen = set()
    for step in range(20):
        episode = source.episode(step)
        assert bool(episode.support_masks.any((2, 3)).all()) and bool(episode.query_masks.any((2, 3)).all())
        for item in episode.label.split():
            scan, slices, _number = item.split(":")
            seen |= {(scan, int(z)) for z in slices.split(">")}
    assert seen and not seen & excluded
