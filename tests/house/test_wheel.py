"""The wheel carries every module and data file, and works from any folder in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("baselines", "episodes", "fewshot", "protocols", "results")
RECORDS = "results/data/*/*"  # recorded results belong to the repository, not to the program


def data_files() -> list[str]:
    """Return every file of the packages that the program may read, relative to the root."""
    return [
        path
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*"))
        if file.is_file() and file.suffix not in (".py", ".pyc", ".md")
        and not fnmatch(path := str(file.relative_to(ROOT)), RECORDS)
    ]  # fmt: skip


def test_every_data_file_is_named_in_the_package_data() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = [
        f"{package.replace('.', '/')}/{name}" for package, names in declared.items() for name in names
    ]
    assert len(data_files()) > 15
    assert [path for path in data_files() if not any(fnmatch(path, pattern) for pattern in patterns)] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this tree, built from a copy so that the tree stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    pip("wheel", *offline, "--wheel-dir", str(folder), str(folder / "source"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of a new environment with the wheel; it finds the other packages in this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (home,) = folder.glob("lib/python*/site-packages")
    (home / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    offline = ["--ignore-installed", "--no-deps", "--no-index"]
    pip("--python", str(folder / "bin" / "python"), "install", *offline, str(wheel))
    assert (folder / "bin" / "fewshot").is_file()
    return folder / "bin"


def pip(*words: str) -> None:
    """Run pip where it sees the packages of its environment alone: none of this folder or of PYTHONPATH."""
    command = [sys.executable, "-P", "-m", "pip", *words]
    done = subprocess.run(
        command, cwd=sys.prefix, env=plain_variables(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def plain_variables() -> dict[str, str]:
    """Return the environment without Python's variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.slow
def test_the_wheel_carries_modules_and_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert {*modules, *data_files()} <= names
    assert not [name for name in names if name.split("/")[0] in ("tests", "bench", "docs")]


@pytest.mark.slow
def test_the_installed_wheel_runs_the_quick_demo_from_another_folder(
    environment: Path, tmp_path: Path
) -> None:
    variables = {**plain_variables(), "OMP_NUM_THREADS": "1", "PATH": f"{environment}:{os.environ['PATH']}"}
    variables.pop("FEWSHOT_WORK", None)

    def ran(*words: str) -> str:
        done = subprocess.run(
            ["fewshot", *words], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert ran("--version").startswith("fewshot ")
    assert "alpnet-ep1" in ran("protocols", "list") and "chaost2" in ran("list", "datasets")
    assert "SSL-ALPNet" in ran("published")
    out = ran("demo", "--quick", "--size", "64", "--steps", "5")
    assert "comparison on phantom-mri" in out and "PARTIAL: mean " in out
    assert (tmp_path / "work" / "figures" / "demo.png").stat().st_size > 10_000
    described = ran("doctor")
    assert f"program: {next(environment.parent.glob('lib/python*/site-packages'))}" in described
    assert "warning: installed 2 times" in described  # the other one is that of the tests
