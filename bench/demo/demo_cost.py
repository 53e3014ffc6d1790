"""Measures `fewshot demo` and `fewshot demo --quick` as new users run them, in a folder without phantoms.

Each runs as a process of one thread and is charged its processor time, which a busy machine does not change.
On two free cores the wall time is at most that. Writes demo.json beside this file; exit status 1 where a
target is missed. `--quick` measures the quick demo alone and prints it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from measuring import Row, printed, row  # noqa: E402

from fewshot.files.atomic_io import write_json  # noqa: E402
from protocols.environment import processor  # noqa: E402

TARGETS = {"demo --quick": 90.0, "demo": 300.0}  # seconds


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; return 0 if every target is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the quick demo alone; no file")
    args = parser.parse_args(argv)
    rows = [measured(command) for command in (["demo --quick"] if args.quick else TARGETS)]
    print(printed(rows))
    if not args.quick:
        write_json(HERE / "demo.json", rows)
    return 0 if all(one["ok"] for one in rows) else 1


def measured(command: str) -> Row:
    """Return the row of one demo: processor seconds of the process and of those it starts."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent.parent)}
    before = seconds()
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "fewshot", *command.split(), "--work", str(Path(folder) / "work")]
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    return row(f"fewshot {command}, one thread of {processor()} (s)", seconds() - before, TARGETS[command])


def seconds() -> float:
    """Return the processor time of all finished processes that this one started, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
