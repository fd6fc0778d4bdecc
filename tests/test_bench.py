"""The measurement: what it prints and writes; that it times in turns, under equal conditions, only what is equal."""

from __future__ import annotations

import ctypes
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_info

import scratch
import torch_ref
from compare.bench import cells, layers, loops, memory, models, plan, run, sides, timing
from compare.bench.cells import Cell, ModelRow
from compare.bench.chart import HEIGHT, WIDTH, chart, chart_png
from compare.bench.equality import NotEqualError, difference, require_equal
from compare.bench.plan import Plan, parse_numbers
from compare.bench.timing import Timed, interleaved, speed_ratio, spread, wall_clock
from compare.machine import conditions
from compare.machine.conditions import equal_threads
from compare.machine.errors import UserError
from compare.pairs.report import Report
from scratch import Array, Conv2d, ReLU, naive
from tests.conftest import Run

SHORT = ["--seconds", "0.001", "--no-memory", "--no-loops"]


# ---- timing


def test_ratio_and_spread_are_those_of_the_medians() -> None:
    samples = {"scratch": [1.0, 1.0, 2.0, 1.0, 1.0], "torch": [2.0, 3.0, 4.0, 3.0, 3.0]}
    assert speed_ratio(samples) == 3.0
    assert spread(samples) == pytest.approx((3 - 2) / 3)  # the rounds' ratios: 2, 3, 2, 3, 3
    assert spread({"scratch": [1.0] * 3, "torch": [2.0] * 3}) == 0


def test_the_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def side(name: str) -> Timed:
        def stopwatch(call: Callable[[], object], repeats: int) -> float:
            calls.append(f"{name}{repeats}")
            call()
            return 0.004 * repeats

        return Timed(lambda: None, stopwatch, lambda: calls.append(f"{name} rewinds"))

    samples = interleaved({"a": side("a"), "b": side("b")}, seconds=0.0)
    warm = ["a rewinds", "a1", "a1", "b rewinds", "b1", "b1"]
    assert calls == warm + ["a rewinds", "a2", "b rewinds", "b2"] * timing.ROUNDS
    assert samples == {"a": [0.004] * timing.ROUNDS, "b": [0.004] * timing.ROUNDS}

    calls.clear()
    monkeypatch.setattr("time.sleep", lambda seconds: calls.append(f"sleeps {seconds}"))
    interleaved({"a": side("a"), "b": side("b")}, seconds=0.0, settle=0.5)
    # 30 ms to warm up, and blocks of 50 ms
    turn = ["a rewinds", "sleeps 0.5", "a8", "a12", "b rewinds", "sleeps 0.5", "b8", "b12"]
    assert calls == warm + turn * timing.ROUNDS


def test_rounds_go_on_until_each_side_has_had_its_seconds() -> None:
    side = Timed(lambda: None, lambda _, repeats: 0.1 * repeats, lambda: None)
    samples = interleaved({"a": side, "b": side}, seconds=0.95)
    assert len(samples["a"]) == len(samples["b"]) == 10


def test_the_wall_clock_calls_so_many_times() -> None:
    calls: list[int] = []
    assert wall_clock(lambda: calls.append(1), 3) > 0
    assert len(calls) == 3


# ---- equal conditions


def test_both_sides_are_timed_with_the_same_threads(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "cores", lambda: 2)
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    seen: list[tuple[str, int, set[int]]] = []

    def spied(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*arguments: Any) -> Any:
            blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
            seen.append((name, torch.get_num_threads(), blas))
            return step(*arguments)

        return spy

    monkeypatch.setattr(run, "check", lambda _: _equal())
    monkeypatch.setattr(scratch, "train_step", spied("scratch", scratch.train_step))
    monkeypatch.setattr(torch_ref, "train_step", spied("torch", torch_ref.train_step))
    arguments = ["--model", "cnn", "--mode", "train", "--batch-size", "1"]
    assert gradtwin("bench", *arguments, *SHORT, "--threads", "1").status == 0
    assert {name for name, _, _ in seen} == {"scratch", "torch"}
    assert all((threads, blas) == (1, {1}) for _, threads, blas in seen)
    seen.clear()
    assert gradtwin("bench", *arguments, *SHORT, "--threads", "2").status == 0
    # The matrix library may have been built for fewer.
    assert {threads for _, threads, _ in seen} == {2}
    assert {name for name, _, _ in seen} == {"scratch", "torch"}


