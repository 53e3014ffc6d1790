"""Reference pages made from the program: commands from parsers, Python from docstrings, protocols."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import fewshot
from fewshot import contract, registry
from fewshot.commands.parsers import GROUPS, command_parser, top_parser
from protocols.rules.describe import protocol_text
from protocols.rules.spec import known_protocols, load_protocol

SECTION = re.compile(r"^(Args|Returns|Raises|Attributes|Yields):$")
ENTRY = re.compile(r"^    (\w[\w, .*`]*): (.*)$")
MODULES = {"fewshot": fewshot, "fewshot.registry": registry, "fewshot.contract": contract}
FUNCTIONS = {"fewshot.registry": ("resolve_method",), "fewshot.contract": ("check_method", "CheckResult")}


def pages() -> dict[str, str]:
    """Return name -> text of the reference pages."""
    return {
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
        "reference/protocol-words.md": protocols_page(),
    }


def commands_page() -> str:
    """Return the help of every command under the headings of `fewshot --help`."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"  # argparse wraps its help at the terminal's width
    try:
        parts = ["# Command line", "Made from the parsers: this is what `--help` prints.", "## fewshot"]
        parts.append(_code(top_parser().format_help()))
        for heading, (_package, commands) in GROUPS.items():
            parts.append(f"## {heading}")
            for name in commands:
                parts += [f"### fewshot {name}", _code(command_parser(name).format_help())]
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return "\n\n".join(parts) + "\n"


def protocols_page() -> str:
    """Return what `fewshot protocols show` prints of every protocol."""
    parts = ["# Protocols in words", "What `fewshot protocols show NAME` prints. Every rule by number: "
             "[protocols](../docs/protocols.md)."]  # fmt: skip
    for name in known_protocols():
        parts += [f"## {name}", _code(protocol_text(load_protocol(name)))]
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    """Return the public names of Python with signatures and docstrings."""
    parts = [
        "# Python",
        "Made from the docstrings of the public names.",
        markdown(inspect.getdoc(fewshot) or ""),
    ]
    for module, names in {"fewshot": sorted(fewshot._HOME_OF), **FUNCTIONS}.items():
        parts.append(f"## {module}")
        for name in names:
            parts += _entry(f"{module}.{name}", getattr(MODULES[module], name))
    return "\n\n".join(parts) + "\n"


def _entry(name: str, value: Any) -> Iterator[str]:
    """Yield heading, signature and docstring of a name, and those of the members of a class."""
    yield f"### {name}"
    if inspect.isclass(value):
        yield f"```python\nclass {value.__name__}{_signature(value)}\n```"
        yield markdown(inspect.getdoc(value) or "")
        for member, found in vars(value).items():
            function = getattr(found, "__func__", found)
            if not member.startswith("_") and inspect.isfunction(function):
                kind = "@classmethod\n" if isinstance(found, classmethod) else ""
                yield f"#### {name}.{member}"
                yield f"```python\n{kind}def {member}{_signature(function)}\n```"
                yield markdown(inspect.getdoc(function) or "")
    else:
        yield f"```python\ndef {value.__name__}{_signature(value)}\n```"
        yield markdown(inspect.getdoc(value) or "")


def _signature(value: Callable[..., Any]) -> str:
    """Return a signature, one parameter a line if it is long."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # an exception takes what its base takes
        return "(...)"
    text = str(signature).replace("'", "")
    if len(text) <= 90:
        return text
    inner = ",\n    ".join(str(parameter).replace("'", "") for parameter in signature.parameters.values())
    returned = signature.return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {str(returned).replace(chr(39), '')}"
    return f"(\n    {inner},\n){arrow}"


def markdown(docstring: str) -> str:
    """Return a docstring as markdown: sections as bold headings, their entries as a list."""
    lines: list[str] = []
    inside = False
    for line in docstring.splitlines():
        section, entry = SECTION.match(line), ENTRY.match(line)
        if section:
            inside = True
            lines += ["", f"**{section[1]}**", ""]
        elif inside and entry and not line.startswith("     "):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif inside:
            lines.append(f"  {line.strip()}" if line.strip() else "")
        else:
            lines.append(line)
    return textwrap.dedent("\n".join(lines)).strip()


def _code(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
