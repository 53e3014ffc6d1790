"""Public module: the learner contract, its base class and its recipe. The code lies in `fewshot.learners`."""

from fewshot.learners.learner import Ablations as Ablations
from fewshot.learners.learner import Learner as Learner
from fewshot.learners.learner import LossResult as LossResult
from fewshot.learners.learner import PrototypeLearner as PrototypeLearner
from fewshot.learners.logits import Branch as Branch
from fewshot.learners.logits import Features as Features
from fewshot.learners.recipe import Recipe as Recipe
