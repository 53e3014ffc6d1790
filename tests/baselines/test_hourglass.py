"""The stacked hourglass: counts, heat-maps, losses, decoding and golden outputs of its facts."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from places import GOLDEN

from baselines.hourglass.decoding import channels_by_count, channels_by_peak, decode, decode_sum
from baselines.hourglass.heat_maps import (
    correct_keypoints,
    peaks,
    published_targets,
    quantised_map,
    separate_targets,
    split_map,
    stack_loss,
)
from baselines.hourglass.model import Hourglass, HourglassOptions, LateDecay
from baselines.hourglass.network import HourglassNetwork
from baselines.hourglass.skeleton import best_chain, normalised_chain
from baselines.pictures import scaled_pictures
from fewshot.base.errors import UserError
from fewshot.base.types import LabelledBatch
from protocols.conformance.parts.tmunet import fill_by_name
from protocols.conformance.systems import hourglass

PARAMETERS = {
    1: (3_585_675, 3_620_931), 2: (6_727_062, 6_795_086), 3: (9_868_449, 9_969_241),
    4: (13_009_836, 13_143_396),
}  # fmt: skip
MODULES = {
    "conv1": 9_472, "layer1": 58_112, "layer2": 230_912, "layer3": 214_528, "attention": 68_024,
    "hg": 5_577_728, "res": 429_056, "fc": 132_608, "score": 5_654,
}  # fmt: skip
CHAIN = np.array([[10.0, 30.0], [20.0, 32.0], [30.0, 33.0], [40.0, 32.0], [50.0, 30.0], [58.0, 28.0]])


def small(**options: object) -> Hourglass:
    chosen = HourglassOptions(side=64, width=0.04, **options)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Hourglass(Hourglass.new_encoder("none", 0), chosen, ("disc",))


def batch(chains: list[np.ndarray], flipped: list[bool]) -> LabelledBatch:
    points = np.full((len(chains), 12, 2), np.nan)
    for row, chain in zip(points, chains, strict=True):
        row[1 : len(chain) + 1] = chain[::-1]
    images = torch.rand(len(chains), 1, 64, 64, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(len(chains), 1, 64, 64, dtype=torch.bool)
    return LabelledBatch(images, masks, points=torch.from_numpy(points), flipped=torch.tensor(flipped))


@pytest.mark.parametrize("stacks", PARAMETERS)
def test_parameters_of_every_published_size(stacks: int) -> None:
    for attention, expected in zip((False, True), PARAMETERS[stacks], strict=True):
        network = HourglassNetwork(stacks, attention, 11)
        assert sum(parameter.numel() for parameter in network.parameters()) == expected
        if stacks == 2 and attention:
            assert len(network.state_dict()) == 703
            for name, count in MODULES.items():
                module = network.get_submodule(name)
                assert sum(parameter.numel() for parameter in module.parameters()) == count, name


def test_golden_outputs_at_full_width() -> None:
    quantities = list(hourglass.check(GOLDEN / "hourglass"))
    assert len(quantities) == 3 + 4 * 5 and all(quantity.ok for quantity in quantities), quantities


def test_attention_changes_the_last_stack_alone() -> None:
    outputs = {}
    for attention in (True, False):
        network = HourglassNetwork(3, attention, 4, 0.04).eval()
        fill_by_name(network)
        with torch.inference_mode():
            outputs[attention] = network(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    same = [torch.equal(a, b) for a, b in zip(outputs[True], outputs[False], strict=True)]
    assert same == [True, True, False] and outputs[True][0].shape == (1, 4, 64, 64)


def test_one_stack_with_attention_has_one_output() -> None:
    with torch.inference_mode():
        assert len(HourglassNetwork(1, True, 11, 0.04).eval()(torch.zeros(1, 3, 64, 64))) == 1


def test_a_quantised_map_of_one_disc() -> None:
    heat = quantised_map(np.array([[30.0, 24.0]]), (64, 48), 5.0)
    assert np.count_nonzero(heat) == 177 and np.count_nonzero(heat / 255 > 0.2) == 45
    assert int(heat.sum()) == 7_879


def test_channels_are_components_from_the_top() -> None:
    points = np.array([[50.0, 10.0], [12.0, 40.0], [30.0, 20.0]])
    maps = published_targets(points, (64, 48), 64, 11, 5.0)
    tops = [np.unravel_index(int(heat.argmax()), heat.shape)[0] for heat in maps[:3]]
    assert tops == [12, 30, 50] and not maps[3:].any()
    assert np.count_nonzero(split_map(quantised_map(points, (64, 48), 5.0) / 255, 11)[0]) == 45
    assert len(split_map(quantised_map(points, (64, 48), 5.0) / 255, 2)) == 2  # the third is dropped
    separate = separate_targets(points, (64, 48), 128, 11, 5.0)
    assert np.unravel_index(int(separate[0].argmax()), (128, 128))[0] in (24, 25)


def test_the_loss_divides_by_all_channels() -> None:
    target = torch.zeros(1, 11, 256, 256)
    target[:, :, 100, 100] = 1
    zero = torch.zeros_like(target)
    assert stack_loss(zero, target, torch.ones(1, 11)).item() == pytest.approx(7.629395e-06, rel=1e-6)
    five = torch.tensor([[1.0] * 5 + [0.0] * 6])
    assert stack_loss(zero, target, five).item() == pytest.approx(3.467907e-06, rel=1e-6)


def test_correct_keypoints_within_12_8_pixels() -> None:
    target = torch.zeros(1, 2, 256, 256)
    target[0, 0, 100, 100] = 1
    assert peaks(target)[0, 0].tolist() == [101, 101]
    for shift, share in ((12, 1.0), (13, 0.0)):
        assert correct_keypoints(target.roll(shift, dims=3), target, torch.tensor([[1.0, 0.0]])) == share
    assert math.isnan(correct_keypoints(target, target, torch.zeros(1, 2)))


def test_the_unit_of_a_chain_is_its_fifth_or_last_point() -> None:
    chain = normalised_chain(CHAIN)
    assert chain is not None and np.linalg.norm(chain[4]) == pytest.approx(1) and not chain[0].any()
    short = normalised_chain(CHAIN[:3])
    assert short is not None and np.linalg.norm(short[2]) == pytest.approx(1)
    assert normalised_chain(CHAIN[:1]) is None and normalised_chain(CHAIN[[0, 0]]) is None


@pytest.mark.parametrize("joints", [2, 3, 5, 6])
def test_the_best_chain_is_that_of_all_combinations(joints: int) -> None:
    draw = np.random.Generator(np.random.PCG64(joints))
    skeleton = normalised_chain(CHAIN[:joints])
    assert skeleton is not None
    for _case in range(10):
        candidates = [draw.uniform(0, 64, (int(draw.integers(1, 4)), 2)) for _joint in range(joints)]

        def distance(choice: tuple[int, ...], places: list[np.ndarray] = candidates) -> float:
            chain = normalised_chain(np.array([one[k] for one, k in zip(places, choice, strict=True)]))
            return math.inf if chain is None else float(np.linalg.norm(chain - skeleton))

        every = itertools.product(*(range(len(places)) for places in candidates))
        assert distance(tuple(best_chain(candidates, skeleton))) == pytest.approx(min(map(distance, every)))


def maps_of(chain: np.ndarray, size: int = 64) -> np.ndarray:
    return separate_targets(chain, (size, size), size, 11, 5.0)


def test_decodings_find_the_discs() -> None:
    maps, skeleton = maps_of(CHAIN), np.full((11, 2), np.nan)
    skeleton[:6] = normalised_chain(CHAIN)
    maps[2] += maps_of(np.array([[32.0, 8.0]]))[0] * 1.1  # a stronger false peak in the third channel
    maps[8] += 0.1
    for channels in (channels_by_count(maps, 6), channels_by_peak(maps, 0.3)):
        chain = decode(maps, channels, skeleton, weighted=True)
        assert np.abs(chain.places - CHAIN).max() < 0.5 and chain.channels.tolist() == list(range(6))
    assert len(decode(maps, channels_by_count(maps, 4), skeleton, weighted=False).places) == 4
    empty = decode(np.zeros((11, 64, 64)), channels_by_count(maps, 3), skeleton, weighted=True)
    assert empty.places.shape == (0, 2)


def test_the_sum_joins_channels_that_share_a_disc() -> None:
    maps = maps_of(CHAIN)
    unsure = 0.6 * maps + 0.4 * np.roll(maps, 1, axis=0)
    chain = decode_sum(unsure, 0.5, 5.0)
    assert len(chain.places) == 6 and np.abs(chain.places - CHAIN).max() < 0.5
    assert len(decode_sum(np.zeros((11, 64, 64)), 0.5, 5.0).places) == 0


def test_decoding_takes_less_than_50_ms_a_slice() -> None:
    """Eleven channels with as many candidates as a channel may have, on 256 x 256 pixels."""
    rows, columns = np.mgrid[0:256, 0:256]
    grid = ((rows % 32 < 8) & (columns % 32 < 8)) * (1 + 0.001 * rows + 0.0001 * columns)
    maps = np.stack([grid] * 11)
    skeleton = np.cumsum(np.ones((11, 2)), axis=0)
    chain_seconds, sum_seconds = [], []
    for _try in range(100):  # the best of several: other work may share the processor
        if chain_seconds and min(chain_seconds) < 0.05 and min(sum_seconds) < 0.05:
            break
        started = time.process_time()
        decode(maps, channels_by_peak(maps, 0.5), skeleton, weighted=True)
        middle = time.process_time()
        decode_sum(maps, 0.5, 5.0)
        chain_seconds.append(middle - started)
        sum_seconds.append(time.process_time() - middle)
    assert min(chain_seconds) < 0.05 and min(sum_seconds) < 0.05, (chain_seconds, sum_seconds)


@pytest.mark.parametrize("variant", ["published", "corrected"])
def test_a_learner_steps_and_keeps_the_skeleton(variant: str) -> None:
    learner = small(variant=variant)
    mirrored = CHAIN.copy()
    mirrored[:, 1] = 63 - mirrored[:, 1]
    result = learner.loss(batch([CHAIN, mirrored, CHAIN[:0]], [False, True, False]))
    result.total.backward()  # type: ignore[no-untyped-call]
    assert set(result.parts) == {"stack 1", "stack 2"} and result.total.item() > 0
    expected = normalised_chain(CHAIN)
    assert expected is not None and np.allclose(learner.skeleton[:6], expected)
    assert np.isnan(learner.skeleton[6:]).all() and learner.chain_counts[0] == 2
    assert learner.reads_count == (variant == "published")


def test_points_lie_on_the_pixels_of_the_slice() -> None:
    learner = small(decoding="sum")
    maps = torch.from_numpy(maps_of(CHAIN))[None].float()
    learner.forward = lambda images: [maps]  # type: ignore[method-assign]
    found = learner.locate(torch.zeros(1, 1, 128, 128))
    assert torch.allclose(found.places[0], torch.from_numpy(CHAIN * 2 + 0.5), atol=0.3)
    assert found.probabilities.shape == (1, 1, 128, 128)
    area = (found.probabilities > 0.5).sum().item() / 6
    assert area == pytest.approx(4 * math.pi * 10 * math.log(2), rel=0.2)  # four pixels for each of the map
    assert torch.equal(learner.class_probabilities(torch.zeros(1, 1, 128, 128)), found.probabilities)


def test_a_released_file_loads_strictly(tmp_path: Path) -> None:
    learner, other = small(), small()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    state = {f"module.{name}": value for name, value in other.network.state_dict().items()}
    torch.save({"model_weights": state}, tmp_path / "model_t2_att_2")
    learner.load_published(tmp_path / "model_t2_att_2")
    loaded = learner.network.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in other.network.state_dict().items())
    state.pop("module.conv1.bias")
    torch.save({"model_weights": state}, tmp_path / "model_t2_att_2")
    with pytest.raises(UserError, match="1 missing"):
        learner.load_published(tmp_path / "model_t2_att_2")


def test_rates_fall_at_one_half_and_three_quarters() -> None:
    recipe = Hourglass.recipe()
    assert isinstance(recipe, LateDecay)
    rates = [recipe.rate_after(recipe.steps * place // 120) for place in (0, 59, 60, 89, 90, 119)]
    assert rates == pytest.approx([2.5e-4, 2.5e-4, 2.5e-5, 2.5e-5, 2.5e-6, 2.5e-6])


@pytest.mark.parametrize(
    ("option", "value"), [("stacks", 0), ("side", 100), ("width", 0.0), ("gate", 1.0), ("variance", 0.0)]
)
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{option}.* expected"):
        HourglassOptions(**{option: value})  # type: ignore[arg-type]


def test_more_discs_than_channels_are_refused() -> None:
    with pytest.raises(UserError, match="6 points, expected at most 3"):
        small(channels=3).loss(batch([CHAIN], [False]))


def test_pictures_are_gray_in_three_channels() -> None:
    pictures = scaled_pictures(torch.linspace(-3, 5, 64).reshape(1, 1, 8, 8), 8, "hourglass")
    assert pictures.shape == (1, 3, 8, 8) and pictures.min() == 0 and pictures.max() == 1
