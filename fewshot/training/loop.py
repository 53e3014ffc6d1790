"""The episodic training loop: one optimiser step per batch, resumable, byte-repeatable on the CPU.

Rules M-OPT-1 to M-OPT-6 of docs/methods.md. A step whose episodes have no defined loss counts as a step but
moves neither optimiser nor schedule. Its forward pass has run by then, so BatchNorm's running statistics do
move, as in the released programs.
"""

from __future__ import annotations

import dataclasses
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn

from fewshot.base.errors import UserError
from fewshot.base.malloc import blocks_of_every_size
from fewshot.base.precision import check_precision
from fewshot.base.progress import Progress, progress
from fewshot.base.seeds import seed_for
from fewshot.encoders.checkpoints import check_finite, read_checkpoint
from fewshot.files.atomic_io import canonical_json
from fewshot.files.input_files import parse_json
from fewshot.files.seals import check_hash, drop_old_hashes, write_hashed
from fewshot.training.log import TrainingLog
from fewshot.training.optimizer_step import Example, Schedule, Stepper, StepResult
from fewshot.training.stop_signal import stop_is_due

E = TypeVar("E", bound=Example)
CHECKPOINT_KEYS = {"identity", "step", "moves", "skipped", "model", "optimiser", "random", "marks"}


@dataclass(frozen=True)
class TrainingResult:
    """Position of a training: steps done, and the number of their episodes without a defined loss.

    `taken`: steps that this call added; `seconds`: how long they took.
    """

    steps: int
    skipped: int
    taken: int = field(default=0, compare=False)
    seconds: float = field(default=0.0, compare=False)


@dataclass
class _Position:
    """Steps done, steps that moved the weights (they drive the schedule), episodes skipped."""

    step: int = 0
    moves: int = 0
    skipped: int = 0


