"""List the protocols, describe one (show NAME), or count where two of them differ (diff A B --dataset D).

A protocol is a shipped name or a .toml file.

Examples:
  fewshot protocols show alpnet-ep1
  fewshot protocols diff alpnet-ep1 my-protocol.toml --dataset chaost2
"""

from __future__ import annotations

import argparse
from typing import Any

from fewshot.base.errors import UserError
from fewshot.commands import options, shared

NAMES = {"list": 0, "show": 1, "diff": 2}  # number of protocol names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "what", nargs="?", default="list", choices=NAMES, metavar="WHAT", help="list, show or diff"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="one protocol for show, two for diff")
    group = parser.add_argument_group("diff")
    group.add_argument("--dataset", metavar="D", help="the prepared dataset to count on; diff needs it")
    options.add_output(parser, ("text", "json"))


def run(args: argparse.Namespace) -> int:
    """Print the list, the description or the differences."""
    import json

    from protocols.rules.describe import list_text, protocol_text
    from protocols.rules.diff import diff_protocols
    from protocols.rules.spec import known_protocols, load_protocol

    if len(args.names) != NAMES[args.what]:
        raise UserError(
            f"protocols {args.what}: {len(args.names)} names given, expected {NAMES[args.what]}; "
            "see fewshot protocols --help"
        )
    if args.what != "diff" and (args.dataset is not None or args.format == "json"):
        raise UserError(f"protocols {args.what}: --dataset and --format json belong to diff; leave them out")
    if args.what == "list":
        options.write_output(list_text([load_protocol(name) for name in known_protocols()]), args.out)
        return 0
    protocols = [load_protocol(name) for name in args.names]
    if args.what == "show":
        options.write_output(protocol_text(protocols[0]), args.out)
        return 0
    if args.dataset is None:
        raise UserError("protocols diff needs --dataset D: it counts on a prepared dataset")
    differences = diff_protocols(protocols[0], protocols[1], shared.open_store(args.work, args.dataset))
    as_json = args.format == "json"
    options.write_output(
        json.dumps(differences, indent=1, allow_nan=False) if as_json else text(differences), args.out
    )
    return 0


def text(differences: dict[str, Any]) -> str:
    """Return the differences of two protocols, as `diff_protocols` counts them, as lines."""
    a, b = differences["a"]["name"], differences["b"]["name"]
    data, counts = differences["dataset"], differences["counts"]
    lines = [
        f"{a} and {b} on {data['name']} (store {data['hash'][:8]}): {data['scans']} scans, "
        f"{data['slices']} slices, {data['class_slices']} class slices",
        f"rules that differ: {len(differences['rules'])}",
    ]
    for rule in differences["rules"]:
        lines.append(f"  {rule['rule']}: {_plain(rule['a'])} -> {_plain(rule['b'])}")
        lines.append(f"    changes {', '.join(rule['changes'])}")
    supports, queries, dropped = counts["support_scans"], counts["queries"], counts["excluded_slices"]
    scored, parts, normal = counts["scored_slices"], counts["part_assignments"], counts["normalised_scans"]
    lines += [
        "counts",
        f"  support scans: other in {supports['folds_that_differ']} of {len(supports['a'])} folds",
        f"  queries: {queries['a']['count']} and {queries['b']['count']} over all folds; "
        f"{queries['only_a']} only {a}, {queries['only_b']} only {b}",
    ]
    for name, side in ((a, queries["a"]), (b, queries["b"])):
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
    """Return a rule's value on one line: lists with commas, groups by name."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return "(" + ", ".join(map(_plain, value)) + ")" if value else "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
