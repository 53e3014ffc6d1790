"""environment.yml and pyproject.toml must ask for the same packages and versions."""

from __future__ import annotations

import re
import tomllib

from places import ROOT

CONDA_NAMES = {"pytorch-gpu": "torch", "matplotlib-base": "matplotlib", "simpleitk": "SimpleITK"}


def _requirement(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", text)
    assert match is not None, text
    name, versions = match.groups()
    return CONDA_NAMES.get(name, name), ",".join(sorted(versions.replace(" ", "").split(",")))


def _conda() -> dict[str, str]:
    lines = (ROOT / "environment.yml").read_text().split("dependencies:\n")[1].splitlines()
    items = [line.strip().removeprefix("- ") for line in lines]
    return dict(_requirement(item) for item in items if item not in ("pip", "pip:", "-e ."))


def test_environment_equals_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(_requirement(item) for item in project["dependencies"])
    wanted |= dict(_requirement(item) for item in project["optional-dependencies"]["gpu"])
    wanted["python"] = _requirement(f"python{project['requires-python']}")[1]
    assert _conda() == wanted
