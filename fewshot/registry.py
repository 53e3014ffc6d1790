"""Public module: methods by name. The code lies in `fewshot.learners.registry`."""

from fewshot.learners.registry import known_methods as known_methods
from fewshot.learners.registry import resolve_method as resolve_method
