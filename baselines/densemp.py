"""DenseMP: SSL-ALPNet pre-trained densely in two stages, then fine-tuned on labels of other classes.

Fan et al., "DenseMP: Unsupervised Dense Pre-training for Few-shot Medical Image Segmentation", 2023,
arXiv 2307.09604. The learner is SSL-ALPNet's; the training is new: (1) DenseCL makes the backbone from images
without labels; (2) SSL-ALPNet's superpixel training starts from it; (3) 5,100 more steps at 1e-4 follow, a
quarter of their episodes with manual labels of the *training* group, the organs that are not tested. With
stage 3 the method is therefore not self-supervised, and every record states that.

Different here:
- Stage 1 sees the training scans of the fold, so each fold has its own backbone. The paper uses radiology
  pictures of ROCO (here: `fewshot pretrain densecl`, then --weights FILE).
- Evaluation uses the weights of the last step of stage 3. The release's snapshots were selected on the test
  fold (here: --checkpoint-policy oracle).
- The support of an annotated episode in setting 2 shows no tested class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from baselines.ssl_alpnet import SSLALPNet
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import NAMED, default_weights
from fewshot.learners.learner import Ablations
from fewshot.learners.paper_layout import PaperLayout, PaperTable
from fewshot.learners.recipe import Recipe
from fewshot.learners.training_plan import BackboneStage, EpisodeStage, Stage, TrainingPlan
from fewshot.pretraining.densecl import DenseCLRecipe

STAGES = (1, 2, 3)
DENSECL = "densecl"  # the name of stage 1 and of its weights
PREFIX = "densecl_"  # starts the names of the options of stage 1's recipe
KIDNEYS_FIRST = ("right-kidney", "left-kidney", "liver", "spleen")
PAPER = PaperLayout(
    paper="DenseMP (Fan et al. 2023, arXiv 2307.09604)",
    source="DenseMP repo",
    tables=tuple(PaperTable(setting, ("sabs", "chaost2"), KIDNEYS_FIRST) for setting in (1, 2)),
    methods={"SSL-ALPNet": "ssl-alpnet", "DenseMP": "densemp"},
    baseline="SSL-ALPNet",
)


class DenseMP(SSLALPNet):
    """SSL-ALPNet, trained in up to three stages: `training_plan`."""

    version: ClassVar[int] = 1
    regime = "pre-trained in stages"
    labels_used = "training-group"
    ablations: ClassVar[Ablations] = {
        "all stages": {"stages": "1,2,3"},
        "without stage 1": {"stages": "2,3"},
        "without stage 3": {"stages": "1,2"},
        "DenseCL only": {"stages": "1"},
    }
    paper_layout: ClassVar[PaperLayout | None] = PAPER

    @dataclass(frozen=True)
    class Options(SSLALPNet.Options):
        """SSL-ALPNet's options, the stages to train, and the published numbers of stages 3 and 1."""

        stages: tuple[int, ...] = STAGES
        stage3_steps: int = 5100
        stage3_rate: float = 1e-4
        annotated: float = 0.25  # share of stage 3's episodes with manual labels of the training group
        densecl_epochs: int = 50
        densecl_batch: int = 256
        densecl_queue: int = 65536
        densecl_size: int = 224  # side of a view in pixels
        densecl_learning_rate: float = 0.0375
        densecl_key_momentum: float = 0.999

        def __post_init__(self) -> None:
            super().__post_init__()
            object.__setattr__(self, "stages", tuple(self.stages))
            if not self.stages or self.stages != tuple(n for n in STAGES if n in self.stages):
                raise UserError(
                    f"stages are {','.join(map(str, self.stages)) or 'none'}; give some of 1,2,3, in order"
                )
            if self.stage3_steps < 1 or not self.stage3_rate > 0:
                raise UserError(
                    f"stage3_steps {self.stage3_steps} and stage3_rate {self.stage3_rate}: expected above 0; "
                    "--stages 1,2 leaves stage 3 out"
                )
            if not 0 < self.annotated <= 1:
                raise UserError(f"option annotated is {self.annotated}; give a share above 0 and at most 1")

    options: Options

    @classmethod
    def labels_of(cls, options: Options) -> str:
        """Return "training-group" if stage 3 is trained, else "none"."""
        return "training-group" if 3 in options.stages else "none"

    @classmethod
    def used_options(cls, options: Options, weights: str | None) -> dict[str, Any]:
        """Return the options without the numbers of stages that this training does not have."""
        used = dataclasses.asdict(options)
        if 1 not in options.stages or weights != DENSECL:
            used = {name: value for name, value in used.items() if not name.startswith(PREFIX)}
        if 3 not in options.stages:
            used = {name: used[name] for name in used if not name.startswith(("stage3_", "annotated"))}
        return used

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training of stage 2, which starts from stage 1's weights "densecl"."""
        return Recipe(weights=DENSECL)

    @classmethod
    def training_plan(cls, options: Options, recipe: Recipe) -> TrainingPlan:
        """Return the stages that the options name.

        Stage 2 is SSL-ALPNet's own training, so `fewshot run --method ssl-alpnet --weights FILE` shares it. A
        plan without stage 2 has it with 0 steps. Stage 3 starts from stage 2's weights and has its own seed.
        """
        names = [field.name for field in dataclasses.fields(SSLALPNet.Options)]
        base = SSLALPNet.Options(**{name: getattr(options, name) for name in names})
        stages: list[Stage] = []
        if 1 in options.stages:
            numbers = {
                name.removeprefix(PREFIX): value
                for name, value in dataclasses.asdict(options).items()
                if name.startswith(PREFIX)
            }
            stages.append(BackboneStage(DENSECL, DenseCLRecipe(**numbers), images="ROCO"))
        stages.append(EpisodeStage("superpixels", recipe, method="ssl-alpnet", options=base))
        if 3 in options.stages:
            third = dataclasses.replace(recipe, steps=options.stage3_steps, learning_rate=options.stage3_rate)
            stages.append(EpisodeStage("annotated", third, annotated=options.annotated, seed_name="stage 3"))
        return TrainingPlan(tuple(stages))

    @classmethod
    def row_arguments(cls, row: Mapping[str, str], typed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the user's `weights` and `steps` for one ablation row, each None if the row ignores it.

        A row with stage 1 takes a backbone file, a row without it a named initialisation. Steps are stage
        2's.
        """
        stages = tuple(int(stage) for stage in row["stages"].split(","))
        is_name = typed["weights"] in NAMED
        return {
            "weights": typed["weights"] if is_name != (1 in stages) else None,
            "steps": typed["steps"] if 2 in stages else None,
        }

    @classmethod
    def complete_recipe(cls, options: Options, recipe: Recipe, typed: Mapping[str, Any]) -> Recipe:
        """Return stage 2's recipe: it starts from stage 1's weights, and has 0 steps without stage 2.

        Raises:
            UserError: `typed` has a value for a stage that the options leave out, or named weights beside
                stage 1.
        """
        weights, steps = typed.get("weights"), recipe.steps
        if 1 in options.stages and weights in NAMED:
            raise UserError(
                f"--weights {weights}: stage 1 makes the weights itself; leave --weights out, give a file of "
                "`fewshot pretrain densecl`, or leave stage 1 out (--stages 2,3)"
            )
        if 1 not in options.stages and weights == DENSECL:
            raise UserError(
                "--weights densecl: stage 1 makes these weights, but the stages lack it; add 1 to the stages"
            )
        if 2 not in options.stages:
            if "steps" in typed:
                raise UserError(
                    f"--steps {typed['steps']}: these are stage 2's steps, but the stages lack it; leave "
                    "--steps out, or add 2 to the stages (stage 3 has --option stage3_steps=N)"
                )
            steps = 0
        begin = weights or (DENSECL if 1 in options.stages else default_weights(recipe.encoder))
        return dataclasses.replace(recipe, weights=begin, steps=steps)
