"""Bad TOML: facts of a user's dataset, protocol files and configuration files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bad_inputs.case import Base, Case
from bad_inputs.files import few, writer

Change = Callable[[str], str]
HOME = Path(__file__).resolve().parents[3]
NOT_TOML: dict[str, bytes] = {
    "cut": b'title = "Mi',
    "equals-alone": b"=\n",
    "key-twice": b"a = 1\na = 2\n",
    "table-twice": b"[a]\n[a]\n",
    "deep-lists": b"a = " + b"[" * 3000,
    "deep-tables": b"a = " + b"{a=" * 1000,
    "dotted-key": b"a." * 50_000 + b"b = 1\n",
    "long-line": b'a = "' + b"x" * 100_000 + b'"\n',
    "many-keys": b"".join(b"key%d = 1\n" % number for number in range(20_000)),
    "too-large": b"# comment\n" * 400_000,
    "long-number": b"a = " + b"9" * 4000 + b"\n",
    "bad-date": b"a = 2024-13-45\n",
    "bad-escape": b'a = "\\q"\n',
    "control-character": b'a = "\x07"\n',
    "nul": b"a = 1\x00\n",
    "latin-1": 'title = "Größe"\n'.encode("latin-1"),
    "utf-16": 'title = "x"\n'.encode("utf-16"),
    "two-boms": b"\xef\xbb\xbf\xef\xbb\xbfa = 1\n",
    "yaml": b"title: Mine\nmodality: mr\n",
    "json": b'{"title": "Mine"}\n',
    "ini": b"[main]\ntitle = Mine\n",
    "carriage-returns": b"title = 1\rmodality = 2\r",
}


def replaced(old: str, new: str) -> Change:
    """Return a change that replaces a line or part of the text, which must be there."""

    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return change


def before_tables(line: str) -> Change:
    """Return a change that adds a line of the top table."""
    return lambda text: f"{line}\n{text}"


def prepare_facts(put: Callable[[Path, str], None], folder: Path, base: Base) -> Sequence[str]:
    """Prepare the sound scans by bad facts."""
    path = folder / "my.toml"
    put(path, (base.scans / "my.toml").read_text())
    return ["prepare", "mine", str(base.scans), "--spec", str(path), "--work", str(folder / "work")]


def plan_protocol(put: Callable[[Path, str], None], folder: Path, base: Base) -> Sequence[str]:
    """Plan under a bad protocol file."""
    path = folder / "mine.toml"
    text = (HOME / "protocols" / "alpnet-ep1.toml").read_text()
    put(path, text.replace('name = "alpnet-ep1"', 'name = "mine"', 1))
    return ["plan", "--dataset", "tiny", "--protocol", str(path), "--work", str(base.work)]


def run_config(put: Callable[[Path, str], None], folder: Path, base: Base) -> Sequence[str]:
    """Run with a bad configuration file."""
    path = folder / "run.toml"
    put(path, 'dataset = "tiny"\nmethod = "copy-support"\nfolds = "0"\ngroups = "upper"\n')
    return ["run", "--config", str(path), "--work", str(folder / "work")]


def _altered(change: Change) -> Callable[[Path, str], None]:
    return lambda path, text: path.write_text(change(text)) and None


def _alien(put: Callable[[Path], None]) -> Callable[[Path, str], None]:
    return lambda path, _text: put(path)


FACTS: dict[str, Change] = {
    **{
        f"without-{key}": lambda text, key=key: "\n".join(  # type: ignore[misc]
            line for line in text.split("\n") if not line.startswith(key)
        )
        for key in ("modality", "image_size", "folds")
    },
    "unknown-key": before_tables("colour = 1"),
    "near-key": before_tables("foldz = 3"),
    "modality-pet": replaced('modality = "mr"', 'modality = "pet"'),
    "modality-number": replaced('modality = "mr"', "modality = 1"),
    "image-size-text": replaced("image_size = 64", 'image_size = "64"'),
    "image-size-0": replaced("image_size = 64", "image_size = 0"),
    "image-size-negative": replaced("image_size = 64", "image_size = -64"),
    "image-size-odd": replaced("image_size = 64", "image_size = 63"),
    "image-size-float": replaced("image_size = 64", "image_size = 64.0"),
    "image-size-huge": replaced("image_size = 64", "image_size = 1000000000000\ncrop_or_pad = true"),
    "image-size-larger-than-scans": replaced("image_size = 64", "image_size = 128"),
    "threshold-text": replaced("patient_threshold = 50", 'patient_threshold = "high"'),
    "threshold-nan": replaced("patient_threshold = 50", "patient_threshold = nan"),
    "threshold-infinite": replaced("patient_threshold = 50", "patient_threshold = inf"),
    "threshold-huge-integer": replaced("patient_threshold = 50", f"patient_threshold = 1{'0' * 400}"),
    "threshold-above-all": replaced("patient_threshold = 50", "patient_threshold = 5000"),
    "superpixel-0": replaced("superpixel_min_size = 30", "superpixel_min_size = 0"),
    "superpixel-huge": replaced("superpixel_min_size = 30", f"superpixel_min_size = 1{'0' * 30}"),
    "folds-1": replaced("folds = 3", "folds = 1"),
    "folds-0": replaced("folds = 3", "folds = 0"),
    "folds-more-than-scans": replaced("folds = 3", "folds = 4"),
    "folds-huge": replaced("folds = 3", "folds = 1000000000000"),
    "folds-true": replaced("folds = 3", "folds = true"),
    "folds-and-borders": replaced("folds = 3", "folds = 3\nfold_borders = [0, 3]"),
    "borders-descending": replaced("folds = 3", "fold_borders = [0, 2, 1, 3]"),
    "borders-not-from-0": replaced("folds = 3", "fold_borders = [1, 3]"),
    "borders-of-text": replaced("folds = 3", 'fold_borders = ["0", "3"]'),
    "borders-too-far": replaced("folds = 3", "fold_borders = [0, 1, 30]"),
    "borders-one": replaced("folds = 3", "fold_borders = [0]"),
    "classes-empty": replaced("liver = 1\nspleen = 2\n", ""),
    "class-0": replaced("liver = 1", "liver = 0"),
    "class-256": replaced("liver = 1", "liver = 256"),
    "class-negative": replaced("liver = 1", "liver = -1"),
    "class-huge": replaced("liver = 1", "liver = 1" + "0" * 40),
    "class-float": replaced("liver = 1", "liver = 1.0"),
    "class-twice": replaced("spleen = 2", "spleen = 1"),
    "class-with-space": replaced("liver = 1", '"the liver" = 1'),
    "class-path": replaced("liver = 1", '"../../x" = 1'),
    "class-escape": replaced("liver = 1", '"li\\u001b[2Jver" = 1'),
    "class-bidi": replaced("liver = 1", '"li\\u202ever" = 1'),
    "class-formula": replaced("liver = 1", '"=1+1" = 1'),
    "class-long": replaced("liver = 1", f"{'x' * 300} = 1"),
    "class-missing-in-files": replaced("spleen = 2", "spleen = 2\nkidney = 3"),
    "value-not-listed": replaced("spleen = 2\n", "").__call__
    if False
    else (lambda text: text.replace("spleen = 2\n", "").replace(', "spleen"', "")),
    "groups-empty": lambda text: text[: text.index("[groups]")] + "[groups]\n",
    "group-unknown-class": replaced('["liver", "spleen"]', '["liver", "heart"]'),
    "group-a-text": replaced('["liver", "spleen"]', '"liver"'),
    "group-empty": replaced('["liver", "spleen"]', "[]"),
    "group-twice-a-class": replaced('["liver", "spleen"]', '["liver", "liver"]'),
    "group-of-numbers": replaced('["liver", "spleen"]', "[1, 2]"),
    "tested-unknown": before_tables('tested = ["heart"]'),
    "tested-twice": before_tables('tested = ["liver", "liver", "spleen"]'),
    "tested-a-text": before_tables('tested = "liver"'),
    "region-unknown": before_tables('region = "foot"'),
    "spacing-known-text": before_tables('spacing_known = "yes"'),
    "crop-number": before_tables("crop_or_pad = 1"),
    "sources-a-text": before_tables('sources = "here"'),
    "title-number": replaced('title = "Mine"', "title = 5"),
    "title-list": replaced('title = "Mine"', 'title = ["Mine"]'),
    "images-without-id": before_tables('images = "image.nii.gz"'),
    "images-empty": before_tables('images = ""'),
    "images-format-width": before_tables('images = "{id:1000000000}.nii.gz"'),
    "images-attribute": before_tables('images = "{id.__class__}.nii.gz"'),
    "images-number": before_tables("images = 3"),
    "images-same-as-labels": before_tables('images = "label_{id}.nii.gz"'),
    "images-of-nothing": before_tables('images = "scan_{id}.nii.gz"'),
    "images-parent": before_tables('images = "../{id}.nii.gz"'),
    "images-long": before_tables(f'images = "{"x" * 3000}{{id}}"'),
    "patients-typo": lambda text: text + '[patients]\np1 = ["1", "22"]\n',
    "patients-typo-in-name": lambda text: text + '[patients]\np1 = ["image_1", "image_2"]\n',
    "patients-number": lambda text: text + "[patients]\np1 = [1, 2]\n",
    "patients-a-text": lambda text: text + '[patients]\np1 = "1"\n',
    "patients-two-owners": lambda text: text + '[patients]\np1 = ["1", "2"]\np2 = ["2", "3"]\n',
    "patients-a-list": before_tables('patients = ["1"]'),
    "patients-parted-by-folds": lambda text: text + '[patient]\np1 = ["1"]\n',
}
PROTOCOL: dict[str, Change] = {
    **{
        f"without-{key}": lambda text, key=key: "\n".join(  # type: ignore[misc]
            line for line in text.split("\n") if not line.startswith(f"{key} =")
        )
        for key in ("name", "version", "support_scan", "part_rule", "scored", "shots", "exclusion", "steps")
    },
    "unknown-key": before_tables("colour = 1"),
    "name-other": replaced('name = "mine"', 'name = "yours"'),
    "name-path": replaced('name = "mine"', 'name = "../mine"'),
    "version-0": lambda text: _line(text, "version", "version = 0"),
    "version-text": lambda text: _line(text, "version", 'version = "1"'),
    "version-huge": lambda text: _line(text, "version", f"version = 1{'0' * 40}"),
    "shots-0": lambda text: _line(text, "shots", "shots = 0"),
    "shots-more-than-scans": lambda text: _line(text, "shots", "shots = 9999"),
    "shots-huge": lambda text: _line(text, "shots", "shots = 10000000000000"),
    "shots-float": lambda text: _line(text, "shots", "shots = 1.5"),
    "steps-negative": lambda text: _line(text, "steps", "steps = -1"),
    "fractions-empty": lambda text: _line(text, "support_fractions", "support_fractions = []"),
    "fractions-numbers": lambda text: _line(text, "support_fractions", "support_fractions = [0.5]"),
    "fractions-exponent": lambda text: _line(
        text, "support_fractions", 'support_fractions = ["1e-999999999"]'
    ),
    "fractions-exponent-huge": lambda text: _line(
        text, "support_fractions", 'support_fractions = ["1e999999999"]'
    ),
    "fractions-by-0": lambda text: _line(text, "support_fractions", 'support_fractions = ["1/0"]'),
    "fractions-1": lambda text: _line(text, "support_fractions", 'support_fractions = ["1"]'),
    "fractions-negative": lambda text: _line(text, "support_fractions", 'support_fractions = ["-1/2"]'),
    "fractions-descending": lambda text: _line(
        text, "support_fractions", 'support_fractions = ["1/2", "1/6"]'
    ),
    "fractions-twice": lambda text: _line(text, "support_fractions", 'support_fractions = ["1/2", "2/4"]'),
    "fractions-even": lambda text: _line(text, "support_fractions", 'support_fractions = ["1/4", "3/4"]'),
    "support-scan-unknown": lambda text: _line(text, "support_scan", 'support_scan = "best"'),
    "support-scan-listed-without-list": lambda text: _line(text, "support_scan", 'support_scan = "listed"'),
    "part-rule-unknown": lambda text: _line(text, "part_rule", 'part_rule = "halves"'),
    "scored-unknown": lambda text: _line(text, "scored", 'scored = "everything"'),
    "exclusion-unknown": lambda text: _line(text, "exclusion", 'exclusion = "all"'),
    "pseudo-labels-unknown": lambda text: _line(text, "pseudo_labels", 'pseudo_labels = "magic"'),
    "evaluation-a-text": lambda text: before_tables('evaluation = "mine"')(
        text.replace("[evaluation]", "[other]", 1)
    ),
    "groups-empty": lambda text: text[: text.index("[groups]")] + "[groups]\n",
    "groups-class-unknown": lambda text: text[: text.index("[groups]")] + '[groups]\na = ["nobody"]\n',
    "groups-class-twice": lambda text: text[: text.index("[groups]")] + '[groups]\na = ["liver", "liver"]\n',
    "groups-name-path": lambda text: text[: text.index("[groups]")] + '[groups]\n"../a" = ["liver"]\n',
    "groups-numbers": lambda text: text[: text.index("[groups]")] + "[groups]\na = [1]\n",
    "folds-gap": lambda text: text + "[folds]\ntiny = [[0, 2], [3, 10]]\n",
    "folds-overlap": lambda text: text + "[folds]\ntiny = [[0, 3], [2, 10]]\n",
    "folds-backward": lambda text: text + "[folds]\ntiny = [[0, 0], [0, 10]]\n",
    "folds-text": lambda text: text + '[folds]\ntiny = "all"\n',
    "folds-beyond": lambda text: text + "[folds]\ntiny = [[0, 5], [5, 1000]]\n",
    "folds-beyond-all-memory": lambda text: text + "[folds]\ntiny = [[0, 5], [5, 1000000000000000]]\n",
    "supports-not-listed": lambda text: text + "[supports]\ntiny = [[1]]\n",
    "published-unknown-group": lambda text: text + "[published]\nnobody = [1]\n",
    "published-setting-3": lambda text: text + "[published]\nupper = [3]\n",
    "main-board-text": before_tables('main_board = "yes"'),
    "summary-list": lambda text: _line(text, "summary", 'summary = ["a"]'),
    "sources-text": lambda text: before_tables('sources = "a"')(_line(text, "sources", "", table=True)),
}
CONFIG: dict[str, Change] = {
    "unknown-key": before_tables("colour = 1"),
    "near-key": before_tables('datasett = "tiny"'),
    "table": lambda text: text + "[run]\na = 1\n",
    "dataset-number": replaced('dataset = "tiny"', "dataset = 1.5"),
    "dataset-list": replaced('dataset = "tiny"', 'dataset = ["tiny"]'),
    "dataset-unknown": replaced('dataset = "tiny"', 'dataset = "nobody"'),
    "dataset-path": replaced('dataset = "tiny"', 'dataset = "../stores/tiny"'),
    "setting-3": before_tables("setting = 3"),
    "setting-text": before_tables('setting = "one"'),
    "folds-99": replaced('folds = "0"', 'folds = "99"'),
    "folds-list": replaced('folds = "0"', "folds = [0]"),
    "groups-unknown": replaced('groups = "upper"', 'groups = "nobody"'),
    "method-unknown": replaced('method = "copy-support"', 'method = "nobody"'),
    "method-true": replaced('method = "copy-support"', "method = true"),
    "overwrite-text": before_tables('overwrite = "yes"'),
    "option-text": before_tables('option = "a=1"'),
    "option-numbers": before_tables("option = [1]"),
    "option-without-equals": before_tables('option = ["a"]'),
    "option-twice": before_tables('option = ["a=1", "a=2"]'),
    "option-unknown": before_tables('option = ["nothing=1"]'),
    "work": before_tables('work = "elsewhere"'),
    "config": before_tables('config = "other.toml"'),
    "help": before_tables("help = true"),
    "parts-even": before_tables("parts = 2"),
    "parts-huge": before_tables("parts = 1000000001"),
    "shots-huge": before_tables("shots = 1000000000000"),
    "batch-negative": before_tables("batch = -1"),
    "device-unknown": before_tables('device = "tpu"'),
    "precision-unknown": before_tables('precision = "int8"'),
    "seed-float": before_tables("seed = 0.5"),
    "date": before_tables("seed = 2024-01-01"),
}


def _line(text: str, key: str, line: str, table: bool = False) -> str:
    """Return the text with the entry of `key` (several lines with `table` or brackets) replaced by `line`."""
    lines, made, inside = text.split("\n"), [], False
    for each in lines:
        if inside:
            inside = "]" not in each
            continue
        if each.startswith((f"{key} =", f"{key}=")):
            made.append(line)
            inside = "[" in each and "]" not in each
            continue
        made.append(each)
    return "\n".join(made)


def cases() -> Iterator[Case]:
    """Yield the bad TOML files."""
    for kind, make, changes in (
        ("facts", prepare_facts, FACTS), ("protocol", plan_protocol, PROTOCOL), ("config", run_config, CONFIG),
    ):  # fmt: skip
        aliens = {name: writer(content) for name, content in NOT_TOML.items()} | few()
        for name, put in aliens.items():
            if (kind, name) == ("config", "empty"):
                continue  # no options at all
            yield Case(f"{kind}/{name}", partial(make, _alien(put)), ".toml")
        for name, change in changes.items():
            yield Case(f"{kind}/{name}", partial(make, _altered(change)), "")
