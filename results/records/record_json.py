"""Strict conversion of frozen dataclasses (parts) to JSON and back: the annotations are the schema.

The JSON object of a part has exactly the fields of its class as keys. A field that equals its default is left
out. `Annotated[type, Rule(...)]` adds a condition; `metadata={"key": ...}` gives a field another key in JSON.
Supported types: parts, `tuple[X, ...]` (a list), `Mapping[K, X]` (an object; K: a text), `X | None`,
`Literal`, `bool`, `int`, `str`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

Part = TypeVar("Part")


@dataclass(frozen=True)
class Rule:
    """A condition on a JSON value: its description `expected` and its test `holds`."""

    expected: str
    holds: Callable[[Any], bool]


class FormError(ValueError):
    """A JSON value breaks the schema; the text is "KEY is X, expected Y" or names a missing or unknown "
    "key."""


@dataclass(frozen=True)
class _Field:
    name: str
    key: str
    kind: Any
    default: Any  # dataclasses.MISSING: the key is required


def read_part(part: type[Part], value: Any, where: str = "") -> Part:
    """Return the dataclass instance that a JSON object describes.

    Args:
        part: a frozen dataclass whose annotations this module supports.
        value: the result of `json.loads`.
        where: dotted path of `value` in the record, for messages; "" for the record itself.

    Raises:
        FormError: a key is missing, unknown or wrong; the message names the first one by alphabet.
    """
    if not isinstance(value, dict):
        raise FormError(f"{where or 'the record'} is {value!r}, expected an object")
    prefix = f"{where}." if where else ""
    fields = {field.key: field for field in _fields(cast(Any, part))}
    required = {key for key, field in fields.items() if field.default is dataclasses.MISSING}
    for key in sorted(required - value.keys()):
        raise FormError(f"key {prefix}{key} is missing")
    for key in sorted(value.keys() - fields.keys()):
        raise FormError(f"key {prefix}{key} is unknown, expected {', '.join(sorted(fields))}")
    arguments = {
        fields[key].name: _read(fields[key].kind, item, f"{prefix}{key}")
        for key, item in sorted(value.items())
    }
    return part(**arguments)


def part_json(value: Any) -> Any:
    """Return a part, or the value of one of its fields, as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((field, getattr(value, field.name)) for field in _fields(type(value)))
        return {field.key: part_json(item) for field, item in items if item != field.default}
    if isinstance(value, list | tuple):
        return [part_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: part_json(item) for key, item in value.items()}
    return value


@functools.cache
def _fields(part: type[Any]) -> tuple[_Field, ...]:
    kinds = typing.get_type_hints(part, include_extras=True)
    return tuple(
        _Field(field.name, field.metadata.get("key", field.name), kinds[field.name], field.default)
        for field in dataclasses.fields(part)
    )


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type of its field; raise `FormError` if it has another type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rule = arguments[1]
        if not rule.holds(value):
            raise FormError(f"{where} is {value!r}, expected {rule.expected}")
        return value
    if origin in (Union, types.UnionType):
        (inner,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else _read(inner, value, where)
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise FormError(f"{where} is {value!r}, expected {_choices(arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise FormError(f"{where} is {value!r}, expected a list")
        return tuple(_read(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    if origin is collections.abc.Mapping:
        if not isinstance(value, dict):
            raise FormError(f"{where} is {value!r}, expected an object")
        return {
            _read(arguments[0], key, f"a key of {where}"): _read(arguments[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind):
        return read_part(cast("type[Any]", kind), value, where)
    if type(value) is not kind:
        raise FormError(f"{where} is {value!r}, expected {_WORDS[kind]}")
    return value


_WORDS = {bool: "true or false", int: "an integer", str: "a text"}


def _choices(values: tuple[Any, ...]) -> str:
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"one of {', '.join(texts)}"
