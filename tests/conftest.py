"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from places import GOLDEN, ROOT

if TYPE_CHECKING:
    from made_backbones import MadeBackbones

    from episodes.store.store import Store


FULL_WIDTH = {
    "conformance", "encoders", "test_fingerprint", "test_rpt", "test_gmrd", "test_universeg", "test_densecl",
    "test_slurm", "test_bench",
}  # folders and modules  # fmt: skip

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # tests in the background of a shell ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def narrow(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make networks narrow, but in modules of `FULL_WIDTH`: for their vectors or their child processes."""
    from narrow_networks import narrow_networks

    full = FULL_WIDTH & {request.path.parent.name, request.path.stem}
    with nullcontext() if full else narrow_networks():
        yield


@pytest.fixture
def golden() -> Path:
    """The folder of reference vectors that travel with the repository."""
    return GOLDEN


@pytest.fixture
def shared() -> Path:
    """The folder of real prepared volumes and full reference vectors; skips where it is absent."""
    folder = Path(os.environ.get("FEWSHOT_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no folder of real volumes at {folder}; set FEWSHOT_SHARED")
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The tiny dataset, prepared once; no test may write to its folder."""
    from tiny import tiny_store

    made = tiny_store(tmp_path_factory.mktemp("made") / "tiny")
    before = _files(made.path)
    yield made
    assert _files(made.path) == before, f"a test wrote to the shared store {made.path}; use the fixture work"


@pytest.fixture
def work(tmp_path: Path, store: Store) -> Path:
    """A work folder of the test's own with the tiny dataset."""
    return _work_folder(tmp_path, store)


@pytest.fixture(scope="module")
def module_work(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    """A work folder with the tiny dataset that the tests of a module share."""
    return _work_folder(tmp_path_factory.mktemp("module"), store)


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed and their files written, but nothing is rendered: for tests of messages."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _figure, stream, **_: stream.write(b"-"))
    monkeypatch.setattr("matplotlib.figure.Figure.draw_without_rendering", lambda _figure: None)


@pytest.fixture
def as_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile traces the graph and its gradient, and leaves out the C++, which takes minutes."""
    import torch

    compile_graph = torch.compile
    monkeypatch.setattr(
        torch, "compile",
        lambda loss, mode, **how: compile_graph(loss, backend="aot_eager", **how),
    )  # fmt: skip


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """Return a function of `finished`: the folder with a finished run, else the one with a store alone.

    No test may write there; `small_commands.renew` copies one.
    """
    from small_commands import finish_base, new_base, renew

    @cache
    def base(finished: bool) -> Path:
        folder = tmp_path_factory.mktemp("bases") / "base"
        if finished:
            renew(folder, base(False))
            finish_base(folder)
        else:
            new_base(folder)
        return folder

    return base


@pytest.fixture(scope="module")
def made() -> Iterator[MadeBackbones]:
    """Random backbones in place of stage 1's training, for all tests of a module."""
    from made_backbones import MadeBackbones

    with pytest.MonkeyPatch.context() as patch:
        yield MadeBackbones().put(patch)


def _work_folder(folder: Path, store: Store) -> Path:
    shutil.copytree(store.path, folder / "work" / "stores" / "tiny")
    return folder / "work"


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# the longest files of the slow tests: begun first, so that both processes end at about the same time. The
# corpus of bad inputs forks two thousand times, which takes longer in a process that has grown.
LONGEST = (
    "test_bad_inputs", "test_verify", "test_phantoms", "test_slurm", "test_bench", "test_kill_campaign",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; the others keep their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
