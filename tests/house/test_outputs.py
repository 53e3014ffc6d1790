"""Written files: an output replaces no input and no device; modes are the umask's; one function writes."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from episodes.io.nifti import write_nifti
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.files.atomic_io import atomic_folder, atomic_write, copy_to


@pytest.fixture
def scans(tmp_path: Path, store: Store) -> Path:
    """A folder with two scans of the tiny dataset as files."""
    for number in (0, 1):
        scan = store.scan(str(number))
        place = scan.spacing_mm, scan.origin, scan.direction
        write_nifti(tmp_path / f"image_{number}.nii.gz", np.asarray(scan.image), *place)
        write_nifti(tmp_path / f"label_{number}.nii.gz", np.asarray(scan.labels == 1), *place)
    return tmp_path


def link(folder: Path) -> str:
    (folder / "link.nii.gz").symlink_to("image_1.nii.gz")
    return str(folder / "link.nii.gz")


def hard_link(folder: Path) -> str:
    (folder / "twin.nii.gz").hardlink_to(folder / "image_1.nii.gz")
    return str(folder / "twin.nii.gz")


SPELLINGS: dict[str, Callable[[Path], str]] = {
    "the query": lambda folder: str(folder / "image_1.nii.gz"),
    "the support": lambda folder: str(folder / "image_0.nii.gz"),
    "the support's mask": lambda folder: str(folder / "label_0.nii.gz"),
    "another spelling": lambda folder: f"{folder}/../{folder.name}/./image_1.nii.gz",
    "a link": link,
    "a hard link": hard_link,
}


@pytest.mark.parametrize("option", ["--out", "--picture"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_segment_replaces_no_input(
    option: str, spelling: str, scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = SPELLINGS[spelling](scans)
    before = {path.name: path.read_bytes() for path in scans.iterdir()}
    support = ["--support", str(scans / "image_0.nii.gz"), str(scans / "label_0.nii.gz")]
    command = ["segment", "--work", str(scans / "work"), *support, "--query", str(scans / "image_1.nii.gz")]
    more = [] if option == "--out" else ["--out", str(scans / "new.nii.gz")]
    assert main([*command, "--checkpoint", "0123", *more, option, out]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fewshot: error: {option} {Path(out)} is the input ") and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in scans.iterdir()} == before


def test_two_outputs_are_two_files(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    support = ["--support", str(scans / "image_0.nii.gz"), str(scans / "label_0.nii.gz")]
    both = ["--out", str(scans / "m.nii.gz"), "--picture", f"{scans}/./m.nii.gz"]
    query = ["--query", str(scans / "image_1.nii.gz"), "--checkpoint", "0123"]
    assert main(["segment", *support, *query, *both]) == 2
    assert "is also --out; give two files" in capsys.readouterr().err


def config(folder: Path) -> list[str]:
    (folder / "a.toml").write_text('dataset = "tiny"\nmethod = "panet"\n')
    return ["run", "--config", str(folder / "a.toml"), "--save-config", str(folder / "a.toml")]


def weights(folder: Path) -> list[str]:
    (folder / "backbone_0.pt").write_bytes(b"weights")
    out = ["--out", str(folder / "backbone_{fold}.pt")]
    return ["pretrain", "densecl", "--dataset", "tiny", "--weights", str(folder / "backbone_0.pt"), *out]


def picture(folder: Path) -> list[str]:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1.png").write_bytes(b"a picture")
    file = str(folder / "pictures" / "1.png")
    return ["pretrain", "densecl", "--images", str(folder / "pictures"), "--out", file]


def record(folder: Path) -> list[str]:
    (folder / "mine").mkdir()
    (folder / "mine" / "a.json").write_text("{}")
    return ["table", "--records", str(folder / "mine"), "--out", str(folder / "mine" / "a.json")]


def protocol(folder: Path) -> list[str]:
    (folder / "mine.toml").write_text("")
    file = str(folder / "mine.toml")
    return ["plan", "--dataset", "tiny", "--protocol", file, "--out", file]


def method(folder: Path) -> list[str]:
    (folder / "mine.py").write_text("")
    rest = ["0123", "--scan", "0", "--class", "liver", "--out", str(folder / "mine.py")]
    return ["explain", *rest, "--method", f"{folder}/mine.py:Mine"]


INPUTS = (config, weights, picture, record, protocol, method)


@pytest.mark.parametrize("made", INPUTS, ids=lambda made: made.__name__)
def test_no_command_replaces_a_file_that_it_names(
    made: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = made(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([*command, "--work", str(tmp_path / "work")]) == 2
    assert "is the input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["stores/tiny/images/0.npy", "stores/tiny/new.png", "records/x.json"])
def test_nothing_is_written_among_the_files_of_the_work_folder(
    name: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    assert main(["view", "--work", str(work), "tiny", "0", "--out", str(work / name)]) == 2
    assert "which the program keeps and reads" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before


def test_a_second_call_may_replace_its_own_output(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is named like the dataset is no input."""
    monkeypatch.chdir(work.parent)
    for _ in range(2):
        assert main(["plan", "--work", str(work), "--dataset", "tiny", "--out", "tiny/plan.json"]) == 0


