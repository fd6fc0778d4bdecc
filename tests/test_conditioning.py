"""Measured bounds by hand, the conditions of a comparison, and the processor it runs on."""

from __future__ import annotations

import copy
import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from compare.driving.tensors import Call
from compare.machine import conditions, processor
from compare.pairs import measured
from compare.pairs.layers import registered
from compare.pairs.observe import observe_torch
from scratch import Array

SHAPE = (2, 4, 4, 4)
X, G = np.array([[1.0, -2.0, 3.0]]), np.array([[1.0, 0.5]])


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


# (what is added to the bias, how many elements the layers are given), for each repetition
Moves = list[tuple[float, list[int]]]


def bounds_by_hand(monkeypatch: pytest.MonkeyPatch, module: nn.Module, moves: Moves, dtype: str = "float32") -> Any:
    """The bounds with perturbations that are known; and what they were asked with."""
    asked, left = [], iter(moves)

    def moved(
        reference: nn.Module, size: float, generator: torch.Generator, passing: set[str]
    ) -> tuple[nn.Module, list[int]]:
        assert passing == {name for name, layer in reference.named_modules() if type(layer) is nn.Identity}
        asked.append((next(reference.parameters()).dtype, size, generator.initial_seed()))
        change, sizes = next(left)
        other = copy.deepcopy(reference)
        with torch.no_grad():
            dict(other.named_parameters())["0.bias" if len(list(other.children())) else "bias"].add_(change)
        return other, sizes

    monkeypatch.setattr(measured, "_moved", moved)
    return measured.measured(module, [Call((X.astype(dtype),), G.astype(dtype))], dtype), asked


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bound_is_the_worst_of_eight_times_the_roundings_of_the_longest_sum(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    moves: Moves = [(1, [3]), (-5, [9]), (2, []), (3, [4, 2]), (0, [3]), (1, [3]), (1, [3]), (4, [3]), (999, [999])]
    module = linear().to(getattr(torch, dtype))
    found, asked = bounds_by_hand(monkeypatch, module, moves, dtype)
    # 2·4·√1 for one layer, √9 for its longest sum, and 5 for the largest move.
    np.testing.assert_allclose(found["output"], np.full((1, 2), 8 * 3 * 5.0), rtol=1e-12)
    assert {name for name, bound in found.items() if bound.any()} == {"output"}
    assert found.keys() == observe_torch(module, [Call((X.astype(dtype),), G.astype(dtype))]).keys()
    assert found["grad_weight"].shape == (2, 3)
    assert asked == [(torch.float64, 2.0**-24 if dtype == "float32" else 2.0**-53, 0)] * 8
    assert module.weight.dtype == getattr(torch, dtype)


def test_the_layers_of_a_chain_count_and_a_sum_has_one_term_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = nn.Sequential(linear(), nn.Identity(), nn.Identity(), nn.Identity())
    found, _ = bounds_by_hand(monkeypatch, chain, [(0.5, [])] * 8)
    np.testing.assert_allclose(found["output"], np.full((1, 2), 8 * 2 * 0.5), rtol=1e-6)
    # The weights themselves must stay as they were, to the bit.
    assert not found["0.bias after use"].any()


def test_an_input_without_numbers_is_measured_too() -> None:
    call = Call((np.zeros((0, 3), np.float32),), np.zeros((0, 2), np.float32))
    found = measured.measured(linear(), [call], "float32")
    assert found["output"].shape == (0, 2)
    assert not found["grad_weight"].any()


def test_what_is_measured_is_the_same_in_every_run_and_that_of_eight_repetitions() -> None:
    module, call = linear().double(), Call((X,), G)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(measured.measured(module, [call], "float64"))
    for name, bound in found[0].items():
        np.testing.assert_array_equal(bound, found[1][name])
    generator, base, worst = torch.Generator().manual_seed(0), observe_torch(module, [call])["output"], 0.0
    for _ in range(8):
        moved, _ = measured._moved(module, 2.0**-53, generator, set())
        worst = max(worst, float(np.abs(observe_torch(moved, [call])["output"] - base).max()))
    np.testing.assert_allclose(found[0]["output"], 8 * 3**0.5 * worst, rtol=1e-12)
    assert worst > 0


@pytest.mark.parametrize(
    ("loss", "target"),
    [(nn.MSELoss(reduction="none"), np.array([[2.0, 4.0, 8.0]])), (nn.CrossEntropyLoss(), np.array([1]))],
)
def test_the_targets_of_a_loss_are_not_moved(loss: nn.Module, target: Array) -> None:
    given: list[torch.Tensor] = []

    class Look(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loss = loss

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.loss(x, y)

    moved, sizes = measured._moved(Look().double(), 0.25, torch.Generator().manual_seed(0), set())
    moved.get_submodule("loss").register_forward_pre_hook(lambda _, args: given.extend(args))
    x = torch.tensor(X)
    moved(x, torch.tensor(target))
    assert sizes == [3]
    assert torch.equal(given[1], torch.tensor(target))
    assert set((given[0] / x).reshape(-1).tolist()) <= {0.75, 1.25}


def test_every_number_is_moved_up_or_down_by_chance_of_its_own() -> None:
    torch.manual_seed(0)
    before = nn.Linear(40, 50).double()  # none of these weights is 0
    moved, _ = measured._moved(before, 0.25, torch.Generator().manual_seed(0), set())
    factors = moved.get_parameter("weight").detach().numpy() / before.get_parameter("weight").detach().numpy()
    np.testing.assert_allclose(np.unique(factors.round(12)), [0.75, 1.25])
    assert np.mean(factors > 1) == pytest.approx(0.5, abs=0.05)


def test_only_what_computes_is_told_apart_from_what_passes_on() -> None:
    passing = [nn.ReLU(), nn.Flatten(), nn.MaxPool2d(2), nn.Identity(), nn.Unflatten(1, (2, 3)), nn.PixelShuffle(2)]
    assert [measured.passes_on(layer, (2, 6 if "Un" in str(layer) else 4, 4, 4)) for layer in passing] == [True] * 6
    assert measured.passes_on(nn.ZeroPad2d(1), SHAPE), "zeros are nothing that is computed"
    computing = [nn.Linear(4, 1), nn.Sigmoid(), nn.AvgPool2d(2), nn.ELU(), nn.LeakyReLU(0.1), nn.PReLU()]
    assert not any(measured.passes_on(layer, SHAPE) for layer in computing)
    adding_up = [nn.MaxPool1d(3, 1), nn.Upsample(scale_factor=2), nn.ReplicationPad2d(1), nn.Unfold(2)]
    assert not any(measured.passes_on(layer, SHAPE[1:] if "1d" in str(layer) else SHAPE) for layer in adding_up), (
        "gradients are added up"
    )


def test_of_a_registered_layer_its_row_says_whether_it_computes() -> None:
    scores = nn.Softmax(1), nn.LogSoftmax(1), nn.CrossEntropyLoss()
    for layer in (*scores, nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1).eval(), nn.Dropout(0.0), nn.Dropout().eval()):
        assert registered(layer) is not None
        assert not measured.passes_on(layer, SHAPE)
    assert measured.passes_on(nn.MaxPool2d(3, stride=2, padding=1), SHAPE)
    assert measured.passes_on(nn.MaxPool2d(99), SHAPE), "nobody tries it"


def test_of_another_layer_it_is_tried_whether_it_computes() -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((1,), 1 + 2.0**-20))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    scales = Scales()
    assert measured.passes_on(nn.Identity(), SHAPE)
    assert not measured.passes_on(scales, SHAPE), "by hardly more than 1"
    assert scales.scale.dtype == torch.float32, "a copy was tried"
    assert not any(measured.passes_on(layer, SHAPE) for layer in (nn.Tanh(), nn.GELU(), nn.Linear(4, 8), Pair()))
    # What takes no such input may do anything.
    assert not any(
        measured.passes_on(layer, SHAPE) for layer in (nn.Embedding(3, 2), nn.Bilinear(2, 2, 2), nn.GRU(8, 8))
    )


