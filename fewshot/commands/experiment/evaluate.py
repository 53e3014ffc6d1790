"""Evaluate without training: a model key (or its beginning), or checkpoint files by --checkpoint PATTERN.

Several checkpoints of one method stand side by side in a work folder if each has a --name.
A model may be asked under several protocols at once, --protocol A,B,C: each slice is encoded once, and every
protocol whose training rules a model trained here fits gives records. Status 1 where some were refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="beginning of a key under WORK/models")
    parser.add_argument(
        "--checkpoint", metavar="PATTERN", help="checkpoint files; {fold} and {group} are filled in"
    )
    shared.add_question(parser, required=False)
    parser.add_argument(
        "--method", metavar="M",
        help="method of --checkpoint (default: ssl-alpnet); with MODEL, the file of a user's method",
    )  # fmt: skip
    parser.add_argument("--encoder", metavar="E", help="with --checkpoint (default: the method's)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="K=V", help="with --checkpoint: an option"
    )
    parser.add_argument("--name", metavar="NAME", help="with --checkpoint: what tables call the checkpoint")
    parser.add_argument(
        "--same-checkpoint", action="store_true", help="allow one file for several folds (marked)"
    )
    parser.add_argument(
        "--allow-mismatch", action="store_true",
        help="also ask protocols whose training rules the model does not fit; records are marked hybrid",
    )  # fmt: skip
    shared.add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    from results.records.files import read_record
    from results.tables.fold_tables import render

    if (args.model is None) == (args.checkpoint is None):
        raise UserError(
            "wanted a model key or --checkpoint PATTERN, one of the two; see fewshot evaluate --help"
        )
    paths, refused = _trained(args) if args.model is not None else (_external(args), {})
    print(render([read_record(path) for path in paths]))
    for reason in refused.values():
        print(f"refused: {reason}")
    return 1 if refused else 0


def _trained(args: argparse.Namespace) -> tuple[list[Path], dict[str, str]]:
    from dataclasses import replace

    from protocols.runs.evaluate_existing import evaluate_existing
    from protocols.training.models import open_model

    if args.name is not None:
        raise UserError("--name is for checkpoint files: a model trained here has a key; leave --name out")
    if args.allow_mismatch and args.setting is None:
        raise UserError("--allow-mismatch needs --setting: a model of one setting would be asked in both")
    folder = shared.model_folder(args.work, args.model)
    device = shared.choose_device(args.device)
    method, spec, model = open_model(folder, device, args.method)
    asked = args.dataset or spec["dataset"]
    trained = None if asked == spec["dataset"] else shared.open_store(args.work, spec["dataset"])
    requests = [
        replace(shared.request(args, asked, setting, name=name), train_store=trained)
        for name in dict.fromkeys(args.protocol.split(","))
        for setting in ((1, 2) if args.setting is None else (args.setting,))
    ]
    answers = evaluate_existing(requests, method, model, spec, args.allow_mismatch)
    return answers.paths, answers.refused


def _external(args: argparse.Namespace) -> list[Path]:
    from protocols.runs.runner import run_external
    from protocols.training.method_config import build_method_config

    if args.allow_mismatch:
        raise UserError("--allow-mismatch is for models trained here: a checkpoint file fits every protocol")
    if args.dataset is None or args.setting is None:
        raise UserError(
            "--checkpoint needs --dataset and --setting: a file does not say what it was trained for"
        )
    method = build_method_config(
        args.method or "ssl-alpnet", shared.parse_options(args.option), encoder=args.encoder
    )
    requests = [
        shared.request(args, args.dataset, args.setting, name=name)
        for name in dict.fromkeys(args.protocol.split(","))
    ]
    return run_external(requests, method, args.checkpoint, args.same_checkpoint, args.name)
