"""Segment a scan from annotated scans and a model: no dataset, no folds.

The scans are prepared as the scans of the model's dataset were (turned, resampled, cropped or padded, and
normalised), and the label map is written on the query's own voxels, with its header. It holds the values of
MASK: one class, several, or by default every class of MASK. A voxel that several classes claim belongs to
the one with the smallest mask.

Without --slices, the middle slice of each class in each support serves every slice of the query, as in the
protocol open-ep; --support-slices N takes N slices, evenly over the class. With --slices A:B, the range that
holds the organs, three slices of each support (at 1/6, 1/2 and 5/6 of the class) serve the thirds of that
range, as in alpnet-ep1, and the label map is empty elsewhere; --support-slices N makes N parts. Images and
masks are NIfTI, NRRD or MetaImage files, images also folders of DICOM slices. Axes are turned only if the
model's dataset was: otherwise support and query must have the same axes in their arrays.

Examples:
  fewshot segment --support a.nii.gz a_mask.nii.gz --query b.nii.gz --checkpoint 3fa2 --out b_mask.nii.gz
  fewshot segment --support a.nii.gz a_mask.nii.gz --support c.nii.gz c_mask.nii.gz --query b.nii.gz \\
      --label 1 --label 4 --support-slices 3 --checkpoint 3fa2 --out b_mask.nii.gz --picture b.png
  fewshot segment --support a.nii.gz a_mask.nii.gz --query b.nii.gz --checkpoint net.pth \\
      --method panet --modality ct --slices 20:45 --out b_mask.nii.gz
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError, short
from fewshot.commands import options, shared

if TYPE_CHECKING:
    from protocols.own_scan.segment import SegmentedScan
    from protocols.own_scan.segmentation_input import SegmentationInput

MOST_SUPPORT_SLICES = 99


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("scans")
    group.add_argument(
        "--support", type=Path, nargs=2, action="append", required=True, metavar=("IMG", "MASK"),
        help="an annotated scan; may be repeated",
    )  # fmt: skip
    group.add_argument("--query", type=Path, required=True, metavar="IMG", help="the scan to segment")
    group.add_argument(
        "--label", type=int, action="append", default=[], metavar="K",
        help="value of a class in MASK; may be repeated (default: every value besides 0)",
    )  # fmt: skip
    group.add_argument(
        "--support-slices", type=int, metavar="N",
        help="slices of each support for each class (default: 1, with --slices 3)",
    )  # fmt: skip
    group.add_argument(
        "--slices", metavar="A:B",
        help="slices of the query file that hold the organs, from 0, both included (default: all)",
    )  # fmt: skip
    group.add_argument(
        "--channel", type=int, metavar="N",
        help="channel of images that have several, from 0 (default: each has one)",
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
    group.add_argument("--out", type=Path, required=True, metavar="FILE", help="label map, .nii.gz or .nii")
    options.add_grid(group, "of the label map")
    group.add_argument("--picture", type=Path, metavar="FILE", help="also draw a PNG of a few slices")
    options.add_batch(options.add_device(parser))


def run(args: argparse.Namespace) -> int:
    """Segment, write the label map, and print slices and volumes."""
    from episodes.io.nifti import write_nifti
    from protocols.own_scan.model_lookup import find_model
    from protocols.own_scan.segment import segment_scan
    from protocols.own_scan.segmentation_input import read_segmentation_input
    from protocols.training.method_config import build_method_config

    if not args.out.name.endswith((".nii", ".nii.gz")):
        raise UserError(f"--out {args.out}: expected a name that ends in .nii.gz or .nii")
    if not 8 <= args.image_size <= 4096 or args.image_size % 8:
        raise UserError(f"--image-size {short(args.image_size)}: expected a multiple of 8 up to 4096")
    if args.support_slices is not None and not 1 <= args.support_slices <= MOST_SUPPORT_SLICES:
        raise UserError(f"--support-slices {short(args.support_slices)}: expected 1 to {MOST_SUPPORT_SLICES}")
    device = shared.choose_device(args.device)
    batch = shared.choose_batch(args.batch, device)
    supports = [(image, mask) for image, mask in args.support]
    slices = shared.parse_slices(args.slices)
    inputs = read_segmentation_input(supports, args.query, args.label, slices, args.channel)
    method = build_method_config(
        args.method or "ssl-alpnet", shared.parse_options(args.option), encoder=args.encoder
    )
    model = find_model(args.checkpoint, args.work, method, device, args.image_size, args.method)
    segmented = segment_scan(
        inputs, model, modality=args.modality, prepared=args.prepared, device=device, batch=batch,
        support_slices=args.support_slices, grid=args.grid,
    )  # fmt: skip
    place = segmented.reference
    write_nifti(
        args.out, segmented.label_map, place.spacing_mm, place.origin, place.direction,
        place.affine if args.grid == "original" else None,
    )  # fmt: skip
    for note in segmented.notes:
        print(f"note: {note}")
    for line in _summary(inputs, segmented, args.grid):
        print(line)
    if args.picture is not None:
        _draw(inputs, segmented, f"{args.query.name} by {model.name}", args.picture)
        print(f"picture: {args.picture}")
    print(args.out)
    return 0


def _summary(inputs: SegmentationInput, segmented: SegmentedScan, grid: str) -> list[str]:
    """Return the lines to print: preparation, supports and voxels of each class, fallback slices."""
    first, last = segmented.predicted_slices[0], segmented.predicted_slices[-1]
    lines = [f"scans prepared {segmented.rules}"]
    for value in inputs.values:
        lines.append(
            f"class of value {value}: support slices {_supports(inputs, segmented, value)} (prepared) served "
            f"slices {first} to {last} of {segmented.depth} (prepared), {len(segmented.predicted_slices)} "
            "segmented"
        )
        shown = segmented.shown(value)
        where = f"on slices {shown[0]} to {shown[-1]} ({len(shown)})" if shown else "on no slice"
        lines.append(
            f"found {segmented.voxels(value)} voxels, {segmented.volume_ml(value):.1f} ml, {where} of the "
            f"{'query file' if grid == 'original' else 'prepared query'}"
        )
    if segmented.fallback_slices:
        lines.append(f"the method's fallback segmented {segmented.fallback_slices} slices")
    if segmented.in_several:
        lines.append(f"{segmented.in_several} voxels of several classes belong to the smallest of them")
    return lines


def _supports(inputs: SegmentationInput, segmented: SegmentedScan, value: int) -> str:
    """Return the support slices of a class, with the names of the files if there are several supports."""
    by_support: dict[int, list[int]] = {}
    for part in segmented.supports[value]:
        for number, z in part:
            slices = by_support.setdefault(number, [])
            slices += [] if z in slices else [z]
    texts = {number: ", ".join(map(str, slices)) for number, slices in sorted(by_support.items())}
    if len(inputs.supports) == 1:
        return texts[0]
    return "; ".join(f"{text} of {inputs.supports[number].image.path.name}" for number, text in texts.items())


def _draw(inputs: SegmentationInput, segmented: SegmentedScan, heading: str, path: Path) -> None:
    import numpy as np

    from episodes.figures.scan_sheet import spread_out
    from results.figures.scan_picture import OutlinedSlice, draw_segmentation

    shown = inputs.supports[0]
    annotated = np.where(np.isin(shown.mask.array, inputs.values), shown.mask.array, 0)
    classes = np.flatnonzero(annotated.any(axis=(1, 2)))
    _, height, width = shown.image.spacing_mm
    supports = [
        OutlinedSlice(
            shown.image.array[z].astype(np.float32), annotated[z], height / width, f"support, slice {z}"
        )
        for z in map(int, classes[len(classes) // 2 :][:1])
    ]
    query = segmented.reference
    _, height, width = query.spacing_mm
    found = [
        OutlinedSlice(
            query.array[z].astype(np.float32), segmented.label_map[z], height / width, f"query, slice {z}"
        )
        for z in spread_out(segmented.shown() or range(len(query.array)), 7)
    ]
    draw_segmentation(heading, supports, found, path)
