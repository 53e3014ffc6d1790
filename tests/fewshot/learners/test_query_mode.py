"""Results depend on neither --batch nor --save-predictions, whatever a learner does with its query batch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import broken_learners
import pytest
from broken_learners import (
    ComparesPartsTogether,
    SegmentOnly,
    SegmentsByTheQueryBatch,
    SegmentsPartsTogether,
    Sound,
)
from cell_plans import CPU, plans_of, reader_of
from places import HELPERS
from small_encoder import SmallEncoder
from tiny import tiny_store
from torch import Tensor

from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from fewshot.commands.main import main
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.query_mode import query_mode
from protocols.cells.evaluate import evaluate

UNDECLARED = ("SegmentsByTheQueryBatch", "NormalisesByTheQueryBatch", "EncodesByTheBatch")
LEARNERS = HELPERS / "broken_learners.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny_store(tmp_path_factory.mktemp("stores") / "tiny")


def built(method: Any) -> Any:
    if issubclass(method, PrototypeLearner):
        return method(SmallEncoder(0)).eval()
    return method()


def test_the_mode_is_what_the_class_declares() -> None:
    assert query_mode(Sound) == query_mode(SegmentOnly) == query_mode(PrototypeLearner) == "alone"
    assert query_mode(SegmentsPartsTogether) == query_mode(ComparesPartsTogether) == "together"

    class Unclear(SegmentOnly):
        transductive: Any = "yes"

    with pytest.raises(UserError, match=r"Unclear\.transductive is 'yes', expected True or False"):
        query_mode(Unclear)


@pytest.mark.parametrize("method", [SegmentsByTheQueryBatch, SegmentsPartsTogether, ComparesPartsTogether])
def test_scores_depend_on_neither_batch_nor_kept_masks(store: Store, method: Any) -> None:
    plans = plans_of(store)
    reader = reader_of(store, plans[0])
    first = evaluate(built(method), plans, reader, device=CPU, batch=1)
    assert len({score.dice for one in first for score in one.scores}) > 1
    assert evaluate(built(method), plans, reader, device=CPU, batch=2) == first
    assert evaluate(built(method), plans, reader, device=CPU, batch=64) == first
    assert evaluate(built(method), plans, reader, device=CPU, on_masks=lambda *_: None) == first


def test_segment_alone_gets_one_query_slice_or_the_part(store: Store) -> None:
    plan = plans_of(store)[0]
    counts: list[int] = []

    class Watched(SegmentOnly):
        def segment(self, support: Support, query: Tensor) -> Tensor:
            counts.append(len(query))
            return super().segment(support, query)

    class WatchedTogether(Watched):
        transductive = True

    evaluate(Watched(), [plan], reader_of(store, plan), device=CPU)
    assert counts == [1] * sum(sum(task.scored) for task in plan.tasks)
    counts.clear()
    evaluate(WatchedTogether(), [plan], reader_of(store, plan), device=CPU, batch=1)
    parts = [task for task in plan.tasks if any(task.scored)]
    assert sorted(counts) == sorted(len(task.queries) for task in parts)
    assert any(not all(task.scored) for task in parts)  # unscored slices are passed too


def test_logits_of_a_transductive_learner_get_the_part_in_one_call(store: Store) -> None:
    plan = plans_of(store)[0]
    counts: list[int] = []

    class Watched(ComparesPartsTogether):
        def logits(self, support: Tensor, masks: Tensor, query: Tensor, **context: Any) -> Tensor:  # type: ignore[override]
            counts.append(len(query))
            return super().logits(support, masks, query)

    evaluate(built(Watched), [plan], reader_of(store, plan), device=CPU, batch=1)
    assert sorted(counts) == sorted(len(task.queries) for task in plan.tasks if any(task.scored))


@pytest.mark.parametrize(
    "method", ["SegmentsByTheQueryBatch", "NormalisesByTheQueryBatch", "EncodesByTheBatch"]
)
@pytest.mark.parametrize("more", [["--batch", "1"], ["--batch", "8", "--save-predictions"]])
def test_run_refuses_an_undeclared_query_batch_and_records_nothing(
    tmp_path: Path, store: Store, method: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    shutil.copytree(store.path, work / "stores" / "tiny")
    assert main(command(work, method, *more)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fewshot: error: ")]
    assert len(lines) == 1
    for words in ("class ", ", scan ", ", slice ", "alone and in a batch", method):
        assert words in lines[0]
    assert not list(work.glob("records/*")) and not list(work.glob("predictions/*"))


@pytest.mark.parametrize("method", ["SegmentsPartsTogether", "ComparesPartsTogether"])
def test_records_of_a_transductive_learner_have_the_same_bytes(
    tmp_path: Path, store: Store, method: str
) -> None:
    work = tmp_path / "work"
    shutil.copytree(store.path, work / "stores" / "tiny")
    found = []
    for more in (["--batch", "1"], ["--batch", "8"], ["--save-predictions"]):
        assert main(command(work, method, "--overwrite", *more)) == 0
        found.append({path.name: path.read_bytes() for path in sorted(work.glob("records/*.json"))})
    assert found[0] and found[0] == found[1] == found[2]


def command(work: Path, method: str, *more: str) -> list[str]:
    trained = issubclass(getattr(broken_learners, method), PrototypeLearner)
    build = ["--encoder", "resnet18", "--weights", "random", "--steps", "0"] if trained else []
    asked = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0"]
    return [*asked, "--method", f"{LEARNERS}:{method}", *build, *more]
