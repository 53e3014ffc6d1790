"""DenseCL's step against the released program's, its queues, and two processes against one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from processes import end_well, start_together
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.commands.develop import verify
from fewshot.encoders.encoder import build_backbone, build_encoder
from fewshot.pretraining.densecl import RECIPES, DenseCL, DenseCLRecipe
from fewshot.pretraining.positive_matches import ViewPair, true_matches
from protocols.conformance.parts import densecl

RECIPE = DenseCLRecipe(batch=4, queue=8, size=64, hidden=12, out=6)
WHOLE = torch.tensor([0, 0, 64, 64, 0])


def toy(recipe: DenseCLRecipe = RECIPE) -> DenseCL:
    torch.manual_seed(0)
    query = densecl.toy_backbone()
    key = densecl.toy_backbone()
    key.load_state_dict(query.state_dict())
    return DenseCL(query, key, densecl.CHANNELS, recipe, seed=0)


def pair(count: int = 4, seed: int = 0) -> ViewPair:
    views = torch.randn(count, 2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return ViewPair(views, WHOLE.expand(count, 2, 5))


def test_every_vector(golden: Path) -> None:
    found = list(densecl.check(golden / "densecl"))
    assert len(found) == 30
    assert [verify.line(one) for one in found if not one.ok] == []


@pytest.mark.parametrize(
    "changes", [{"temperature": 0.21}, {"key_momentum": 0.99}, {"dense_weight": 0.6}], ids=str
)
def test_another_constant_is_seen(
    golden: Path, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def recipe(**settings: float) -> DenseCLRecipe:
        return DenseCLRecipe(**{**settings, **changes})  # type: ignore[arg-type]

    monkeypatch.setattr(densecl, "DenseCLRecipe", recipe)
    assert not all(one.ok for one in densecl.check(golden / "densecl"))


def test_published_recipe() -> None:
    assert RECIPES["published"] == DenseCLRecipe(
        epochs=50, batch=256, queue=65_536, size=224, learning_rate=0.0375, momentum=0.9, weight_decay=1e-4,
        temperature=0.2, key_momentum=0.999, dense_weight=0.5, hidden=2048, out=128,
    )  # fmt: skip


def test_queues_hold_the_newest_keys_in_their_order_and_wrap() -> None:
    learner = toy()
    seen: list[Tensor] = []
    for step in range(3):
        learner.move_key_encoder()
        found = learner.contrast(pair(seed=step).views[:, 0], pair(seed=step).views[:, 1])
        learner.enqueue(found.keys, found.dense_keys)
        seen.append(found.keys)
    assert torch.equal(learner.queue.T, torch.cat([seen[2], seen[1]]))
    assert int(learner.queue_ptr) == int(learner.queue2_ptr) == 4
    assert int(learner.seen) == 12


def test_first_queue_is_of_unit_keys_and_of_the_seed_alone() -> None:
    first, again = toy(), toy()
    assert torch.equal(first.queue, again.queue)
    assert torch.allclose(first.queue.norm(dim=0), torch.ones(8))
    assert not torch.equal(first.queue, first.queue2)


def test_loss_leaves_gradients_in_the_query_encoder_alone() -> None:
    learner = toy()
    learner.loss(pair()).total.backward()  # type: ignore[no-untyped-call]
    assert all(one.grad is not None for one in learner.encoder_q.parameters())
    assert all(one.grad is None for one in learner.encoder_k.parameters())
    (group,) = learner.parameter_groups()
    assert len(group["params"]) == len(list(learner.encoder_q.parameters()))


def test_told_beside_the_losses() -> None:
    """Equal views match themselves; a queue that is half filled says so."""
    learner = toy()
    views = pair().views[:, :1].expand(-1, 2, -1, -1, -1)
    parts = learner.loss(ViewPair(views, WHOLE.expand(4, 2, 5))).parts
    assert parts["match"].item() == 1.0
    assert parts["fill"].item() == 0.5
    assert 0 <= parts["first"].item() <= 1


def test_true_match_of_a_flipped_and_of_a_shifted_view() -> None:
    flipped = torch.tensor([[[0, 0, 8, 8, 0], [0, 0, 8, 8, 1]]])
    index, within = true_matches(flipped, (2, 2))
    assert index.tolist() == [[1, 0, 3, 2]]
    assert bool(within.all())
    lower = torch.tensor([[[0, 0, 8, 8, 0], [4, 0, 8, 8, 0]]])
    index, within = true_matches(lower, (2, 2))
    assert within.tolist() == [[False, False, True, True]]
    assert index[within].tolist() == [0, 1]


def test_nothing_shared_is_no_number() -> None:
    apart = torch.tensor([[0, 0, 8, 8, 0], [20, 20, 8, 8, 0]]).expand(4, 2, 5)
    assert toy().loss(ViewPair(pair().views, apart)).parts["match"].isnan()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"queue": 1000}, "a queue of 1000 keys is no multiple of the batch of 256 pictures; give .* 768"),
        ({"queue": 100}, "give for instance a queue of 256"),
        ({"batch": 1, "queue": 8}, "batch is 1, expected 2 or more"),
        ({"temperature": 0.0}, "temperature 0.0: expected above 0"),
        ({"dense_weight": 1.5}, "dense_weight is 1.5, expected 0 to 1"),
        ({"momentum": -0.1}, "momentum -0.1 and weight_decay 0.0001: expected 0 or more"),
        ({"weight_decay": -1.0}, "weight_decay -1.0: expected 0 or more"),
    ],
)
def test_numbers_that_no_training_can_have(settings: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DenseCLRecipe(**settings)  # type: ignore[arg-type]


def test_plain_backbone_begins_as_the_encoders_and_has_stride_32() -> None:
    plain, dilated = build_backbone("resnet18", 3), build_encoder("resnet18", 3).backbone
    assert plain.state_dict().keys() == dilated.state_dict().keys()
    assert all(torch.equal(value, dilated.state_dict()[name]) for name, value in plain.state_dict().items())
    assert plain(torch.zeros(1, 3, 64, 64)).shape == (1, 512, 2, 2)


def test_features_are_compared_in_float32_whatever_the_encoders_run_in() -> None:
    """From the encoders' outputs under autocast on, all is what the same numbers come to without it."""
    learner, views = toy(DenseCLRecipe(batch=4, queue=64, size=64, hidden=12, out=6)), pair().views
    told: dict[str, tuple[Tensor, ...]] = {}
    for name in ("encoder_q", "encoder_k"):
        getattr(learner, name).register_forward_hook(
            lambda _module, _given, out, name=name: told.__setitem__(name, out)
        )
    with torch.autocast("cpu", torch.bfloat16):
        found = learner.contrast(views[:, 0], views[:, 1])
        conv = learner.encoder_q[0](views[:, 0])
    assert conv.dtype == torch.bfloat16
    for name, out in list(told.items()):
        getattr(learner, name).forward = lambda _images, out=out: out
    wanted = learner.contrast(views[:, 0], views[:, 1])
    assert torch.equal(found.matches, wanted.matches)
    assert found.global_loss.dtype == torch.float32
    assert (found.global_loss, found.dense_loss) == (wanted.global_loss, wanted.dense_loss)
    assert found.first == wanted.first


