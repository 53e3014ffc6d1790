"""Numbers of the shared parts that make episodes: preparation, pseudo-labels, sampling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cardiac_scans import small_heart_spec, write_acdc, write_cmr
from download_scans import write_chaos, write_synapse
from fingerprint_inputs import (
    BlockVoxels,
    block_plan,
    block_store,
    reader_of,
    waves,
    write_own_folder,
)
from fingerprint_statistics import Numbers, tensor_numbers
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from episodes.phantoms.generate import KINDS, phantom_scan, phantom_spec
from episodes.prepare.build import build_store
from episodes.prepare.downloads import acdc, chaos, cmr, synapse
from episodes.prepare.own_data.folder import own_scans, read_own_facts
from episodes.pseudo_labels.superpixels import patient_mask, volume_superpixels
from episodes.pseudo_labels.supervoxels import min_size_of, volume_supervoxels
from episodes.sampling.annotated import AnnotatedEpisodes, MixedEpisodes, annotated_pairs
from episodes.sampling.augment import PRESETS, augment
from episodes.sampling.base import EpisodeSource
from episodes.sampling.superpixel import DRAWS, SuperpixelEpisodes
from episodes.sampling.supervoxel import SupervoxelEpisodes
from episodes.store.dataset import load_dataset_spec
from fewshot.base.types import SliceRef


def preparation(folder: Path) -> Numbers:
    own = write_own_folder(folder / "own")
    spec, scans = own_scans(own, read_own_facts(own / "facts.toml", "own"))
    store = build_store(scans, spec, folder / "store", workers=1)
    found = {f"own folder scan {scan}": _scan_numbers(store.scan(scan)) for scan in store.index.scans[:2]}
    three = {"scans": ("1", "2", "3"), "fold_borders": (0, 1, 3)}
    synapse_values = {"spleen": 1, "right-kidney": 2, "left-kidney": 3, "liver": 6}
    synapse_spec = replace(load_dataset_spec("sabs"), classes=synapse_values, **three)
    downloads = {
        "CHAOS": chaos.raw_scans(
            write_chaos(folder / "chaos"), replace(load_dataset_spec("chaost2"), **three)
        ),
        "Synapse": synapse.raw_scans(write_synapse(folder / "synapse"), synapse_spec),
        "MS-CMRSeg": cmr.raw_scans(write_cmr(folder / "cmr"), small_heart_spec("cmr")),
        "ACDC": acdc.raw_scans(write_acdc(folder / "acdc"), small_heart_spec("acdc")),
    }
    for name, raw in downloads.items():
        pair = raw["1"].read()
        found[name] = {"spacing": list(pair.image.spacing_mm), "origin": list(pair.image.origin)}
        found[name] |= _volume_numbers(pair.image.array, pair.label.array)
    blocks = block_store(folder / "blocks")
    for rule in ("per-scan", "training-scans"):
        images = reader_of(blocks, rule).images([SliceRef("1", 3), SliceRef("8", 0)])
        found[f"slices normalised {rule}"] = tensor_numbers(images)
    for name in KINDS:
        found[name] = _volume_numbers(*phantom_scan(phantom_spec(name, 48), "1", 8))
    return found


def _scan_numbers(scan: Any) -> Numbers:
    statistics = {"voxels": scan.count, "mean": scan.mean, "m2": scan.m2, "spacing": list(scan.spacing_mm)}
    return statistics | {"origin": list(scan.origin)} | _volume_numbers(scan.image, scan.labels)


def _volume_numbers(image: NDArray[Any], labels: NDArray[Any]) -> Numbers:
    values, counts = np.unique(labels, return_counts=True)
    return {
        "image": tensor_numbers(image) | {"dtype": str(image.dtype)},
        "percentiles": [float(one) for one in np.percentile(image, (1, 50, 90, 99.9))],
        "labels": {str(value): {"pixels": int(n)} for value, n in zip(values, counts, strict=True)},
    }


def pseudo_labels(folder: Path) -> Numbers:
    image = block_store(folder / "store").scan("0").image
    found: Numbers = {"patient": {"pixels": int(sum(patient_mask(one, 50.0).sum() for one in image))}}
    # among small intensities the scale of the segmentation counts, among large ones the least size alone
    for name, values, threshold, least in (("stored", image, 50.0, 60), ("small", image / 1e4, 0.005, 5)):
        maps = volume_superpixels(values, threshold, least, 1)
        found[f"superpixels of {name} values"] = _segment_numbers(maps)
    for name, spacing in (("thick", (7.7, 1.25, 1.25)), ("cubic", (1.25, 1.25, 1.25))):
        maps = volume_supervoxels(image, spacing, 60)
        found[f"supervoxels of {name} slices"] = _segment_numbers(maps)
    smooth = np.round(gaussian_filter(image.astype(np.float64), 2))  # where the segmentation's scale counts
    found["supervoxels of smooth slices"] = _segment_numbers(volume_supervoxels(smooth, (1.0, 1.0, 1.0), 1))
    for name in ("chaost2", "sabs", "cmr"):
        found[f"least supervoxel {name}"] = min_size_of(load_dataset_spec(name))
    return found


def _segment_numbers(maps: NDArray[Any]) -> Numbers:
    """Return the sums of maps (Z,H,W), the number of segments of all slices and each slice's largest one."""
    sizes = [np.bincount(one[one > 0]) for one in maps]
    return tensor_numbers(maps) | {
        "segments": sum(int((one > 0).sum()) for one in sizes),
        "largest by slice": {str(z): {"pixels": int(one.max(initial=0))} for z, one in enumerate(sizes)},
    }


def sampling(folder: Path) -> Numbers:
    store = block_store(folder / "store")
    reader, plan, voxels = reader_of(store), block_plan(store), BlockVoxels(store)
    slices, scans = frozenset(plan.training.slices), plan.training.scans
    pairs = annotated_pairs(store.index, store.spec, plan)
    found: Numbers = {}
    for preset in PRESETS:
        common: dict[str, Any] = {"seed": 0, "augmentation": preset}
        samplers: dict[str, EpisodeSource] = {
            f"superpixel {draw}": SuperpixelEpisodes(reader, store.index, scans, slices, draw=draw, **common)
            for draw in DRAWS
        }
        samplers["supervoxel"] = SupervoxelEpisodes(reader, voxels, store.index, scans, slices, **common)
        samplers["annotated"] = AnnotatedEpisodes(reader, pairs, store.spec.classes, batch=2, **common)
        for name, sampler in samplers.items():
            for step in range(3):
                found[f"{name} augmentation {preset} episode {step}"] = _episode_numbers(sampler, step)
        views = augment(*_large_views(), PRESETS[preset], torch.Generator().manual_seed(1))
        found[f"augmentation {preset}"] = {"images": tensor_numbers(views[0]), "pixels": int(views[1].sum())}
    mixed = MixedEpisodes(samplers["annotated"], samplers["superpixel present"], 0.5, seed=0)
    found["mixed"] = [mixed.episode(step).label for step in range(8)]
    return found


def _episode_numbers(sampler: EpisodeSource, step: int) -> Numbers:
    episode = sampler.episode(step)
    masks = torch.stack([episode.support_masks, episode.query_masks])
    images = torch.stack([episode.support_images, episode.query_images])
    return {"label": episode.label, "images": tensor_numbers(images), "pixels": int(masks.sum())}


def _large_views() -> tuple[Tensor, Tensor]:
    images = torch.nn.functional.avg_pool2d(waves(8, 1, 192, 192), 3, 1, 1)
    return images, images[:, 0] > 0.2
