"""List the protocols, explain one (show NAME), or count what two ask otherwise (diff A B --dataset D).

A protocol is a shipped name or a .toml file.
"""

from __future__ import annotations

import argparse
from typing import Any

from fewshot.base.errors import UserError
from fewshot.commands import shared

WANTED = {"list": 0, "show": 1, "diff": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("what", nargs="?", default="list", choices=WANTED, help="default: list")
    parser.add_argument("names", nargs="*", metavar="NAME", help="show: one protocol; diff: two")
    parser.add_argument("--dataset", metavar="D", help="diff: the prepared dataset to count on")
    parser.add_argument("--json", action="store_true", help="diff: print one JSON object instead of lines")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    import json

    from protocols.rules.describe import list_text, protocol_text
    from protocols.rules.diff import diff_protocols
    from protocols.rules.spec import known_protocols, load_protocol

    if len(args.names) != WANTED[args.what]:
        raise UserError(
            f"protocols {args.what}: {len(args.names)} names given, wanted {WANTED[args.what]}; "
            "see fewshot protocols --help"
        )
    if args.what != "diff" and (args.dataset is not None or args.json):
        raise UserError(f"protocols {args.what}: --dataset and --json go with diff; leave them out")
    if args.what == "list":
        print(list_text([load_protocol(name) for name in known_protocols()]))
        return 0
    protocols = [load_protocol(name) for name in args.names]
    if args.what == "show":
        print(protocol_text(protocols[0]))
        return 0
    if args.dataset is None:
        raise UserError("protocols diff needs --dataset D: it counts on a prepared dataset")
    found = diff_protocols(protocols[0], protocols[1], shared.open_store(args.work, args.dataset))
    print(json.dumps(found, indent=1, allow_nan=False) if args.json else text(found))
    return 0


def text(found: dict[str, Any]) -> str:
    """Return the differences of two protocols as lines."""
    a, b, data, counts = found["a"]["name"], found["b"]["name"], found["dataset"], found["counts"]
    lines = [
        f"{a} and {b} on {data['name']} (store {data['hash'][:8]}): {data['scans']} scans, "
        f"{data['slices']} slices, {data['class_slices']} class slices",
        f"rules that differ: {len(found['rules'])}",
    ]
    for rule in found["rules"]:
        lines.append(f"  {rule['rule']}: {_plain(rule['a'])} -> {_plain(rule['b'])}")
        lines.append(f"    changes {', '.join(rule['changes'])}")
    supports, asked, dropped = counts["support_scans"], counts["queries"], counts["excluded_slices"]
    scored, parts, normal = counts["scored_slices"], counts["part_assignments"], counts["normalised_scans"]
    lines += [
        "counts",
        f"  support scans: other in {supports['folds_that_differ']} of {len(supports['a'])} folds",
        f"  queries: {asked['a']['asked']} and {asked['b']['asked']} over all folds; {asked['only_a']} only "
        f"{a}, {asked['only_b']} only {b}",
    ]
    for name, side in ((a, asked["a"]), (b, asked["b"])):
        if side["twice_or_more"] or side["never"]:
            twice, never = (", ".join(side[key]) or "none" for key in ("twice_or_more", "never"))
            lines.append(f"    {name}: queried twice {twice}; never {never}")
    lines += [
        f"  slices dropped by setting 2, of {dropped['of']}: {a} {_plain(dropped['a'])}; "
        f"{b} {_plain(dropped['b'])}",
        f"  scored slices: {scored['a']} and {scored['b']}; {scored['only_a']} only {a}, "
        f"{scored['only_b']} only {b}",
        f"  part assignments: {parts['differ']} of {parts['of']} class slices get another support slice",
        f"  scans normalised by another rule: {normal['differ']} of {normal['of']}",
    ]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    """Return a rule's value in a line: lists with commas, groups by name."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return "(" + ", ".join(map(_plain, value)) + ")" if value else "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
