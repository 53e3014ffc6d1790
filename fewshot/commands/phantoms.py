"""Phantoms as commands make them: with progress, and not again where they are there already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError

if TYPE_CHECKING:
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
    """Return the store of a phantom dataset under `work`, and whether it was made just now.

    A store of the same phantoms is left as it is; one of another size or number of slices is a `UserError`
    unless `overwrite`.
    """
    from episodes.figures.contact_sheet import write_contact_sheet
    from episodes.phantoms.generate import phantom_spec, prepare_phantom, same_phantoms
    from episodes.store.store import Store
    from fewshot.base.progress import progress

    spec = phantom_spec(name, size)
    destination = work / "stores" / name
    if destination.exists() and not overwrite:
        store = Store.open(destination)
        if not same_phantoms(store, spec, slices):
            raise UserError(
                f"{destination} holds other phantoms (size {store.spec.image_size}), wanted size "
                f"{spec.image_size} and the slices asked for; use --overwrite to replace them, or another "
                "--work folder"
            )
        return store, False
    with progress(len(spec.scans), f"{name}: making phantoms", "scan") as bar:
        store = prepare_phantom(
            spec, destination, slices=slices, overwrite=overwrite, workers=workers, done=bar.update
        )
    write_contact_sheet(store, destination / "contact.png")
    return store, True
