"""Query mode: whether a learner segments each query slice alone or all query slices of a part together."""

from __future__ import annotations

from typing import Any, Literal

from fewshot.base.errors import UserError

QueryMode = Literal["alone", "together"]


def query_mode(learner_class: type[Any]) -> QueryMode:
    """Return "together" if the class sets `transductive = True`, else "alone".

    "alone": the mask of a query slice depends on the support, the slice and the weights only. Evaluation
    passes one slice per call to a learner with `segment` alone. `PrototypeLearner.logits` may receive
    batches of any size, and the size must not change its scores.
    "together": every call receives all query slices of one part (one `Task`), scored or not, so the mask of
    a slice may depend on the other slices of the part, and never on `--batch` or `--save-predictions`.

    Raises:
        UserError: `transductive` is not True or False.
    """
    value = getattr(learner_class, "transductive", False)
    if not isinstance(value, bool):
        raise UserError(
            f"{learner_class.__name__}.transductive is {value!r}, expected True or False; "
            "set transductive: ClassVar[bool] = True if the query slices of a part are segmented together"
        )
    return "together" if value else "alone"
