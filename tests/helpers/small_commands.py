"""Every command that writes, at toy size, for the tests that kill, stop, starve and repeat them.

The commands run in the children of `warm_commands`, whose encoders are one convolution.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from small_volumes import FACTS, write_scans
from tiny import tiny_store
from warm_commands import status_of

from episodes.io.nifti import write_nifti
from fewshot.files.temporaries import NAME

MODEL = ["--encoder", "resnet18", "--weights", "random"]
FOLD = ["--dataset", "tiny", "--folds", "0"]
DENSECL = ("epochs=2", "batch=8", "queue=16", "size=64")
NOT_COMPARED = ("logs", "runs", "locks", "cache")  # times, hosts, ids, lock files, times of pictures


@dataclass(frozen=True)
class Command:
    """A command line; `finished`: whether it needs the work folder of a finished run, else only a store."""

    words: Callable[[Path], list[str]]
    finished: bool = False


def options(values: tuple[str, ...], prefix: str = "") -> list[str]:
    """Return `--option PREFIXvalue` for every value."""
    return [word for value in values for word in ("--option", prefix + value)]


def model_of(folder: Path, method: str) -> str:
    """Return the key of the first model of a method in the finished work folder."""
    for file in sorted((folder / "work" / "models").glob("*/spec.json")):
        if json.loads(file.read_text())["method"]["name"] == method:
            return file.parent.name
    raise ValueError(f"no model of {method} in {folder}")


def first_cell(folder: Path) -> str:
    """Return the key of the cell of fold 0, upper group, under alpnet-ep1, that has predictions."""
    for file in sorted((folder / "work" / "records").glob("*.json")):
        record = json.loads(file.read_text())
        if (record["fold"], record["group"], record["method"]["name"]) == (0, "upper", "ssl-alpnet"):
            return file.stem.partition("-")[0]
    raise ValueError(f"no such cell in {folder}")


def typed(*words: str) -> Callable[[Path], list[str]]:
    """Return a function that returns these words, whatever the folder."""
    return lambda _folder: list(words)


def segmentation(folder: Path) -> list[str]:
    support = ["--support", "image_0.nii.gz", "label_0.nii.gz", "--query", "image_1.nii.gz", "--prepared"]
    model = model_of(folder, "ssl-alpnet")
    return ["segment", *support, "--checkpoint", model, "--out", "m.nii.gz", "--picture", "m.png"]


ALPNET = ["run", *FOLD, "--method", "ssl-alpnet", *MODEL, "--checkpoint-every", "1"]
BACKBONE = ["pretrain", "densecl", "--encoder", "resnet18", "--recipe", "small", *options(DENSECL)]
COMMANDS = {
    "run": Command(typed(*ALPNET, "--steps", "6", "--save-predictions", "--save-config", "saved.toml")),
    "run-setting-2": Command(
        typed(*ALPNET, "--setting", "2", "--steps", "4", "--option", "snapshot_every=2")
    ),
    "run-policy": Command(
        typed(*ALPNET, "--steps", "6", "--option", "snapshot_every=2", "--checkpoint-policy", "validation")
    ),
    "run-densemp": Command(
        typed(
            "run", *FOLD, "--method", "densemp", "--encoder", "resnet18", "--steps", "4",
            "--option", "stage3_steps=4", *options(DENSECL, "densecl_"), "--checkpoint-every", "1",
        )
    ),
    "run-supervoxels": Command(
        typed("run", *FOLD, "--groups", "upper", "--method", "adnet", *MODEL, "--steps", "2")
    ),
    "ablate": Command(
        typed("ablate", "dspnet", *FOLD, "--groups", "upper", *MODEL, "--steps", "2", "--seeds", "0")
    ),
    "probe": Command(
        typed(
            "probe", "--dataset", "tiny", "--encoder", "resnet18", "--seeds", "0,1", "--neighbours", "3",
            *options(DENSECL), "--format", "json", "--out", "probe.json",
        )
    ),
    "pretrain-dataset": Command(
        typed(*BACKBONE, "--dataset", "tiny", "--checkpoint-every", "2", "--out", "backbone_{fold}.pt")
    ),
    "pretrain-images": Command(
        typed(*BACKBONE, "--images", "pictures", "--checkpoint-every", "1", "--out", "backbone.pt")
    ),
    "prepare": Command(typed("prepare", "own", "scans", "--spec", "own.toml", "--workers", "1")),
    "prepare-overwrite": Command(
        typed("prepare", "own", "scans", "--spec", "own.toml", "--workers", "1", "--overwrite")
    ),
    "phantoms": Command(typed("prepare", "phantom-mri", "--size", "48", "--phantom-slices", "8")),
    "view": Command(typed("view", "tiny", "0", "--slices", "3:4")),
    "plan": Command(typed("plan", "--dataset", "tiny", "--out", "plan.json")),
    "new-method": Command(typed("new-method", "mine", "--out", "methods")),
    "evaluate": Command(
        lambda folder: ["evaluate", model_of(folder, "ssl-alpnet"), "--protocol", "alpnet-ep1,open-ep",
                        "--setting", "1", "--save-predictions"],
        finished=True,
    ),
    "evaluate-overwrite": Command(
        lambda folder: ["evaluate", model_of(folder, "ssl-alpnet"), "--setting", "1", "--save-predictions",
                        "--overwrite"],
        finished=True,
    ),
    "score": Command(
        lambda folder: ["score", f"work/predictions/{first_cell(folder)}", "--plan", "asked.json", "--name",
                        "theirs", "--labels-used", "none"],
        finished=True,
    ),
    "segment": Command(segmentation, finished=True),
    "explain": Command(
        lambda folder: ["explain", model_of(folder, "dspnet"), "--scan", "0", "--class", "liver"],
        finished=True,
    ),
    "overlay": Command(lambda folder: ["overlay", first_cell(folder)], finished=True),
    "distances": Command(typed("distances", "--dataset", "tiny", "--out", "distances.txt"), finished=True),
    "leaderboard": Command(
        typed("leaderboard", "--dataset", "tiny", "--format", "html", "--out", "board.html"), finished=True
    ),
    "table": Command(typed("table", "--format", "csv", "--out", "table.csv"), finished=True),
    "figures": Command(typed("figures", "--dataset", "tiny", "--out", "figures"), finished=True),
    "report": Command(typed("report", "--dataset", "tiny"), finished=True),
}  # fmt: skip

# "report" writes the files of "figures", and a page
WITHOUT_FIGURES = [name for name in COMMANDS if name != "figures"]


def new_base(folder: Path) -> None:
    """Make a folder with all that the commands read: a store, scans, pictures, a plan's inputs."""
    store = tiny_store(folder / "work" / "stores" / "tiny", superpixels_of=tiles)
    for number in (0, 1):
        scan = store.scan(str(number))
        place = scan.spacing_mm, scan.origin, scan.direction
        write_nifti(folder / f"image_{number}.nii.gz", np.asarray(scan.image), *place)
        write_nifti(folder / f"label_{number}.nii.gz", np.asarray(scan.labels == 1), *place)
    write_scans(folder / "scans")
    (folder / "own.toml").write_text(FACTS)
    draw = np.random.Generator(np.random.PCG64(0))
    (folder / "pictures").mkdir()
    for number in range(16):
        grey = draw.integers(0, 256, (40, 50), dtype=np.uint8)
        Image.fromarray(grey).save(folder / "pictures" / f"{number}.png")