# Conditions


def test_numpy_and_torch_get_the_same_threads_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    right = threadpool_limits

    def limits(*arguments: Any, **more: Any) -> Any:
        given.append((arguments, more))
        return right(*arguments, **more)

    monkeypatch.setattr(conditions, "threadpool_limits", limits)
    before = torch.get_num_threads()
    with conditions.equal_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), conditions.equal_threads(before + 2):
        raise KeyError
    assert torch.get_num_threads() == before
    assert given == [((before + 1,), {"user_api": "blas"}), ((before + 2,), {"user_api": "blas"})]


def test_convolutions_are_computed_as_defined_for_a_while() -> None:
    def enabled() -> bool:
        return torch._C._get_nnpack_enabled()

    before = enabled()
    try:
        torch.backends.nnpack.set_flags(True)
        with conditions.direct_convolutions():
            assert not enabled()
        assert enabled()
    finally:
        torch.backends.nnpack.set_flags(before)


@pytest.mark.parametrize(
    ("answers", "kept", "asked"),
    [((1, 1), True, 2), ((0, 1), False, 1), ((1, 0), False, 2)],
)
def test_memory_is_kept_where_the_system_obeys(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[int, int], kept: bool, asked: int
) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        def __init__(self, name: str | None) -> None:
            assert name is None

        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return answers[len(calls) - 1]

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert conditions.keep_freed_memory() is kept
    assert calls == [(-1, 2**31 - 1), (-4, 0)][:asked]  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_memory_is_not_kept_where_there_is_no_such_function(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert conditions.keep_freed_memory() is False


# The processor


def test_the_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6} if process == 0 else set(), raising=False)
    assert processor.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert processor.cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processor.cores() == 1


def raises(_: Path) -> str:
    raise OSError


@pytest.mark.parametrize(
    ("read", "names", "found"),
    [
        (lambda _: "flags : a\nmodel name\t: One: 3 GHz \nmodel name : Two\n", ("p", "m"), "One: 3 GHz"),
        (lambda _: "model name\nthe model name : no\n", ("p", "m"), "p"),
        (lambda _: "model name :\n", ("", "m"), "m"),
        (raises, ("p", "m"), "p"),
        (raises, ("", "m"), "m"),
    ],
)
def test_a_processor_has_the_name_that_the_system_tells(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], str], names: tuple[str, str], found: str
) -> None:
    def text(path: Path) -> str:
        assert str(path) == "/proc/cpuinfo"
        return read(path)

    monkeypatch.setattr(Path, "read_text", text)
    monkeypatch.setattr(platform, "processor", lambda: names[0])
    monkeypatch.setattr(platform, "machine", lambda: names[1])
    assert processor.processor() == found
