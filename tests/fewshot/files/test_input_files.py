"""Input files: kinds by first bytes, text with and without a mark, leftovers, and text that is printed."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest
from bad_inputs.corpus import FACTS, write_scans
from bad_inputs.files import ALIEN

from episodes.prepare.listing import scan_files
from fewshot.base.errors import UserError, listed, one_line, unknown_name
from fewshot.commands.main import main
from fewshot.commands.terminal import PlainStream, plain_output
from fewshot.files.input_files import check_file, file_kind, parse_json, read_json, read_text, read_toml
from fewshot.learners.registry import resolve_method
from results.tables.spreadsheet import SheetWriter

KINDS = {
    "empty": "empty",
    "html": "HTML page",
    "text": "text file",
    "git-lfs": "Git LFS",
    "git-annex": "git annex get",
    "apple-double": "macOS",
    "zip": "ZIP",
    "png": "PNG",
    "hdf5": "HDF5",
    "npy": "NumPy",
    "utf16-text": "UTF-16",
    "zeros": "zeros",
    "xml": "XML",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_named_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(ALIEN[name])
    assert KINDS[name] in file_kind(tmp_path / "file")


def test_text_is_read_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    for start in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a.toml").write_bytes(start + 'a = "Größe"\r\n'.encode())
        (tmp_path / "a.json").write_bytes(start + b'{"a": 1}')
        assert read_toml(tmp_path / "a.toml") == {"a": "Größe"}
        assert read_json(tmp_path / "a.json", "") == {"a": 1}


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    for path, said in (
        (tmp_path / "pipe", "is a pipe"), (tmp_path, "is a folder"), (tmp_path / "dead", "is a link to"),
        (Path("/dev/zero"), "is a device"), (tmp_path / "no", "no such file"), (Path("x" * 5000), "too long"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            check_file(path)
        with pytest.raises(UserError):
            read_text(path, "mend it")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' stands there twice"),
        ("NaN", "NaN is not a number"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1', "delimiter"),
        ("{", "property name"),
        ("9" * 5000, "4300 digits"),
    ],
)
def test_what_is_no_json_is_one_error(text: str, fault: str) -> None:
    with pytest.raises(UserError, match=f"here: not.*{fault}"):
        parse_json(text, "here", "mend it")


def test_leftovers_are_skipped_and_named_and_dead_links_are_errors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.nii", "._a.nii", "b.txt"):
        (tmp_path / name).touch()
    with caplog.at_level("WARNING"):
        assert [path.name for path in scan_files(tmp_path, lambda name: name.endswith(".nii"))] == ["a.nii"]
    assert "skipped 1 files that macOS left (._a.nii)" in caplog.text
    (tmp_path / "c.nii").symlink_to("../.git/annex/objects/x")
    with pytest.raises(UserError, match=r"c\.nii is a link to .*git annex get"):
        scan_files(tmp_path, lambda name: name.endswith(".nii"))


def test_messages_are_one_line_of_plain_text() -> None:
    assert one_line("a\x1b[2J\nb\u202ec\x9b") == "a\\x1b[2J b\\u202ec\\x9b"
    assert len(one_line("x" * 100_000)) < 2100
    assert listed(range(100), most=3) == "0, 1, 2 and 97 more"
    assert len(str(unknown_name("class", "x" * 10_000, map(str, range(5000))))) < 1000


def test_printed_text_has_no_control_characters() -> None:
    stream = io.StringIO()
    print("evil\x1b[2J\u202e\tname", file=PlainStream(stream))  # type: ignore[arg-type]
    assert stream.getvalue() == "evil\\x1b[2J\\u202e\tname\n"


def test_a_formula_is_a_text_in_a_sheet_and_a_number_is_a_number() -> None:
    stream = io.StringIO()
    SheetWriter(stream).writerow(["=1+1", "@x", "+a", "-0.5", "-x", 3, None, "a\x1bb", "\tx"])
    (row,) = csv.reader([stream.getvalue()])
    assert row == ["'=1+1", "'@x", "'+a", "-0.5", "'-x", "3", "", "a\\x1bb", "'\tx"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys\nx = 1\nsys.exit(0)\n", "mine.py, line 3: it calls sys.exit"),
        ("x = 1\nimport not_there_at_all\n", "mine.py, line 2: it imports not_there_at_all, which is not"),
        ("def f(:\n", "mine.py, line 1: not Python code (invalid syntax)"),
        ("def f():\n    return 1 / 0\n\n\nf()\n", "mine.py, line 2: ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_a_broken_file_of_a_user_is_one_line_with_its_line(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(UserError) as error:
        resolve_method(f"{tmp_path / 'mine.py'}:Mine")
    assert said in str(error.value)


def test_sys_exit_in_a_running_method_is_no_success(
    tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import sys\nfrom baselines.yardsticks import CopySupport\n\n\nclass Mine(CopySupport):\n"
        "    def segment(self, *args, **more):\n        sys.exit(0)\n"
    )
    command = ["run", "--dataset", "tiny", "--folds", "0", "--groups", "upper", "--work", str(work)]
    assert main([*command, "--method", f"{tmp_path / 'mine.py'}:Mine"]) == 2
    assert "mine.py, line 7 calls sys.exit" in capsys.readouterr().err


def test_facts_with_a_typo_or_an_impossible_threshold_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_scans(tmp_path / "scans")
    for facts, said in (
        (FACTS + '[patients]\np1 = ["1", "22"]\n', "patient p1 of mine: unknown scan '22'"),
        (FACTS.replace("threshold = 50", "threshold = 5000"), "patient_threshold 5000 leaves nothing"),
    ):  # fmt: skip
        (tmp_path / "my.toml").write_text(facts)
        command = ["prepare", "mine", str(scans), "--spec", str(tmp_path / "my.toml")]
        assert main([*command, "--work", str(tmp_path / "work")]) == 2
        assert said in capsys.readouterr().err


def test_an_id_may_stand_twice_in_a_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = write_scans(tmp_path / "scans")
    for path in list(scans.glob("*.gz")):
        kind, number = path.name[:-7].split("_")
        (scans / f"case{number}").mkdir(exist_ok=True)
        path.rename(scans / f"case{number}" / f"case{number}_{kind}.nii.gz")
    patterns = 'images = "{id}/{id}_image.nii.gz"\nlabels = "{id}/{id}_label.nii.gz"\n'
    (tmp_path / "my.toml").write_bytes(b"\xef\xbb\xbf" + (patterns + FACTS).encode())
    command = ["prepare", "mine", str(scans), "--spec", str(tmp_path / "my.toml")]
    assert main([*command, "--work", str(tmp_path / "work")]) == 0
    index = json.loads((tmp_path / "work" / "stores" / "mine" / "index.json").read_text())
    assert [scan["id"] for scan in index["scans"]] == ["case1", "case2", "case3"]
    capsys.readouterr()


def test_a_terminal_that_lacks_a_character_gets_a_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", write_through=True))
    with plain_output():
        print("Größe \udcff ─")
    assert raw.getvalue() == b"Gr??e \\udcff ?\n"
