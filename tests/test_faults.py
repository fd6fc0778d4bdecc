"""The catalogue of mistakes: complete, each plantable, each rejected and named; and right code is left in peace."""

from __future__ import annotations

import inspect
import json
import re
import runpy
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import compare.pairs.report as verifier
import scratch
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.matrix import Kill, Matrix, false_alarms, kill_matrix
from compare.faults import catalogue
from compare.faults.catalogue import CATALOGUE, catalogue_table, chosen_faults, faults_of, find_fault
from compare.faults.exercise import write_exercise
from compare.faults.fault import Fault, as_json, broken_source, plant
from compare.faults.models import FAULTS as PROGRAM
from compare.machine.errors import UserError
from compare.pairs.registry import REGISTRY
from compare.verify import canaries
from compare.verify.configurations import random_configurations

pytestmark = pytest.mark.timeout(1800)  # the matrix takes a minute of computing, on a busy machine many
FAULTS = pytest.mark.parametrize("fault", CATALOGUE.values(), ids=CATALOGUE)


@FAULTS
def test_every_mistake_is_an_edit_of_our_source(fault: Fault) -> None:
    broken = broken_source(fault)
    original = inspect.getsource(__import__(fault.module, fromlist=["x"]))
    assert broken != original
    changed = sum(line not in original.splitlines() for line in broken.splitlines())
    assert changed <= 8, "a mistake is a few lines, not another layer"
    planted = plant(fault)
    assert callable(planted)
    assert planted is not getattr(__import__(fault.module, fromlist=["x"]), fault.target.rpartition(".")[2])


@FAULTS
def test_every_mistake_is_told_in_plain_words(fault: Fault) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", fault.name)
    for text in (fault.made, fault.hint, fault.shows):
        assert text
        assert "\n" not in text
        assert text[-1] in ".?!"
    for _, wrong in fault.edits:
        assert not wrong or wrong not in fault.hint, "the hint gives the answer away"
    assert fault.pair in REGISTRY or fault.pair == "verifier"


def test_every_layer_loss_optimizer_and_the_verifier_have_mistakes() -> None:
    counts = Counter(fault.pair for fault in CATALOGUE.values())
    assert sum(counts.values()) >= 60
    assert counts.keys() == REGISTRY.keys() - {"lenet5"} | {"verifier"}
    assert faults_of("relu") == [fault for fault in CATALOGUE.values() if fault.pair == "relu"]


def test_an_edit_that_no_longer_fits_the_source_is_an_error() -> None:
    stale = Fault("relu-stale", "relu", "scratch.activation.ReLU", "m.", "h?", "s.", (("no such line", "x"),))
    with pytest.raises(
        ValueError, match=r"relu-stale: 'no such line' does not occur once in scratch\.activation\.ReLU"
    ):
        plant(stale)


def test_planting_leaves_the_original_alone() -> None:
    broken = plant(find_fault("relu-no-mask"))()
    x, g = np.array([-1.0, 2.0]), np.array([5.0, 5.0])
    broken(x)
    right = scratch.ReLU()
    right(x)
    assert broken.backward(g).tolist() == [5, 5]
    assert right.backward(g).tolist() == [0, 5]


def test_a_mistake_that_updates_weights_does_so_with_the_rate_it_is_told() -> None:
    for rate in (0.25, 1.0):
        linear = plant(find_fault("linear-weights-updated-late"), rate)(1, 1, dtype=np.float64)
        linear.weight.data[...] = 8.0
        linear(np.array([[2.0]]))
        linear.backward(np.array([[3.0]]))
        assert linear.weight.data.item() == 8 - rate * 6


