"""What TensorBoard gets: the same tags from both twins, what they differ by, pictures, and nothing twice."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from compare.machine.data import Dataset
from compare.pictures import side_by_side
from compare.training.board import logs
from compare.training.board.projector import write_projector
from compare.training.lockstep import Epoch, Step
from compare.training.result import RunResult
from compare.training.run import run_twins
from compare.training.settings import Settings
from compare.training.twins import Twins

PARAMETERS = ["conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"]
CURVES = {
    "loss/train",
    "accuracy/train",
    "loss/test",
    "accuracy/test",
    "learning rate",
    "images per second",
    *(f"weight norm/{name}" for name in PARAMETERS),
    *(f"gradient norm/{name}" for name in PARAMETERS),
}
Told = tuple[RunResult, list[Step], list[Epoch]]


def trained(dataset: Dataset, folder: Path, **settings: Any) -> Told:
    told: list[Step | Epoch] = []
    result = run_twins(Twins(Settings(**settings)), dataset, folder, lambda _: None, told.append)
    steps = [event for event in told if isinstance(event, Step)]
    return result, steps, [event for event in told if isinstance(event, Epoch)]


def read(folder: Path) -> EventAccumulator:
    """All that the logs in a folder hold."""
    files = sorted(folder.glob("*tfevents*"))
    return _read(folder, tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


# TensorBoard computes its checksums in Python: what is compared with many others is read once.
@lru_cache(maxsize=64)
def _read(folder: Path, _content: tuple[tuple[str, int, int], ...]) -> EventAccumulator:
    everything = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    accumulator = EventAccumulator(str(folder), size_guidance=everything)
    accumulator.Reload()
    return accumulator


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = read(folder)
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def text(folder: Path, tag: str) -> str:
    (event,) = read(folder).Tensors(f"{tag}/text_summary")
    return str(event.tensor_proto.string_val[0].decode())


@pytest.fixture(scope="module")
def run(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    """Six epochs of 4 steps, a point for every 2 steps."""
    folder = tmp_path_factory.mktemp("board") / "run"
    return folder, trained(few, folder, epochs=6, log_every=2)


def test_both_twins_have_the_same_curves(run: tuple[Path, Told]) -> None:
    folder, (_, steps, epochs) = run
    for name in ("scratch", "torch"):
        curves = scalars(folder / name)
        assert set(curves) == CURVES
        assert [step for step, _ in curves["loss/train"]] == [1, *range(2, 25, 2)]
        sixth = steps[6:8]
        images = sum(s.images for s in sixth)
        assert dict(curves["loss/train"])[8] == pytest.approx(sum(s.loss[name] * s.images for s in sixth) / images)
        assert dict(curves["accuracy/train"])[8] == pytest.approx(sum(s.right[name] for s in sixth) / images)
        assert dict(curves["images per second"])[8] == pytest.approx(images / sum(s.seconds[name] for s in sixth))
        assert dict(curves["learning rate"])[8] == pytest.approx(Settings().lr_at(8, 24))
        assert [step for step, _ in curves["accuracy/test"]] == [0, 4, 8, 12, 16, 20, 24]
        assert curves["accuracy/test"][-1][1] == pytest.approx(epochs[-1].test_accuracy[name])
        assert curves["loss/test"][-1][1] == pytest.approx(epochs[-1].test_loss[name])


def test_norms_are_those_of_weights_and_gradients(few: Dataset, tmp_path: Path) -> None:
    twins = Twins(Settings(epochs=1, log_every=1))
    run_twins(twins, few, tmp_path, lambda _: None, lambda _: None)
    for name in ("scratch", "torch"):
        curves, twin = scalars(tmp_path / name), twins.members[name]
        weight, gradient = twin.weights()["fc1.weight"], twin.gradients()["fc1.grad_weight"]
        assert dict(curves["weight norm/fc1.weight"])[4] == pytest.approx(np.linalg.norm(weight), rel=1e-6)
        assert dict(curves["gradient norm/fc1.weight"])[4] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


def test_differences_are_logarithms_beside_the_yardsticks(run: tuple[Path, Told]) -> None:
    folder, (result, _, _) = run
    tags = {
        "log10 difference/loss/train",
        "log10 difference/all weights",
        *(f"log10 difference/{name}" for name in PARAMETERS),
    }
    own, yardstick = scalars(folder / "compare"), scalars(folder / "perturbed")
    assert set(own) == set(yardstick) == tags
    for curves in (own, yardstick):
        for tag in tags:
            assert all(-10 < value < -3 for _, value in curves[tag]), tag
    greatest = own["log10 difference/all weights"][-1][1]
    assert greatest == max(own[f"log10 difference/{name}"][-1][1] for name in PARAMETERS)
    assert greatest == pytest.approx(math.log10(result.findings.apart), rel=1e-6)


def test_histograms_hold_every_weight_and_gradient(run: tuple[Path, Told]) -> None:
    folder, _ = run
    for name in ("scratch", "torch"):
        accumulator = read(folder / name)
        tags = accumulator.Tags()["histograms"]
        assert set(tags) == {f"{kind}/{key}" for kind in ("weights", "gradients") for key in PARAMETERS}
        events = accumulator.Histograms("weights/fc1.weight")
        assert [event.step for event in events] == [4, 8, 12, 16, 20, 24]
        assert events[-1].histogram_value.num == 13520


def test_pictures_have_the_twins_side_by_side(run: tuple[Path, Told]) -> None:
    folder, _ = run
    accumulator = read(folder / "compare")
    layers = ["1 conv1", "2 relu1", "3 pool1", "5 fc1"]
    tags = {
        "filters",
        "predictions/confusion matrix",
        "predictions/wrong digits",
        *(f"feature maps/{layer}" for layer in layers),
    }
    assert set(accumulator.Tags()["images"]) == tags
    for tag in tags:
        events = accumulator.Images(tag)
        assert [event.step for event in events] == [0, 24]
        shown = np.asarray(Image.open(io.BytesIO(events[-1].encoded_image_string)))
        assert shown.ndim == 3
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 3, tag


def test_a_twin_alone_has_its_pictures_under_its_own_name(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[bool, bool]] = []
    feature_maps = side_by_side.feature_maps

    def watch(own: Any, twin: Any) -> Any:
        drawn.append((own is None, twin is None))
        return feature_maps(own, twin)

    monkeypatch.setattr(side_by_side, "feature_maps", watch)
    trained(few, tmp_path, epochs=1, only="torch")
    assert set(drawn) == {(True, False)}


def test_pictures_come_every_forty_points_at_the_least(few: Dataset, tmp_path: Path) -> None:
    trained(few, tmp_path, epochs=12, log_every=1)
    steps = [event.step for event in read(tmp_path / "compare").Images("filters")]
    assert steps == [0, 40, 48]


def test_every_class_has_its_curve_of_precision_and_recall(run: tuple[Path, Told]) -> None:
    folder, _ = run
    for name in ("scratch", "torch"):
        tags = [tag for tag in read(folder / name).Tags()["tensors"] if tag.startswith("pr/")]
        assert tags == [f"pr/{digit}" for digit in range(10)]


def test_texts_say_what_ran_and_what_was_proven(run: tuple[Path, Told]) -> None:
    folder, (result, _, _) = run
    described = text(folder / "compare", "run")
    assert "scikit-learn's 1,797 embedded digits" in described
    assert "| batch_size | 64 |" in described
    assert "| torch | 2." in described
    for name, report in (("untrained", result.before), ("trained", result.after)):
        proven = text(folder / "compare", f"agreement/{name}")
        assert proven.startswith(report.headline())
        assert proven.count("\n|") == report.compared + 2
    outcome = text(folder / "compare", "result")
    assert outcome.count(f"| {result.last and result.last.test_accuracy['torch']:.2%} |") == 2
    assert "drift: the weights of scratch and torch are" in outcome


def test_the_layout_puts_both_into_one_chart(run: tuple[Path, Told]) -> None:
    folder, _ = run
    (event,) = read(folder / "compare").Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    categories = {category.title: list(category.chart) for category in layout.category}
    assert next(iter(categories)) == "scratch and torch"
    charts = {chart.title: list(chart.multiline.tag) for charts in categories.values() for chart in charts}
    assert charts["test accuracy"] == ["accuracy/test$"]
    for name in PARAMETERS:
        assert [f"log10 difference/{name}$"] in [list(c.multiline.tag) for cs in categories.values() for c in cs]
    logged = {tag for run in ("scratch", "compare") for tag in scalars(folder / run)}
    for tags in charts.values():
        assert {tag.removesuffix("$") for tag in tags} <= logged


def test_hparams_stay_in_the_folder_of_their_run(run: tuple[Path, Told]) -> None:
    folder, _ = run
    assert {path.parent.name for path in folder.rglob("*tfevents*")} == {"scratch", "torch", "perturbed", "compare"}
    for name in ("scratch", "torch"):
        content = read(folder / name).summary_metadata["_hparams_/session_start_info"].plugin_data.content
        chosen = HParamsPluginData.FromString(content).session_start_info.hparams
        assert chosen["twin"].string_value == name
        assert chosen["lr"].number_value == 0.05
        assert chosen["dataset"].string_value == "digits"


def test_the_graph_is_torchs(run: tuple[Path, Told]) -> None:
    folder, _ = run
    graph = read(folder / "torch").Graph()
    assert any("CNN/Conv2d[conv1]" in node.name for node in graph.node)


def test_the_projector_has_both_last_hidden_layers(run: tuple[Path, Told], few: Dataset) -> None:
    folder, _ = run
    config = (folder / "compare" / "projector_config.pbtxt").read_text()
    for number, name in enumerate(("scratch", "torch")):
        assert f'tensor_name: "last hidden layer of {name}"' in config
        vectors = np.fromfile(folder / "compare" / f"vectors-{number}.bytes", "<f4").reshape(100, 1352)
        assert vectors.std() > 0
    labels = (folder / "compare" / "labels.tsv").read_text().split()
    assert labels == [str(label) for label in few.test_labels]
    with Image.open(folder / "compare" / "sprites.png") as sheet:
        assert sheet.size == (280, 280)


def test_a_sprite_is_where_the_projector_looks_for_it(tmp_path: Path) -> None:
    images = np.zeros((3, 1, 2, 4))
    images[1, 0, 1, 3] = 1
    write_projector(tmp_path, {"a": np.full((3, 5), 1.7)}, images, np.array([2, 0, 1]), ["x", "y", "z"])
    with Image.open(tmp_path / "sprites.png") as file:
        sheet = np.asarray(file)
    assert sheet.shape == (4, 8)
    assert np.argwhere(sheet == 0).tolist() == [[1, 7]], "ink is black: the last pixel of the second of two in a row"
    assert (tmp_path / "labels.tsv").read_text() == "z\nx\ny\n"
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert "tensor_shape: 3\n  tensor_shape: 5" in config
    assert "single_image_dim: 4\n    single_image_dim: 2" in config, "width, then height"


def test_a_dead_layer_is_left_out_of_the_projector(tmp_path: Path) -> None:
    write_projector(tmp_path, {"dead": np.zeros((1, 5))}, np.zeros((1, 1, 2, 2)), np.array([0]), ["x"])
    assert (tmp_path / "projector_config.pbtxt").read_text() == ""


def test_numbers_beyond_float32_are_clipped_for_the_projector(tmp_path: Path) -> None:
    write_projector(tmp_path, {"huge": np.array([[1e60, -1e60, 0.5]])}, np.zeros((1, 1, 2, 2)), np.array([0]), ["x"])
    largest = np.finfo(np.float32).max
    vectors = np.frombuffer((tmp_path / "vectors-0.bytes").read_bytes(), np.float32)
    np.testing.assert_array_equal(vectors, np.array([largest, -largest, 0.5], np.float32))


def test_a_twin_alone_writes_its_own_folder_only(few: Dataset, tmp_path: Path) -> None:
    result, _, _ = trained(few, tmp_path, epochs=1, only="scratch", log_every=2)
    assert result.ok
    assert {path.parent.name for path in tmp_path.rglob("*tfevents*")} == {"scratch"}
    assert set(scalars(tmp_path / "scratch")) == CURVES
    assert "predictions/confusion matrix" in read(tmp_path / "scratch").Tags()["images"]
    assert "agreement/trained/text_summary" not in read(tmp_path / "scratch").Tags()["tensors"]


def test_resync_has_differences_and_no_yardstick(few: Dataset, tmp_path: Path) -> None:
    trained(few, tmp_path, epochs=1, resync=True, log_every=1)
    assert not (tmp_path / "perturbed").exists()
    assert [step for step, _ in scalars(tmp_path / "compare")["log10 difference/fc1.weight"]] == [1, 2, 3, 4]


def test_gradients_that_are_not_finite_have_no_histogram(few: Dataset, tmp_path: Path) -> None:
    result, _, _ = trained(few, tmp_path, epochs=20, lr=1e30, log_every=1)
    assert result.stopped
    assert "loss/train" in scalars(tmp_path / "scratch")


def test_logs_are_cut_back_to_what_they_were(tmp_path: Path) -> None:
    for name in ("scratch", "compare"):
        (tmp_path / name).mkdir()
    names = [*(f"scratch/events.out.tfevents.{number}" for number in (1, 2, 3)), "compare/events.out.tfevents.4"]
    kept, longer, later, beside = paths = [tmp_path / name for name in names]
    other = tmp_path / "scratch" / "notes.txt"
    for path in (*paths, other):
        path.write_bytes(b"0123456789")
    logs.cut_back(tmp_path, {names[0]: 10, names[1]: 4, names[3]: 7, "torch/gone": 5})
    assert kept.read_bytes() == other.read_bytes() == b"0123456789"
    assert longer.read_bytes() == b"0123"
    assert beside.read_bytes() == b"0123456"
    assert not later.exists()