def test_the_map_has_as_many_cells_as_the_recipe_says() -> None:
    backbone = build_backbone("resnet18", 0).eval()
    for size in (32, 33, 64, 72, 224):
        cells = DenseCLRecipe(size=size).cells
        assert backbone(torch.zeros(1, 3, size, size))[0, 0].numel() == cells


def parted(step: int) -> ViewPair:
    """A batch whose views show the same in the second half of it alone."""
    boxes = torch.stack((WHOLE, WHOLE)).repeat(4, 1, 1)
    boxes[:2, 1, :2] = 100
    return ViewPair(pair(seed=step).views, boxes)


PROGRAM = """
import sys, torch
from pathlib import Path
sys.path.append(sys.argv[2])
from fewshot.pretraining.distributed import init_distributed as joined
from fewshot.pretraining.densecl import DenseCL
from fewshot.pretraining.positive_matches import ViewPair
from test_densecl import parted, toy
from protocols.conformance.parts import densecl

with joined(torch.device("cpu")) as (together, device):
    learner = toy()
    learner._together = together
    given, told = [], []
    learner.encoder_k.register_forward_pre_hook(lambda module, images: given.append(images[0].clone()))
    optimiser = torch.optim.SGD(learner.parameter_groups(), lr=0.1)
    for step in range(3):
        whole = parted(step)
        views, boxes = (one.chunk(together.size)[together.rank] for one in (whole.views, whole.boxes))
        result = learner.loss(ViewPair(views, boxes))
        optimiser.zero_grad()
        result.total.backward()
        optimiser.step()
        told.append({**result.parts, "total": result.total.detach()})
    saved = {"state": learner.state_dict(), "given": given, "told": told}
    torch.save(saved, f"{sys.argv[1]}/{together.rank}.pt")
names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in names), names  # one that outlives Python aborts the process
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has after three steps: state, pictures of its key encoder, what it told."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "program.py").write_text(PROGRAM)
    end_well(start_together([str(folder / "program.py"), str(folder), str(Path(__file__).parent)], 2))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_do_what_one_does(two: list[dict[str, Any]]) -> None:
    """Without BatchNorm the shuffled halves of a batch are the batch: all that is kept or told agrees."""
    learner = toy()
    optimiser = torch.optim.SGD(learner.parameter_groups(), lr=0.1)
    for step in range(3):
        optimiser.zero_grad()
        result = learner.loss(parted(step))
        result.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        for told in (two[0]["told"][step], two[1]["told"][step]):
            torch.testing.assert_close(told.pop("total"), result.total.detach(), rtol=1e-4, atol=1e-6)
            assert told.keys() == result.parts.keys()
            for name, value in result.parts.items():
                torch.testing.assert_close(told[name], value.detach(), rtol=1e-4, atol=1e-6, msg=name)
    states = [one["state"] for one in two]
    for name, value in learner.state_dict().items():
        assert torch.equal(states[0][name], states[1][name]), name
        torch.testing.assert_close(states[0][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_key_batches_are_shuffled_between_processes(two: list[dict[str, Any]]) -> None:
    """Else BatchNorm's statistics would tell a query which keys are of its own half of the batch."""
    mixed = 0
    for step in range(3):
        whole = pair(seed=step).views[:, 1]
        places = []
        for rank in range(2):
            same = (two[rank]["given"][step][:, None] == whole).flatten(2).all(2)
            assert same.sum(1).tolist() == [1, 1]
            places.append(same.int().argmax(1).tolist())
        assert sorted(places[0] + places[1]) == [0, 1, 2, 3]
        mixed += {*places[0]} != {0, 1}
    assert mixed >= 2  # of three orders of four pictures, one in three leaves the halves
