"""What each command hands on to the work behind it, which is stood in for here, and what it does with the answer."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console

from compare import cli
from compare.bench.plan import BATCH_SIZES, Plan
from compare.contained.session import Limits
from compare.diagnosis.matrix import Kill, Matrix
from compare.driving.interface import Interface
from compare.faults.catalogue import chosen_faults
from compare.lesson.not_as_shown import NotAsShown
from compare.machine.doctor import Check
from compare.machine.errors import UserError
from compare.machine.package import own_version
from compare.pairs.report import Report, Row, overview
from compare.training.run import Interrupted
from compare.training.settings import DataOptions, Settings
from tests.conftest import Run
from tests.test_render import ONE, RIGHT

COMMANDS = ("run", "train", "check", "diagnose", "faults", "break", "bench", "board", "lesson", "doctor")


class Calls(list[Any]):
    """Notes what it is called with; may answer, or end the command."""

    def answering(self, answer: Any = None, *, name: str = "") -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.append(((name,) if name else ()) + arguments + ((named,) if named else ()))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


@pytest.fixture
def calls() -> Calls:
    return Calls()


class Progress:
    """In place of the line that says how far a command is."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, _: str) -> Progress:
        return self

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.told.append("left")

    def update(self, text: str) -> None:
        self.told.append(text)

    def stop(self) -> None:
        self.told.append("stopped")


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> Progress:
    made = Progress()
    monkeypatch.setattr(cli.console, "status", made)
    return made


def made_row(tensor: str, problem: str = "") -> Row:
    return Row("relu", "2x3 [odd]", tensor, "float32", (2, 3), 0.5, 0.5, 1.0, 0.5, (0, 1), problem)


WRONG = Report([made_row("output"), made_row("grad_input", "off " * 100)])
FINE = Report([made_row("output")])
LONG = "a [bold]line[/bold] of many words, " * 12  # wider than any terminal, and it looks like markup


# Options


def test_every_option_has_its_help() -> None:
    root: Any = typer.main.get_command(cli.app)
    assert set(root.commands) == set(COMMANDS)
    assert {option.name for option in root.params} == {"show"}
    for name, command in root.commands.items():
        for option in command.params:
            assert getattr(option, "help", None), (name, option.name)
    metavars = {
        (name, option.name): option.metavar
        for name, command in root.commands.items()
        for option in command.params
        if option.metavar and option.metavar not in ("FILE", "DIR")
    }
    assert metavars == {
        ("train", "resume"): "RUN",
        ("diagnose", "forward"): "NAME",
        ("diagnose", "backward"): "NAME",
        ("diagnose", "param"): "OWN=NAME",
        ("diagnose", "grad"): "OWN=NAME",
        ("diagnose", "output_from"): "ATTRIBUTE",
        ("diagnose", "input_shape"): "C,H,W",
        ("diagnose", "seed"): "N|random",
        ("bench", "batch_size"): "N,N,...",
        ("bench", "threads"): "N,N,...",
        ("board", "run"): "RUN",
        ("lesson", "run"): "RUN",
    }
    for name, command in root.commands.items():
        for option in command.params:
            if option.name in ("json", "out", "plot", "weights"):
                assert option.metavar == "FILE", name
            if option.name in ("data_dir", "run_dir"):
                assert option.metavar == "DIR", name


def test_the_defaults_are_told_in_the_help(gradtwin: Run) -> None:
    text = " ".join(gradtwin("train", "--help").out.split())
    assert "[default: 20 for digits, 3 for the others]" in text
    assert "[default: 0.05 for sgd, 0.001 for adam]" in text
    out = gradtwin("--help").out
    assert "A CNN from scratch in NumPy and its torch twin" in out
    assert "install-completion" not in out
    assert not set("│╭─") & set(out)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("diagnose a.py:A --like relu --seconds 0.05", "--seconds"),
        ("diagnose a.py:A --like relu --memory 15", "--memory"),
        ("faults --configurations -1", "--configurations"),
        ("board --port 65536", "--port"),
        ("lesson --serve --port -1", "--port"),
    ],
)
def test_numbers_out_of_range_are_refused(gradtwin: Run, arguments: str, option: str) -> None:
    outcome = gradtwin(*arguments.split())
    assert outcome.status == 2
    assert outcome.err.startswith(f"gradtwin: Invalid value for '{option}': ")


# Training