def test_unknown_names_are_refused_with_what_is_close() -> None:
    with pytest.raises(UserError, match=r"'relu-no-mark' is not in the catalogue; did you mean .*relu-no-mask"):
        find_fault("relu-no-mark")
    with pytest.raises(
        UserError, match=r"did you mean adam-root-forgotten, adam-square-forgotten, softmax-wrong-axis\?"
    ):
        find_fault("adam-wrong")
    with pytest.raises(UserError, match=r"'xyzzy' is not in the catalogue; gradtwin faults lists them all"):
        find_fault("xyzzy")
    with pytest.raises(UserError, match=r"pair 'lenet5' has no catalogued mistakes; choose among conv2d, "):
        chosen_faults(["lenet5"])


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    """The matrix of the verifier's own mistakes, with all random configurations.

    `test_recorded.py` has the verdict on every mistake in a layer.
    """
    *kills, result = kill_matrix(faults_of("verifier"))
    assert all(isinstance(kill, Kill) for kill in kills)
    assert isinstance(result, Matrix)
    return result


def test_a_part_of_the_matrix() -> None:
    """The short form of what follows, with mistakes of every kind."""
    faults = list(CATALOGUE.values())[::37]
    *kills, result = kill_matrix(faults, configurations=50)
    assert isinstance(result, Matrix)
    assert list(result.kills) == kills
    assert [kill.name for kill in result.kills] == [kill.diagnosed_as for kill in result.kills]
    assert [kill.name for kill in result.kills] == [fault.name for fault in faults]
    assert result.correct_configurations == 50
    assert result.ok
    first = [[str(cell) for cell in column.cells] for column in result.table().columns]
    assert first[1] == ["yes"] * len(faults)
    assert first[2] == ["its name"] * len(faults)
    shown = Matrix((Kill("a", False, "", "", ""), Kill("b", True, "c", "case [x]", "output")), 0, 1).table().columns
    assert [list(column.cells) for column in shown] == [
        ["a", "b"],
        ["NO", "yes"],
        ["", "c"],
        ["", "output"],
        ["", r"case \[x]"],
    ]


@pytest.mark.long
def test_every_mistake_in_the_verifier_is_rejected(matrix: Matrix) -> None:
    assert [kill.name for kill in matrix.kills] == [fault.name for fault in faults_of("verifier")]
    assert [kill.name for kill in matrix.kills if not kill.rejected] == []
    assert all(kill.probe and kill.tensor for kill in matrix.kills)


@pytest.mark.long
def test_at_least_95_percent_are_named_and_the_rest_is_not_named_wrongly(matrix: Matrix) -> None:
    others = [kill for kill in matrix.kills if kill.diagnosed_as != kill.name]
    assert matrix.named >= 0.95 * len(matrix.kills), others
    assert [kill for kill in others if kill.diagnosed_as in CATALOGUE] == []


@pytest.mark.long
def test_no_right_configuration_is_called_wrong(matrix: Matrix) -> None:
    assert matrix.correct_configurations == 2000
    assert matrix.false_alarms == 0
    assert matrix.ok


@pytest.mark.long
def test_the_matrix_as_json_is_what_is_promised(matrix: Matrix) -> None:
    result = json.loads(json.dumps(matrix.as_json()))
    assert result.keys() == {"total", "rejected", "named", "false_alarms", "correct_configurations", "rows"}
    assert result["total"] == len(result["rows"]) == len(faults_of("verifier"))
    assert all(row.keys() == {"name", "rejected", "diagnosed_as", "probe", "tensor"} for row in result["rows"])


def test_the_matrix_fails_where_something_passes_or_is_not_named_or_a_right_one_fails() -> None:
    good = Kill("relu-no-mask", True, "relu-no-mask", "case", "grad_input")
    assert Matrix((good,) * 20, 0, 5).ok
    assert not Matrix((), 0, 5).ok
    assert not Matrix((good,) * 19 + (Kill("x", False, "", "", ""),), 0, 5).ok
    assert not Matrix((good,) * 18 + (Kill("x", True, "y", "c", "t"),) * 2, 0, 5).ok
    assert not Matrix((good,) * 20, 1, 5).ok


def test_the_random_configurations_cover_every_pair_both_dtypes_and_every_layout() -> None:
    drawn = list(random_configurations(400))
    assert {pair.name for pair, _ in drawn} == REGISTRY.keys() - {"cnn", "lenet5"}
    assert {probe.dtype for _, probe in drawn} == {"float64", "float32"}
    assert {probe.layout for _, probe in drawn} == {"contiguous", "strided", "fortran", "batch last", "read-only"}
    assert len({probe.case for _, probe in drawn}) > 350