def finish_base(folder: Path) -> None:
    """Add a finished run of all folds with predictions, a model of dspnet, and a plan for `score`."""
    run = ["run", "--dataset", "tiny", "--method", "ssl-alpnet", *MODEL, "--steps", "2", "--save-predictions"]
    for command in (
        run,
        ["run", *FOLD, "--groups", "upper", "--method", "dspnet", *MODEL, "--steps", "2"],
        ["plan", *FOLD, "--groups", "upper", "--out", "asked.json"],
    ):
        log = folder.with_name(f"{folder.name}.log")
        assert status_of(command, log, folder, 300) == 0, log.read_text()


def tiles(image: np.ndarray) -> np.ndarray:
    """Return superpixels of 13 x 13 pixels, for speed."""
    _, height, width = image.shape
    rows, columns = np.mgrid[:height, :width] // 13
    return np.broadcast_to(rows * 5 + columns + 1, image.shape).astype(np.uint16)


def renew(trial: Path, base: Path) -> None:
    """Make `trial` an exact copy of `base`."""
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(base, trial, symlinks=True)


def contents(folder: Path) -> dict[str, str]:
    """Return relative path -> sha256 of every file that the inputs determine.

    The commit is left out of records: somebody may commit while a long test runs.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not set(NOT_COMPARED) & set(name.parts) and path.suffix != ".lock":
            content = path.read_bytes()
            if "records" in name.parts:
                record = json.loads(content)
                del record["environment"]["commit"], record["environment"]["dirty"]
                content = json.dumps(record).encode()
            found[str(name)] = hashlib.sha256(content).hexdigest()
    return {name: digest for name, digest in found.items() if Path(name).name != ".lock"}


def left_over(folder: Path) -> list[str]:
    """Return the temporary files and folders under `folder`."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob(".*"))
        if NAME.fullmatch(path.name) or ".partial" in path.name
    ]
