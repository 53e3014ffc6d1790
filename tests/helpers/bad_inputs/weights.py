"""Bad weights: checkpoint files, files of `--weights`, last.pt of a model; patterns; users' Python files."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bad_inputs.case import Base, Case, own_work
from bad_inputs.files import everything, few, writer
from fewshot.files.seals import write_hashed

Alter = Callable[[dict[str, Any]], Any]


def saved(content: Any, legacy: bool = False) -> bytes:
    """Return the bytes that torch.save writes for a value."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


class Opaque:
    """A class that no reader of weights may build."""


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/ran-by-a-checkpoint",)


def evaluate_checkpoint(put: Callable[[Path, Path], None], folder: Path, base: Base) -> Sequence[str]:
    """Evaluate a bad checkpoint file."""
    path = folder / "net.pth"
    put(path, base.weights)
    return [
        "evaluate", "--checkpoint", str(path), "--method", "ssl-alpnet", "--encoder", "resnet18", "--dataset",
        "tiny", "--setting", "1", "--folds", "0", "--groups", "upper", "--work", str(own_work(folder, base)),
    ]  # fmt: skip


def run_weights(put: Callable[[Path, Path], None], folder: Path, base: Base) -> Sequence[str]:
    """Begin a training of no steps from a bad file of weights."""
    path = folder / "backbone.pth"
    put(path, base.weights)
    return [
        "run", "--dataset", "tiny", "--method", "panet", "--encoder", "resnet18", "--weights", str(path),
        "--steps", "0", "--folds", "0", "--groups", "upper", "--work", str(own_work(folder, base)),
    ]  # fmt: skip


def evaluate_last(put: Callable[[Path, Path], None], folder: Path, base: Base) -> Sequence[str]:
    """Evaluate a model whose last.pt is bad."""
    work = own_work(folder, base, "models")
    path = work / "models" / base.model / "last.pt"
    path.unlink()
    put(path, base.work / "models" / base.model / "last.pt")
    write_hashed(path, path.read_bytes())
    return ["evaluate", base.model, "--folds", "0", "--groups", "upper", "--work", str(work)]


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    return lambda path, good: path.write_bytes(change(good.read_bytes())) and None


def _altered(alter: Alter, legacy: bool = False) -> Callable[[Path, Path], None]:
    return lambda path, good: path.write_bytes(saved(alter(torch.load(good)), legacy)) and None


def _first(state: dict[str, Any]) -> str:
    return next(iter(state))


def _with(change: Callable[[torch.Tensor], Any]) -> Alter:
    return lambda state: {**state, _first(state): change(state[_first(state)])}


def _compressed(raw: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return stream.getvalue()


def _bomb(_raw: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data/0", "w", force_zip64=True) as out:
            for _number in range(16):
                out.write(bytes(8 << 20))
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}, 2))
        archive.writestr("archive/version", "3")
    return stream.getvalue()


def _numel(raw: bytes) -> bytes:
    """Raise the number of elements of each storage in the pickle of a legacy file."""
    return raw.replace(b"K@tq", b"J\xff\xff\xff\x7ftq", 1)


