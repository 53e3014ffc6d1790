"""What memory is taken: opening, evaluating and training a CT set of Synapse's size.

Each is measured in a process of its own, this file's: called with a store's folder and what to do, it does
that and prints the peak above the loaded framework, in MB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import FULL, TINY, Row, Sizes, row

STEPS = 12
TARGETS = {"opening": 300.0, "evaluation of a fold": 1500.0, "training": 4000.0}


def memory_rows(sizes: Sizes) -> list[Row]:
    """Return the peak of each kind of work, in MB above the loaded framework; the store is made for it."""
    from made import ct_store

    scans, slices = sizes.large
    with tempfile.TemporaryDirectory() as folder:
        store = ct_store(Path(folder) / "store", sizes)
        return [
            row(
                f"memory of {what}, CT of {scans} scans of {slices} slices (MB)",
                measured(store.path, what, sizes),
                target,
            )
            for what, target in TARGETS.items()
        ]


def measured(store: Path, what: str, sizes: Sizes) -> float:
    """Return the MB that a process of its own takes for `what`."""
    program = str(Path(__file__).resolve())
    size = "tiny" if sizes == TINY else "full"
    run = subprocess.run(
        [sys.executable, program, str(store), what, size], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(f"measuring the memory of {what} failed:\n{run.stderr}")
    return float(run.stdout.split()[-1])


def held(what: str, process: str = "self") -> float:
    """Return the memory that a process holds ("VmRSS"; without pages of files "RssAnon"),
    or has held at most ("VmHWM"), in MB. Not from `getrusage`, which begins with the parent's peak.
    """
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def main(folder: Path, what: str, sizes: Sizes) -> None:
    """Do `what` with the store in `folder` and print the peak above that of the loaded framework."""
    from evaluation_cost import Fold
    from training_cost import stepper

    from baselines.ssl_alpnet import SSLALPNet
    from episodes.store.store import Store
    from fewshot.base.malloc import keep_memory
    from fewshot.encoders.encoder import build_encoder

    keep_memory()
    loaded = held("VmRSS")
    store = Store.open(folder)
    if what == "opening":
        for scan in store.index.scans:
            store.scan(scan)
    elif what == "training":
        step, _episode = stepper(SSLALPNet(build_encoder(sizes.encoder, 0)), store)
        for _step in range(STEPS):
            step()
    else:
        with tempfile.TemporaryDirectory() as work:
            Fold(store, Path(work), sizes).evaluate("alpnet-ep1")
    print(held("VmHWM") - loaded)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], TINY if sys.argv[3] == "tiny" else FULL)