def test_prepare_does_not_replace_the_folder_of_the_scans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stores" / "chaost2" / "scans"
    folder.mkdir(parents=True)
    grey = np.zeros((3, 256, 256), dtype=np.int16)
    for kind in ("image", "label"):
        write_nifti(folder / f"{kind}_1.nii.gz", grey, (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    for place in (folder, folder.parent):
        assert main(["prepare", "chaost2", str(place), "--work", str(tmp_path), "--overwrite"]) == 2
    assert "which the store would replace" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 2


def device(folder: Path, name: str, minor: int) -> Path:
    """Return a device of the test's own: a program at fault that root runs would replace the machine's."""
    if os.geteuid():
        return Path("/dev") / name
    os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    return folder / name


def test_a_device_stays_a_device(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full, null = device(tmp_path, "full", 7), device(tmp_path, "null", 3)
    command = ["plan", "--work", str(work), "--dataset", "tiny", "--folds", "0"]
    assert main([*command, "--out", str(full)]) == 2
    expected = f"cannot write {full}: No space left on device; free space or choose another folder"
    assert capsys.readouterr().err == f"fewshot: error: {expected}\n"
    assert main([*command, "--out", str(null)]) == 0
    assert stat.S_ISCHR(full.stat().st_mode) and stat.S_ISCHR(null.stat().st_mode)


def test_a_pipe_receives_the_content_and_stays_a_pipe(work: Path, tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert main(["view", "--work", str(work), "tiny", "0", "--slices", "3:3", "--out", str(pipe)]) == 0
    reader.join()
    assert received[0].startswith(b"\x89PNG") and received[0].endswith(b"IEND\xaeB`\x82")
    assert pipe.is_fifo()


@pytest.mark.parametrize("shape", ["pipe", "file"])
def test_standard_output_receives_the_content(shape: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fewshot", "list", "protocols", "--format", "json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    expected = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout
    link = tmp_path / "stdout"  # as /dev/stdout, which a program at fault would replace
    link.symlink_to("/dev/fd/1")
    with (tmp_path / "file").open("wb") as stream:
        done = subprocess.run(
            [*command, "--out", str(link)], cwd=tmp_path, env=environment, check=True,
            stdout=stream if shape == "file" else subprocess.PIPE,
        )  # fmt: skip
    found = (tmp_path / "file").read_bytes() if shape == "file" else done.stdout
    assert found == expected + f"{link}\n".encode() and link.is_symlink()


def test_a_full_standard_output_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fewshot", "list", "protocols"], stdout=full, stderr=subprocess.PIPE,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("fewshot: error: No space left on device") and done.stderr.count("\n") == 1


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("old")
    (tmp_path / "name").symlink_to("there/file")
    with atomic_write(tmp_path / "name") as stream:
        stream.write("new")
    assert (tmp_path / "name").is_symlink() and (tmp_path / "there" / "file").read_text() == "new"
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(UserError, match="cannot write"), atomic_write(tmp_path / "round"):
        pass
    with pytest.raises(UserError, match=r"Is a directory; give the name of a file"), atomic_write(tmp_path):
        pass


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """A function that sets the umask; the test's end sets the old one."""
    before = os.umask(0o022)
    yield lambda mask: os.umask(mask) and None
    os.umask(before)


def test_files_and_folders_have_the_permissions_of_the_umask(
    umask: Callable[[int], None], tmp_path: Path
) -> None:
    for mask in (0o022, 0o027, 0o077, 0o002):
        umask(mask)
        place = tmp_path / f"{mask}"
        with atomic_write(place / "file") as stream:
            stream.write("x")
        with atomic_folder(place / "folder") as folder, atomic_write(folder / "file") as stream:
            stream.write("x")
        files, folders = 0o666 & ~mask, 0o777 & ~mask
        assert stat.S_IMODE((place / "file").stat().st_mode) == files
        assert stat.S_IMODE((place / "folder" / "file").stat().st_mode) == files
        assert stat.S_IMODE((place / "folder").stat().st_mode) == folders
        (place / "file").chmod(0o640)
        copy_to(place / "file", place / "folder" / "file")
        assert stat.S_IMODE((place / "file").stat().st_mode) == 0o640  # an existing file keeps its own


# module -> the only functions that may open a file for writing besides `atomic_write`
WRITERS = {
    "fewshot.files.atomic_io": {"atomic_write", "_write_into"},
    "fewshot.files.locks": {"locked", "if_free", "_try_enter"},
    "fewshot.files.leases": {"_make", "_write"},  # linked or renamed whole, on file systems without flock
    "protocols.campaign.engines": {"_stderr_into"},  # appended by the processes beside jobs
    "fewshot.files.temporaries": {"new_file", "new_folder", "_remove_if_dead"},
    "fewshot.training.log": {"__init__"},  # appended line by line: losses.csv, episodes.jsonl
    "fewshot.commands.main": {"_discard_output"},  # to /dev/null
    "episodes.store.store": {"_write_array"},  # in the temporary folder of a store
}


def writes(source: str) -> Iterator[tuple[str, int]]:
    """Yield (function, line) of every call in a module that may create or change a file by a path."""
    for outer in ast.walk(ast.parse(source)):
        if not isinstance(outer, ast.FunctionDef):
            continue
        for node in ast.walk(outer):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [each.value for each in (*node.args, *(word.value for word in node.keywords))
                     if isinstance(each, ast.Constant) and isinstance(each.value, str)]  # fmt: skip
            opens = name in ("open", "fdopen") and any(set(text) & set("wax+") for text in texts)
            of_os = name == "open" and isinstance(node.func, ast.Attribute)
            opens = opens or (of_os and ast.unparse(node.func) == "os.open")
            if opens or name in ("write_text", "write_bytes", "mkstemp", "mkdtemp", "NamedTemporaryFile"):
                yield outer.name, node.lineno


def test_every_file_is_written_by_one_function() -> None:
    found = []
    for package in ("baselines", "episodes", "fewshot", "protocols", "results"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for function, line in writes(path.read_text(encoding="utf-8")):
                if function not in WRITERS.get(module, set()):
                    found.append(f"{module}:{line} {function}")
    assert found == []


@pytest.mark.parametrize(
    "line", ["Path('a').write_text('x')", "open('a', 'w')", "Path('a').open('ab')", "os.open('a', flags)"]
)
def test_another_way_of_writing_is_found(line: str) -> None:
    assert list(writes(f"def save():\n    {line}\n")) == [("save", 2)]
