"""The worked port of docs/port-a-head.md: the page quotes the file, and the file is right and trains."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from broken_learners import Sound
from places import ROOT
from small_encoder import SmallEncoder
from torch import nn

import fewshot
from fewshot.base.types import Episode
from fewshot.contract import check_method
from fewshot.registry import resolve_method

PAGE = ROOT / "docs" / "port-a-head.md"
HEAD = ROOT / "docs" / "examples" / "relation_head.py"


def quoted(language: str) -> list[str]:
    """Return the lines of the page's blocks of a language that are not empty."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


class OneChannel(nn.Identity):
    """The image is its own feature map."""

    out_channels = 1


def head() -> Any:
    """Return the head on the image itself, with weights that give relation = query + prototype - 1."""
    learner = resolve_method(f"{HEAD}:RelationHead")(OneChannel(), None)
    with torch.no_grad():
        for parameter in learner.relation.parameters():
            parameter.zero_()
        learner.relation[0].weight[0] = 1.0  # the sum of query and prototype, which ReLU leaves alone
        learner.relation[2].weight[0, 0] = 1.0
        learner.relation[2].bias[0] = -1.0
    return learner


def test_the_page_quotes_the_file() -> None:
    assert quoted("python") == [line for line in HEAD.read_text(encoding="utf-8").splitlines() if line]


def test_scores_and_loss_are_those_worked_out_by_hand() -> None:
    support = torch.tensor([[[[2.0, 0.0], [2.0, 0.0]]]])
    mask = torch.tensor([[[True, False], [True, False]]])
    query = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    probability = head().logits(support, mask, query).softmax(dim=1)[0, 1]
    high, low = 1 / (1 + 2.718281828**-2), 1 / (1 + 2.718281828**-1)  # relation 2 and 1, prototype 2
    assert torch.allclose(probability, torch.tensor([[low, high], [low, high]]), atol=1e-4)
    result = head().loss(Episode(support[None], mask[None], query[None], mask[None], {}, "by hand"))
    wanted = (2 * (low - 1) ** 2 + 0.2 * high**2) / 2.2  # weights 1 and 0.1
    assert result.parts.keys() == {"relation"} and bool(result.defined)
    assert torch.allclose(result.total, torch.tensor(wanted), atol=1e-4)


def test_the_head_keeps_the_contract() -> None:
    results = check_method(resolve_method(f"{HEAD}:RelationHead"), SmallEncoder)
    assert {result.status for result in results} == {"ok"}


def test_the_loss_of_the_guide_keeps_the_contract() -> None:
    """The example of docs/add-a-method.md, with the scores of a sound method."""
    text = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    (snippet,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "episode_loss" in one]
    names = {"PrototypeLearner": Sound, "torch": torch, "F": torch.nn.functional}
    names |= {name: getattr(fewshot, name) for name in ("call_logits", "resize_scores")}
    exec(snippet, names)
    method: Any = names["MyMethod"]
    assert {result.status for result in check_method(method, SmallEncoder)} == {"ok"}
    assert method.loss_parts == ("query", "compactness")


def test_a_loss_under_the_old_name_is_refused() -> None:
    with pytest.raises(fewshot.UserError, match=r"defines _episode_loss.*rename it episode_loss"):
        type("Old", (fewshot.PrototypeLearner,), {"_episode_loss": lambda *_: None})
