"""The registry of methods: name -> import string, imported on use, so that this package imports no method."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import sys
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError, unknown_name
from fewshot.identity.user_code import import_file, import_module

METHODS = {
    "ssl-alpnet": "baselines.ssl_alpnet:SSLALPNet",
    "dspnet": "baselines.dspnet.model:DSPNet",
    "panet": "baselines.panet:PANet",
    "kmeans": "baselines.kmeans:KMeansPrototypes",
    "qnet": "baselines.qnet.model:QNet",
    "adnet": "baselines.adnet:ADNet",
    "densemp": "baselines.densemp:DenseMP",
    "rpt": "baselines.rpt.model:RPT",
    "gmrd": "baselines.gmrd.model:GMRD",
    "universeg": "baselines.universeg:UniverSeg",
    "all-foreground": "baselines.yardsticks:AllForeground",
    "copy-support": "baselines.yardsticks:CopySupport",
    "register-support": "baselines.register_support:RegisterSupport",
}
# methods of other regimes (fewshot/identity/regimes.py), and their forms that fit a support
OTHER_REGIMES = {
    "immseg": "baselines.immseg.model:IMMSeg",
    "tmunet": "baselines.tmunet.model:TMUnet",
    "hourglass": "baselines.hourglass.model:Hourglass",
    "mptpn": "baselines.mptpn.model:MPTPN",
    "tmunet-support": "baselines.tmunet.on_support:TMUnetOnSupport",
}
BUILT_IN = METHODS | OTHER_REGIMES


def known_methods() -> dict[str, str]:
    """Return name -> "module:Class" of the built-in methods and of the `fewshot.methods` entry points."""
    points = importlib.metadata.entry_points(group="fewshot.methods")
    return {**{point.name: point.value for point in points}, **BUILT_IN}


def resolve_method(name: str) -> type[Any]:
    """Return the learner class for a name, `package.module:Class` or `file.py:Class`.

    A file or module of the user's runs, so `name` must be what the user typed, never a name from a file.

    Raises:
        UserError: no such method, module, file or class.
    """
    target = BUILT_IN.get(name) or known_methods().get(name, name)
    module_name, separator, class_name = target.rpartition(":")
    if not separator:
        raise unknown_name("method", name, known_methods())
    path = Path(module_name)
    module = import_file(path) if module_name.endswith(".py") else import_module(module_name, name)
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
