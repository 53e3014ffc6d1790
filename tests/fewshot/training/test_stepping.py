"""Steps that are queued and read later, as on a GPU, tried on the CPU: the same training by another way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from toy_training import RECIPE, UNDEFINED, NanWhereUndefined, ToyEpisodes, ToyLearner, rows, toy_train

from fewshot.base.errors import UserError
from fewshot.training import loop as training
from fewshot.training.loop import TrainingResult, uses_async_readback
from fewshot.training.optimizer_step import Stepper


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "uses_async_readback", lambda _device: True)


def test_only_a_gpu_reads_later() -> None:
    assert uses_async_readback(torch.device("cuda:0")) and not uses_async_readback(torch.device("cpu"))


@pytest.mark.parametrize("undefined", [{}, UNDEFINED, {4: "undefined", 5: "undefined"}])
def test_the_same_weights_whether_read_at_once_or_later(
    tmp_path: Path, undefined: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held-back updates move neither weights nor momentum; the clock of the schedule is one step late."""

    recipe = dataclasses.replace(RECIPE, decay=1.0)
    at_once, later = ToyLearner(), ToyLearner()
    result = toy_train(tmp_path / "once", ToyEpisodes(undefined), recipe, at_once)
    monkeypatch.setattr(training, "uses_async_readback", lambda _device: True)
    assert toy_train(tmp_path / "later", ToyEpisodes(undefined), recipe, later) == result
    for name, value in at_once.state_dict().items():
        torch.testing.assert_close(later.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    columns = ("step", "rate", "defined")
    tables = [[[row[key] for key in columns] for row in rows(tmp_path / one)] for one in ("once", "later")]
    assert tables[0] == tables[1]
    states = [torch.load(tmp_path / one / "last.pt", weights_only=True) for one in ("once", "later")]
    assert states[0]["moves"] == states[1]["moves"] == 12 - len(undefined)


@pytest.mark.usefixtures("later")
def test_what_is_undefined_never_touches_the_weights(tmp_path: Path) -> None:
    learner = NanWhereUndefined()
    assert toy_train(tmp_path, ToyEpisodes(UNDEFINED), learner=learner) == TrainingResult(12, 4)
    assert all(parameter.isfinite().all() for parameter in learner.parameters())
    table = rows(tmp_path)
    assert [row["defined"] for row in table] == list("011100111110")
    # at once, steps 2, 3 and 4 have the first rate; here step 1 was still taken for one that moves
    rates = [float(row["rate"]) for row in table if row["defined"] == "1"]
    assert rates == [0.05] * 3 + [0.025] * 3 + [0.0125] * 2


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("stop_at", [0, 3, 5, 9])
def test_an_interrupted_training_goes_on_from_its_checkpoint(tmp_path: Path, stop_at: int) -> None:
    whole, resumed = ToyLearner(), ToyLearner()
    toy_train(tmp_path / "whole", learner=whole)
    with pytest.raises(InterruptedError):
        toy_train(tmp_path / "cut", ToyEpisodes(stop_at=stop_at))
    toy_train(tmp_path / "cut", learner=resumed)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@pytest.mark.usefixtures("later")
def test_a_loss_that_is_not_finite_names_its_own_step_and_is_in_no_checkpoint(tmp_path: Path) -> None:
    learner = ToyLearner()
    with pytest.raises(UserError, match=r"the loss of step 8 is not finite \(query nan, .*episode 'nan'\)"):
        toy_train(tmp_path, ToyEpisodes({7: "nan"}), learner=learner)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 4
    assert all(parameter.isfinite().all() for parameter in learner.parameters())


def test_a_checkpoint_of_the_other_way_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun one way, gone on with in the other, ended in the first: the weights of a training of one way."""
    once, folder = tmp_path / "once", tmp_path / "in turns"
    toy_train(once)
    with pytest.raises(InterruptedError):
        toy_train(folder, ToyEpisodes(stop_at=6))
    for way, stop_at in ((True, 9), (False, None)):
        monkeypatch.setattr(training, "uses_async_readback", lambda _device, way=way: way)
        try:
            assert toy_train(folder, ToyEpisodes(stop_at=stop_at)).steps == 12
        except InterruptedError:
            assert stop_at is not None
    found, wanted = (torch.load(one / "last.pt", weights_only=True)["model"] for one in (folder, once))
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_numbers_are_read_one_step_later_and_all_at_the_end() -> None:
    episodes = list(ToyEpisodes()(range(3)))
    stepper = Stepper(ToyLearner(), RECIPE, torch.device("cpu"), "float32", async_readback=True)
    stepper.prepare_optimizer()
    told = [[one.step for one in stepper.take(episode, n, 0.1)] for n, episode in enumerate(episodes, 1)]
    assert told == [[], [1], [2]] and stepper.unread == 1
    assert [one.step for one in stepper.read_all()] == [3] and stepper.unread == 0
