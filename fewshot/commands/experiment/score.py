"""Score another program's masks under a plan that `fewshot plan --out` wrote, and record them as external.

PREDICTIONS holds a label map scan_ID.nii.gz (or .nii, .nrrd, .nhdr, .mha, .mhd) for every query scan ID of
the plan, with the stored value of each class, or a mask scan_ID_label_K.nii.gz for every scan and tested
class of value K, in which the class is 1 and the rest 0. The voxels are those of the scan's own image, or
those of the prepared slices (WORK/stores/DATASET); size, spacing, origin and axes in the header say which,
and axes may have another order or sense. Masks on the original voxels are brought to the prepared slices,
where every method is scored; a note says by how much that may change a score. If a file is missing or does
not fit, the command stops and writes nothing. WORK/predictions keeps the masks, for distances and pictures.

Examples:
  fewshot score masks --plan plan.json --name their-net --labels-used none
  fewshot score masks/{fold} --plan phantom-mri-setting1-alpnet-ep1 --name their-net --labels-used none
  fewshot score masks/{fold} --plan plan.json --name their-net --labels-used training-group
  fewshot score work/predictions/CELL --grid store --plan plan.json --name again --labels-used none
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import shared

LABELS_USED = {
    "none": "no manual mask",
    "training-group": "masks of classes that the plan does not test",
    "target": "masks of the tested classes",
    "external": "weights trained elsewhere with masks, or in a way that you do not know",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", help="folder of masks; {fold} and {group} are filled in"
    )
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--plan", type=Path, required=True, metavar="FILE",
        help="file of fewshot plan --out, or a shipped plan's name, e.g. phantom-mri-setting1-alpnet-ep1",
    )  # fmt: skip
    group.add_argument(
        "--protocol",
        metavar="P",
        help="file of the plan's protocol if it is not a shipped one (default: shipped)",
    )
    group.add_argument(
        "--grid", default="original", choices=("original", "store"),
        help="original: masks on the voxels of the scans' files or on the prepared slices; store: only on "
        "the prepared slices, of a folder of run --save-predictions the masks as its record counts them",
    )  # fmt: skip
    group = parser.add_argument_group("method")
    group.add_argument("--name", required=True, metavar="NAME", help="name of the method in tables")
    group.add_argument(
        "--labels-used", choices=tuple(LABELS_USED),
        help="manual labels that the method's training saw: "
        + "; ".join(f"{value}: {meaning}" for value, meaning in LABELS_USED.items()),
    )  # fmt: skip
    group = parser.add_argument_group("records")
    group.add_argument("--overwrite", action="store_true", help="write existing records again")


def run(args: argparse.Namespace) -> int:
    """Score every cell of the plan, write the records and print the table.

    Raises `UserError` without `--labels-used`: a record must hold it, and the masks do not show it.
    """
    if args.labels_used is None:
        meanings = "; ".join(f"{value} ({meaning})" for value, meaning in LABELS_USED.items())
        raise UserError(f"--labels-used is missing, expected the labels that the training saw: {meanings}")
    from protocols.rules.spec import load_protocol
    from protocols.scoring.plan_file import read_plan_file
    from protocols.scoring.score_masks import score_files
    from protocols.submission.published_plans import plan_path
    from results.records.files import read_record
    from results.tables.fold_tables import render

    file = read_plan_file(plan_path(str(args.plan)))
    scored = score_files(
        file,
        shared.open_store(args.work, file.dataset),
        load_protocol(args.protocol or file.protocol).with_shots_and_parts(file.shots, file.parts),
        args.predictions,
        args.name,
        args.work,
        labels_used=args.labels_used,
        overwrite=args.overwrite,
        grid=args.grid,
    )
    print(render([read_record(path) for path in scored.paths]))
    for note in scored.notes:
        print(f"note: {note}")
    return 0