def test_both_sides_start_every_block_from_the_same_weights() -> None:
    pair = models.PAIRS["cnn"]
    state = models.draw_state(pair)
    for side in sides.make_sides(pair, state, models.draw_batch(pair, 2), "train"):
        side.train_step()
        moved = side.weights()
        assert any(not np.array_equal(moved[name], state[name]) for name in state)
        side.rewind()
        for name, array in side.weights().items():
            np.testing.assert_array_equal(array, state[name])


def test_the_allocator_is_told_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, option: int, value: int) -> int:
            told.append((option, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    assert conditions.keep_freed_memory()
    assert told == [(-1, 2**31 - 1), (-4, 0)]
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not conditions.keep_freed_memory()


# ---- nothing is timed that is not equal


def _equal() -> Report:
    class Fine(Report):
        ok = True

    return Fine([])


def test_a_broken_layer_is_found_before_anything_is_timed(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unmasked(_: ReLU, grad_output: Array) -> Array:
        return grad_output

    monkeypatch.setattr(ReLU, "backward", unmasked)
    monkeypatch.setattr(cells, "interleaved", lambda *_: pytest.fail("timed"))
    outcome = gradtwin("bench", "--model", "cnn", *SHORT, "--json", "bench.json")
    assert outcome.status == 1
    assert outcome.out.startswith("wrong: cnn: not timed: wrong: grad_input of cnn [relu1 isolated, float64]: ")
    result = json.loads((tmp_path / "bench.json").read_text())
    assert (result["ok"], result["rows"], result["geomean"]) == (False, [], None)
    assert result["wrong"][0].startswith("cnn: not timed: ")


def test_a_mistake_that_only_one_batch_size_shows_is_found(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Conv2d.forward

    def forgets_the_last_of_seven(self: Conv2d, x: Array) -> Array:
        if len(x) != 7:
            return right(self, x)
        return right(self, np.concatenate([x[:6], np.zeros_like(x[:1])]))

    monkeypatch.setattr(Conv2d, "forward", forgets_the_last_of_seven)
    outcome = gradtwin("bench", "--model", "cnn", "--batch-size", "1,7", *SHORT)
    assert outcome.status == 1
    assert outcome.out.startswith(
        "wrong: cnn, train, batch 7, 1 thread: not timed: scratch and torch are not equal: logits is "
    )


def test_an_optimizer_without_momentum_is_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = models.PAIRS["cnn"]
    made = sides.make_sides(pair, models.draw_state(pair), models.draw_batch(pair, 4), "train")
    require_equal(made, "train", "here")
    made = sides.make_sides(pair, models.draw_state(pair), models.draw_batch(pair, 4), "train")
    monkeypatch.setattr(getattr(made[0], "optimizer"), "momentum", 0.0)  # noqa: B009
    with pytest.raises(NotEqualError, match=r"^here: not timed: scratch and torch are not equal: conv1.weight is "):
        require_equal(made, "train", "here")


@pytest.mark.parametrize(
    ("got", "problem"),
    [
        ({"logits": np.ones(3)}, ""),
        ({"logits": np.array([1, 1, 1.00009])}, ""),
        ({"logits": np.array([1, 1, 1.00011])}, "logits is 0.00011 away, 0.0001 allowed"),
        ({"logits": np.array([1, 1, np.nan])}, "logits is nan away, 0.0001 allowed"),
        ({"logits": np.ones(2)}, "logits has shape [2] instead of [3]"),
        ({}, "one has ['logits'], the other has not"),
    ],
)
def test_what_is_too_far_away(got: dict[str, Array], problem: str) -> None:
    assert difference(got, {"logits": np.ones(3)}, {}) == problem


def test_one_image_of_512_that_is_left_out_of_a_gradient_shows() -> None:
    terms = np.random.default_rng(0).standard_normal((512, 72))
    problem = difference({"grad": terms[1:].sum(axis=0)}, {"grad": terms.sum(axis=0)}, {})
    assert problem.startswith("grad is ")
    start = {"weight": np.full(4, 100.0)}  # an update is looked at by itself, however large the parameter
    problem = difference({"weight": np.full(4, 100.0 + 0.9)}, {"weight": np.full(4, 101.0)}, start)
    assert problem.startswith("weight is ")


@pytest.mark.parametrize(("images", "cut"), [(5, False), (6, True)])
def test_with_threads_scratch_cuts_what_is_large_enough_and_the_matrix_library_keeps_to_one(
    images: int, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, seen = replace(models.PAIRS["cnn"], images_per_thread=3), []
    with equal_threads(2):
        made = sides.make_sides(pair, models.draw_state(pair), models.draw_batch(pair, images), "train", threads=2)
        require_equal(made, "train", "cut in two")

        def step() -> None:
            seen.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})

        for side in made:
            monkeypatch.setattr(side, "train_step", step)
            timing = sides.timed(side, "train")
            timing.stopwatch(timing.call, 1)
    (own, _), (blas, other) = made, seen
    assert isinstance(own, sides.ScratchSide)
    assert (own.called is own.parallel) == cut
    assert blas == ({1} if cut else other)


# ---- the command


def test_bench_prints_a_table_and_writes_everything(gradtwin: Run, tmp_path: Path) -> None:
    arguments = ["--model", "cnn", "--model", "lenet5", "--batch-size", "1,3", "--seconds", "0.001", "--no-memory"]
    outcome = gradtwin("bench", *arguments, "--json", "r/bench.json", "--plot", "r/bench.png")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].strip() == "images per second, 1 thread"
    for heading in ("model", "mode", "batch", "scratch", "torch", "ratio", "spread"):
        assert heading in lines[2]
    for model in ("cnn", "lenet5"):
        for mode in ("train", "inference"):
            assert sum(f"│ {model}" in line and f" {mode} " in line for line in lines) == 2
    assert "training steps, 1 thread: geometric mean of the ratios " in outcome.out
    assert "plain loops: a training step of cnn takes " in outcome.out
    assert "drawn in r/bench.png" in lines

    result = json.loads((tmp_path / "r" / "bench.json").read_text())
    assert (result["ok"], result["wrong"], result["threads"], result["device"]) == (True, [], 1, "cpu")
    assert len(result["rows"]) == 8
    for row in result["rows"]:
        assert set(row) == {"model", "batch", "mode", "threads", "scratch", "torch", "ratio", "spread"}
        assert row["ratio"] == pytest.approx(row["scratch"] / row["torch"])
        assert row["spread"] >= 0
    train = [row["ratio"] for row in result["rows"] if row["mode"] == "train"]
    assert result["geomean"] == pytest.approx(np.prod(train) ** (1 / len(train)))
    best = max(row["scratch"] for row in result["rows"] if (row["model"], row["mode"]) == ("cnn", "train"))
    assert result["loops"]["speedup"] == pytest.approx(best / result["loops"]["images_per_second"])
    assert {"python", "numpy", "torch", "cpu", "cores", "blas", "system"} <= set(result["machine"])
    with Image.open(tmp_path / "r" / "bench.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (WIDTH, HEIGHT))


def test_several_numbers_of_threads_get_a_table_each(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plan, "cores", lambda: 2)
    monkeypatch.setattr(run, "check", lambda _: _equal())
    monkeypatch.setattr(run, "measure_cell", lambda cell, _: row(cell.model, cell.mode, cell.batch, 1.5, cell.threads))
    monkeypatch.setattr(run, "measure_peak", lambda _: memory.Peak(3 << 20, 2 << 20))
    arguments = ["--threads", "2,1,2", "--mode", "train", "--no-loops"]
    outcome = gradtwin("bench", *arguments, "--json", "bench.json", "--plot", "bench.png")
    assert outcome.status == 0
    titles = [line.strip() for line in outcome.out.splitlines() if line.startswith("images per second")]
    assert titles == ["images per second, 2 threads", "images per second, 1 thread"]
    result = json.loads((tmp_path / "bench.json").read_text())
    assert result["threads"] == [2, 1]
    assert result["geomean"] == {"1": pytest.approx(1.5), "2": pytest.approx(1.5)}
    assert result["peak_memory"] == {
        model: {"scratch": 3 << 20, "torch": 2 << 20, "ratio": 1.5} for model in ("cnn", "lenet5", "wide")
    }
    assert "loops" not in result
    with Image.open(tmp_path / "bench.png") as picture:
        assert picture.size == (WIDTH, 2 * HEIGHT)


def test_compiled_torch_is_a_third_side(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiled: list[object] = []

    def compiler(model: Any, **_: object) -> Any:
        compiled.append(model)
        return model

    monkeypatch.setattr(run, "check", lambda _: _equal())
    monkeypatch.setattr("torch.compile", compiler)
    arguments = ["--model", "cnn", "--mode", "train", "--batch-size", "2", "--compile"]
    assert gradtwin("bench", *arguments, *SHORT, "--json", "bench.json").status == 0
    (row,) = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert row["compile"] > 0
    assert isinstance(compiled[-1], torch_ref.CNN)


def test_without_a_compiler_there_is_one_line(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr("torch.compile", broken)
    outcome = gradtwin("bench", "--compile")
    assert outcome.status == 2
    assert outcome.err == (
        "gradtwin: --compile: torch.compile does not work here (RuntimeError: No working C++ compiler found and much "
        "more); install a C++ compiler, or leave --compile out\n"
    )


def test_layer_by_layer(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layers, "MATRIX", 64)
    backwards: list[str] = []
    for name in ("backward", "backward_parameters"):
        right = getattr(Conv2d, name)

        def spy(self: Conv2d, grad_output: Array, name: str = name, right: Any = right) -> Any:
            backwards.append(name)
            return right(self, grad_output)

        monkeypatch.setattr(Conv2d, name, spy)
    monkeypatch.setattr(run, "check", lambda _: _equal())
    outcome = gradtwin("bench", "--layers", "--model", "cnn", "--batch-size", "4", *SHORT, "--json", "layers.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("cnn: µs per image, batch 4, 1 thread")
    assert set(backwards) == {"backward_parameters"}  # the first layer's, as in training
    result = json.loads((tmp_path / "layers.json").read_text())
    assert "rows" not in result
    names = [(each["layer"], each["direction"]) for each in result["layers"]]
    assert names[:4] == [(n, d) for n in ("conv1 Conv2d", "relu1 ReLU") for d in ("forward", "backward")]
    assert len(names) == 10
    for each in result["layers"]:
        assert each["ratio"] == pytest.approx(each["torch"] / each["scratch"])
        assert (each["limit"] is None) == each["layer"].startswith("flatten")
        if each["limit"]:
            assert each["share"] == pytest.approx(each["limit"] / each["scratch"])


def test_a_broken_layer_is_not_timed_by_itself_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReLU, "backward", lambda _, grad_output: 2 * grad_output)
    with pytest.raises(NotEqualError, match=r"^cnn, relu1 ReLU, batch 2: not timed: .*: grad_input is "):
        list(layers.measure_layers("cnn", 2, 1, 0.001))


def test_a_product_of_matrices_counts_a_multiplication_and_an_addition_for_each_triple(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter([1.0, 0.5, *[2.0] * (layers.REPEATS - 2)])
    monkeypatch.setattr(layers, "MATRIX", 8)
    monkeypatch.setattr(layers, "wall_clock", lambda *_: next(seconds))
    assert layers._matrix_product_speed() == 2 * 8 * 8 * 8 / 0.5  # by the fastest


def test_the_limit_of_a_layer_is_its_arithmetic_or_its_traffic_whichever_is_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {layer.name.split()[0]: layer for layer in layers._layers("cnn", 2)}
    speeds = {"copy": 1e30, "product": 10.0}
    monkeypatch.setattr(layers, "copy_speed", lambda _: speeds["copy"])
    monkeypatch.setattr(layers, "matrix_product_speed", lambda threads: speeds["product"] * threads)
    conv1 = 2 * (2 * 8 * 26 * 26) * 3 * 3 / 10  # a multiplication and an addition for each weight that an output sums
    fc1 = 2 * (2 * 10) * (8 * 13 * 13) / 10
    assert layers._limit(made["conv1"], "forward", 1) == pytest.approx(conv1)
    assert layers._limit(made["conv1"], "backward", 1) == pytest.approx(conv1)  # without the gradient of the images
    assert layers._limit(made["fc1"], "forward", 1) == pytest.approx(fc1)
    assert layers._limit(made["fc1"], "backward", 1) == pytest.approx(2 * fc1)
    assert layers._limit(made["fc1"], "forward", 4) == pytest.approx(fc1 / 4)
    speeds |= {"copy": 10.0, "product": 1e30}
    weights = 10 * 8 * 13 * 13 + 10
    assert layers._limit(made["fc1"], "backward", 1) == pytest.approx(4 * (2 * 8 * 13 * 13 + 2 * 10 + weights) / 10)
    assert layers._limit(made["relu1"], "forward", 1) == pytest.approx(4 * 2 * (2 * 8 * 26 * 26) / 10)
    assert layers._limit(made["flatten"], "forward", 1) == 0


REFUSED = [
    ("--model vgg", "model 'vgg' is unknown; choose one of cnn, lenet5, wide"),
    ("--mode training", "mode 'training' is unknown; choose one of train, inference"),
    ("--device tpu", "device 'tpu' is unknown; choose one of cpu, cuda"),
    ("--batch-size 16,0", "--batch-size must be at least 1, got 0"),
    ("--batch-size 1e3", "--batch-size must be whole numbers separated by commas, got '1e3'"),
    ("--batch-size 1,,2", "--batch-size must be whole numbers separated by commas, got '1,,2'"),
    ("--batch-size 1000000000", "--batch-size must be at most 65,536, got 1000000000"),
    ("--layers --mode train", "--layers measures forward and backward of each layer; leave --mode out"),
    ("--layers --batch-size 1,2", "--layers measures at one --batch-size, got 2 of them"),
    ("--json same --plot same", "--plot and --json must be two files, got same for both"),
    ("--threads 0", "--threads must be at least 1, got 0"),
    ("--threads two", "--threads must be whole numbers separated by commas, got 'two'"),
    ("--threads 1,100000", "--threads must be at most the "),
    ("--seconds 0", "--seconds must be a number above 0, got 0"),
    ("--seconds nan", "--seconds must be a number above 0, got nan"),
    ("--layers --compile", "--layers measures on the CPU, without torch.compile"),
    ("--layers --plot p.png", "--plot draws the models, not the --layers"),
    ("--json full", "full: is a folder; give the name of a file"),
    ("--plot full", "full: is a folder; give the name of a file"),
    ("--plot text/below.png", "text: cannot be written"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[arguments for arguments, _ in REFUSED])
def test_what_cannot_be_done_gets_one_line_and_status_2(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: str, message: str
) -> None:
    (tmp_path / "text").write_text("")
    (tmp_path / "full").mkdir()
    monkeypatch.setattr(run, "check", lambda _: pytest.fail("begun"))
    outcome = gradtwin("bench", *arguments.split())
    assert outcome.status == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"gradtwin: {message}")
    assert outcome.out == ""


def test_cuda_without_a_device_is_refused(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = gradtwin("bench", "--device", "cuda")
    assert outcome.status == 2
    assert outcome.err == "gradtwin: device cuda: torch sees no CUDA device on this machine; take --device cpu\n"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (MemoryError, 2)])
def test_an_end_before_the_end(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], status: int
) -> None:
    def ends(*_: object) -> None:
        raise error

    monkeypatch.setattr(run, "check", lambda _: _equal())
    monkeypatch.setattr(run, "measure_cell", ends)
    outcome = gradtwin("bench")
    assert outcome.status == status
    assert len(outcome.err.splitlines()) == 1


def test_the_plan_knows_every_model() -> None:
    assert set(plan.MODELS) == set(models.PAIRS)
    assert Plan(models=(), batch_sizes=(4, 2, 4)) == Plan(batch_sizes=(4, 2))
    assert parse_numbers("3", "--threads") == (3,)


# ---- the picture


def row(model: str, mode: str, batch: int, ratio: float, threads: int = 1) -> ModelRow:
    return ModelRow(Cell(model, mode, batch, threads), {"scratch": 100 * ratio, "torch": 100.0}, ratio, 0.01)


def test_the_picture_has_a_heavy_line_at_1_and_a_curve_for_each() -> None:
    rows = [row("cnn", "train", batch, ratio) for batch, ratio in ((1, 2.0), (16, 2.0), (256, 2.0))]
    rows += [row("cnn", "train", 1, 0.5, threads=2)]
    picture = chart(rows)
    assert picture.shape == (2 * HEIGHT, WIDTH, 3)
    assert Image.open(io.BytesIO(chart_png(rows))).size == (WIDTH, 2 * HEIGHT)
    inside = picture[:HEIGHT, 100:680].astype(int)
    heavy = rows_of(inside, (32, 33, 36))
    curve = rows_of(inside, (0, 114, 178))
    assert heavy.size
    assert curve.size
    assert curve.max() < heavy.min()  # faster is higher


def rows_of(picture: Array, colour: tuple[int, int, int]) -> Array:
    """The rows of pixels that have nearly this colour over nearly their whole width."""
    near = np.abs(picture - np.array(colour)).max(axis=-1) < 40
    return np.flatnonzero(near.mean(axis=1) > 0.8)


@pytest.mark.parametrize("ratios", [(0.99, 1.01), (0.02, 50.0), (3.0, 3.0)])
def test_any_ratios_can_be_drawn(ratios: tuple[float, float]) -> None:
    rows = [row("wide", "inference", batch, ratio) for batch, ratio in zip((60, 64), ratios, strict=True)]
    assert chart(rows).shape == (HEIGHT, WIDTH, 3)
    assert chart(rows[:1]).shape == (HEIGHT, WIDTH, 3)


# ---- the loops, and the memory


def test_the_loops_compute_what_the_layers_do() -> None:
    measured = loops.measure_loops(best=1e6)
    assert measured.speedup == pytest.approx(1e6 / measured.images_per_second)


def test_loops_that_compute_something_else_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = naive.max_pool2d_backward
    monkeypatch.setattr(naive, "max_pool2d_backward", lambda *arguments: 2 * right(*arguments))
    with pytest.raises(NotEqualError, match=r"^cnn in plain loops: not timed: plain loops and scratch are not equal"):
        loops.measure_loops(best=1.0)


def test_the_loops_are_layers_like_others() -> None:
    conv = loops.LoopConv2d(1, 2, 3, padding=1, generator=np.random.default_rng(1))
    fast = Conv2d(1, 2, 3, padding=1)
    fast.load_state_dict(conv.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 1, 5, 4)).astype(np.float32)
    for layer in (conv, fast):
        layer.backward_parameters(layer(x))
    (one, two) = ([p.grad for p in layer.parameters()] for layer in (conv, fast))
    for own, other in zip(one, two, strict=True):
        assert own is not None
        assert other is not None
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-4)  # sums of 40 products of about 1


@pytest.mark.long
def test_a_step_takes_memory_on_both_sides() -> None:
    if memory.peak_bytes() is None:
        pytest.skip("this system does not tell how much memory a process takes")
    peak = memory.measure_peak("cnn", 64)
    assert peak is not None
    least = 64 * 8 * 26 * 26 * 4  # the output of the convolution, which both keep
    assert min(peak.scratch, peak.torch) > least
    assert peak.ratio == peak.scratch / peak.torch


@pytest.mark.parametrize(("told", "expected"), [((1000, 1400), 400), ((1000, 1000), 0), ((None, None), 0)])
def test_the_rise_is_how_much_higher_the_peak_is_after_the_steps(
    monkeypatch: pytest.MonkeyPatch, told: tuple[int | None, int | None], expected: int
) -> None:
    peaks = iter(told)
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: None)  # this process has other tests to run
    monkeypatch.setattr(memory, "_forget_peak", lambda: None)
    monkeypatch.setattr(memory, "peak_bytes", lambda: next(peaks))
    assert memory.rise("scratch", "cnn", 1) == expected


def test_a_process_that_fails_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(UserError, match=r"^peak memory of scratch, cnn: its process ended with status 1 \(it said no"):
        memory.measure_peak("cnn")


def test_a_system_that_does_not_tell_its_memory_is_no_failure(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "check", lambda _: _equal())
    monkeypatch.setattr(run, "measure_cell", lambda cell, _: row(cell.model, cell.mode, cell.batch, 1.0))
    monkeypatch.setattr(memory, "peak_bytes", lambda: None)
    outcome = gradtwin("bench", "--no-loops")
    assert outcome.status == 0
    assert "peak memory: not measured, as this system does not tell it" in outcome.out
