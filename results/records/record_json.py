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
Where = tuple[str, ...]  # steps from the record to a value
Reader = Callable[[Any, Where], Any]


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


def read_part(part: type[Part], value: Any) -> Part:
    """Return the dataclass instance that a JSON object describes.

    Args:
        part: a frozen dataclass whose annotations this module supports.
        value: the result of `json.loads`.

    Raises:
        FormError: a key is missing, unknown or wrong; the message names the first one by alphabet.
    """
    read: Part = _reader(cast(Any, part))(value, ())
    return read


def part_json(value: Any) -> Any:
    """Return a part, or the value of one of its fields, as plain JSON values."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if dataclasses.is_dataclass(kind):
        items = ((field, getattr(value, field.name)) for field in _fields(kind))
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


@functools.cache
def _reader(kind: Any) -> Reader:
    """Return the function that reads a JSON value as a type; it raises `FormError` for another type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _rule_reader(arguments[1])
    if origin in (Union, types.UnionType):
        (inner,) = (_reader(one) for one in arguments if one is not types.NoneType)
        return lambda value, where: None if value is None else inner(value, where)
    if origin is Literal:
        return _choice_reader(arguments)
    if origin is tuple:
        return _list_reader(_reader(arguments[0]))
    if origin is collections.abc.Mapping:
        return _object_reader(_reader(arguments[0]), _reader(arguments[1]))
    if dataclasses.is_dataclass(kind):
        return _part_reader(cast("type[Any]", kind))
    return _type_reader(kind)


def _part_reader(part: type[Any]) -> Reader:
    fields = sorted(_fields(cast(Any, part)), key=lambda field: field.key)
    keys = {field.key for field in fields}
    required = {field.key for field in fields if field.default is dataclasses.MISSING}
    readers = [(field.name, field.key, _reader(field.kind), f".{field.key}") for field in fields]

    def read(value: Any, where: Where) -> Any:
        if not isinstance(value, dict):
            raise FormError(f"{_place(where) or 'the record'} is {value!r}, expected an object")
        for key in sorted(required - value.keys()):
            raise FormError(f"key {_place((*where, f'.{key}'))} is missing")
        for key in sorted(value.keys() - keys):
            raise FormError(
                f"key {_place((*where, f'.{key}'))} is unknown, expected {', '.join(sorted(keys))}"
            )
        return part(
            **{name: inner(value[key], (*where, step)) for name, key, inner, step in readers if key in value}
        )

    return read


def _rule_reader(rule: Rule) -> Reader:
    def read(value: Any, where: Where) -> Any:
        if not rule.holds(value):
            raise FormError(f"{_place(where)} is {value!r}, expected {rule.expected}")
        return value

    return read


def _choice_reader(choices: tuple[Any, ...]) -> Reader:
    def read(value: Any, where: Where) -> Any:
        if not any(type(value) is type(one) and value == one for one in choices):
            raise FormError(f"{_place(where)} is {value!r}, expected {_choices(choices)}")
        return value

    return read


def _list_reader(read_item: Reader) -> Reader:
    def read(value: Any, where: Where) -> Any:
        if not isinstance(value, list):
            raise FormError(f"{_place(where)} is {value!r}, expected a list")
        return tuple(read_item(item, (*where, f"[{number}]")) for number, item in enumerate(value))

    return read


def _object_reader(read_key: Reader, read_item: Reader) -> Reader:
    def read(value: Any, where: Where) -> Any:
        if not isinstance(value, dict):
            raise FormError(f"{_place(where)} is {value!r}, expected an object")
        return {
            read_key(key, (f".a key of {_place(where)}",)): read_item(item, (*where, f".{key}"))
            for key, item in value.items()
        }

    return read


def _type_reader(kind: type[Any]) -> Reader:
    def read(value: Any, where: Where) -> Any:
        if type(value) is not kind:
            raise FormError(f"{_place(where)} is {value!r}, expected {_WORDS[kind]}")
        return value

    return read


def _place(where: Where) -> str:
    """Return the steps to a value, such as `.scores`, `[3]`, `.tp`, as its path: `scores[3].tp`."""
    return "".join(where).removeprefix(".")


_PLAIN = {str, int, float, bool, types.NoneType}
_WORDS = {bool: "true or false", int: "an integer", str: "a text"}


def _choices(values: tuple[Any, ...]) -> str:
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"one of {', '.join(texts)}"
