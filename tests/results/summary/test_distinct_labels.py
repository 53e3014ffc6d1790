"""Equal labels get the options that differ between their rows, and ids only where nothing else does."""

from __future__ import annotations

from results.summary.notes import distinct_labels

IDS = ("aa", "bb", "cc")


def test_labels_that_differ_stay() -> None:
    assert distinct_labels(("a", "b"), ({"x": 1}, {"x": 2}), IDS[:2]) == ["a", "b"]


def test_equal_labels_show_the_options_that_differ() -> None:
    options = (
        {"left_out": [], "prior": "true", "side": 64},
        {"left_out": ["LGE", "T2w"], "prior": "true", "side": 64},
        {"left_out": [], "prior": "constant", "side": 64},
    )
    assert distinct_labels(("m", "m", "m"), options, IDS) == [
        "m left_out=none prior=true", "m left_out=LGE,T2w prior=true", "m left_out=none prior=constant",
    ]  # fmt: skip


def test_rows_of_equal_options_get_their_ids() -> None:
    assert distinct_labels(("m", "m", "n"), ({"x": True}, {"x": True}, {"x": False}), IDS) == [
        "m #aa", "m #bb", "n",
    ]  # fmt: skip
    assert distinct_labels(("m", "m", "m"), ({"x": True}, {"x": True}, {"x": False}), IDS) == [
        "m x=true #aa", "m x=true #bb", "m x=false",
    ]  # fmt: skip


def test_an_option_that_another_row_lacks_differs() -> None:
    assert distinct_labels(("m", "m"), ({"x": 0.5}, {}), IDS[:2]) == ["m x=0.5", "m"]
