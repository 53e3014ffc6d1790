"""Protocol files: versioned TOML rules, parsed strictly, checked and hashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol as Shape

from episodes.plan.rules import (
    EXCLUSIONS,
    PART_RULES,
    SCORED,
    SUPPORT_SCANS,
    EvaluationRules,
    entry_of,
    middles,
    parts_fault,
)
from episodes.store.dataset import known_datasets, load_dataset_spec
from fewshot.base.errors import UserError, short, unknown_name
from fewshot.files.atomic_io import hash_of
from fewshot.files.input_files import check_file, read_toml
from protocols.rules.toml_reader import (
    RuleTable,
    read_folds,
    read_fractions,
    read_groups,
    read_normalisation,
    read_published,
    read_supports,
)

HOME = Path(__file__).resolve().parent.parent
MOST_PARTS, MOST_SHOTS = 999, 10_000
PSEUDO_LABELS = ("felzenszwalb", "supervoxels")
PROSE = ("summary", "sources", "changes", "main_board", "published")  # no number depends on them
OPTIONAL = ("main_board", "published", "folds", "supports")
TOP = ("name", "version", "summary", "sources", "changes", "evaluation", "training", "groups")
EVALUATION = ("support_scan", "support_fractions", "part_rule", "scored", "shots")
TRAINING = ("exclusion", "pseudo_labels", "steps", "normalisation")


@dataclass(frozen=True)
class TrainingRules:
    """A protocol's rules of training; a model fits a protocol only if these are equal.

    `normalisation`: modality -> "per-scan" or "training-scans"; `steps`: the published number.
    """

    exclusion: str
    pseudo_labels: str
    steps: int
    normalisation: Mapping[str, str]


class Dataset(Shape):
    """The dataset facts that a protocol needs; `episodes.store.dataset.DatasetSpec` has them."""

    @property
    def name(self) -> str: ...
    @property
    def tested(self) -> tuple[str, ...]: ...
    @property
    def fold_borders(self) -> tuple[int, ...]: ...
    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]: ...


@dataclass(frozen=True)
class Protocol:
    """A checked protocol file. `hash` covers the rules, name and version, not the prose.

    `main_board`: False for rules whose numbers belong outside of the main table; `published`: group -> the
    settings in which papers report the group, for a group that they do not report in both.
    """

    name: str
    version: int
    summary: str
    sources: tuple[str, ...]
    changes: tuple[str, ...]
    evaluation: EvaluationRules
    training: TrainingRules
    groups: Mapping[str, tuple[str, ...]]
    hash: str
    where: str = ""
    main_board: bool = True
    published: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def groups_for(self, dataset: Dataset) -> dict[str, tuple[str, ...]]:
        """Return the protocol's groups whose classes the dataset tests, then the dataset's own groups.

        Both in their file's order. Raises `UserError` if protocol and dataset give one name to different
        classes, or if neither the dataset nor a shipped one has a class of the protocol.
        """
        known = known_classes() | set(dataset.tested)
        for group, classes in self.groups.items():
            for name in classes:
                if name not in known:
                    raise UserError(f"{self.where}: key groups.{group}: {unknown_name('class', name, known)}")
        own = {name: classes for name, classes in self.groups.items() if set(classes) <= set(dataset.tested)}
        for name, classes in dataset.groups.items():
            if set(own.get(name, classes)) != set(classes):
                raise UserError(
                    f"group {name!r} is {', '.join(classes)} in dataset {dataset.name} but "
                    f"{', '.join(own[name])} in protocol {self.name}; give the dataset's group another name"
                )
        return own | {name: classes for name, classes in dataset.groups.items() if name not in own}

    def fold_borders_for(self, dataset: Dataset) -> tuple[int, ...]:
        """Return the protocol's own fold borders for the dataset if it has some, else the dataset's.

        Raises `UserError` if the protocol lists a support scan inside its own fold.
        """
        borders = entry_of(self.evaluation.fold_borders, dataset) or dataset.fold_borders
        listed = entry_of(self.evaluation.listed_supports, dataset) or ()
        for fold, ((start, stop), positions) in enumerate(zip(pairwise(borders), listed, strict=False)):
            for position in positions:
                if start <= position < stop or position >= borders[-1]:
                    why = "among its queries" if position < borders[-1] else "no scan of the dataset"
                    raise UserError(
                        f"{self.where}: key supports.{dataset.name} holds position {position} for fold "
                        f"{fold}, which is {why}; expected 0..{borders[-1] - 1} without {start}..{stop - 1}"
                    )
        return borders

    def with_shots_and_parts(self, shots: int | None = None, parts: int | None = None) -> Protocol:
        """Return the protocol with other numbers of shots or parts; its hash stays; records hold both.

        The support slice of a part is the middle of the same part of the support's class slices. Raises
        `UserError` for a number that the part rule does not allow.
        """
        rules = self.evaluation
        if shots is not None and not 1 <= shots <= MOST_SHOTS:
            raise UserError(f"--shots {short(shots)}: expected 1 to {MOST_SHOTS}")
        if parts is not None and parts != len(rules.support_fractions):
            fault: str | None = f"expected 1 to {MOST_PARTS}"
            if 1 <= parts <= MOST_PARTS:
                fault = parts_fault(rules.part_rule, parts)
            if fault is not None:
                raise UserError(f"--parts {short(parts)}: {fault}; choose another number or protocol")
            rules = replace(rules, support_fractions=middles(parts))
        return replace(self, evaluation=replace(rules, shots=shots or rules.shots))

    def marks(self, setting: int, group: str) -> tuple[str, ...]:
        """Return the marks of the group's numbers: off the main board, setting unpublished."""
        found = []
        if not self.main_board:
            found.append(f"off the main board: {self.name}")
        if setting not in self.published.get(group, (setting,)):
            found.append(f"unpublished: no paper reports group {group} in setting {setting}")
        return tuple(found)