def test_run_hands_on_its_settings(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    monkeypatch.setattr(cli, "_train", calls.answering())
    assert gradtwin("run").status == 0
    more = "--dataset kmnist --data-dir d --model lenet5 --epochs 3 --dtype float64 --device cuda --seed 5"
    gradtwin("run", *more.split(), "--run-dir", "r", "--json", "j")
    settings = Settings(model="lenet5", epochs=3, dtype="float64", device="cuda", seed=5)
    assert calls == [
        (Settings(), DataOptions(), None, None, None),
        (settings, DataOptions("kmnist", "d"), Path("r"), None, Path("j")),
    ]


def test_train_hands_on_every_setting(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(cli, "_train", calls.answering())
    gradtwin("train")
    options = {
        "model": "lenet5", "epochs": 3, "batch_size": 7, "optimizer": "sgd", "lr": 0.5, "schedule": "constant",
        "momentum": 0.25, "beta1": 0.5, "beta2": 0.75, "eps": 0.125, "weight_decay": 0.0625, "dtype": "float64",
        "device": "cuda", "seed": 9, "threads": 2, "log_every": 4, "checkpoint_every": 6,
    }  # fmt: skip
    given = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", value)]
    places = "--dataset qmnist --data-dir d --train-images 70 --test-images 8 --run-dir r --weights w --json j"
    gradtwin("train", *given, "--nesterov", "--tf32", "--no-yardstick", *places.split())
    gradtwin("train", "--only", "torch")
    gradtwin("train", "--resync", "--yardstick")
    all_options: dict[str, Any] = options | {"nesterov": True, "tf32": True, "yardstick": False}
    assert calls == [
        (Settings(), DataOptions(), None, None, None),
        (Settings(**all_options), DataOptions("qmnist", "d", 70, 8), Path("r"), Path("w"), Path("j")),
        (Settings(only="torch"), DataOptions(), None, None, None),
        (Settings(resync=True), DataOptions(), None, None, None),
    ]


def test_resume_takes_the_place_of_a_new_run(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    monkeypatch.setattr(cli, "_train", pytest.fail)
    monkeypatch.setattr(cli, "_resume", calls.answering(typer.Exit(7)))
    assert gradtwin("train", "--resume", "r").status == 7
    assert gradtwin("train", "--resume", "r", "--data-dir", "d", "--json", "j").status == 7
    assert calls == [(Path("r"), None, None), (Path("r"), Path("d"), Path("j"))]
    for option in ("--epochs=3", "--nesterov", "--yardstick", "--no-yardstick"):
        outcome = gradtwin("train", "--resume", "r", option)
        name = option.partition("=")[0]
        assert (outcome.status, outcome.err) == (
            2,
            f"gradtwin: {name}: a run goes on with its own settings; leave it out\n",
        )


SETTINGS = Settings(epochs=2, batch_size=8)
DATA = SimpleNamespace(name="mnist", origin="here", train_images=[0] * 1600, test_images=[0] * 20)
TWINS = SimpleNamespace(settings=SETTINGS)


def test_a_new_run_is_made_of_its_options(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls, tmp_path: Path
) -> None:
    for name in ("training.run.require_new", "training.twins.Twins", "training.run.new_folder", "cli._load", "cli._go"):
        answer = {"Twins": TWINS, "new_folder": Path("made"), "_load": DATA, "_go": typer.Exit(7)}
        short = name.rpartition(".")[2]
        monkeypatch.setattr(f"compare.{name}", calls.answering(answer.get(short), name=short))
    monkeypatch.setenv("GRADTWIN_DATA", "from-environment")
    assert gradtwin("train", "--epochs", 2, "--batch-size", 8, "--weights", "w").status == 7
    new = DataOptions("mnist", str(tmp_path / "from-environment"))
    assert calls == [
        ("Twins", SETTINGS, Path("w")),
        ("_load", DataOptions()),
        ("new_folder", None, SETTINGS, DATA),
        ("_go", TWINS, DATA, Path("made"), new, None, None),
    ]
    calls.clear()
    given = ("--epochs", 2, "--batch-size", 8, "--data-dir", "d", "--run-dir", "r", "--json", "j/k")
    assert gradtwin("train", *given).status == 7
    old = DataOptions("auto", "d")
    assert calls == [
        ("require_new", Path("r")),
        ("Twins", SETTINGS, None),
        ("_load", old),
        ("new_folder", Path("r"), SETTINGS, DATA),
        ("_go", TWINS, DATA, Path("made"), DataOptions("mnist", str(tmp_path / "d")), None, Path("j/k")),
    ]


@pytest.mark.parametrize(
    ("step", "begin"),
    [(1200, "goes on: found, after step 1,200 of 400"), (400, "finished before: found, after step 400 of 400")],
)
def test_a_run_goes_on_with_what_its_checkpoint_says(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls, tmp_path: Path, step: int, begin: str
) -> None:
    kept = {"data": vars(DataOptions("mnist", "/kept", 5, 6)), "settings": vars(SETTINGS), "progress": {"step": step}}
    checkpoint = SimpleNamespace(record=kept)
    answers = {
        "training.checkpoint.find_checkpoint": (Path("found"), Path("found/last")),
        "training.checkpoint.load_checkpoint": checkpoint,
        "training.checkpoint.what_changed": [LONG],
        "training.twins.Twins": TWINS,
        "cli._load": DATA,
        "cli._go": typer.Exit(7),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(f"compare.{name}", calls.answering(answer, name=name.rpartition(".")[2]))
    outcome = gradtwin("train", "--resume", "r", "--json", "j")
    assert (outcome.status, outcome.out.splitlines()) == (7, [begin, LONG])
    chosen = DataOptions("mnist", "/kept", 5, 6)
    assert calls == [
        ("find_checkpoint", Path("r")),
        ("load_checkpoint", Path("found/last")),
        ("Twins", SETTINGS),
        ("_load", chosen),
        ("what_changed", checkpoint),
        ("_go", TWINS, DATA, Path("found"), chosen, checkpoint, Path("j")),
    ]
    calls.clear()
    gradtwin("train", "--resume", "r", "--data-dir", "moved")
    assert calls[3] == ("_load", replace(chosen, data_dir=str(tmp_path / "moved")))


def test_the_data_are_loaded_cut_and_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Data:
        def limited(self, train: int | None, test: int | None) -> SimpleNamespace:
            asked.append((train, test))
            return DATA

    def load(name: str, folder: Path | None, tell: Callable[[str], None]) -> Data:
        asked.append((name, folder))
        tell(LONG)
        return Data()

    monkeypatch.setattr("compare.machine.data.load", load)
    assert cli._load(DataOptions("qmnist", "d", 4, 5)) is DATA  # type: ignore[comparison-overlap]
    assert cli._load(DataOptions()) is DATA  # type: ignore[comparison-overlap]
    assert asked == [("qmnist", Path("d")), (4, 5), ("auto", None), (None, None)]
    assert capsys.readouterr().out == f"{LONG}\ndata: here: 1,600 training and 20 test images\n" * 2


class Trained:
    """In place of what a run brings."""

    def __init__(self, ok: bool = True, last: object = "the last epoch") -> None:
        self.ok, self.last, self.stopped = ok, last, ""
        self.outcome = "right" if ok else "wrong"

    def rows(self) -> list[Row]:
        return list(WRONG.wrong)

    def headline(self) -> str:
        return f"not judged: {self.stopped}"

    def lines(self) -> list[str]:
        return ["trained twins:   the verdict", LONG]

    def as_json(self) -> dict[str, object]:
        return {"result": self.ok}


def go(
    monkeypatch: pytest.MonkeyPatch,
    result: Trained | Interrupted,
    *,
    settings: Settings = SETTINGS,
    checkpoint: Any = None,
    folder: Path = Path("a run"),
) -> list[Any]:
    """Train with everything behind it stood in for: what was asked for."""
    asked: list[Any] = []

    class Display:
        show = "show"

        def __init__(self, *arguments: Any) -> None:
            asked.append(arguments)

        def __enter__(self) -> Display:
            return self

        def __exit__(self, *_: object) -> None:
            asked.append("left")

    def run_twins(*arguments: Any, **named: Any) -> Trained:
        asked.append((*arguments, named))
        if isinstance(result, Interrupted):
            raise result
        return result

    monkeypatch.setattr("compare.training.console.Display", Display)
    monkeypatch.setattr("compare.training.console.summary", lambda last: f"summary of {last}")
    monkeypatch.setattr("compare.training.run.run_twins", run_twins)
    twins: Any = SimpleNamespace(settings=settings)
    data: Any = DATA
    with pytest.raises((typer.Exit, SystemExit)) as left:
        cli._go(twins, data, folder, DataOptions(), checkpoint, Path("j"))
    return [*asked, getattr(left.value, "exit_code", getattr(left.value, "code", None))]


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.console, "width", 60)


@pytest.mark.usefixtures("_here")
def test_a_run_ends_with_where_to_look(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "which", lambda name: f"/bin/{name}")
    display, asked, end, status = go(monkeypatch, Trained())
    assert display == (cli.console, 400, ("scratch", "torch"), 0)
    twins, data, folder, tell, show, named = asked
    assert (twins.settings, data, folder, tell, show) == (SETTINGS, DATA, Path("a run"), cli._print, "show")
    assert named == {"chosen": DataOptions(), "resumed": None}
    assert (end, status) == ("left", 0)
    assert json.loads(Path("j").read_text()) == {"result": True}
    assert capsys.readouterr().out.splitlines() == [
        "summary of the last epoch",
        "trained twins:   the verdict",
        LONG,
        "logs:            a run",
        "see them:        gradtwin board 'a run'",
        "check layers:    gradtwin check",
        str(WRONG.wrong[0]),
    ]


@pytest.mark.usefixtures("_here")
def test_a_run_that_goes_on_counts_from_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = SimpleNamespace(record={"progress": {"step": 17}})
    display, asked, *_ = go(monkeypatch, Trained(), checkpoint=checkpoint)
    assert display[-1] == 17
    assert asked[-1]["resumed"] is checkpoint


@pytest.mark.usefixtures("_here")
def test_one_twin_alone_is_compared_with_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "which", lambda _: None)
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    display, *_ = go(monkeypatch, Trained(), settings=replace(SETTINGS, only="torch"), folder=Path("b"))
    assert display[2] == ("torch",)
    lines = capsys.readouterr().out.splitlines()
    assert "see them:        /venv/bin/gradtwin board b" in lines


@pytest.mark.usefixtures("_here")
def test_nothing_is_trained_where_the_twins_disagree(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go(monkeypatch, Trained(ok=False, last=None))[-1] == 1
    assert capsys.readouterr().out.splitlines() == [
        "nothing was trained: that makes sense when the twins agree",
        str(WRONG.wrong[0]),
    ]
    assert json.loads(Path("j").read_text()) == {"result": False}


@pytest.mark.usefixtures("_here")
def test_a_run_that_was_not_judged_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Trained()
    result.outcome = "not_judged"
    assert go(monkeypatch, result)[-1] == 2
    assert "trained twins:   the verdict" in capsys.readouterr().out.splitlines()
    result.last, result.stopped = None, f"training diverged: {LONG}"
    assert go(monkeypatch, result)[-1] == 2
    captured = capsys.readouterr()
    assert captured.err == f"gradtwin: not judged: training diverged: {LONG.strip()}\n"
    lines = captured.out.splitlines()
    assert lines[:2] == [LONG, "logs:            a run"]
    assert "nothing was trained: that makes sense when the twins agree" not in lines
    result.outcome = "wrong"
    assert go(monkeypatch, result)[-1] == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[:2] == ["trained twins:   the verdict", LONG]
    assert json.loads(Path("j").read_text()) == {"result": True}


@pytest.mark.usefixtures("_here")
def test_an_interrupted_run_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go(monkeypatch, Interrupted(Path("r"), 1234))[-1] == 130
    assert capsys.readouterr().err == (
        "gradtwin: interrupted after step 1,234, all saved; go on with: gradtwin train --resume r\n"
    )


# Refused before the work


@pytest.mark.parametrize(
    "given",
    [
        "run --json",
        "train --json",
        "train --resume r --json",
        "check --json",
        "diagnose x.py:X --like relu --json",
        "diagnose x.py:X --like relu --out",
        "faults --json",
        "bench --json",
        "bench --plot",
        "lesson --json",
        "lesson --out",
        "doctor --json",
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    for work in (
        "training.twins.Twins",
        "verify.agreement.check",
        "diagnosis.diagnose.diagnose",
        "faults.catalogue.chosen_faults",
        "bench.run.bench",
        "lesson.history.train_small",
        "machine.doctor.examine",
        "training.checkpoint.find_checkpoint",
    ):
        monkeypatch.setattr(f"compare.{work}", lambda *_, **__: pytest.fail("it works already"))
    (tmp_path / "folder").mkdir()
    outcome = gradtwin(*given.split(), "folder")
    assert (outcome.status, outcome.err) == (2, "gradtwin: folder: is a folder; give the name of a file\n")


# Checking and diagnosing


def test_check_tells_what_is_wrong_or_everything(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls, tmp_path: Path
) -> None:
    monkeypatch.setattr("compare.pairs.registry.chosen_pairs", lambda names: ("pairs", names))
    monkeypatch.setattr("compare.verify.agreement.check", calls.answering(WRONG))
    outcome = gradtwin("check", "--pair", "relu", "--pair", "adam", "--json", "j")
    text = io.StringIO()
    Console(file=text, width=200).print(overview(WRONG))
    assert outcome.status == 1
    assert outcome.out == f"{WRONG.headline()}\n{WRONG.wrong[0]}\n{text.getvalue()}"
    assert json.loads((tmp_path / "j").read_text()) == json.loads(json.dumps(WRONG.as_json()))
    assert gradtwin("check", "-v").out == f"{WRONG}\n"
    monkeypatch.setattr("compare.verify.agreement.check", calls.answering(FINE))
    assert gradtwin("check", "--verbose").status == 0
    assert calls == [(("pairs", ["relu", "adam"]),), (("pairs", None),), (("pairs", None),)]


def test_diagnose_hands_on_every_option(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls, tmp_path: Path
) -> None:
    (tmp_path / "a.py").touch()
    monkeypatch.setattr("compare.diagnosis.written.parse_like", lambda text: ("like", text))
    monkeypatch.setattr("compare.diagnosis.diagnose.diagnosed", calls.answering(ONE))
    assert gradtwin("diagnose", "a.py:A", "--like", "relu").status == 1
    gradtwin(
        "diagnose", "a.py:A", "--like", "relu", "--forward", "f", "--backward", "b", "--param", "w=weight",
        "--param", "c=bias", "--grad", "dw=weight", "--layout", "HWC", "--output-layout", "HW", "--output-from", "o",
        "--targets", "one-hot", "--input-shape", "3,5", "--seconds", "0.1", "--memory", "16", "--seed", "4",
        "--require-contained",
    )  # fmt: skip
    told = Interface("f", "b", {"w": "weight", "c": "bias"}, {"dw": "weight"}, "HWC", "HW", "o", "one-hot")
    (first, *plain), (second, *given) = calls
    assert plain == [("like", "relu"), Interface(), None, 0, {"require_contained": False}]
    assert given == [("like", "relu"), told, (3, 5), 4, {"require_contained": True}]
    assert (first.candidate, first.limits, second.limits) == ("a.py:A", Limits(20.0, 2048), Limits(0.1, 16))


def test_a_verdict_goes_to_the_screen_a_file_and_json(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.py").touch()
    verdict = replace(ONE, remarks=("a \ud800 that nothing can write",))
    monkeypatch.setattr("compare.diagnosis.diagnose.diagnosed", lambda *_, **__: verdict)
    asked = ("diagnose", "a.py:A", "--like", "relu")
    outcome = gradtwin(*asked, "--points", "4")
    assert outcome.status == 1
    assert outcome.out.startswith(f"{ONE.headline()}\n")
    assert r"remark: a \ud800 that" in outcome.out
    assert "points: 1.33333 of 4 (output 0/1.33333, " in outcome.out
    outcome = gradtwin(*asked, "--format", "html")
    assert outcome.out.startswith("<!doctype html>")
    assert r"a \ud800 that" in outcome.out
    outcome = gradtwin(*asked, "--out", "o.txt", "--json", "j")
    assert outcome.out == f"{ONE.headline()}\nwritten to o.txt\n"
    assert (tmp_path / "o.txt").read_text().startswith(f"{ONE.headline()}\n")
    assert r"a \ud800 that" in (tmp_path / "o.txt").read_text()
    assert json.loads((tmp_path / "j").read_text())["findings"][0]["name"] == "linear-no-bias"
    outcome = gradtwin(*asked, "--out", "o.txt", "--json", "j", "--hint-only")
    assert outcome.out == f"{ONE.headline(hint_only=True)}\nwritten to o.txt\n"
    assert "name" not in json.loads((tmp_path / "j").read_text())["findings"][0]
    assert "linear-no-bias" not in (tmp_path / "o.txt").read_text()
    monkeypatch.setattr("compare.diagnosis.diagnose.diagnosed", lambda *_, **__: RIGHT)
    assert gradtwin(*asked).status == 0
    assert gradtwin(*asked, "--format", "pdf").status == 2


# Mistakes and exercises


def test_faults_lists_or_runs_the_matrix(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls, progress: Progress, tmp_path: Path
) -> None:
    kills = (Kill("relu-a", True, "relu-a", "case [x]", "output"), Kill("relu-b", False, "", "", ""))
    matrix = Matrix(kills, 0, 7)
    monkeypatch.setattr("compare.diagnosis.matrix.kill_matrix", calls.answering([*kills, matrix]))
    outcome = gradtwin("faults", "--pair", "relu", "--json", "j")
    chosen = chosen_faults(["relu"])
    assert outcome.status == 0
    assert outcome.out.endswith(f"\n{len(chosen)} mistakes; try one: gradtwin break {chosen[0].name}\n")
    assert chosen[1].name in outcome.out
    assert json.loads((tmp_path / "j").read_text())["total"] == len(chosen)
    assert (calls, progress.told) == ([], [])
    outcome = gradtwin("faults", "--matrix", "--pair", "relu", "--configurations", "0", "--seed", "3", "--json", "j")
    assert outcome.status == 1
    assert outcome.out.endswith(f"\n{matrix.headline()}\n")
    assert "case [x]" in outcome.out
    assert json.loads((tmp_path / "j").read_text()) == json.loads(json.dumps(matrix.as_json()))
    assert progress.told == [f"1 of {len(chosen)}: relu-a", f"2 of {len(chosen)}: relu-b", "stopped", "left"]
    monkeypatch.setattr("compare.diagnosis.matrix.kill_matrix", calls.answering([Matrix(kills[:1], 0, 7)]))
    assert gradtwin("faults", "--matrix").status == 0
    assert calls == [(chosen, 0, 3), (chosen_faults(None), 2000, 0)]


def test_break_writes_an_exercise(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    monkeypatch.setattr("compare.faults.exercise.write_exercise", calls.answering(["one [b]", LONG]))
    outcome = gradtwin("break", "relu")
    assert (outcome.status, outcome.out) == (0, f"one [b]\n{LONG}\n")
    gradtwin("break", "conv2d", "--out", "o", "--seed", "3")
    assert calls == [("relu", None, None), ("conv2d", Path("o"), 3)]


# Bench


class Measured:
    def __init__(self, ok: bool, rows: list[str]) -> None:
        self.ok, self.rows = ok, rows

    def as_json(self) -> dict[str, object]:
        return {"rows": self.rows}


def test_bench_measures_the_plan_and_draws_it(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, progress: Progress, tmp_path: Path
) -> None:
    plans: list[Plan] = []
    result = Measured(True, ["row"])

    def measure(plan: Plan, show: Callable[[Any], None], update: Callable[[str], None]) -> Measured:
        plans.append(plan)
        show(LONG)
        show(overview(FINE))
        update("half")
        return result

    monkeypatch.setattr("compare.bench.run.bench", measure)
    monkeypatch.setattr("compare.bench.chart.chart_png", lambda rows: f"PNG of {rows}".encode())
    outcome = gradtwin("bench")
    assert outcome.status == 0
    assert outcome.out.startswith(f"{LONG}\n┏")
    assert progress.told == ["half", "left"]
    options = "--model wide --model cnn --mode train --batch-size 3,4 --threads 1 --seconds 0.5"
    gradtwin("bench", *options.split(), "--compile", "--no-loops", "--no-memory")
    gradtwin("bench", "--layers", "--batch-size", "9", "--threads", "1")
    gradtwin("bench", "--device", "cuda", "--loops", "--memory")
    assert plans == [
        Plan(models=(), modes=(), batch_sizes=BATCH_SIZES, seconds=1.0),
        Plan(("wide", "cnn"), ("train",), (3, 4), (1,), 0.5, "cpu", compiled=True, loops=False, memory=False),
        Plan((), (), (9,), (1,), layers=True),
        Plan((), (), BATCH_SIZES, (1,), device="cuda"),
    ]
    outcome = gradtwin("bench", "--plot", "p.png", "--json", "j")
    assert outcome.out.endswith("\ndrawn in p.png\n")
    assert (tmp_path / "p.png").read_bytes() == b"PNG of ['row']"
    assert json.loads((tmp_path / "j").read_text()) == {"rows": ["row"]}
    result = Measured(False, [])
    outcome = gradtwin("bench", "--plot", "q.png", "--json", "j")
    assert (outcome.status, "drawn" in outcome.out, (tmp_path / "q.png").exists()) == (1, False, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--layers --plot p", "--plot draws the models, not the --layers; leave one of them out"),
        ("--plot p --json q", ""),
        ("--plot p --json p", "--plot and --json must be two files, got p for both"),
        ("--threads x", "--threads must be whole numbers separated by commas, got 'x'"),
        ("--batch-size y", "--batch-size must be whole numbers separated by commas, got 'y'"),
    ],
)
def test_bench_refuses_two_results_in_one_place(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, progress: Progress, arguments: str, message: str
) -> None:
    monkeypatch.setattr("compare.bench.run.bench", lambda *_: Measured(True, []))
    outcome = gradtwin("bench", *arguments.split())
    assert (outcome.status, outcome.err) == ((2, f"gradtwin: {message}\n") if message else (0, ""))
    assert progress.told == ([] if message else ["left"])


# Board, lesson, doctor


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> Calls:
    answers = {
        "chosen_run": Path("chosen"),
        "require_free": None,
        "complaints": [LONG],
        "launch": "http://there",
        "open_page": None,
        "wait": KeyboardInterrupt(),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(f"compare.training.board.server.{name}", calls.answering(answer, name=name))
    monkeypatch.setattr("compare.lesson.server.launch", calls.answering("http://page", name="serve"))
    monkeypatch.setattr(cli, "_end_line", calls.answering(name="end"))
    return calls


def test_board_opens_tensorboard(gradtwin: Run, server: Calls) -> None:
    outcome = gradtwin("board")
    assert outcome.status == 0
    assert outcome.out == f"{LONG}\nlogs:            chosen\nopen:            http://there\nCtrl-C ends it\n"
    begin = [("require_free", 6006), ("complaints", Path("chosen")), ("launch", Path("chosen"), 6006)]
    assert server == [("chosen_run", None), *begin, ("wait",), ("end",)]
    server.clear()
    gradtwin("board", "r", "--port", "65535", "--open")
    assert server == [
        ("chosen_run", Path("r")),
        ("require_free", 65535),
        ("complaints", Path("chosen")),
        ("launch", Path("chosen"), 65535),
        ("open_page", "http://there", cli._print),
        ("wait",),
        ("end",),
    ]


def test_the_line_of_an_echoed_control_c_is_ended_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        text = io.StringIO()
        monkeypatch.setattr(cli, "console", Console(file=text, force_terminal=terminal))
        cli._end_line()
        assert text.getvalue() == ("\n" if terminal else "")


PAGE = SimpleNamespace(html="é" * 625_000, report=FINE, learning=SimpleNamespace(lines=list, learned=True))


def test_lesson_writes_the_page_and_serves_it(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, server: Calls, tmp_path: Path
) -> None:
    asked = Calls()
    monkeypatch.setattr(cli, "_lesson", asked.answering(PAGE))
    outcome = gradtwin("lesson")
    assert outcome.status == 0
    assert outcome.out == f"{FINE.headline()}\nwritten:         lesson.html, 1.2 MB, one file\n"
    assert (tmp_path / "lesson.html").read_text() == PAGE.html
    assert server == []
    result = {"ok": True, "file": "o/p.html", "bytes": 1_250_000, "compared": 1, "learned": True}
    options = "--out o/p.html --model lenet5 --dataset digits --data-dir d --seed 3 --json j"
    gradtwin("lesson", *options.split())
    assert json.loads((tmp_path / "j").read_text()) == result
    (tmp_path / "j").unlink()
    outcome = gradtwin("lesson", "--run", "r", "--serve", "--out", "o/p.html", "--json", "j", "--port", "0", "--open")
    assert outcome.out.endswith("open:            http://page\nCtrl-C ends it\n")
    assert json.loads((tmp_path / "j").read_text()) == result
    assert server == [
        ("require_free", 0),
        ("serve", PAGE.html, 0),
        ("open_page", "http://page", cli._print),
        ("wait",),
        ("end",),
    ]
    server.clear()
    assert gradtwin("lesson", "--serve").status == 0
    assert server == [("require_free", 8000), ("serve", PAGE.html, 8000), ("wait",), ("end",)]
    assert asked == [
        (None, "cnn", DataOptions(), 0, None),
        (None, "lenet5", DataOptions("digits", "d"), 3, Path("j")),
        (Path("r"), "cnn", DataOptions(), 0, Path("j")),
        (None, "cnn", DataOptions(), 0, None),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            f"--run r {option}",
            f"{option.split()[0]}: the lesson shows the network of the run, and its data; leave it out",
        )
        for option in ("--model cnn", "--dataset digits", "--seed 0")
    ]
    + [
        ("--port 8000", "--port: it goes with --serve; add that, or leave it out"),
        ("--open", "--open: it goes with --serve; add that, or leave it out"),
        ("--out o --json o", "--out and --json must be two files, got o for both"),
        ("--json lesson.html", "--out and --json must be two files, got lesson.html for both"),
    ],
)
def test_lesson_refuses_what_does_not_go_together(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    monkeypatch.setattr(cli, "_lesson", pytest.fail)
    outcome = gradtwin("lesson", *arguments.split())
    assert (outcome.status, outcome.err) == (2, f"gradtwin: {message}\n")


def test_the_lesson_is_that_of_a_run_or_of_a_small_training(
    monkeypatch: pytest.MonkeyPatch, calls: Calls, progress: Progress
) -> None:
    monkeypatch.setattr("compare.lesson.history.read_run", calls.answering("read", name="read_run"))
    monkeypatch.setattr("compare.lesson.history.train_small", calls.answering("trained", name="train_small"))
    monkeypatch.setattr("compare.lesson.build.build", calls.answering(PAGE, name="build"))
    monkeypatch.setattr(cli, "_load", lambda chosen: ("data", chosen))
    small = DataOptions("digits")
    assert cli._lesson(None, "lenet5", small, 4, None) is PAGE  # type: ignore[comparison-overlap]
    assert progress.told == ["training", "comparing", "left"]
    cli._lesson(Path("r"), "cnn", DataOptions(), 5, None)
    cli._lesson(Path("r"), "cnn", DataOptions("auto", "d"), 6, None)
    assert calls == [
        ("train_small", "lenet5", ("data", small), 4),
        ("build", "trained", 4),
        ("read_run", Path("r"), None, cli._print),
        ("build", "read", 5),
        ("read_run", Path("r"), Path("d"), cli._print),
        ("build", "read", 6),
    ]
    calls.clear()
    with pytest.raises(UserError, match="model 'vgg' is unknown"):
        cli._lesson(None, "vgg", small, 4, None)
    assert calls == []


@pytest.mark.usefixtures("_here", "progress")
def test_no_page_is_written_where_something_is_not_as_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise NotAsShown(LONG)

    monkeypatch.setattr("compare.lesson.history.read_run", lambda *_: None)
    monkeypatch.setattr("compare.lesson.build.build", refuse)
    with pytest.raises(typer.Exit) as left:
        cli._lesson(Path("r"), "cnn", DataOptions(), 0, Path("j"))
    assert left.value.exit_code == 1
    assert capsys.readouterr().out == (f"wrong: {LONG}\nno page was written: it would show as equal what is not\n")
    assert json.loads(Path("j").read_text()) == {"ok": False, "outcome": "wrong", "problem": LONG}


@pytest.mark.usefixtures("_here", "progress")
def test_no_page_is_written_of_what_nobody_can_judge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise NotAsShown(LONG, judged=False)

    monkeypatch.setattr("compare.lesson.history.read_run", lambda *_: None)
    monkeypatch.setattr("compare.lesson.build.build", refuse)
    with pytest.raises(typer.Exit) as left:
        cli._lesson(Path("r"), "cnn", DataOptions(), 0, Path("j"))
    assert left.value.exit_code == 2
    said = f"not judged: {LONG}\nno page was written: it would show as equal what nobody could compare\n"
    assert capsys.readouterr().out == said
    assert json.loads(Path("j").read_text()) == {"ok": False, "outcome": "not_judged", "problem": LONG}


def test_the_lesson_says_what_its_network_has_not_learned(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    learning = SimpleNamespace(lines=lambda: ["learned nothing", LONG], learned=False)
    monkeypatch.setattr(cli, "_lesson", lambda *_: SimpleNamespace(html="page", report=FINE, learning=learning))
    outcome = gradtwin("lesson", "--json", "j")
    assert outcome.status == 0
    assert outcome.out.splitlines()[:3] == [FINE.headline(), "learned nothing", LONG]
    assert json.loads(Path("j").read_text())["learned"] is False


def test_doctor_tells_what_is_to_mend(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    findings = [Check("numpy", "2.4"), Check("torch", "missing", LONG), Check("CUDA", "odd", "mend it")]
    monkeypatch.setattr("compare.machine.doctor.examine", calls.answering(findings))
    outcome = gradtwin("doctor", "--data-dir", "d", "--json", "j")
    assert outcome.status == 1
    assert outcome.out.endswith(f"\ntorch: {LONG}\nCUDA: mend it\n2 to mend, see above\n")
    assert "│ numpy │ 2.4     │ ok    │" in outcome.out
    assert json.loads(Path("j").read_text()) == {
        "ok": False,
        "findings": [
            {"name": "numpy", "value": "2.4", "problem": ""},
            {"name": "torch", "value": "missing", "problem": LONG},
            {"name": "CUDA", "value": "odd", "problem": "mend it"},
        ],
    }
    monkeypatch.setattr("compare.machine.doctor.examine", calls.answering(findings[:1]))
    outcome = gradtwin("doctor", "--json", "j")
    assert (outcome.status, json.loads(Path("j").read_text())["ok"]) == (0, True)
    assert outcome.out.endswith("\nall is well\n")
    assert calls == [(Path("d"),), (None,)]


# The end


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (UserError("two\n lines  here"), 2, "gradtwin: two lines here\n"),
        (typer.BadParameter("no such thing"), 2, "gradtwin: Invalid value: no such thing\n"),
        (OSError(28, "No space left", "f"), 2, "gradtwin: f: No space left; gradtwin doctor may know more\n"),
        (OSError("odd"), 2, "gradtwin: the system: odd; gradtwin doctor may know more\n"),
        (KeyboardInterrupt(), 130, "gradtwin: interrupted\n"),
        (typer.Abort(), 130, "gradtwin: interrupted\n"),
    ],
)
def test_every_end_has_its_status_and_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, status: int, told: str
) -> None:
    monkeypatch.setattr(cli, "app", Calls().answering(raised))
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capsys.readouterr()
    assert (left.value.code, captured.out, captured.err) == (status, "", told)


def test_a_mistake_of_our_own_ends_with_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", Calls().answering(RuntimeError("a bug")))
    with pytest.raises(SystemExit) as left:
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert left.value.code == 3
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2:] == [
        "RuntimeError: a bug",
        "gradtwin: this is a mistake of gradtwin's own; please report it with the lines above",
    ]


@pytest.mark.parametrize(("answer", "status"), [(None, 0), (0, 0), (1, 1), (7, 7), (130, 130)])
def test_the_status_of_a_command_is_that_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: int | None, status: int
) -> None:
    calls = Calls()
    monkeypatch.setattr(cli, "app", calls.answering(answer))
    for arguments in ([], ["check", "-v"]):
        monkeypatch.setattr(sys, "argv", ["gradtwin", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == status
    assert calls == [(["--help"], {"standalone_mode": False}), (["check", "-v"], {"standalone_mode": False})]
    assert capsys.readouterr().err == ("gradtwin: interrupted\n" * 2 if status == 130 else "")


def test_output_that_nobody_reads_is_sent_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenPipeError):
        cli.console.on_broken_pipe()
    monkeypatch.setattr(cli, "app", Calls().answering(BrokenPipeError()))
    read, write = os.pipe()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: write))
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
        os.close(read)
        assert os.write(write, b"to nobody") == 9  # into the pipe it would be a BrokenPipeError
    finally:
        os.close(write)
    assert left.value.code == 141


def test_what_cannot_be_written_is_written_as_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", lambda *_, **__: cli._print("\ud800 é"))
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="ascii"))
    with pytest.raises(SystemExit):
        cli.main()
    sys.stdout.flush()
    assert out.getvalue() == b"\\ud800 \\xe9\n"
    monkeypatch.setattr(cli, "app", Calls().answering(UserError("no é")))
    with pytest.raises(SystemExit):
        cli.main()
    sys.stderr.flush()
    assert err.getvalue() == b"gradtwin: no \\xe9\n"
    assert capsys.readouterr() == ("", "")


def test_the_version_is_all_that_version_prints(gradtwin: Run) -> None:
    outcome = gradtwin("--version", "doctor")
    assert (outcome.status, outcome.out, outcome.err) == (0, f"gradtwin {own_version()}\n", "")


def test_numbers_and_names_are_not_coloured() -> None:
    assert cli.console.render_str("127 of 'these'").spans == []