def train(
    learner: nn.Module,
    recipe: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    episodes: Callable[[range], Iterator[E]],
    precision: str = "float32",
    checkpoint_every: int = 1000,
    channels_last: bool = False,
    compiled: bool = False,
    title: str = "training",
    writes: bool = True,
    training: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train `learner` in place to `recipe.steps`, from `folder`/last.pt if it exists.

    The same call after a kill continues from last.pt to the same weights and the same losses.csv (CPU). A
    finished folder is only read. The learner's own draws come from torch's default generator, which is seeded
    here and saved in last.pt; the caller's random state stays. On a GPU the host reads a step's scalars one
    step later (`Stepper`), so a skipped episode acts on the schedule one step late.

    Args:
        learner: has `loss` and `parameter_groups`; moves to `device`.
        recipe: steps, rates and `snapshot_every`.
        folder: receives last.pt (model, optimiser, schedule, step, random state, identity, as tensors and
            plain values), step_N.pt (model, step, skipped, identity), each with its hash beside it,
            losses.csv and episodes.jsonl.
        seed: of the training.
        device: the device to train on.
        episodes: `episodes(range(a, b))` yields the episodes of steps a .. b-1. If the iterator has `close`,
            it is called.
        precision: "bf16" runs the loss under autocast.
        checkpoint_every: steps between two writes of last.pt, which is also written at the end.
        channels_last: whether weights have torch's channels-last memory format.
        compiled: whether torch compiles the loss (`fewshot/training/compile_step.py`).
        title: text of the progress bar.
        writes: whether this process writes; with several processes only one does, and all resume from it.
        training: key and data of the training, plain JSON values; part of the identity in every checkpoint.

    Returns:
        Steps done and episodes skipped.

    Raises:
        UserError: a loss or weights are not finite; last.pt is damaged, changed or of another training.
    """
    check_precision(precision)
    if checkpoint_every < 1:
        raise UserError(f"checkpoint_every is {checkpoint_every}, expected at least 1 step")
    folder.mkdir(parents=True, exist_ok=True)
    learner.to(device)
    if channels_last:
        cast(Any, learner).to(memory_format=torch.channels_last)
    settings = dataclasses.asdict(cast(Any, recipe))
    same = {"recipe": settings, "seed": seed, "precision": precision, "channels_last": channels_last}
    same |= {"compiled": True} if compiled else {}
    same |= {"training": dict(training)} if training is not None else {}
    identity = canonical_json(same)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for("training", seed))
        stepper = Stepper(learner, recipe, device, precision, uses_async_readback(device), compiled)
        run = _Run(learner, recipe, folder, identity, device, stepper, writes)
        marks = run.resume()
        begun, started = run.at.step, time.perf_counter()
        if marks is None or run.at.step < recipe.steps:
            with blocks_of_every_size():
                run.train(episodes, marks or {}, checkpoint_every, title)
    seconds = time.perf_counter() - started
    return TrainingResult(run.at.step, run.at.skipped, run.at.step - begun, seconds)


def uses_async_readback(device: torch.device) -> bool:
    """Whether the host reads a step's scalars one step later; True where host and device run in parallel."""
    return device.type == "cuda"


class _Run:
    """One training: learner, optimiser and position, and the checkpoints that store them."""

    def __init__(
        self,
        learner: nn.Module,
        recipe: Schedule,
        folder: Path,
        identity: str,
        device: torch.device,
        stepper: Stepper,
        writes: bool,
    ) -> None:
        self._learner = learner
        self._recipe = recipe
        self._folder = folder
        self._identity = identity
        self._device = device
        self._writes = writes
        self._stepper = stepper
        self.at = _Position()

    def train(
        self,
        episodes: Callable[[range], Iterator[Example]],
        marks: dict[str, int],
        checkpoint_every: int,
        title: str,
    ) -> None:
        """Train from the current position to the last step; write log and checkpoints."""
        steps = self._recipe.steps
        self._learner.train()
        self._stepper.prepare_optimizer()
        with ExitStack() as stack:
            log = stack.enter_context(TrainingLog(self._folder, marks)) if self._writes else None
            bar = stack.enter_context(
                progress(steps, title, "step", initial=self.at.step, shown=self._writes)
            )
            stream = episodes(range(self.at.step, steps))
            if hasattr(stream, "close"):
                stack.callback(stream.close)
            for episode in stream:
                self._step(episode, log, bar)
                step = self.at.step + self._stepper.unread
                every = self._recipe.snapshot_every
                save = (step % checkpoint_every == 0 or stop_is_due()) and step < steps
                snapshot = every > 0 and step % every == 0
                if save or snapshot or step == steps:
                    self._note(self._stepper.read_all(), log, bar)
                    remedy = "lower learning_rate, or look at the episodes of the last steps"
                    check_finite(self._learner.state_dict(), f"the learner after step {step}", remedy)
                if snapshot and log is not None:
                    self._snapshot()  # before last.pt: a training killed between the two takes the step again
                if save and log is not None:
                    self._save(log)
                if save and stop_is_due():
                    raise KeyboardInterrupt
            if self.at.step != steps:
                raise ValueError(f"the episodes ended after step {self.at.step}, expected {steps}")
            if log is not None:
                self._save(log)

    def _step(self, episode: Example, log: TrainingLog | None, bar: Progress) -> None:
        unread = self._stepper.unread
        rate = self._recipe.rate_after(self.at.moves + unread)
        self._note(self._stepper.take(episode, self.at.step + unread + 1, rate), log, bar)

    def _note(self, steps: Sequence[StepResult], log: TrainingLog | None, bar: Progress) -> None:
        for result in steps:
            self.at.step = result.step
            self.at.skipped += result.skipped
            self.at.moves += result.defined
            if log is not None:
                log.add(result.step, result.parts, result.total, result.rate, result.defined, result.label)
            losses = " ".join(f"{name} {value:.3f}" for name, value in result.parts.items())
            bar.note(f"{losses} rate {result.rate:.2e} skipped {self.at.skipped}")
            bar.update(1)

    def _save(self, log: TrainingLog) -> None:
        """Write last.pt after the log has reached the disk, so that the log is never behind it."""
        random = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self._device)
        state = {
            "identity": self._identity,
            "marks": log.marks(),
            "step": self.at.step,
            "moves": self.at.moves,
            "skipped": self.at.skipped,
            "model": self._learner.state_dict(),
            "optimiser": _with_interned_names(self._stepper.optimiser.state_dict()),
            "random": random,
        }
        _write(self._folder / "last.pt", state)

    def _snapshot(self) -> None:
        state = {
            "identity": self._identity,
            "step": self.at.step,
            "skipped": self.at.skipped,
            "model": self._learner.state_dict(),
        }
        _write(self._folder / f"step_{self.at.step}.pt", state)

    def resume(self) -> dict[str, int] | None:
        """Load last.pt and return the log's sizes in bytes at its step; None without a last.pt.

        Raises:
            UserError: last.pt is damaged, of another training, of another learner, or not finite.
        """
        path = self._folder / "last.pt"
        if not path.exists():
            return None
        state = _checkpoint(path)
        if self._writes:
            drop_old_hashes(path)
        if state["identity"] != self._identity:
            theirs, ours = _differing(state["identity"], self._identity)
            raise UserError(
                f"{path} belongs to a training with {theirs}, expected {ours}; use another folder, or delete "
                "it to train anew"
            )
        wanted = {name: value.shape for name, value in self._learner.state_dict().items()}
        found = {name: value.shape for name, value in state["model"].items()}
        if wanted != found:
            differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
            raise UserError(
                f"{path} is of another learner: {len(differing)} of its entries are missing, extra or of "
                f"another shape, first {differing[0]!r}; use another folder, or delete it to train anew"
            )
        check_finite(state["model"], f"checkpoint {path}", "delete it to train anew")
        self._learner.load_state_dict(state["model"])
        self._stepper.optimiser.load_state_dict(state["optimiser"])
        self.at = _Position(state["step"], state["moves"], state["skipped"])
        torch.set_rng_state(state["random"]["cpu"])
        if self._device.type == "cuda" and "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"], self._device)
        marks: dict[str, int] = state["marks"]
        return marks


