"""Parse options: `--option name=value` texts become the fields of a frozen dataclass."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fewshot.base.errors import UserError, unknown_name

T = TypeVar("T")

# metadata of a field whose text always names a file or a folder: `field(default="", metadata=PATH)`
PATH: Mapping[str, bool] = types.MappingProxyType({"path": True})


def options_from(cls: type[T], values: Mapping[str, str], base: T | None = None) -> T:
    """Return an instance of `cls` with `values` parsed by its type hints.

    Types: int, float (finite), bool (true/false), str, Literal, `X | None` (none) and tuple[X, ...]
    (commas).

    Args:
        cls: a frozen dataclass.
        values: option -> text.
        base: gives the other fields; default: their defaults.

    Raises:
        UserError: an unknown name, or a text that does not match the type.
    """
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    parsed: dict[str, Any] = {} if base is None else {name: getattr(base, name) for name in names}
    for name, text in values.items():
        if name not in names:
            raise unknown_name("option", name, names)
        try:
            parsed[name] = _parsed(hints[name], text)
        except ValueError:
            raise UserError(
                f"option {name}: expected {_described(hints[name])}, got {text!r} (use --option {name}=VALUE)"
            ) from None
    return cls(**parsed)


def _parsed(kind: Any, text: str) -> Any:
    """Return `text` as `kind`; raise `ValueError` if it does not match."""
    if kind in _PARSERS:
        return _PARSERS[kind](text)
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return (
            {str(choice): choice for choice in arguments}[text] if text in map(str, arguments) else _wrong()
        )
    if get_origin(kind) in (types.UnionType, Union) and type(None) in arguments:
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if text.lower() == "none" else _parsed(inner, text)
    if get_origin(kind) is tuple:
        return tuple(_parsed(arguments[0], part.strip()) for part in text.split(",") if part.strip())
    raise TypeError(f"an option of type {kind} cannot be set from text; use int, float, bool, str or Literal")


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _wrong()


def _bool(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return known[text.lower()] if text.lower() in known else _wrong()


def _wrong() -> Any:
    raise ValueError


_PARSERS: dict[Any, Callable[[str], Any]] = {int: int, float: _float, bool: _bool, str: str}


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"{_described(get_args(kind)[0])}s with commas between"
    return {int: "whole number", float: "number", bool: "true or false"}.get(kind, str(kind))