def _scripted(_raw: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("net/constants.pkl", pickle.dumps((), 2))
        archive.writestr("net/data.pkl", pickle.dumps((), 2))
        archive.writestr("net/code/__torch__.py", "class Net: pass")
        archive.writestr("net/version", "3")
    return stream.getvalue()


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda raw: raw[:-100],
    "half": lambda raw: raw[: len(raw) // 2],
    "beginning": lambda raw: raw[:1000],
    "cut-front": lambda raw: raw[1000:],
    "compressed": _compressed,
    "bomb": _bomb,
    "torchscript": _scripted,
    "pickle-cut": lambda _raw: pickle.dumps({"a": list(range(999))}, 2)[:400],
    "pickle-of-numbers": lambda _raw: pickle.dumps({"a": 1.0}, 2),
    "pickle-runs-code": lambda _raw: pickle.dumps(_Runs(), 2),
    "pickle-deep": lambda _raw: b"\x80\x02" + b"]" * 200_000 + b"a" * 100_000 + b".",
    "pickle-long-length": lambda _raw: b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"\x8c\x05hello.",
    "safetensors": lambda _raw: (
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(64)
    ),
    "zip-without-pickle": lambda raw: _kept(raw, lambda name: not name.endswith("data.pkl")),
    "zip-without-data": lambda raw: _kept(raw, lambda name: "/data/" not in name),
}
ALTERED: dict[str, Alter] = {
    "a-list": lambda state: list(state.values()),
    "a-tensor": lambda state: state[_first(state)],
    "a-number": lambda _state: 3,
    "a-text": lambda _state: "weights",
    "null": lambda _state: None,
    "no-weights": lambda _state: {},
    "names-are-numbers": lambda state: dict(enumerate(state.values())),
    "names-mixed": lambda state: {**state, 5: state[_first(state)]},
    "without-one": lambda state: dict(list(state.items())[1:]),
    "one-more": lambda state: {**state, "more.weight": torch.zeros(3)},
    "many-more": lambda state: {**state, **{f"more.{number}": torch.zeros(1) for number in range(500)}},
    "one-a-text": _with(lambda _value: "zero"),
    "one-a-list": _with(lambda value: value.tolist()),
    "one-of-another-shape": _with(lambda value: value[:1]),
    "one-nan": _with(lambda value: value * float("nan")),
    "one-infinite": _with(lambda value: value + float("inf")),
    "one-complex": _with(lambda value: value.to(torch.complex64)),
    "one-integer": _with(lambda value: value.to(torch.int64)),
    "one-boolean": _with(lambda value: value > 0),
    "one-sparse": _with(lambda value: value.to_sparse()),
    "one-meta": _with(lambda value: value.to("meta")),
    "one-expanded-to-terabytes": _with(lambda _value: torch.zeros(1).expand(10**6, 10**6)),
    "prefixed": lambda state: {f"net.{name}": value for name, value in state.items()},
    "half-prefixed": lambda state: {
        (f"module.{n}" if i % 2 else n): v for i, (n, v) in enumerate(state.items())
    },
    "under-two-names": lambda state: {"state_dict": state, "model": state},
    "optimiser-alone": lambda _state: {"optimizer": {"state": {}, "param_groups": []}},
    "hostile-names": lambda _state: {"evil\x1b[2J\u202e": torch.zeros(1), "=1+1": torch.zeros(1)},
    "pickled-object": lambda state: {**state, "about": Opaque()},
    "pickled-module": lambda _state: torch.nn.Linear(2, 2),
    "ordered-of-objects": lambda _state: OrderedDict(a=Opaque()),
}
LAST: dict[str, Alter] = {
    "a-list": lambda state: list(state),
    "without-model": lambda state: {k: v for k, v in state.items() if k != "model"},
    "without-step": lambda state: {k: v for k, v in state.items() if k != "step"},
    "without-skipped": lambda state: {k: v for k, v in state.items() if k != "skipped"},
    "step-a-text": lambda state: {**state, "step": "none"},
    "step-other": lambda state: {**state, "step": 7},
    "skipped-a-list": lambda state: {**state, "skipped": [0]},
    "model-a-list": lambda state: {**state, "model": list(state["model"].values())},
    "model-empty": lambda state: {**state, "model": {}},
    "model-nan": lambda state: {**state, "model": _with(lambda value: value * float("nan"))(state["model"])},
    "model-integer": lambda state: {**state, "model": _with(lambda value: value.long())(state["model"])},
}


def _kept(raw: bytes, keep: Callable[[str], bool]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if keep(entry.filename):
                new.writestr(entry.filename, old.read(entry))
    return stream.getvalue()


PATTERNS: dict[str, str] = {
    "width": "{fold:1000000000}",
    "width-text": "{group:>1000000000}",
    "attribute": "{fold.__class__.__mro__}",
    "index": "{group[0]}",
    "conversion": "{fold!r}",
    "number": "{0}",
    "empty": "{}",
    "unknown": "{scan}",
    "open": "{fold",
    "close": "fold}",
    "doubled": "{{fold}}",
    "nested": "{fold:{group}}",
    "nowhere": "nowhere/{fold}/{group}",
    "long": "x" * 4000 + "{fold}",
    "device": "/dev/zero",
    "escape": "evil\x1b[2J{fold}",
}


def score_pattern(pattern: str, _folder: Path, base: Base) -> Sequence[str]:
    """Score masks under a bad pattern of folders."""
    more = ["--plan", str(base.plan), "--name", "theirs", "--labels-used", "none", "--work", str(base.work)]
    return ["score", pattern, *more]


def checkpoint_pattern(pattern: str, _folder: Path, base: Base) -> Sequence[str]:
    """Evaluate checkpoints under a bad pattern of files."""
    return [
        "evaluate", "--checkpoint", pattern, "--method", "panet", "--encoder", "resnet18", "--dataset", "tiny",
        "--setting", "1", "--folds", "0", "--work", str(base.work),
    ]  # fmt: skip


METHOD = b"from fewshot.learner import PrototypeLearner\n\n\nclass Mine(PrototypeLearner):\n    version = 1\n"
CODE: dict[str, bytes] = {
    "syntax": b"def broken(:\n    pass\n",
    "indentation": b"class Mine:\n  a = 1\n    b = 2\n",
    "tabs": b"class Mine:\n\ta = 1\n        b = 2\n",
    "name-error": b"x = undefined_name\n",
    "zero-division": b"x = 1 / 0\n",
    "key-error": b"x = {}['a']\n",
    "assertion": b"assert False, 'no'\n",
    "raises-text": b"raise ValueError('evil\\x1b[2J\\u202e')\n",
    "raises-long": b"raise ValueError('x' * 1000000)\n",
    "raises-base-exception": b"class Stop(BaseException):\n    pass\n\n\nraise Stop\n",
    "raises-group": b"raise ExceptionGroup('many', [ValueError('a')])\n",
    "exit": b"import sys\nsys.exit()\n",
    "exit-0": b"import sys\nsys.exit(0)\n",
    "exit-3": b"import sys\nsys.exit(3)\n",
    "exit-text": b"import sys\nsys.exit('bye')\n",
    "exit-builtin": b"exit()\n",
    "system-exit": b"raise SystemExit\n",
    "import-missing": b"import surely_not_installed_package\n",
    "import-missing-deep": b"from surely_not_installed_package.deep import thing\n",
    "import-name-missing": b"from fewshot.learner import NoSuchThing\n",
    "import-itself": b"import fewshot_user_mine\nfrom fewshot_user_mine import Nothing\n",
    "recursion": b"def f():\n    f()\n\n\nf()\n",
    "deep": b"x = " + b"(" * 5000 + b"1" + b")" * 5000 + b"\n",
    "deep-operators": b"x = " + b"-" * 100_000 + b"1\n",
    "nul": b"x = 1\x00\n",
    "latin-1": "x = 'Größe'\n".encode("latin-1"),
    "utf-16": "x = 1\n".encode("utf-16"),
    "coding-unknown": b"# -*- coding: elvish -*-\nx = 1\n",
    "no-class": b"x = 1\n",
    "class-is-a-function": b"def Mine():\n    pass\n",
    "class-without-anything": b"class Mine:\n    pass\n",
    "empty": b"",
    "html": b"<!DOCTYPE html>\n<html></html>\n",
    "python-2": b"print 'hello'\n",
    "open-string": b"x = 'abc\n",
    "large-number": b"x = " + b"9" * 5000 + b"\n",
    "memory": b"x = 'a' * (1 << 62)\n",
}


def run_code(put: Callable[[Path], None], folder: Path, base: Base) -> Sequence[str]:
    """Run a user's method from a bad file."""
    path = folder / "mine.py"
    put(path)
    return [
        "run", "--dataset", "tiny", "--method", f"{path}:Mine", "--folds", "0", "--groups", "upper", "--work",
        str(own_work(folder, base)),
    ]  # fmt: skip


def cases() -> Iterator[Case]:
    """Yield the bad weights, patterns and Python files."""
    for kind, make in (("checkpoint", evaluate_checkpoint), ("weights", run_weights)):
        for name, put in (everything() if kind == "checkpoint" else few()).items():
            yield Case(f"{kind}/{name}", partial(make, lambda path, _good, put=put: put(path)), "")
        for name, change in BYTES.items() if kind == "checkpoint" else ():
            yield Case(f"{kind}/{name}", partial(make, _bytes(change)), ".pth")
        for name, alter in ALTERED.items():
            yield Case(f"{kind}/{name}", partial(make, _altered(alter)), ".pth")
    yield Case("checkpoint/legacy-numel", partial(evaluate_checkpoint, _legacy_numel), ".pth")
    for name, change in BYTES.items():
        yield Case(f"last/{name}", partial(evaluate_last, _bytes(change)), "last.pt")
    for name, alter in LAST.items():
        yield Case(f"last/{name}", partial(evaluate_last, _altered(alter)), "")
    for name, pattern in PATTERNS.items():
        yield Case(f"pattern/score-{name}", partial(score_pattern, pattern), "")
        yield Case(f"pattern/checkpoint-{name}", partial(checkpoint_pattern, pattern), "")
    for name, content in CODE.items():
        yield Case(f"code/{name}", partial(run_code, writer(content)), "mine.py")
    for name in ("dead-link", "pipe", "folder", "device"):
        yield Case(f"code/{name}", partial(run_code, everything()[name]), "mine.py")


def _legacy_numel(path: Path, _good: Path) -> None:
    raw = saved({"a": torch.zeros(64)}, legacy=True)
    path.write_bytes(raw.replace(b"K@", b"J\xff\xff\xff\x7f"))