def _with_interned_names(state: Any) -> Any:
    """Return the state of an optimiser with interned keys.

    A pickle writes a name once for each object. Loaded names are objects of their own, so without this a
    resumed Adam would write other bytes than one that never stopped.
    """
    if isinstance(state, dict):
        return {
            sys.intern(key) if isinstance(key, str) else key: _with_interned_names(value)
            for key, value in state.items()
        }
    return [_with_interned_names(value) for value in state] if isinstance(state, list) else state


def training_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `training` of `train` in a checkpoint's identity; empty for a checkpoint without one."""
    identity = state.get("identity")
    content = _identity(identity) if isinstance(identity, str) else {}
    training = content.get("training") if isinstance(content, dict) else None
    return training if isinstance(training, dict) else {}


def _identity(text: str) -> Any:
    return parse_json(text, "the identity in a checkpoint", "train again")


def _differing(theirs: str, ours: str) -> tuple[str, str]:
    """Return the parts of two identities that differ, as JSON texts."""
    one, two = _identity(theirs), _identity(ours)
    names = [name for name in one | two if one.get(name) != two.get(name)]
    return canonical_json({name: one.get(name) for name in names}), canonical_json(
        {name: two.get(name) for name in names}
    )


def _write(path: Path, state: dict[str, Any]) -> None:
    """Save to memory first: torch's own error for a full disk does not mention the disk."""
    content = io.BytesIO()
    torch.save(state, content)
    write_hashed(path, content.getbuffer())


def _checkpoint(path: Path) -> dict[str, Any]:
    """Read last.pt without unpickling objects; `UserError` if it is damaged, changed or lacks an entry."""
    try:
        check_hash(path, "restore it")
        state = read_checkpoint(path)
    except UserError as error:
        raise UserError(f"{error}; or delete {path} to train anew") from error
    if state.keys() != CHECKPOINT_KEYS:
        raise UserError(
            f"{path} is not a training checkpoint (expected the entries "
            f"{', '.join(sorted(CHECKPOINT_KEYS))}); delete it to train anew"
        )
    return state
