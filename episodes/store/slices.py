"""Slices for learners: normalised by the rule of the protocol, then cropped to the model's input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.store.index import ClassSliceIndex
from episodes.store.sentences import CLASSES, STORED, class_sentence, position_sentence, stored_sentence
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.types import SliceRef

Rule = Literal["per-scan", "training-scans"]


class ScanArrays(Protocol):
    """A prepared scan: uncropped arrays (Z,Y,X) and the statistics of the whole image.

    `count` voxels, `mean` in stored units, `m2` the sum of squared deviations from that mean.
    """

    @property
    def image(self) -> NDArray[Any]: ...
    @property
    def labels(self) -> NDArray[Any]: ...
    @property
    def superpixels(self) -> NDArray[Any]: ...
    @property
    def channels(self) -> NDArray[Any]: ...
    @property
    def points(self) -> Mapping[str, tuple[float, float, float]]: ...
    @property
    def spacing_mm(self) -> tuple[float, float, float]: ...
    @property
    def sentences(self) -> tuple[str, ...]: ...
    @property
    def count(self) -> int: ...
    @property
    def mean(self) -> float: ...
    @property
    def m2(self) -> float: ...


class DatasetFacts(Protocol):
    """The facts of a dataset that a slice reader needs."""

    @property
    def image_size(self) -> int: ...
    @property
    def classes(self) -> Mapping[str, int]: ...


class Scans(Protocol):
    """The interface of a store that slices need; `episodes.store.store.Store` has it."""

    @property
    def spec(self) -> DatasetFacts: ...
    @property
    def index(self) -> ClassSliceIndex: ...
    def scan(self, scan_id: str, /) -> ScanArrays: ...


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation, in stored units, that normalise the intensities of each scan."""

    rule: Rule
    mean_std: Mapping[str, tuple[float, float]]


def pooled(statistics: Iterable[tuple[int, float, float]]) -> tuple[int, float, float]:
    """Combine (count, mean, sum of squared deviations) of several parts into those of their union.

    The pairwise update of Chan, Golub & LeVeque (1983): exact in real arithmetic, and stable in double
    precision, unlike a sum of raw squares.
    """
    count, mean, m2 = 0, 0.0, 0.0
    for part_count, part_mean, part_m2 in statistics:
        if part_count == 0:
            continue
        total = count + part_count
        delta = part_mean - mean
        mean += delta * part_count / total
        m2 += part_m2 + delta * delta * count * part_count / total
        count = total
    return count, mean, m2


def normalisation(store: Scans, rule: str, training_scans: Sequence[str]) -> Normalisation:
    """Return the intensities' mean and population standard deviation for every scan of `store`.

    Rule "per-scan" (MR) takes them from each scan's own volume, "training-scans" (CT) from the pooled voxels
    of `training_scans`. Both use uncropped volumes with padding and empty slices (docs/protocols.md, P-6).
    Raises `UserError` for an unknown rule, no training scan, or constant intensities.
    """
    if rule == "per-scan":
        of_scan = {
            scan: _mean_std([store.scan(scan)], f"scan {scan} has one intensity everywhere")
            for scan in store.index.scans
        }
        return Normalisation("per-scan", MappingProxyType(of_scan))
    if rule == "training-scans":
        if not training_scans:
            raise UserError(
                "normalisation 'training-scans' found no training scan; choose a fold that leaves some"
            )
        scans = [store.scan(scan) for scan in training_scans]
        shared = _mean_std(scans, f"training scans {', '.join(training_scans)} have one intensity everywhere")
        return Normalisation("training-scans", MappingProxyType(dict.fromkeys(store.index.scans, shared)))
    raise unknown_name("normalisation", rule, get_args(Rule))


def _mean_std(scans: Sequence[ScanArrays], complaint: str) -> tuple[float, float]:
    count, mean, m2 = pooled((scan.count, scan.mean, scan.m2) for scan in scans)
    if count == 0 or m2 <= 0:
        raise UserError(f"{complaint}: nothing to normalise by; check the images and prepare them again")
    return mean, math.sqrt(m2 / count)


