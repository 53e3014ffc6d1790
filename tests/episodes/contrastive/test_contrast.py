"""Batches of view pairs: the order of an epoch, repeatability, and where the views show the same."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch
from torch import Tensor

from episodes.contrastive.batches import ContrastBatches
from episodes.contrastive.view_transforms import MEAN, STD
from fewshot.base.errors import UserError
from fewshot.pretraining.positive_matches import ViewPair, true_matches


class Ramps:
    """Pictures of several sizes and types: red says which picture, green and blue the row and the column."""

    source = "ramps"

    def __init__(self, count: int) -> None:
        self.hashes = tuple(f"{number:016x}" for number in range(count))
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.hashes)

    def read(self, number: int) -> Tensor:
        self.reads.append(number)
        rows, columns = torch.meshgrid(
            torch.arange(40.0 + number % 7), torch.arange(50.0 + number % 3), indexing="ij"
        )
        picture = torch.stack((torch.full_like(rows, number), rows, columns)) / 255
        return picture if number % 2 else (255 * picture).to(torch.uint8)


def read_by(batches: ContrastBatches, pictures: Ramps, steps: range) -> list[list[int]]:
    found = []
    for step in steps:
        pictures.reads.clear()
        batches.batch(step)
        found.append(sorted(pictures.reads))
    return found


def test_an_epoch_takes_every_picture_once_and_drops_the_rest() -> None:
    pictures = Ramps(14)
    batches = ContrastBatches(pictures, batch=4, size=16, seed=3)
    assert batches.steps_per_epoch == 3
    first, second = (read_by(batches, pictures, range(start, start + 3)) for start in (0, 3))
    for epoch in (first, second):
        taken = [number for batch in epoch for number in batch]
        assert len(taken) == len(set(taken)) == 12 and set(taken) <= set(range(14))
    assert first != second
    assert read_by(ContrastBatches(pictures, batch=4, size=16, seed=4), pictures, range(3)) != first


def same(one: ViewPair, other: ViewPair) -> bool:
    return (
        torch.equal(one.views, other.views)
        and torch.equal(one.boxes, other.boxes)
        and one.label == other.label
    )


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    batches = ContrastBatches(Ramps(9), batch=3, size=16, seed=3)
    fourth = [batches.batch(step) for step in range(5)][4]
    assert same(fourth, ContrastBatches(Ramps(9), batch=3, size=16, seed=3).batch(4))
    assert not same(fourth, ContrastBatches(Ramps(9), batch=3, size=16, seed=2).batch(4))
    labels = [batches.batch(step).label for step in range(6)]
    assert len(set(labels)) == 6 and labels[4].startswith("contrast:1:1:")


def test_views_are_new_in_every_epoch_and_of_every_seed() -> None:
    one = [ContrastBatches(Ramps(1), batch=1, size=16, seed=seed) for seed in (0, 1)]
    drawn = {tuple(one[seed].batch(step).boxes.flatten().tolist()) for seed in (0, 1) for step in range(4)}
    assert len(drawn) == 8


def test_shapes_types_and_boxes() -> None:
    pair = ContrastBatches(Ramps(9), batch=5, size=24, seed=0).batch(7)
    assert pair.views.shape == (5, 2, 3, 24, 24) and pair.views.dtype == torch.float32
    assert pair.boxes.shape == (5, 2, 5) and pair.boxes.dtype == torch.int64
    assert not torch.equal(pair.boxes[:, 0], pair.boxes[:, 1])
    moved = pair.to(torch.device("meta"))
    assert moved.views.is_meta and moved.boxes.is_meta and moved.label == pair.label


def test_the_boxes_are_those_of_the_views(monkeypatch: pytest.MonkeyPatch) -> None:
    still_colours(monkeypatch)
    pair = ContrastBatches(Ramps(8), batch=8, size=32, seed=5).batch(0)
    assert 0 < pair.boxes[..., 4].sum() < 16
    rows, columns = shown(pair)
    inner = slice(4, -4)  # antialiasing bends a ramp by up to 0.07 pixels, and by more at the border
    for number in range(8):
        for view in range(2):
            top, left, tall, wide, flipped = pair.boxes[number, view].tolist()
            centres = (torch.arange(32) + 0.5) / 32
            across = left + wide * (1 - centres if flipped else centres) - 0.5
            down = top + tall * centres - 0.5
            assert (rows[number, view] - down[:, None])[inner].abs().max() < 0.1
            assert (columns[number, view] - across[None, :])[:, inner].abs().max() < 0.1


def still_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    import episodes.contrastive.batches as module

    draw = module.draw_views

    def plain(count: int, generator: torch.Generator) -> object:
        none = torch.zeros(count, dtype=torch.bool)
        return dataclasses.replace(draw(count, generator), jittered=none, greyed=none, blurred=none)

    monkeypatch.setattr(module, "draw_views", plain)


def shown(pair: ViewPair) -> tuple[Tensor, Tensor]:
    """Return the row and column of the picture that each pixel of the views shows, (B,2,S,S)."""
    values = 255 * (pair.views * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1))
    return values[:, :, 1], values[:, :, 2]


def test_matches_are_where_the_views_show_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    still_colours(monkeypatch)
    pair = ContrastBatches(Ramps(60), batch=60, size=32, seed=1).batch(0)
    cells, inside = true_matches(pair.boxes, (4, 4))
    assert cells.shape == inside.shape == (60, 16) and cells.dtype == torch.int64
    assert 0.2 < inside.double().mean() < 0.95
    flips = pair.boxes[..., 4]
    assert {tuple(row) for row in flips.tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    # what a cell shows at its centre, read off the views' own pixels
    rows, columns = (
        part.unflatten(-2, (4, 8)).unflatten(-1, (4, 8))[:, :, :, 3:5][..., 3:5].mean((3, 5)).flatten(2)
        for part in shown(pair)
    )
    for number in range(60):
        tall, wide = (pair.boxes[number, 1, place].item() / 4 for place in (2, 3))
        down = (rows[number, 0] - rows[number, 1][cells[number]]).abs() / tall
        across = (columns[number, 0] - columns[number, 1][cells[number]]).abs() / wide
        assert ((down < 0.52) & (across < 0.52))[inside[number]].all()  # within half a cell of its centre
        assert ((down > 0.48) | (across > 0.48))[~inside[number]].all()


def boxes(first: tuple[int, ...], second: tuple[int, ...]) -> Tensor:
    return torch.tensor([[first, second]])


def test_matches_by_hand() -> None:
    whole = (0, 0, 40, 60, 0)
    cells, inside = true_matches(boxes(whole, whole), (2, 3))
    assert cells.tolist() == [[0, 1, 2, 3, 4, 5]] and inside.all()
    mirrored = [[2, 1, 0, 5, 4, 3]]
    for first, second in (((*whole[:4], 1), whole), (whole, (*whole[:4], 1))):
        cells, inside = true_matches(boxes(first, second), (2, 3))
        assert cells.tolist() == mirrored and inside.all()
    both = true_matches(boxes((*whole[:4], 1), (*whole[:4], 1)), (2, 3))[0]
    assert both.tolist() == [[0, 1, 2, 3, 4, 5]]
    # view 1 is the lower right quarter: of the 2 x 3 centres rows 10, 30 and columns 10, 30, 50, those at
    # row 30 and columns 30 (its left border) and 50 lie in it
    cells, inside = true_matches(boxes(whole, (20, 30, 20, 30, 0)), (2, 3))
    assert inside.tolist() == [[False, False, False, False, True, True]]
    assert cells.tolist() == [[0, 0, 2, 3, 3, 5]]


def test_too_few_pictures_and_sizes_that_make_no_sense() -> None:
    with pytest.raises(UserError, match="ramps has 7 pictures, expected at least a batch of 8"):
        ContrastBatches(Ramps(7), batch=8, size=16, seed=0)
    with pytest.raises(UserError, match="batch of 0 pictures"):
        ContrastBatches(Ramps(7), batch=0, size=16, seed=0)
    with pytest.raises(UserError, match="views of 8 pixels"):
        ContrastBatches(Ramps(7), batch=2, size=8, seed=0)


def test_a_batch_of_the_small_recipe_is_cheap() -> None:
    class Slices(Ramps):
        def read(self, number: int) -> Tensor:
            return torch.full((3, 256, 256), number / 255)

    batches = ContrastBatches(Slices(64), batch=64, size=64, seed=0)
    batches.batch(0)
    before = time.process_time()
    batches.batch(1)
    assert time.process_time() - before < 1.0  # 0.1 on the machine it was written on


def test_processes_share_a_batch() -> None:
    pictures = Ramps(14)
    whole = ContrastBatches(pictures, batch=4, size=16, seed=3).batch(5)
    shares = [
        ContrastBatches(pictures, batch=4, size=16, seed=3, rank=rank, processes=2) for rank in range(2)
    ]
    pictures.reads.clear()
    halves = [share.batch(5) for share in shares]
    assert len(pictures.reads) == 4
    assert torch.equal(torch.cat([half.boxes for half in halves]), whole.boxes)
    torch.testing.assert_close(torch.cat([half.views for half in halves]), whole.views)
    assert {half.label for half in halves} == {whole.label}
