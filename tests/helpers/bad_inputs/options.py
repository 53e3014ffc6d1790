"""Bad options of every command: by the type of each option, and by hand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from bad_inputs.case import Base, Case
from fewshot.commands.parsers import PACKAGE_OF, command_parser

HUGE = "9" * 30


def _argv(argv: Sequence[str], folder: Path, base: Base) -> Sequence[str]:
    """Return a command line with places filled in: {work}, {scans}, {masks}, {plan}, {model}, {folder}."""
    places = {
        "work": base.work, "scans": base.scans, "masks": base.masks, "plan": base.plan, "model": base.model,
        "folder": folder, "weights": base.weights,
    }  # fmt: skip
    filled = []
    for word in argv:
        for name, value in places.items():
            word = word.replace(f"<{name}>", str(value))
        filled.append(word)
    return filled


def _generated() -> Iterator[tuple[str, Sequence[str]]]:
    """Yield wrong words for every option of every command: no value, no number, no choice."""
    for command in PACKAGE_OF:
        yield f"{command}-unknown-option", [command, "--no-such-option"]
        for action in command_parser(command)._actions:
            if not action.option_strings or isinstance(action, argparse._HelpAction):
                continue
            option = action.option_strings[-1]
            if action.nargs == 0:
                yield f"{command}{option}-with-value", [command, f"{option}=yes"]
                continue
            if action.type is int:
                yield f"{command}{option}-text", [command, option, "many"]
                yield f"{command}{option}-float", [command, option, "1.5"]
            elif action.type is float:
                yield f"{command}{option}-text", [command, option, "much"]
            elif action.choices is not None:
                yield f"{command}{option}-choice", [command, option, "\x1b[31mnobody"]
            else:
                yield f"{command}{option}-without-value", [command, option]


PLAN = ["plan", "--dataset", "tiny", "--work", "<work>"]
RUN = [
    "run",
    "--dataset",
    "tiny",
    "--method",
    "copy-support",
    "--folds",
    "0",
    "--groups",
    "upper",
    "--work",
    "<work>",
]
TRAIN = ["run", "--dataset", "tiny", "--method", "panet", "--encoder", "resnet18", "--weights", "random", "--steps", "0", "--folds", "0", "--groups", "upper", "--work", "<folder>/work"]  # fmt: skip
SEGMENT = [
    "segment", "--support", "<scans>/image_2.nii.gz", "<scans>/label_2.nii.gz", "--query",
    "<scans>/image_1.nii.gz", "--label", "1", "--prepared", "--work", "<work>",
]  # fmt: skip
MODEL = ["--checkpoint", "<model>", "--out", "<folder>/o.nii.gz"]
FILE = [
    "--checkpoint",
    "<weights>",
    "--encoder",
    "resnet18",
    "--modality",
    "mr",
    "--out",
    "<folder>/o.nii.gz",
]
SCORE = ["score", "<masks>", "--plan", "<plan>", "--work", "<work>"]
NONE = ["--labels-used", "none"]
BY_HAND: dict[str, Sequence[str]] = {
    "no-such-command": ["no-such-command"],
    "command-escape": ["\x1b[2Jrun"],
    "command-long": ["x" * 100_000],
    "dataset-unknown": ["plan", "--dataset", "nobody", "--work", "<work>"],
    "dataset-path": ["plan", "--dataset", "../stores/tiny", "--work", "<work>"],
    "dataset-escape": ["plan", "--dataset", "evil\x1b[2J\u202e", "--work", "<work>"],
    "dataset-long": ["plan", "--dataset", "x" * 5000, "--work", "<work>"],
    "dataset-empty": ["plan", "--dataset", "", "--work", "<work>"],
    "dataset-surrogate": ["plan", "--dataset", "a\udcff", "--work", "<work>"],
    "work-long": ["plan", "--dataset", "tiny", "--work", "x" * 5000],
    "work-a-file": ["plan", "--dataset", "tiny", "--work", "/etc/passwd"],
    "protocol-unknown": [*PLAN, "--protocol", "nobody"],
    "protocol-long": [*PLAN, "--protocol", "x" * 5000 + ".toml"],
    "protocol-folder": [*PLAN, "--protocol", "<work>.toml"],
    "shots-0": [*PLAN, "--shots", "0"],
    "shots-negative": [*PLAN, "--shots", "-3"],
    "shots-more-than-scans": [*PLAN, "--shots", "500"],
    "shots-huge": [*PLAN, "--shots", HUGE],
    "parts-0": [*PLAN, "--parts", "0"],
    "parts-even": [*PLAN, "--parts", "2"],
    "parts-huge": [*PLAN, "--parts", "1000000001"],
    "parts-astronomic": [*PLAN, "--parts", HUGE[:-1] + "9"],
    "parts-long": [*PLAN, "--parts", "9" * 5000],
    "folds-9": [*PLAN, "--folds", "9"],
    "folds-negative": [*PLAN, "--folds=-1"],
    "folds-text": [*PLAN, "--folds", "first"],
    "folds-range": [*PLAN, "--folds", "0-3"],
    "folds-empty": [*PLAN, "--folds", ""],
    "folds-comma": [*PLAN, "--folds", "0,"],
    "folds-huge": [*PLAN, "--folds", HUGE],
    "folds-long": [*PLAN, "--folds", "9" * 5000],
    "folds-many": [*PLAN, "--folds", "0," * 30_000 + "77"],
    "groups-unknown": [*PLAN, "--groups", "nobody"],
    "groups-empty": [*PLAN, "--groups", ""],
    "groups-escape": [*PLAN, "--groups", "\x1b[2J"],
    "out-folder": [*PLAN, "--out", "<folder>"],
    "out-below-a-file": [*PLAN, "--out", "/etc/passwd/plan.json"],
    "out-long": [*PLAN, "--out", "<folder>/" + "x" * 300],
    "method-unknown": [*RUN, "--method", "nobody"],
    "method-empty": [*RUN, "--method", ""],
    "method-colon": [*RUN, "--method", ":"],
    "method-dots": [*RUN, "--method", "..:X"],
    "method-module-missing": [*RUN, "--method", "no.such.module:X"],
    "method-class-missing": [*RUN, "--method", "json:X"],
    "method-a-function": [*RUN, "--method", "json:loads"],
    "method-no-learner": [*RUN, "--method", "json:JSONDecoder"],
    "method-long": [*RUN, "--method", "x" * 5000],
    "method-long-file": [*RUN, "--method", "x" * 5000 + ".py:X"],
    "method-file-missing": [*RUN, "--method", "nowhere.py:X"],
    "option-unknown": [*TRAIN, "--option", "nothing=1"],
    "option-without-equals": [*TRAIN, "--option", "batch"],
    "option-empty-name": [*TRAIN, "--option", "=1"],
    "option-twice": [*TRAIN, "--option", "batch=1", "--option", "batch=2"],
    "option-text": [*TRAIN, "--option", "batch=many"],
    "option-batch-0": [*TRAIN, "--option", "batch=0"],
    "option-batch-huge": [*TRAIN, "--option", f"batch={HUGE}"],
    "option-rate-nan": [*TRAIN, "--option", "learning_rate=nan"],
    "option-rate-infinite": [*TRAIN, "--option", "learning_rate=1e999"],
    "option-rate-0": [*TRAIN, "--option", "learning_rate=0"],
    "option-momentum-negative": [*TRAIN, "--option", "momentum=-1"],
    "option-episode-unknown": [*TRAIN, "--option", "episode=magic"],
    "option-augmentation-unknown": [*TRAIN, "--option", "augmentation=magic"],
    "option-long": [*TRAIN, "--option", f"batch={'9' * 5000}"],
    "steps-negative": [*TRAIN, "--steps", "-1"],
    "steps-text": [*TRAIN, "--steps", "many"],
    "encoder-unknown": [*TRAIN, "--encoder", "vgg"],
    "encoder-escape": [*TRAIN, "--encoder", "\x1b[2J"],
    "weights-missing": [*TRAIN, "--weights", "nowhere.pth"],
    "weights-imagenet-missing": [*TRAIN, "--weights", "imagenet"],
    "weights-folder": [*TRAIN, "--weights", "<folder>"],
    "weights-long": [*TRAIN, "--weights", "x" * 5000],
    "weights-empty": [*TRAIN, "--weights", ""],
    "weights-fold-missing": [*TRAIN, "--weights", "nowhere_{fold}.pth"],
    "stages-of-one": [*TRAIN, "--stages", "1"],
    "checkpoint-every-0": [*TRAIN, "--checkpoint-every", "0"],
    "checkpoint-every-negative": [*TRAIN, "--checkpoint-every", "-5"],
    "checkpoint": [*TRAIN, "--checkpoint", "x.pth"],
    "train-dataset-unknown": [*TRAIN, "--train-dataset", "nobody"],
    "config-missing": ["run", "--config", "nowhere.toml", "--work", "<work>"],
    "config-long": ["run", "--config", "x" * 5000, "--work", "<work>"],
    "save-config-folder": [*RUN, "--save-config", "<folder>"],
    "device-unknown": [*RUN, "--device", "tpu"],
    "device-cuda-text": [*RUN, "--device", "cuda:x"],
    "device-cpu-number": [*RUN, "--device", "cpu:0"],
    "device-empty": [*RUN, "--device", ""],
    "device-many": [*RUN, "--device", "cpu,"],
    "devices-overwrite": [*RUN, "--device", "cpu,cpu", "--overwrite"],
    "batch-negative": [*RUN, "--batch", "-1"],
    "seed-text": [*RUN, "--seed", "zero"],
    "phantom-size-0": ["prepare", "phantom-mri", "--size", "0", "--work", "<folder>"],
    "phantom-size-odd": ["prepare", "phantom-mri", "--size", "63", "--work", "<folder>"],
    "phantom-size-negative": ["prepare", "phantom-mri", "--size", "-64", "--work", "<folder>"],
    "phantom-size-huge": ["prepare", "phantom-mri", "--size", "1000000000", "--work", "<folder>"],
    "phantom-size-astronomic": ["prepare", "phantom-mri", "--size", HUGE, "--work", "<folder>"],
    "phantom-slices-0": ["prepare", "phantom-mri", "--phantom-slices", "0", "--work", "<folder>"],
    "phantom-slices-huge": ["prepare", "phantom-mri", "--phantom-slices", "1000000000", "--work", "<folder>"],
    "phantom-with-folder": ["prepare", "phantom-mri", "<scans>", "--work", "<folder>"],
    "workers-negative": ["prepare", "phantom-mri", "--workers", "-1", "--work", "<folder>"],
    "prepare-unknown": ["prepare", "nobody", "<scans>", "--work", "<folder>"],
    "prepare-no-folder": ["prepare", "mine", "--spec", "<scans>/my.toml", "--work", "<folder>"],
    "prepare-folder-missing": ["prepare", "mine", "nowhere", "--spec", "<scans>/my.toml", "--work", "<folder>"],
    "prepare-folder-long": ["prepare", "mine", "x" * 5000, "--spec", "<scans>/my.toml", "--work", "<folder>"],
    "prepare-folder-a-file": ["prepare", "mine", "/etc/passwd", "--spec", "<scans>/my.toml", "--work", "<folder>"],
    "prepare-folder-empty": ["prepare", "mine", "<folder>", "--spec", "<scans>/my.toml", "--work", "<folder>"],
    "prepare-name-path": ["prepare", "../mine", "<scans>", "--spec", "<scans>/my.toml", "--work", "<folder>"],
    "prepare-name-shipped": ["prepare", "chaost2", "<scans>", "--spec", "<scans>/my.toml", "--work", "<folder>"],
    "prepare-shipped-other-scans": ["prepare", "chaost2", "<scans>", "--work", "<folder>"],
    "view-scan-unknown": ["view", "tiny", "77", "--work", "<work>"],
    "view-scan-path": ["view", "tiny", "../../x", "--work", "<work>"],
    "view-slices-text": ["view", "tiny", "1", "--slices", "a:b", "--work", "<work>"],
    "view-slices-backward": ["view", "tiny", "1", "--slices", "5:2", "--work", "<work>"],
    "view-slices-beyond": ["view", "tiny", "1", "--slices", "0:99", "--work", "<work>"],
    "view-slices-long": ["view", "tiny", "1", "--slices", "9" * 5000 + ":1", "--work", "<work>"],
    "view-store-a-folder": ["view", "<scans>", "1", "--work", "<work>"],
    "segment-no-model": [*SEGMENT, "--checkpoint", "ffff", "--out", "<folder>/o.nii.gz"],
    "segment-model-long": [*SEGMENT, "--checkpoint", "x" * 5000, "--out", "<folder>/o.nii.gz"],
    "segment-model-folder": [*SEGMENT, "--checkpoint", "<scans>", "--out", "<folder>/o.nii.gz"],
    "segment-model-glob": [*SEGMENT, "--checkpoint", "*", "--out", "<folder>/o.nii.gz"],
    "segment-out-name": [*SEGMENT, "--checkpoint", "<model>", "--out", "<folder>/o.png"],
    "segment-out-folder": [*SEGMENT, "--checkpoint", "<model>", "--out", "/etc/passwd/o.nii.gz"],
    "segment-label-0": [*SEGMENT, *MODEL, "--label", "0"],
    "segment-label-unknown": [*SEGMENT, *MODEL, "--label", "9"],
    "segment-label-huge": [*SEGMENT, *MODEL, "--label", HUGE],
    "segment-slices-beyond": [*SEGMENT, *MODEL, "--slices", "0:900"],
    "segment-slices-text": [*SEGMENT, *MODEL, "--slices", "middle"],
    "segment-image-size-0": [*SEGMENT, *FILE, "--image-size", "0"],
    "segment-image-size-negative": [*SEGMENT, *FILE, "--image-size", "-64"],
    "segment-image-size-odd": [*SEGMENT, *FILE, "--image-size", "33"],
    "segment-image-size-huge": [*SEGMENT, *FILE, "--image-size", "1000000000"],
    "segment-image-size-astronomic": [*SEGMENT, *FILE, "--image-size", HUGE],
    "segment-method-unknown": [*SEGMENT, *FILE, "--method", "nobody"],
    "segment-yardstick": [*SEGMENT, *FILE, "--method", "copy-support"],
    "evaluate-nothing": ["evaluate", "--work", "<work>"],
    "evaluate-both": ["evaluate", "<model>", "--checkpoint", "x", "--work", "<work>"],
    "evaluate-model-unknown": ["evaluate", "ffff", "--work", "<work>"],
    "evaluate-model-glob": ["evaluate", "[a-", "--work", "<work>"],
    "evaluate-model-path": ["evaluate", "../models/<model>", "--work", "<work>"],
    "evaluate-model-long": ["evaluate", "x" * 5000, "--work", "<work>"],
    "evaluate-protocol-unknown": ["evaluate", "<model>", "--protocol", "nobody", "--work", "<work>"],
    "evaluate-protocol-empty": ["evaluate", "<model>", "--protocol", "", "--work", "<work>"],
    "score-name-path": [*SCORE, *NONE, "--name", "../evil"],
    "score-name-escape": [*SCORE, *NONE, "--name", "evil\x1b[2J"],
    "score-name-formula": [*SCORE, *NONE, "--name", "=1+1"],
    "score-name-empty": [*SCORE, *NONE, "--name", ""],
    "score-name-long": [*SCORE, *NONE, "--name", "x" * 300],
    "score-no-labels-used": [*SCORE, "--name", "theirs"],
    "score-masks-missing": ["score", "nowhere", "--plan", "<plan>", "--name", "a", *NONE, "--work", "<work>"],
    "score-plan-missing": ["score", "<masks>", "--plan", "no.json", "--name", "a", *NONE, "--work", "<work>"],
    "score-protocol-other": [*SCORE, *NONE, "--name", "theirs", "--protocol", "open-ep"],
    "table-no-records": ["table", "--records", "<folder>", "--work", "<work>"],
    "table-records-missing": ["table", "--records", "nowhere", "--work", "<work>"],
    "table-records-a-file": ["table", "--records", "/etc/passwd", "--work", "<work>"],
    "leaderboard-dataset-unknown": ["leaderboard", "--dataset", "nobody", "--work", "<work>"],
    "leaderboard-protocol-unknown": ["leaderboard", "--dataset", "tiny", "--protocol", "nobody", "--work", "<work>"],
    "significance-method-unknown": ["significance", "--dataset", "tiny", "--methods", "a", "b", "--work", "<work>"],
    "distances-tolerance-nan": ["distances", "--dataset", "tiny", "--tolerance-mm", "nan", "--work", "<work>"],
    "distances-tolerance-negative": ["distances", "--dataset", "tiny", "--tolerance-mm", "-1", "--work", "<work>"],
    "distances-tolerance-infinite": ["distances", "--dataset", "tiny", "--tolerance-mm", "inf", "--work", "<work>"],
    "probe-neighbours-0": ["probe", "--dataset", "tiny", "--neighbours", "0", "--work", "<work>"],
    "probe-seeds-text": ["probe", "--dataset", "tiny", "--seeds", "a", "--work", "<work>"],
    "probe-seeds-twice": ["probe", "--dataset", "tiny", "--seeds", "1,1", "--work", "<work>"],
    "ablate-method-unknown": ["ablate", "nobody", "--dataset", "tiny", "--work", "<work>"],
    "ablate-method-without": ["ablate", "copy-support", "--dataset", "tiny", "--work", "<work>"],
    "ablate-seeds-empty": ["ablate", "dspnet", "--dataset", "tiny", "--seeds", "", "--work", "<work>"],
    "ablate-seeds-long": ["ablate", "dspnet", "--dataset", "tiny", "--seeds", "9" * 5000, "--work", "<work>"],
    "pretrain-kind-unknown": ["pretrain", "magic", "--dataset", "tiny", "--work", "<work>"],
    "pretrain-nothing": ["pretrain", "densecl", "--work", "<work>"],
    "pretrain-images-missing": ["pretrain", "densecl", "--images", "nowhere", "--work", "<work>"],
    "pretrain-images-empty": ["pretrain", "densecl", "--images", "<folder>", "--work", "<folder>/work"],
    "pretrain-images-long": ["pretrain", "densecl", "--images", "x" * 5000, "--work", "<work>"],
    "pretrain-out-without-fold": ["pretrain", "densecl", "--dataset", "tiny", "--out", "b.pth", "--work", "<work>"],
    "pretrain-option-unknown": ["pretrain", "densecl", "--dataset", "tiny", "--option", "a=1", "--work", "<work>"],
    "pretrain-dataset-twice": ["pretrain", "densecl", "--dataset", "tiny", "tiny", "--work", "<work>"],
    "verify-missing": ["verify", "nowhere", "--work", "<work>"],
    "verify-a-file": ["verify", "/etc/passwd", "--work", "<work>"],
    "verify-empty": ["verify", "<folder>", "--work", "<work>"],
    "new-method-name-path": ["new-method", "../evil", "--out", "<folder>"],
    "new-method-name-keyword": ["new-method", "class", "--out", "<folder>"],
    "new-method-name-space": ["new-method", "my method", "--out", "<folder>"],
    "check-method-unknown": ["check-method", "nobody"],
    "explain-nothing": ["explain", "--work", "<work>"],
    "overlay-nothing": ["overlay", "--work", "<work>"],
    "protocols-unknown": ["protocols", "nobody"],
    "protocols-diff-unknown": ["protocols", "alpnet-ep1", "nobody"],
    "list-unknown": ["list", "nobody", "--work", "<work>"],
    "methods-unknown": ["methods", "nobody"],
    "published-dataset-unknown": ["published", "--dataset", "nobody"],
    "paper-unknown": ["paper", "nobody", "--work", "<work>"],
    "compare-nothing": ["compare", "--work", "<work>"],
    "figures-dataset-unknown": ["figures", "--dataset", "nobody", "--work", "<work>"],
    "report-dataset-unknown": ["report", "--dataset", "nobody", "--work", "<work>"],
}  # fmt: skip


def cases() -> Iterator[Case]:
    """Yield the bad command lines."""
    for name, argv in _generated():
        yield Case(f"option/{name}", partial(_argv, argv), "fewshot: error:")
    for name, argv in BY_HAND.items():
        statuses = (1, 2) if name == "verify-empty" else (2,)
        yield Case(f"option/{name}", partial(_argv, argv), "", statuses)