class SliceReader:
    """Reads single slices of a store, normalised and cropped to `image_size` x `image_size`.

    The crop is `volume[:, :size, :size]`, as in the released programs. A reader keeps nothing between calls,
    so several threads may share it.
    """

    def __init__(self, store: Scans, normalisation: Normalisation) -> None:
        self._store = store
        self._normalisation = normalisation
        self.image_size = store.spec.image_size

    def image(self, ref: SliceRef) -> NDArray[np.float32]:
        """Return (x - mean) / std of one slice, (H,W) float32, computed in double precision."""
        mean, std = self._normalisation.mean_std[ref.scan]
        pixels = self.crop_slice(self._store.scan(ref.scan).image, ref)
        return ((pixels.astype(np.float64) - mean) / std).astype(np.float32)

    def images(self, refs: Sequence[SliceRef]) -> Tensor:
        """Return the normalised slices as one tensor, (N,1,H,W) float32."""
        stack = torch.empty(len(refs), 1, self.image_size, self.image_size)
        for place, ref in zip(stack, refs, strict=True):
            place[0] = torch.from_numpy(self.image(ref))
        return stack

    def channels(self, refs: Sequence[SliceRef]) -> Tensor:
        """Return all registered channels of slices in stored units, (N,C,H,W) float32, cropped as images are.

        A store without channels gives the one stored image.
        """
        stored = []
        for ref in refs:
            volumes = self._store.scan(ref.scan).channels
            pixels = np.stack([self.crop_slice(volume, ref) for volume in volumes])
            stored.append(torch.from_numpy(pixels.astype(np.float32)))
        return torch.stack(stored)

    def sentences(self, refs: Sequence[SliceRef], kind: str, classes: Sequence[str]) -> tuple[str, ...]:
        """Return a sentence for each slice.

        Args:
            refs: the slices.
            kind: one of `episodes.store.sentences.KINDS`.
            classes: the tested classes, for sentences that are made from them.

        Raises:
            UserError: a scan lacks the stored sentences, or the labels of the classes.
        """
        if kind == STORED:
            return tuple(stored_sentence(ref, self._store.scan(ref.scan).sentences) for ref in refs)
        if kind == CLASSES:
            return (class_sentence(classes),) * len(refs)
        known = self._store.spec.classes
        for name in classes:
            if name not in known:
                raise UserError(
                    f"scan {refs[0].scan} has no labels of {name}, which sentences={kind} are made from; "
                    f"use a model of --option sentences={CLASSES}"
                )
        return tuple(
            position_sentence(self.labels(ref), {name: known[name] for name in classes}) for ref in refs
        )

    def mask(self, ref: SliceRef, class_value: int) -> NDArray[np.bool_]:
        """Return the mask (H,W), bool, of the class with the stored value `class_value`."""
        shown: NDArray[np.bool_] = self.crop_slice(self._store.scan(ref.scan).labels, ref) == class_value
        return shown

    def labels(self, ref: SliceRef) -> NDArray[np.uint8]:
        """Return the stored class values of the slice, (H,W) uint8; 0 means no class."""
        return self.crop_slice(self._store.scan(ref.scan).labels, ref).astype(np.uint8)

    def points(self, ref: SliceRef, names: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Return landmarks of a slice as (row, column) in pixels, (P,2).

        `names`: the landmarks, NaN for absent ones; None: those that the slice shows.
        """
        stored = self._store.scan(ref.scan).points
        shown = {name: place[1:] for name, place in stored.items() if round(place[0]) == ref.z}
        absent = (np.nan, np.nan)
        places = list(shown.values()) if names is None else [shown.get(name, absent) for name in names]
        return np.array(places, dtype=np.float64).reshape(-1, 2)

    def spacing_mm(self, ref: SliceRef) -> tuple[float, float, float]:
        """Return the spacing (z,y,x) of the slice's scan in mm."""
        return self._store.scan(ref.scan).spacing_mm

    def superpixels(self, ref: SliceRef) -> NDArray[np.int32]:
        """Return the superpixel numbers of the slice, (H,W) int32; 0 means no superpixel."""
        return self.crop_slice(self._store.scan(ref.scan).superpixels, ref).astype(np.int32)

    def crop_slice(self, volume: NDArray[Any], ref: SliceRef) -> NDArray[Any]:
        """Return slice `ref.z`, cropped to (image_size, image_size), of a volume (Z,Y,X) on the scan's grid.

        Raises `UserError` for a volume with smaller slices.
        """
        size = self.image_size
        if volume.shape[1] < size or volume.shape[2] < size:
            raise UserError(
                f"scan {ref.scan} has slices of {volume.shape[1]} x {volume.shape[2]} pixels, expected at "
                f"least {size} x {size}; prepare it again with padding"
            )
        pixels: NDArray[Any] = volume[ref.z, :size, :size]
        return pixels
