"""The training loop: optimisation by hand, skipped episodes, resuming, logs, what is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import (
    RECIPE,
    UNDEFINED,
    NanWhereUndefined,
    ToyEpisodes,
    ToyLearner,
    rows,
    toy_episode,
    toy_train,
)

from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.files.seals import check_hash
from fewshot.learners.recipe import Recipe
from fewshot.training import loop
from fewshot.training.loop import TrainingResult


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_rate_falls_every_so_many_moves() -> None:
    recipe = Recipe()
    assert [recipe.rate_after(moves) for moves in (0, 999)] == [1e-3, 1e-3]
    assert recipe.rate_after(1000) == pytest.approx(0.95e-3)
    assert recipe.rate_after(50_500) == pytest.approx(1e-3 * 0.95**50)


def test_steps_equal_momentum_descent_by_hand(tmp_path: Path) -> None:
    """SGD with weight decay, momentum, per-group rates and the schedule, written out."""
    recipe = dataclasses.replace(RECIPE, steps=5, decay_every=2)
    trained, by_hand = ToyLearner(), ToyLearner()
    toy_train(tmp_path, recipe=recipe, learner=trained)
    velocity: dict[str, torch.Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("training", 1))
        for step in range(5):
            by_hand.zero_grad()
            by_hand.loss(toy_episode(step)).total.backward()
            for name, parameter in by_hand.named_parameters():
                assert parameter.grad is not None
                slope = parameter.grad + 5e-4 * parameter.detach()
                velocity[name] = 0.9 * velocity[name] + slope if name in velocity else slope
                rate = 0.05 * 0.5 ** (step // 2) * (0.01 if name.startswith("head") else 1)
                with torch.no_grad():
                    parameter -= rate * velocity[name]
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    toy_train(folder, ToyEpisodes(UNDEFINED))
    return folder


@pytest.mark.parametrize("stop_at", range(12))
def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path: Path, whole: Path, stop_at: int) -> None:
    with pytest.raises(InterruptedError):
        toy_train(tmp_path, ToyEpisodes(UNDEFINED, stop_at=stop_at))
    resumed = ToyEpisodes(UNDEFINED)
    learner = ToyLearner()
    assert toy_train(tmp_path, resumed, learner=learner) == TrainingResult(12, 4)
    assert resumed.asked == [range(stop_at // 4 * 4, 12)]
    assert files(tmp_path) == files(whole)
    for name, value in torch.load(whole / "last.pt", weights_only=True)["model"].items():
        assert torch.equal(learner.state_dict()[name], value), name


def test_an_interruption_closes_the_episodes(tmp_path: Path) -> None:
    episodes = ToyEpisodes({3: "nan"})
    with pytest.raises(UserError):
        toy_train(tmp_path, episodes)
    assert episodes.closed


def test_a_finished_folder_is_only_read(tmp_path: Path) -> None:
    first = ToyLearner()
    result = toy_train(tmp_path, learner=first)
    before = files(tmp_path)
    episodes, again = ToyEpisodes(), ToyLearner()
    assert toy_train(tmp_path, episodes, learner=again) == result
    assert episodes.asked == [] and files(tmp_path) == before
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_skipped_step_counts_but_moves_neither_weights_nor_schedule(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, steps=1)
    learner, fresh = ToyLearner(), ToyLearner()
    result = toy_train(tmp_path / "one", ToyEpisodes({0: "undefined"}), recipe, learner)
    assert (result.steps, result.skipped) == (1, 1)
    for (name, value), start in zip(learner.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(value, start), name
    # the forward pass has been run: BatchNorm's running statistics move, as in the released programs
    assert learner.body[1].num_batches_tracked == 1
    assert not torch.equal(learner.body[1].running_mean, fresh.body[1].running_mean)
    toy_train(tmp_path / "many", ToyEpisodes(UNDEFINED))
    table = rows(tmp_path / "many")
    assert [row["defined"] for row in table] == list("011100111110")
    assert [row["step"] for row in table] == [str(step) for step in range(1, 13)]
    # halved after every third step that moved: the steps 2, 3, 4; 7, 8, 9; 10, 11
    moved = [float(row["rate"]) for row in table if row["defined"] == "1"]
    assert moved == [0.05] * 3 + [0.025] * 3 + [0.0125] * 2
    assert all((row["total"] == "") == (row["defined"] == "0") for row in table)


def test_an_undefined_loss_may_be_anything(tmp_path: Path) -> None:
    learner = NanWhereUndefined()
    assert toy_train(tmp_path, ToyEpisodes(UNDEFINED), learner=learner).skipped == 4
    assert all(parameter.isfinite().all() for parameter in learner.parameters())


def test_logs_hold_every_step(tmp_path: Path) -> None:
    toy_train(tmp_path)
    table = rows(tmp_path)
    assert list(table[0]) == ["step", "query", "alignment", "total", "rate", "defined"]
    for row in table:
        assert float(row["total"]) == pytest.approx(float(row["query"]) + float(row["alignment"]), rel=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert lines == [{"step": step + 1, "episode": f"scan:{step}:1"} for step in range(12)]


def test_checkpoints_and_snapshots(tmp_path: Path) -> None:
    learner = ToyLearner()
    toy_train(tmp_path, ToyEpisodes(UNDEFINED), learner=learner)
    assert sorted(files(tmp_path)) == [
        "episodes.jsonl", "last.pt", "last.pt.sha256", "losses.csv", "step_10.pt", "step_10.pt.sha256",
        "step_5.pt", "step_5.pt.sha256",
    ]  # fmt: skip
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (last["step"], last["moves"], last["skipped"]) == (12, 8, 4)
    assert last["random"]["cpu"].dtype == torch.uint8
    fifth = torch.load(tmp_path / "step_5.pt", weights_only=True)
    assert (fifth["step"], fifth["skipped"]) == (5, 2)
    assert not torch.equal(fifth["model"]["head.weight"], last["model"]["head.weight"])
    assert torch.equal(learner.head.weight.detach(), last["model"]["head.weight"])


def test_no_steps_write_the_untrained_learner(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, steps=0)
    assert toy_train(tmp_path, recipe=recipe).steps == 0
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["step"] == 0
    for name, value in ToyLearner().state_dict().items():
        assert torch.equal(state["model"][name], value), name
    assert toy_train(tmp_path, recipe=recipe).steps == 0


def test_the_caller_s_random_state_is_left_alone_and_does_not_matter(tmp_path: Path) -> None:
    learner = ToyLearner()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    toy_train(tmp_path / "a", learner=learner)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    toy_train(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_bf16_trains_in_bf16(tmp_path: Path) -> None:
    seen = []

    class Watched(ToyLearner):
        def loss(self, episode):  # type: ignore[no-untyped-def]
            seen.append(self.body(episode.support_images.flatten(0, 1)).dtype)
            return super().loss(episode)

    learner = Watched()
    toy_train(tmp_path / "bf16", learner=learner, precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in learner.parameters()} == {torch.float32}
    toy_train(tmp_path / "float32")
    assert rows(tmp_path / "bf16")[0]["total"] != rows(tmp_path / "float32")[0]["total"]


def test_a_loss_that_is_not_finite_stops_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"the loss of step 7 is not finite \(query nan, .*episode 'nan'\)"
    ) as caught:
        toy_train(tmp_path, ToyEpisodes({6: "nan"}))
    assert "\n" not in str(caught.value)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 4


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "object", "entries", "learner"])
def test_a_broken_checkpoint_says_what_to_delete(tmp_path: Path, damage: str) -> None:
    toy_train(tmp_path)
    path = tmp_path / "last.pt"
    state = torch.load(path, weights_only=True)
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "object":
        torch.save({**state, "model": re.compile("x")}, path)
    elif damage == "entries":
        torch.save({"model": state["model"]}, path)
    else:
        state["model"]["head.weight"] = torch.zeros(2, 2)
        torch.save(state, path)
    with pytest.raises(UserError, match=r"last\.pt.*delete .*to train anew") as caught:
        toy_train(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"precision": "bf16"}, {"recipe": dataclasses.replace(RECIPE, steps=13)}]
)
def test_another_training_s_folder_is_refused(tmp_path: Path, change: dict) -> None:
    toy_train(tmp_path)
    with pytest.raises(UserError, match=r"belongs to a training with .*delete it to train anew"):
        toy_train(tmp_path, **change)


def test_a_log_shorter_than_the_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        toy_train(tmp_path, ToyEpisodes(stop_at=9))
    (tmp_path / "losses.csv").write_text("step\n")
    with pytest.raises(
        UserError, match=r"losses\.csv has 5 bytes, expected the .*delete .*last\.pt to train anew"
    ):
        toy_train(tmp_path)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown precision 'bf32'"):
        toy_train(tmp_path, precision="bf32")
    with pytest.raises(UserError, match="checkpoint_every is 0"):
        toy_train(tmp_path, checkpoint_every=0)


def test_episodes_that_end_early_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ended after step 3, expected 12"):
        toy_train(tmp_path, lambda steps: iter([toy_episode(step) for step in steps[:3]]))


def test_a_kill_between_two_files_of_a_step_loses_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 5 has a checkpoint and a snapshot; a resumed training does not take a finished step again."""
    toy_train(tmp_path / "whole", checkpoint_every=5)
    real, written = loop._write, []

    def killed_after_the_first(path: Path, state: dict[str, Any]) -> None:
        real(path, state)
        written.append(path.name)
        raise InterruptedError

    monkeypatch.setattr(loop, "_write", killed_after_the_first)
    with pytest.raises(InterruptedError):
        toy_train(tmp_path / "killed", checkpoint_every=5)
    monkeypatch.setattr(loop, "_write", real)
    toy_train(tmp_path / "killed", checkpoint_every=5)
    assert len(written) == 1
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_kill_after_the_last_checkpoint_leaves_one_hash_beside_it(tmp_path: Path) -> None:
    """While last.pt changes, its hashes are the old and the new one; the next call keeps that of the file."""
    toy_train(tmp_path)
    beside = tmp_path / "last.pt.sha256"
    alone = beside.read_text()
    beside.write_text(f"{'0' * 64}  last.pt\n{alone}")
    toy_train(tmp_path)
    assert beside.read_text() == alone


def test_a_full_disk_stops_with_one_line_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        toy_train(tmp_path, ToyEpisodes(stop_at=5))
    before = (tmp_path / "last.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 100, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*last\.pt: File too large; free space"):
            toy_train(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_hash(tmp_path / "last.pt", "")
    assert {name.removesuffix(".sha256") for name in files(tmp_path)} == {
        "episodes.jsonl", "last.pt", "losses.csv", "step_5.pt",
    }  # fmt: skip
    assert (tmp_path / "last.pt").read_bytes() == before
    assert toy_train(tmp_path).steps == 12


def test_a_full_disk_under_the_log_stops_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*losses\.csv: No space left on device; free space"):
        toy_train(tmp_path)
