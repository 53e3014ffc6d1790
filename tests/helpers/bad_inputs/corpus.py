"""All bad inputs, and the sound inputs that they are changes of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import torch
from download_scans import write_chaos
from tiny import tiny_store

from bad_inputs import arrays, json_files, options, slices, toml_files, volumes, weights
from bad_inputs.case import Base, Case
from fewshot.commands.main import main

FACTS = """title = "Mine"
modality = "mr"
image_size = 64
patient_threshold = 50
superpixel_min_size = 30
folds = 3
[classes]
liver = 1
spleen = 2
[groups]
both = ["liver", "spleen"]
"""


def all_cases() -> list[Case]:
    """Return every bad input; names are unique."""
    modules = (volumes, slices, arrays, toml_files, json_files, weights, options)
    found = [case for module in modules for case in module.cases()]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})
    return found


def write_scans(folder: Path) -> Path:
    """Write three pairs of 64 x 64 x 8 voxels, uncompressed headers alike, and their facts."""
    folder.mkdir(parents=True)
    affine = np.diag([1.25, 1.25, 7.7, 1.0])
    affine[:3, 3] = [-40, -40, -20]
    x, y, z = np.meshgrid(*[np.arange(n) for n in (64, 64, 8)], indexing="ij")
    for number in (1, 2, 3):
        liver = ((x - 22) / 10) ** 2 + ((y - 34 - number) / 11) ** 2 + ((z - 4) / 3.2) ** 2 < 1
        spleen = ((x - 45) / 7) ** 2 + ((y - 29) / 7) ** 2 + ((z - 4) / 3) ** 2 < 1
        body = ((x - 32) / 29) ** 2 + ((y - 32) / 26) ** 2 < 1
        noise = np.random.Generator(np.random.PCG64(number)).integers(0, 20, x.shape)
        image = (body * (200 + noise) + 200 * liver + 350 * spleen).astype(np.int16)
        labels = np.where(spleen, 2, liver).astype(np.uint8)
        for kind, array in (("image", image), ("label", labels)):
            made = nibabel.Nifti1Image(array, affine)
            made.set_qform(affine, 1)
            made.set_sform(affine, 1)
            made.header.set_xyzt_units("mm")
            nibabel.save(made, folder / f"{kind}_{number}.nii.gz")
    (folder / "my.toml").write_text(FACTS)
    return folder


def make_base(folder: Path) -> Base:
    """Make the sound inputs: store, model, records, masks, plan, scans and a CHAOS download of 20 scans."""
    work = folder / "work"
    tiny_store(work / "stores" / "tiny")
    cells = ["--work", str(work), "--dataset", "tiny", "--folds", "0,1"]
    assert main(["run", *cells, "--method", "copy-support", "--save-predictions"]) == 0
    training = ["--encoder", "resnet18", "--weights", "random", "--steps", "0"]
    assert main(["run", *cells[:-1], "0", "--groups", "upper", "--method", "ssl-alpnet", *training]) == 0
    assert main(["plan", *cells, "--out", str(folder / "plan.json")]) == 0
    masks = folder / "masks"
    masks.mkdir()
    for path in (work / "predictions").glob("*/counted/*.nii.gz"):
        shutil.copy(path, masks)
    (model,) = (path.name for path in (work / "models").iterdir())
    state = torch.load(work / "models" / model / "last.pt")["model"]
    torch.save(state, folder / "net.pth")
    records = sorted((work / "records").glob("*.json"))
    record = next(
        path for path in records if json.loads(path.read_text())["method"]["name"] == "copy-support"
    )
    chaos = write_chaos(folder / "chaos", scans=1)
    home = chaos / "Train_Sets" / "MR"
    for number in (2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39):
        (home / str(number)).symlink_to(home / "1")
    return Base(
        work,
        write_scans(folder / "scans"),
        chaos,
        masks,
        folder / "plan.json",
        model,
        folder / "net.pth",
        record,
    )
