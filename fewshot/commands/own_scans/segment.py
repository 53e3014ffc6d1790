"""Segment a scan from one annotated scan and a model: no dataset, no store, no folds.

Both scans are prepared by their modality as SSL-ALPNet prepares them. The mask is written on the query's own
voxels: 1 the class, 0 the rest. Without --slices, the support's middle class slice serves every slice of the
query, as in the protocol open-ep. With --slices A:B, the range that holds the organ, three support slices (at
1/6, 1/2 and 5/6 of the class) serve the thirds of that range, as in alpnet-ep1, and the mask is empty
elsewhere. Nothing is reoriented: support and query must have the same axes in their arrays.

Examples:
  fewshot segment --support a.nii.gz a_mask.nii.gz --query b.nii.gz --checkpoint 3fa2 --out b_mask.nii.gz
  fewshot segment --support a.nii.gz a_mask.nii.gz --query b.nii.gz --checkpoint net.pth \\
      --method panet --modality ct --slices 20:45 --out b_mask.nii.gz --picture b.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError, short
from fewshot.commands import options, shared

if TYPE_CHECKING:
    from protocols.own_scan.scan_pair import SegmentationInput
    from protocols.own_scan.segment import SegmentedScan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("scans")
    group.add_argument(
        "--support", type=Path, nargs=2, required=True, metavar=("IMG", "MASK"), help="the annotated scan"
    )
    group.add_argument("--query", type=Path, required=True, metavar="IMG", help="the scan to segment")
    group.add_argument(
        "--label", type=int, metavar="K", help="the class in MASK (default: its only value besides 0)"
    )
    group.add_argument(
        "--slices", metavar="A:B",
        help="slices of the query file that hold the organ, from 0, both included (default: all)",
    )  # fmt: skip
    group.add_argument(
        "--modality", choices=("mr", "ct"), help="how to prepare the scans (default: as the model's dataset)"
    )
    group.add_argument(
        "--prepared", action="store_true", help="the scans are prepared already, like the model's dataset"
    )
    group = parser.add_argument_group("model")
    group.add_argument(
        "--checkpoint", required=True, metavar="M",
        help="beginning of a key under WORK/models, a model folder, or a checkpoint file",
    )  # fmt: skip
    group.add_argument(
        "--method", metavar="M",
        help="method of a checkpoint file (default: ssl-alpnet); with a model, the file of a user's method",
    )  # fmt: skip
    options.add_encoder(group)
    options.add_option(group, "with a checkpoint file: an option of its method")
    group.add_argument(
        "--image-size", type=int, default=256, metavar="N",
        help="with a checkpoint file: pixels a side of its input",
    )  # fmt: skip
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, metavar="FILE", help="mask, .nii.gz or .nii")
    group.add_argument("--picture", type=Path, metavar="FILE", help="also draw a PNG of a few slices")
    options.add_batch(options.add_device(parser))


def run(args: argparse.Namespace) -> int:
    """Segment, write the mask, and print its slices and volume."""
    from episodes.io.nifti import write_nifti
    from protocols.own_scan.model_lookup import find_model
    from protocols.own_scan.scan_pair import read_segmentation_input
    from protocols.own_scan.segment import segment_scan
    from protocols.training.method_config import build_method_config

    if not args.out.name.endswith((".nii", ".nii.gz")):
        raise UserError(f"--out {args.out}: expected a name that ends in .nii.gz or .nii")
    if not 8 <= args.image_size <= 4096 or args.image_size % 8:
        raise UserError(f"--image-size {short(args.image_size)}: expected a multiple of 8 up to 4096")
    device = shared.choose_device(args.device)
    batch = shared.choose_batch(args.batch, device)
    image, mask = args.support
    question = read_segmentation_input(image, mask, args.query, args.label, shared.parse_slices(args.slices))
    method = build_method_config(
        args.method or "ssl-alpnet", shared.parse_options(args.option), encoder=args.encoder
    )
    model = find_model(args.checkpoint, args.work, method, device, args.image_size, args.method)
    answer = segment_scan(
        question, model, modality=args.modality, prepared=args.prepared, device=device, batch=batch
    )
    query = answer.query
    write_nifti(args.out, answer.mask, query.spacing_mm, query.origin, query.direction, query.affine)
    for note in answer.notes:
        print(f"note: {note}")
    for line in _summary(question, answer):
        print(line)
    if args.picture is not None:
        _draw(question, answer, f"{args.query.name} by {model.name}", args.picture)
        print(f"picture: {args.picture}")
    print(args.out)
    return 0


def _summary(question: SegmentationInput, answer: SegmentedScan) -> list[str]:
    """Return the lines to print: supports and slices of the query, fallback slices, voxels of the mask."""
    first, last = answer.predicted_slices[0], answer.predicted_slices[-1]
    supports = ", ".join(map(str, answer.supports))
    lines = [
        f"class of value {question.value}: support slices {supports} (prepared) served slices {first} to "
        f"{last} of {answer.depth} (prepared), {len(answer.predicted_slices)} segmented"
    ]
    if answer.fallback_slices:
        lines.append(f"the method's fallback segmented {answer.fallback_slices} of them")
    shown = answer.shown
    where = f"on slices {shown[0]} to {shown[-1]} ({len(shown)})" if shown else "on no slice"
    lines.append(f"found {answer.voxels} voxels, {answer.volume_ml:.1f} ml, {where} of the query file")
    return lines


def _draw(question: SegmentationInput, answer: SegmentedScan, heading: str, path: Path) -> None:
    import numpy as np

    from episodes.figures.scan_sheet import spread_out
    from results.figures.scan_picture import OutlinedSlice, draw_segmentation

    annotated = question.mask.array == question.value
    classes = np.flatnonzero(annotated.any(axis=(1, 2)))
    z = int(classes[len(classes) // 2])
    _, height, width = question.support.spacing_mm
    support = OutlinedSlice(
        question.support.array[z].astype(np.float32), annotated[z], height / width, f"support, slice {z}"
    )
    _, height, width = answer.query.spacing_mm
    found = [
        OutlinedSlice(
            answer.query.array[z].astype(np.float32), answer.mask[z], height / width, f"query, slice {z}"
        )
        for z in spread_out(answer.shown or range(len(answer.mask)), 7)
    ]
    draw_segmentation(heading, support, found, path)
