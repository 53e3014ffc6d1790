"""The registry of methods: name -> import string, imported on use, so that this package imports no method."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError, short, unknown_name
from fewshot.base.user_code import import_file, run_user_code

METHODS = {
    "ssl-alpnet": "baselines.ssl_alpnet:SSLALPNet",
    "dspnet": "baselines.dspnet.model:DSPNet",
    "panet": "baselines.panet:PANet",
    "kmeans": "baselines.kmeans:KMeansPrototypes",
    "qnet": "baselines.qnet:QNet",
    "adnet": "baselines.adnet:ADNet",
    "densemp": "baselines.densemp:DenseMP",
    "rpt": "baselines.rpt.model:RPT",
    "gmrd": "baselines.gmrd.model:GMRD",
    "universeg": "baselines.universeg:UniverSeg",
    "all-foreground": "baselines.yardsticks:AllForeground",
    "copy-support": "baselines.yardsticks:CopySupport",
}


def known_methods() -> dict[str, str]:
    """Return name -> "module:Class" of the built-in methods and of the `fewshot.methods` entry points."""
    points = importlib.metadata.entry_points(group="fewshot.methods")
    return {**{point.name: point.value for point in points}, **METHODS}


def resolve_method(name: str) -> type[Any]:
    """Return the learner class for a name, `package.module:Class` or `file.py:Class`.

    Raises:
        UserError: no such method, module, file or class.
    """
    target = known_methods().get(name, name)
    module_name, separator, class_name = target.rpartition(":")
    if not separator:
        raise unknown_name("method", name, known_methods())
    module = import_file(Path(module_name)) if module_name.endswith(".py") else _import(module_name, name)
    learner = getattr(module, class_name, None)
    if not inspect.isclass(learner):
        raise UserError(
            f"method {name!r}: {module_name} has no class {class_name!r}; name a class it defines"
        )
    return learner


def options_class(learner: type[Any]) -> type[Any]:
    """Return the dataclass `Options` of a learner class; `UserError` for a class without one."""
    options = getattr(learner, "Options", None)
    if not inspect.isclass(options) or not dataclasses.is_dataclass(options):
        where = getattr(sys.modules.get(learner.__module__), "__file__", None) or learner.__module__
        raise UserError(
            f"{where}: class {learner.__name__} has no dataclass Options, expected a learner; derive it from "
            "fewshot.learner.PrototypeLearner, or see fewshot new-method"
        )
    return options


def trains(learner: type[Any]) -> bool:
    """Whether the learner class has an encoder and is trained; else it has only `segment`."""
    return bool(getattr(learner, "trainable", True)) and hasattr(learner, "recipe")


def _import(module_name: str, name: str) -> Any:
    if module_name.partition(".")[0] == "baselines":
        return importlib.import_module(module_name)
    missing = UserError(
        f"method {short(repr(name))}: no module named {short(repr(module_name))}; run from the folder that "
        "holds it, or give a file: my_method.py:MyMethod"
    )
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise missing
    top = module_name.partition(".")[0]
    spec = None if top in sys.modules else importlib.util.find_spec(top)
    try:
        run_user_code(lambda: importlib.import_module(module_name), (spec and spec.origin) or module_name)
    except UserError as error:
        cause = error.__cause__
        absent = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if absent is not None and f"{module_name}.".startswith(f"{absent}."):
            raise missing from None
        raise
    return sys.modules[module_name]
