"""Evaluate without training: a model key (or its beginning), or checkpoint files by --checkpoint PATTERN.

Give each of several checkpoints of one method in a work folder a --name. --protocol A,B,C evaluates a model
under several protocols at once and encodes each slice once. A model trained here gives records only under
protocols whose training rules it fits; the status is 1 if one was refused.

Examples:
  fewshot evaluate 3fa2 --protocol alpnet-ep1,open-ep
  fewshot evaluate --checkpoint released_{fold}.pth --method ssl-alpnet --dataset chaost2 --setting 1
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import options, shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="beginning of a key under WORK/models")
    group = parser.add_argument_group("checkpoint files")
    group.add_argument(
        "--checkpoint",
        metavar="PATTERN",
        help="checkpoint files in place of MODEL, {fold}, {group} filled in",
    )
    group.add_argument("--name", metavar="NAME", help="name of the checkpoint in tables")
    options.add_encoder(group)
    options.add_option(group)
    group.add_argument(
        "--same-checkpoint", action="store_true", help="allow one file for several folds; records are marked"
    )
    group = options.add_evaluation(parser, required=False)
    group.add_argument(
        "--method", metavar="M",
        help="method of --checkpoint (default: ssl-alpnet); with MODEL, the file of a user's method",
    )  # fmt: skip
    group.add_argument(
        "--allow-mismatch", action="store_true",
        help="evaluate also under protocols whose training rules the model does not fit; records are marked "
        "hybrid",
    )  # fmt: skip
    options.add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    from results.records.files import read_record
    from results.tables.fold_tables import render

    if (args.model is None) == (args.checkpoint is None):
        raise UserError(
            "expected a model key or --checkpoint PATTERN, one of the two; see fewshot evaluate --help"
        )
    paths, refused = _trained(args) if args.model is not None else (_external(args), {})
    records = [read_record(path) for path in paths]
    print(render(records))
    shared.print_predictions(args, records)
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
        raise UserError("--allow-mismatch needs --setting: a model of one setting would be evaluated in both")
    folder = shared.model_folder(args.work, args.model)
    device = shared.choose_device(args.device)
    method, spec, model = open_model(folder, device, args.method)
    dataset = args.dataset or spec["dataset"]
    trained = None if dataset == spec["dataset"] else shared.open_store(args.work, spec["dataset"])
    requests = [
        replace(shared.request(args, dataset, setting, name=name), train_store=trained)
        for name in dict.fromkeys(args.protocol.split(","))
        for setting in ((1, 2) if args.setting is None else (args.setting,))
    ]
    evaluations = evaluate_existing(requests, method, model, spec, args.allow_mismatch)
    return evaluations.paths, evaluations.refused


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
