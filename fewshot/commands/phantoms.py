"""Make the phantoms that a command needs, with a progress bar, unless they exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError

if TYPE_CHECKING:
    from episodes.store.dataset import DatasetSpec
    from episodes.store.store import Store


def ensure_phantoms(
    work: Path,
    name: str,
    *,
    size: int | None = None,
    slices: int | None = None,
    overwrite: bool = False,
    workers: int = 0,
) -> tuple[Store, bool]:
    """Return the store of a phantom dataset under `work`, and whether this call made it.

    A store of the same phantoms is reused. A lock lets one process make them while others wait for them. The
    contact sheet appears with the store; a store without one gets it.

    Args:
        work: the work folder.
        name: a phantom dataset.
        size: pixels a side; None for the dataset's default.
        slices: mean number of slices of a scan; None for the dataset's default.
        overwrite: replace phantoms of another size or number of slices.
        workers: threads; 0 for one per core.

    Raises:
        UserError: the store holds other phantoms, or arrays that were changed, and `overwrite` is false.
    """
    from episodes.figures.contact_sheet import write_contact_sheet
    from episodes.phantoms.generate import phantom_spec, prepare_phantom
    from fewshot.base.progress import progress
    from fewshot.files.locks import locked

    spec = phantom_spec(name, size)
    destination = work / "stores" / name
    picture = destination / "contact.png"
    if not overwrite and picture.exists():
        return _found(destination, spec, slices), False
    with locked(work / "locks" / f"store-{name}.lock"):
        if not overwrite and destination.exists():
            store = _found(destination, spec, slices)
            if not picture.exists():
                write_contact_sheet(store, picture)
            return store, False
        with progress(len(spec.scans), f"{name}: making phantoms", "scan") as bar:
            store = prepare_phantom(
                spec, destination, slices=slices, overwrite=overwrite, workers=workers,
                on_progress=bar.update,
                finish=lambda made: write_contact_sheet(made, made.path / picture.name),
            )  # fmt: skip
    return store, True


def _found(destination: Path, spec: DatasetSpec, slices: int | None) -> Store:
    """Return the store at `destination`; `UserError` for other phantoms or changed arrays."""
    from episodes.phantoms.generate import same_phantoms
    from episodes.store.store import Store

    store = Store.open(destination)
    if not same_phantoms(store, spec, slices):
        raise UserError(
            f"{destination} holds other phantoms (size {store.spec.image_size}), expected size "
            f"{spec.image_size} and --phantom-slices as typed; use --overwrite to replace them, or "
            "another --work folder"
        )
    store.check_arrays()
    return store