def known_classes() -> set[str]:
    """Return the names of all tested classes of the shipped datasets."""
    return {name for dataset in known_datasets() for name in load_dataset_spec(dataset).tested}


def known_protocols() -> tuple[str, ...]:
    """Return the names of the shipped protocols."""
    return tuple(sorted(path.stem for path in HOME.glob("*.toml")))


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Return the protocol of a shipped name or of a `.toml` file.

    Raises:
        UserError: unknown name (the message lists similar names), or a bad file (with key and reason).
    """
    text = str(name_or_path)
    if text in known_protocols():
        return _parse(HOME / f"{text}.toml")
    path = Path(text)
    if not text.endswith(".toml"):
        raise unknown_name("protocol", text, known_protocols())
    check_file(path, f"give a protocol file or one of: {', '.join(known_protocols())}")
    return _parse(path)


def choose_folds(text: str, borders: Sequence[int]) -> tuple[int, ...]:
    """Return the folds that `all` or a list such as `0,1` names; `UserError` for an unknown fold."""
    count = len(borders) - 1
    if text == "all":
        return tuple(range(count))
    try:
        folds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"--folds {text!r}: expected `all` or numbers with commas such as 0,1") from None
    for fold in folds:
        if not 0 <= fold < count:
            raise UserError(f"--folds {text!r}: no fold {fold}; this dataset has folds 0 to {count - 1}")
    return folds


def _parse(path: Path) -> Protocol:
    content = read_toml(path)
    table = RuleTable(path, "", content)
    table.only(*TOP, optional=OPTIONAL)
    evaluation, training = table.table("evaluation"), table.table("training")
    evaluation.only(*EVALUATION)
    training.only(*TRAINING)
    name = table.name("name")
    if path.stem != name:
        table.fail("name", f"is {name!r}, expected the file's name {path.stem!r}")
    exclusion = training.choice("exclusion", EXCLUSIONS)
    support_scan = evaluation.choice("support_scan", SUPPORT_SCANS)
    if (support_scan == "listed") != ("supports" in content):
        evaluation.fail(
            "support_scan",
            f"is {support_scan!r}, but [supports] is {'there' if 'supports' in content else 'missing'}; "
            'expected both "listed" and [supports], or neither',
        )
    protocol = Protocol(
        name=name,
        version=table.integer("version"),
        summary=table.text("summary"),
        sources=table.texts("sources"),
        changes=table.texts("changes"),
        evaluation=EvaluationRules(
            support_scan=support_scan,
            support_fractions=read_fractions(evaluation),
            part_rule=evaluation.choice("part_rule", PART_RULES),
            scored=evaluation.choice("scored", SCORED),
            exclusion=exclusion,
            shots=evaluation.integer("shots"),
            fold_borders=read_folds(table.table("folds")) if "folds" in content else (),
            listed_supports=read_supports(table.table("supports")) if "supports" in content else (),
        ),
        training=TrainingRules(
            exclusion=exclusion,
            pseudo_labels=training.choice("pseudo_labels", PSEUDO_LABELS),
            steps=training.integer("steps"),
            normalisation=read_normalisation(training.table("normalisation")),
        ),
        groups=read_groups(table.table("groups")),
        hash=hash_of({key: value for key, value in content.items() if key not in PROSE}),
        where=str(path),
        main_board=table.flag("main_board", True),
        published=read_published(table.table("published")) if "published" in content else {},
    )
    fault = parts_fault(protocol.evaluation.part_rule, len(protocol.evaluation.support_fractions))
    if fault is not None:
        evaluation.fail("support_fractions", fault)
    for group in protocol.published:
        if group not in protocol.groups:
            raise UserError(f"{path}: key published: {unknown_name('group', group, protocol.groups)}")
    for dataset in set(dict(protocol.evaluation.listed_supports)) & set(known_datasets()):
        protocol.fold_borders_for(load_dataset_spec(dataset))
    return protocol
