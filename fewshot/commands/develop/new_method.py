"""Write a working method and its test, NAME.py and test_NAME.py, for you to change into your own.

Examples:
  fewshot new-method my_method
  fewshot new-method my_method --out methods
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError

METHOD = '''"""{title}: one prototype a class, the masked average of its features, compared by cosine.

Paper: name yours here, and say how this differs from it.
"""

import torch
from torch import Tensor

from fewshot import PrototypeLearner, masked_average, resize_masks, similarities


class {title}(PrototypeLearner):
    """A query pixel belongs to the class whose prototype is nearer."""

    def logits(self, support_features: Tensor, support_masks: Tensor, query_features: Tensor) -> Tensor:
        """(S,C,h,w), (S,H,W) or (S,h,w), (Q,C,h,w) -> background and foreground scores (Q,2,h,w)."""
        foreground = resize_masks(support_masks, support_features.shape[-2:])
        masks = (1 - foreground, foreground)
        prototypes = [masked_average(support_features, mask).mean(dim=0) for mask in masks]
        return similarities(torch.stack(prototypes), query_features, scale=20.0)
'''

TEST = '''"""{title}: a mask worked out by hand, and the learner contract."""

from pathlib import Path

import torch

from fewshot.contract import check_method
from fewshot.registry import resolve_method

{title} = resolve_method(f"{{Path(__file__).with_name('{name}.py')}}:{title}")


def test_a_query_like_the_support_gets_its_mask() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :, :2] = True
    features = torch.stack([mask.float(), 1 - mask.float()], dim=1)
    scores = {title}(torch.nn.Identity()).logits(features, mask, features)
    assert torch.equal(scores[:, 1] > scores[:, 0], mask)


def test_the_contract() -> None:
    assert [result for result in check_method({title}) if result.status == "FAIL"] == []
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="file name without .py, e.g. my_method")
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="folder to write to (default: this one)"
    )


def run(args: argparse.Namespace) -> int:
    """Write both files; replace none, and add the one that a killed call did not reach."""
    from fewshot.files.atomic_io import atomic_write
    from fewshot.files.temporaries import clear_dead

    clear_dead(args.out)
    title = class_name(args.name)
    files = {
        args.out / f"{args.name}.py": METHOD.format(title=title),
        args.out / f"test_{args.name}.py": TEST.format(title=title, name=args.name),
    }
    complete = all(path.exists() for path in files)
    for path, text in files.items():
        if path.exists() and (complete or path.read_bytes() != text.encode()):
            raise UserError(f"{path} is there already; choose another name, another --out, or remove it")
    for path, text in files.items():
        with atomic_write(path) as stream:
            stream.write(text)
    method, test = files
    print(f"wrote {method} and {test}; next: fewshot check-method {method}:{title}")
    return 0


def class_name(name: str) -> str:
    """Return MyMethod for my_method; refuse a name that no module, or another module, can have."""
    import importlib.util
    import keyword
    import re
    import sys

    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > 40 or keyword.iskeyword(name):
        raise UserError(
            f"{name!r} is not a usable name: expected a Python module's, lower-case letters, digits and "
            "single underscores, at most 40, such as my_method"
        )
    if name.startswith("test_"):
        raise UserError(f"{name!r} would be taken for a test; leave out test_")
    spec = importlib.util.find_spec(name)
    here = spec is not None and spec.origin is not None and Path(spec.origin).parent == Path.cwd()
    if name in sys.stdlib_module_names or (spec is not None and not here):
        raise UserError(f"{name!r} is the name of an installed package; choose another, such as my_{name}")
    return "".join(part.capitalize() for part in name.split("_"))
