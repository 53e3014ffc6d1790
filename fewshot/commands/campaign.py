"""Campaigns on the command line: the options of `run` with several values, or a TOML file of them.

A file has the keys of a configuration file of `run`. `method`, `dataset`, `protocol`, `setting` and `seed`
may be lists. Each table `[[runs]]` adds or replaces keys; without such tables the file is one table.
"""

from __future__ import annotations

import argparse
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.base.errors import UserError
from fewshot.commands import shared
from fewshot.commands.config_file import NOT_SAVED, check_values, config_values, option_words
from fewshot.commands.parsers import command_parser

if TYPE_CHECKING:
    from protocols.campaign.units import CampaignRun

SEVERAL = ("dataset", "setting", "protocol", "method", "seed")  # the order in which runs vary, slowest first
WHOLE_NUMBERS = ("setting", "seed")
OWN = ("checkpoint", "train-only", *NOT_SAVED)  # options of `run` that a campaign lacks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--campaign`, the options of `run` with several values, and the other options of `run`."""
    group = parser.add_argument_group("campaign")
    group.add_argument("--campaign", type=Path, metavar="FILE", help="TOML file; typed options win")
    group.add_argument("--method", metavar="M,M", help="methods with commas, as in `fewshot run`")
    group.add_argument("--dataset", metavar="D,D", help="prepared datasets with commas")
    group.add_argument("--protocol", metavar="P,P", help="protocols with commas (default: alpnet-ep1)")
    group.add_argument("--setting", metavar="N,N", help="1, 2 or 1,2 (default: 1)")
    group.add_argument("--seeds", dest="seed", metavar="N,N", help="training seeds with commas (default: 0)")
    for actions in command_parser("run")._action_groups:
        ours = [action for action in actions._group_actions if _name(action) not in (*SEVERAL, *OWN)]
        if ours:
            group = parser.add_argument_group(actions.title)
            for action in ours:
                group._add_action(action)


def campaign_runs(args: argparse.Namespace) -> list[CampaignRun]:
    """Return the runs of the arguments of `add_arguments`; `UserError` for whatever `run` would refuse."""
    from dataclasses import replace

    from protocols.campaign.units import CampaignRun

    runs = []
    parser = command_parser("run")
    for table in _tables(args, parser):
        axes = {name: table[name] for name in SEVERAL}
        rest = {name: value for name, value in table.items() if name not in SEVERAL}
        seeds = axes.pop("seed")
        for values in itertools.product(*axes.values()):
            named = dict(zip(axes, values, strict=True))
            words = option_words(_without_defaults(named | rest, parser))
            parsed = parser.parse_args([*words, f"--work={args.work}"])
            request, method = shared.run_request(parsed)
            place = f"--work={args.work.absolute()}"
            for seed in seeds:
                own = [word for word in words if not word.startswith(("--folds=", "--groups="))]
                options = (place, *own, *([f"--seed={seed}"] if seed else []))
                runs.append(CampaignRun(options, request, replace(method, seed=seed)))
    return runs


def _tables(args: argparse.Namespace, parser: argparse.ArgumentParser) -> Iterator[dict[str, Any]]:
    """Yield every table of runs: option -> value, a list for each name in `SEVERAL`."""
    known = {_name(action): action for action in parser._actions if action.option_strings}
    known = {name: action for name, action in known.items() if name not in OWN}
    typed = {name: value for name, value in config_values(args).items() if name in known}
    typed = {name: value for name, value in typed.items() if name in SEVERAL or value != known[name].default}
    for name in SEVERAL:
        if name in typed:
            typed[name] = _split(name, typed[name])
    for where, table in _file_tables(args.campaign):
        lists = {name: _as_list(where, name, table[name]) for name in SEVERAL if name in table}
        check_values(where, {name: value for name, value in table.items() if name not in SEVERAL}, known)
        merged = {"protocol": ["alpnet-ep1"], "setting": [1], "seed": [0], **table, **lists, **typed}
        for name in ("method", "dataset"):
            if name not in merged:
                raise UserError(f"{where}: no {name}; give --{name} or a campaign file with the key {name}")
        yield merged


def _file_tables(path: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """Return place and content of every table of a campaign file; one empty table without a file."""
    if path is None:
        return [("campaign", {})]
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--campaign {path}: {error.strerror}; give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--campaign {path}: not a TOML file ({error}); correct it") from None
    tables = content.pop("runs", [{}])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: key runs: found {tables!r}, expected tables [[runs]]")
    return [(f"{path}", {**content, **table}) for table in tables]


def _as_list(where: str, name: str, value: object) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    kind = int if name in WHOLE_NUMBERS else str
    if not values or not all(type(one) is kind for one in values) or len(set(values)) < len(values):
        expected = "whole numbers" if kind is int else "texts"
        raise UserError(f"{where}: key {name}: found {value!r}, expected different {expected}")
    return values


def _split(name: str, text: str) -> list[Any]:
    if name == "seed":
        return list(shared.parse_seeds(text))
    parts = list(dict.fromkeys(text.split(",")))
    if name not in WHOLE_NUMBERS:
        return parts
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--{name} {text!r}: expected whole numbers with commas, such as 1,2")
    return [int(part) for part in parts]


def _without_defaults(values: Mapping[str, Any], parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the options whose value is not the default of `run`."""
    defaults = {_name(action): action.default for action in parser._actions}
    return {name: value for name, value in values.items() if value != defaults[name]}


def _name(action: argparse.Action) -> str:
    return action.option_strings[-1].removeprefix("--") if action.option_strings else action.dest
