"""The numeric fingerprint: numbers of every shared part and of every method on fixed inputs.

    python tests/helpers/fingerprint.py            name what differs from tests/golden/fingerprint.json
    python tests/helpers/fingerprint.py --write    write that file anew

tests/house/test_fingerprint.py compares too. A part has inputs that no other part makes, so that a difference
names the part whose version must rise. Where one part stands on another (a method on its encoder), both are
named.

Tolerances. Other processors sum in another order and other vector units round exponentials otherwise. On
one processor, with the kernels of the oldest vector units and then without oneDNN, the largest difference of
a float was RELATIVE / 8, that of a number in LOOSE an eighth of its tolerance, and no pixel changed sides.
- A float may differ by RELATIVE of itself. The sum and the weighted sum of a tensor may differ by RELATIVE of
  the sum of its absolute values, since positive and negative values cancel.
- Numbers under a name in LOOSE are differences of nearby floats. They have the tolerance given there.
- A count of pixels or voxels (a name in COUNTS) may differ by SLACK: one that lies on a border may fall
  on either side.
- Any other integer or text is exact: shapes, labels of episodes, counts of segments, tasks and slices.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from places import GOLDEN, ROOT

RECORDED = GOLDEN / "fingerprint.json"
RELATIVE = 1e-4
SMALLEST = 1e-7  # floats below it are equal to 0
LOOSE = {"change of weights": 1e-2}
COUNTS = ("pixels", "tp", "fp", "fn")
SLACK = 2  # pixels


def fingerprint(folder: Path) -> dict[str, Any]:
    """Return {"parts": {part: numbers}, "methods": {method: numbers}}; stores are written to `folder`."""
    from fingerprint_methods import METHOD_NUMBERS, method_numbers
    from fingerprint_parts import PARTS

    parts = {name: numbers(_new(folder / name)) for name, numbers in PARTS.items()}
    methods = {name: method_numbers(name, _new(folder / name)) for name in METHOD_NUMBERS}
    return {"parts": parts, "methods": methods}


def differences(golden: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Return one line for each part and method whose numbers differ beyond the tolerance.

    A line names the part, up to three of its numbers before and after, and how many others differ.
    """
    lines = []
    for kind, word in (("parts", "part"), ("methods", "method")):
        for name in golden[kind].keys() | current[kind].keys():
            before, after = golden[kind].get(name, {}), current[kind].get(name, {})
            moved = list(_moved(before, after, ()))
            if moved:
                more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
                lines.append(f"{word} `{name}` moved: {'; '.join(moved[:3])}{more}: raise its version")
    return sorted(lines)


def rounded(value: Any) -> Any:
    """Return `value` with every float rounded to eight significant digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.8g}") if isinstance(value, float) else value


def _moved(before: Any, after: Any, place: tuple[str, ...]) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        scale = after.get("absolute", 0.0)
        for key in dict.fromkeys((*before, *after)):
            path = (*place, key)
            if key not in before or key not in after:
                yield f"{' '.join(path)} is {'new' if key in after else 'gone'}"
            elif isinstance(before[key], float) and isinstance(after[key], float):
                if not _is_close(before[key], after[key], scale, LOOSE.get(key, RELATIVE)):
                    yield f"{' '.join(path)} {before[key]:.6g} -> {after[key]:.6g}"
            else:
                yield from _moved(before[key], after[key], path)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        named = [{str(number): one for number, one in enumerate(values)} for values in (before, after)]
        yield from _moved(*named, place)
    elif place[-1] in COUNTS and isinstance(before, int) and isinstance(after, int):
        if abs(before - after) > SLACK:
            yield f"{' '.join(place)} {before} -> {after}"
    elif before != after:
        yield f"{' '.join(place)} {before} -> {after}"


def _is_close(before: float, after: float, scale: float, relative: float) -> bool:
    return abs(before - after) <= max(relative * max(abs(before), abs(after), scale), SMALLEST)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def main(arguments: list[str]) -> int:
    """Compare with the committed fingerprint, or write it; status 1 where a part moved."""
    with tempfile.TemporaryDirectory() as folder:
        current = rounded(fingerprint(Path(folder)))
    if arguments == ["--write"]:
        RECORDED.write_text(json.dumps(current, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    lines = differences(json.loads(RECORDED.read_text(encoding="utf-8")), current)
    print("\n".join(lines) or "no part moved")
    return 1 if lines else 0


if __name__ == "__main__":
    root = ROOT
    sys.path.insert(0, str(root))
    sys.exit(main(sys.argv[1:]))
