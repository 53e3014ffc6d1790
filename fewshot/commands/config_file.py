"""Configuration files of `fewshot run`: TOML whose keys are the options' names without dashes in front.

`--option` is a list of "name=value" texts. A flag is `true`; leave it out to switch it off.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError, short, unknown_name
from fewshot.commands import shared

NOT_SAVED = ("config", "save-config", "work", "help")  # where a file or folder lies, not what is run


def with_config(parser: argparse.ArgumentParser, typed: list[str]) -> list[str]:
    """Return `typed`, preceded by the options of its `--config FILE`, so that what is typed wins.

    Raises `UserError` for a file that cannot be read, an unknown key or a value of the wrong type.
    """
    if {"-h", "--help"} & set(typed):
        return typed
    _accept_any_subset(parser)
    given = vars(parser.parse_args(typed))
    if "config" not in given:
        return typed
    path: Path = given["config"]
    values = _read(path)
    typed_names = {pair.partition("=")[0] for pair in given.get("option", [])}
    words = _command_line(path, values, _options(parser), typed_names)
    try:
        parser.parse_args(words)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return [*words, *typed]


def config_values(args: argparse.Namespace) -> dict[str, Any]:
    """Return option name -> value of a command's parsed arguments, without unset options."""
    values = {name.replace("_", "-"): value for name, value in vars(args).items() if name != "typed"}
    return {
        name: value
        for name, value in values.items()
        if name not in NOT_SAVED and value is not None and value is not False and value != []
    }


def write_config(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` (str, int, bool or list of str) as TOML to `path`."""
    from fewshot.files.atomic_io import atomic_write

    with atomic_write(path) as stream:
        # a JSON text, number, boolean or list of texts is a TOML value too, but for the character DEL
        for name, value in values.items():
            stream.write(f"{name} = {json.dumps(value, ensure_ascii=False)}\n".replace("\x7f", "\\u007f"))


def option_words(values: Mapping[str, Any]) -> list[str]:
    """Return the command line of `values`: --name=value; a flag is --name; a list repeats its option."""
    words: list[str] = []
    for name, value in values.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False:
            words += [f"--{name}={item}" for item in (value if isinstance(value, list) else [value])]
    return words


def _read(path: Path) -> dict[str, Any]:
    from fewshot.files.input_files import read_toml

    return read_toml(path, "give a file that --save-config wrote")


def _command_line(
    path: Path, values: Mapping[str, Any], options: Mapping[str, argparse.Action], typed_names: set[str]
) -> list[str]:
    """Return the file's options as words; `typed_names`: names of --option that the command line sets."""
    check_values(path, values, options)
    chosen = dict(values)
    if "option" in chosen:
        shared.parse_options(chosen["option"])
        chosen["option"] = [o for o in chosen["option"] if o.partition("=")[0] not in typed_names]
    return option_words(chosen)


def check_values(path: Path | str, values: Mapping[str, Any], options: Mapping[str, argparse.Action]) -> None:
    """Raise `UserError` for an unknown key of a file at `path`, or a value of the wrong type."""
    for name, value in values.items():
        if name not in options:
            raise UserError(f"{path}: {unknown_name('key', name, options)}")
        is_flag, is_list = options[name].nargs == 0, isinstance(options[name], argparse._AppendAction)
        expected = "true or false" if is_flag else "a list of texts" if is_list else "a text or whole number"
        fits = isinstance(value, bool) if is_flag else _fits(value, is_list)
        if not fits:
            raise UserError(f"{path}: key {name}: found {short(repr(value))}, expected {expected}")


def _fits(value: object, is_list: bool) -> bool:
    if is_list:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return key of a file -> option of the parser that a file may set."""
    options = {}
    for action in parser._actions:
        name = action.option_strings[-1].removeprefix("--") if action.option_strings else ""
        if name and name not in NOT_SAVED and action.help != argparse.SUPPRESS:
            options[name] = action
    return options


def _accept_any_subset(parser: argparse.ArgumentParser) -> None:
    """Make every option optional and drop its default, so that a parse returns what was typed alone."""
    for action in parser._actions:
        action.required, action.default = False, argparse.SUPPRESS
