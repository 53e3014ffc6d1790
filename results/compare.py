"""The difference of two numbers, split into what the protocol does and what the method does.

Of four corners, two methods under two protocols, A and B are opposite ones. With the corner of A's method
under B's protocol the way from A to B goes protocol first, with the other method first; with both the mean of
the two ways is told, and how far they disagree (the interaction). Without either the split is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewshot.errors import UserError
from fewshot.files import canonical_json
from results.blocks import Block, configuration, question
from results.notes import row_label

Json = dict[str, Any]
RULES = ("protocol", "shots", "parts")  # the protocol's side; the rest of a configuration is the method's
SHARED = ("dataset", "setting")


def find_block(found: Sequence[Block], text: str) -> Block:
    """Return the block whose configuration begins with `text`, or the only one of METHOD@PROTOCOL.

    Raises `UserError` naming the candidates where there is none or more than one.
    """
    fitting = [block for block in found if block.short_hash.startswith(text) or _named(block) == text]
    if len(fitting) != 1:
        listed = "; ".join(
            f"{block.short_hash} {_named(block)} on {block.record['dataset']['name']} setting "
            f"{block.record['setting']}"
            for block in fitting or found
        )
        raise UserError(
            f"{text!r} fits {len(fitting)} configurations, wanted one: give METHOD@PROTOCOL or the beginning "
            f"of a configuration's hash, which tables print; known: {listed or 'none'}"
        )
    return fitting[0]


def compare(a: Block, b: Block, found: Sequence[Block]) -> Json:
    """Return numbers, difference and its split as plain JSON values; Dice in percent.

    Raises `UserError` where the two are of other data, another setting or other classes, or incomplete.
    """
    for key in SHARED:
        if question(a.record)[key] != question(b.record)[key]:
            raise UserError(
                f"A and B differ in {key} ({_plain(a.record[key])} and {_plain(b.record[key])}): their "
                "difference means nothing; compare numbers of one dataset and setting"
            )
    if _classes(a) != _classes(b):
        raise UserError(
            f"A scores {', '.join(sorted(_classes(a)))}, B {', '.join(sorted(_classes(b)))}; compare numbers "
            "of the same classes"
        )
    first, last = (_number(block, side) for block, side in ((a, "A"), (b, "B")))
    corners = [_corner(a, b, found), _corner(b, a, found)]
    result: Json = {
        "a": _about(a, first), "b": _about(b, last), "difference": last - first, "protocol": None,
        "method": None, "interaction": None, "corners": [], "wanted": [],
    }  # fmt: skip
    if _rules(a) == _rules(b) or _method(a) == _method(b):
        same_rules = _rules(a) == _rules(b)
        result["protocol"] = 0.0 if same_rules else last - first
        result["method"] = last - first if same_rules else 0.0
        return result
    ways = []
    for number, (corner, block, other) in enumerate(zip(corners, (a, b), (b, a), strict=True)):
        if corner is None:
            wanted = f"{block.record['method']['name']} under {other.record['protocol']['name']}"
            result["wanted"].append(wanted)
            continue
        middle = _number(corner, "the corner")
        result["corners"].append(_about(corner, middle))
        steps = (middle - first, last - middle)  # A's method under B's protocol: protocol first
        ways.append(steps if number == 0 else steps[::-1])
    if ways:
        result["protocol"] = sum(protocol for protocol, _method in ways) / len(ways)
        result["method"] = sum(method for _protocol, method in ways) / len(ways)
    if len(ways) == 2:
        result["interaction"] = ways[0][1] - ways[1][1]
    return result


def comparison_text(result: Json) -> str:
    """Return a comparison in words."""
    lines = [f"{side}  {_line(result[side.lower()])}" for side in ("A", "B")]
    lines += [f"by way of  {_line(corner)}" for corner in result["corners"]]
    lines.append(f"B - A = {result['difference']:+.2f} percentage points of Dice")
    if result["protocol"] is None:
        lines.append(f"  not split: wanted records of {' or of '.join(result['wanted'])}")
        return "\n".join(lines)
    lines += [f"  protocol {result['protocol']:+.2f}", f"  method   {result['method']:+.2f}"]
    if result["interaction"] is not None:
        lines.append(
            f"  mean of both ways; the method is worth {result['interaction']:+.2f} more under B's protocol"
        )
    elif result["corners"]:
        lines.append(f"  one way alone; for the other, records of {result['wanted'][0]}")
    return "\n".join(lines)


def _corner(method_of: Block, rules_of: Block, found: Sequence[Block]) -> Block | None:
    """Return the complete block of one's method under the other's rules, or None.

    It may carry the marks of these two alone, which a comparison prints: a method's recipe mark stands in
    each of its blocks, but a hybrid of a method that has no other mark is no corner.
    """
    marks = {*method_of.record["audits"], *rules_of.record["audits"]}
    for block in found:
        right = _method(block) == _method(method_of) and _rules(block) == _rules(rules_of)
        if right and marks.issuperset(block.record["audits"]) and block.spread() is not None:
            return block
    return None


def _rules(block: Block) -> str:
    return canonical_json({key: block.record[key] for key in RULES})


def _method(block: Block) -> str:
    own = (*RULES, "grid", "audits")
    return canonical_json({k: v for k, v in configuration(block.record).items() if k not in own})


def _classes(block: Block) -> set[str]:
    return {name for _group, name in block.columns}


def _number(block: Block, side: str) -> float:
    spread, every = block.spread(), len(block.folds) * len(block.groups)
    if spread is None:
        raise UserError(
            f"{side}, {_named(block)}, has {len(block.cells)} of {every} cells, "
            "so no mean; run the missing folds and groups first"
        )
    return 100 * spread.mean


def _about(block: Block, dice: float) -> Json:
    return {
        "method": block.record["method"]["name"],
        "protocol": block.record["protocol"]["name"],
        "configuration": block.short_hash,
        "label": row_label(block),
        "marks": list(block.record["audits"]),
        "dice_percent": dice,
    }


def _line(about: Json) -> str:
    marks = "".join(f"; MARKED: {mark}" for mark in about["marks"])
    return (
        f"{about['label']} under {about['protocol']} ({about['configuration']}): "
        f"{about['dice_percent']:.2f}{marks}"
    )


def _named(block: Block) -> str:
    return f"{block.record['method']['name']}@{block.record['protocol']['name']}"


def _plain(value: Any) -> str:
    return f"{value['name']} {value['hash'][:8]}" if isinstance(value, dict) else str(value)