def test_a_wrong_layer_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of false alarms can count: with a broken ReLU in the registry it is not 0."""
    import dataclasses

    broken = dataclasses.replace(REGISTRY["relu"], scratch=plant(find_fault("relu-no-mask")))
    monkeypatch.setitem(REGISTRY, "relu", broken)
    assert false_alarms(40) == 2


def test_the_verifier_judges_every_canary_rightly() -> None:
    assert len(canaries.CANARIES) >= 20
    assert sum(canary.right for canary in canaries.CANARIES) >= 2
    assert canaries.misjudged() == []


def test_a_verifier_that_says_yes_or_no_to_everything_or_breaks_misjudges() -> None:
    class Always:
        def __init__(self, ok: bool) -> None:
            self.ok = ok

    def module(ok: bool) -> ModuleType:
        made = ModuleType("judge")
        made.__dict__.update(compare=verifier.compare, Report=lambda _: Always(ok))
        return made

    right = sum(canary.right for canary in canaries.CANARIES)
    assert len(canaries.misjudged(module(True))) == len(canaries.CANARIES) - right
    assert len(canaries.misjudged(module(False))) == right
    assert len(canaries.misjudged(ModuleType("empty"))) == len(canaries.CANARIES)


@pytest.mark.parametrize(
    "name", ["conv2d-overlaps-overwritten", "linear-weights-updated-early", "adam-betas-exchanged"]
)
def test_an_exercise_is_solved_by_diagnose(name: str, tmp_path: Path) -> None:
    path = tmp_path / "exercise.py"
    fault = find_fault(name)
    lines = write_exercise(name, path)
    kind = fault.target.rpartition(".")[2]
    assert lines[0] == f"{path} holds {kind} with one mistake in it"
    assert fault.hint in lines[1]
    assert f"gradtwin diagnose {path}:{kind} --like {fault.pair}" in lines[2]
    assert name not in path.read_text()
    result = diagnose(f"{path}:{kind}", like=fault.pair)
    assert not result.ok
    assert result.name == name


def test_an_exercise_by_chance_is_one_of_the_pair_and_the_same_for_one_seed(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    write_exercise("relu", first, seed=3)
    write_exercise("relu", second, seed=3)
    assert first.read_text() == second.read_text()
    assert first.read_text() in {broken_source(fault) for fault in faults_of("relu")}


def test_an_exercise_never_overwrites_and_is_a_layer(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"mine\.py: is there already; give another name with --out"):
        write_exercise("relu-no-mask", path)
    assert path.read_text() == "mine"
    with pytest.raises(UserError, match=r"'verifier-nan-passes' is not one of a layer"):
        write_exercise("verifier-nan-passes", tmp_path / "v.py")
    with pytest.raises(UserError, match="not in the catalogue"):
        write_exercise("nonsense", tmp_path / "n.py")


def test_an_edit_may_lie_before_or_behind_its_target() -> None:
    source = inspect.getsource(scratch.activation)
    before, behind = "def log_softmax(", "class LogSoftmax("
    assert source.index(before) < source.index("class Softmax(") < source.index(behind)
    for right in (before, behind):
        fault = Fault(
            "softmax-beside", "softmax", "scratch.activation.Softmax", "m.", "h?", "s.", ((right, f"{right}  "),)
        )
        assert broken_source(fault) == source.replace(right, f"{right}  ")


def test_an_edit_is_made_in_its_target_or_else_once_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "a = 1\nb = 2\nb = 2\n{c = 3\nd = 4\nd = 4\n}c = 3\ne = 5\nf = 6\ng = 7\n"
    before, target, after = whole.partition("{")[0], "c = 3\nd = 4\nd = 4\n", whole.partition("}")[2]
    sources = {scratch.conv: before + target + after, scratch.conv.Conv2d: target}
    monkeypatch.setattr("compare.faults.fault._source", sources.get)

    def broken(*edits: tuple[str, str]) -> str:
        return broken_source(Fault("conv2d-x", "conv2d", "scratch.conv.Conv2d", "m.", "h?", "s.", edits))

    assert broken(("c = 3", "c = 0")) == before + target.replace("c = 3", "c = 0") + after
    assert broken(("a = 1", "a = 0")) == before.replace("a = 1", "a = 0") + target + after
    assert broken(("e = 5", "e = 0"), ("c = 3\n", "")) == before + target[6:] + after.replace("e = 5", "e = 0")
    assert broken(("c = 3\nd", "c = 0\nd"), ("c = 0", "c = 9")) == before + "c = 9" + target[5:] + after
    for right in ("b = 2", "d = 4", "h = 8", "= "):
        with pytest.raises(
            ValueError, match=rf"^conv2d-x: '{right}' does not occur once in scratch\.conv\.Conv2d, nor"
        ):
            broken((right, "x"))
    sources[scratch.conv] = before + target + after + "d = 4\n"
    with pytest.raises(ValueError, match="'d = 4' does not occur once"):
        broken(("d = 4", "x"))


def test_a_mistake_learns_with_a_small_rate_unless_it_is_told_another() -> None:
    linear = plant(find_fault("linear-weights-updated-late"))(1, 1, dtype=np.float64)
    linear.weight.data[...] = 8.0
    linear(np.array([[2.0]]))
    linear.backward(np.array([[3.0]]))
    assert linear.weight.data.item() == 8 - 0.005 * 6


def test_a_mistake_as_plain_values() -> None:
    fault = Fault("relu-x", "relu", "scratch.activation.ReLU", "m.", "h?", "s.", (("a", "b"), ("c", "")))
    assert fault.module == "scratch.activation"
    assert as_json(fault) == {
        "name": "relu-x",
        "pair": "relu",
        "target": "scratch.activation.ReLU",
        "made": "m.",
        "hint": "h?",
        "shows": "s.",
        "edits": [{"right": "a", "wrong": "b"}, {"right": "c", "wrong": ""}],
    }


def test_two_mistakes_of_one_name_are_a_mistake_of_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runpy.run_path(catalogue.__file__)["CATALOGUE"].keys() == CATALOGUE.keys()
    monkeypatch.setattr("compare.faults.models.FAULTS", PROGRAM + PROGRAM[-1:])
    with pytest.raises(RuntimeError, match="two catalogued mistakes have one name"):
        runpy.run_path(catalogue.__file__)


def test_the_mistakes_of_some_pairs_or_of_all() -> None:
    everything = list(CATALOGUE.values())
    assert chosen_faults(None) == chosen_faults([]) == everything
    chosen = chosen_faults(["flatten", "relu"])
    assert chosen == faults_of("relu") + faults_of("flatten")
    assert 0 < len(chosen) < len(everything)
    with pytest.raises(UserError, match="pair 'nothing' has no catalogued mistakes; choose among conv2d, maxpool2d, "):
        chosen_faults(["relu", "nothing"])


def test_the_table_of_mistakes_keeps_their_names_whole() -> None:
    faults = chosen_faults(["flatten"])
    table = catalogue_table(faults)
    assert [(column.header, column.overflow, column.no_wrap) for column in table.columns] == [
        ("mistake", "fold", True),
        ("what they did", "fold", False),
        ("how it shows", "fold", False),
    ]
    assert [[str(cell) for cell in column.cells] for column in table.columns] == [
        [getattr(fault, what) for fault in faults] for what in ("name", "made", "shows")
    ]


def test_at_most_three_close_names_are_told_the_closest_first() -> None:
    assert find_fault("conv2d-kernel-turned") is CATALOGUE["conv2d-kernel-turned"]
    with pytest.raises(UserError) as refused:
        find_fault("conv2d-kernel-turnd")
    names = str(refused.value).partition("did you mean ")[2].removesuffix("?").split(", ")
    assert (names[0], len(names)) == ("conv2d-kernel-turned", 3)
    assert names[1:] == [name for name in names[1:] if name in CATALOGUE]
