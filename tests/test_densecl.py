"""DenseCL's step against the released program's, its queues, and two processes against one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fewshot.commands import verify
from fewshot.densecl import RECIPES, DenseCL, DenseCLRecipe
from fewshot.encoder import build_backbone, build_encoder
from fewshot.errors import UserError
from fewshot.view_pair import ViewPair, true_matches
from protocols.conformance import densecl

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
        ({"batch": 1, "queue": 8}, "batch is 1, wanted 2 or more"),
        ({"temperature": 0.0}, "temperature 0.0: wanted above 0"),
        ({"dense_weight": 1.5}, "dense_weight is 1.5, wanted 0 to 1"),
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


PROGRAM = """
import sys, torch
from pathlib import Path
from fewshot.together import joined
from fewshot.densecl import DenseCL
from fewshot.view_pair import ViewPair
from tests.test_densecl import RECIPE, pair, toy
from protocols.conformance import densecl

with joined(torch.device("cpu")) as (together, device):
    learner = toy()
    learner._together = together
    optimiser = torch.optim.SGD(learner.parameter_groups(), lr=0.1)
    for step in range(3):
        whole = pair(seed=step)
        views, boxes = (one.chunk(together.size)[together.rank] for one in (whole.views, whole.boxes))
        result = learner.loss(ViewPair(views, boxes))
        optimiser.zero_grad()
        result.total.backward()
        optimiser.step()
    torch.save(learner.state_dict(), f"{sys.argv[1]}/{together.rank}.pt")
names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in names), names  # one that outlives Python aborts the process
"""


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Without BatchNorm the shuffled halves of a batch are the batch: weights, queues and pointers agree."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, program, tmp_path], check=True, cwd=root, timeout=300, env=environment)
    learner: nn.Module = toy()
    optimiser = torch.optim.SGD(learner.parameter_groups(), lr=0.1)  # type: ignore[operator]
    for step in range(3):
        optimiser.zero_grad()
        learner.loss(pair(seed=step)).total.backward()  # type: ignore[operator]
        optimiser.step()
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in learner.state_dict().items():
        assert torch.equal(states[0][name], states[1][name]), name
        torch.testing.assert_close(states[0][name], value, rtol=1e-4, atol=1e-6, msg=name)
