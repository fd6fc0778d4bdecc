"""The command line: `gradtwin`, or `python -m compare`.

Torch takes seconds to import, so each command imports what it needs itself; `--help`, mistyped options and `doctor` on
a machine where torch does not even import answer at once.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from shutil import which
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
from rich.console import Console

from compare.bench.plan import BATCH_SIZES, Plan, parse_numbers
from compare.machine.errors import UserError
from compare.machine.files import require_writable, write_bytes, write_json
from compare.machine.outcome import STATUS, Outcome
from compare.machine.package import own_version
from compare.training.settings import EPOCHS, LEARNING_RATES, DataOptions, Settings

if TYPE_CHECKING:
    from compare.lesson.build import Lesson
    from compare.machine.data import Dataset
    from compare.training.checkpoint import Checkpoint
    from compare.training.twins import Twins

app = typer.Typer(
    help="A CNN from scratch in NumPy and its torch twin: proven equal tensor by tensor, trained side by side.",
    add_completion=False,
    rich_markup_mode=None,
)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let `main` end it: Console itself would say that what was checked is wrong."""
        raise BrokenPipeError


console = _Console(highlight=False)

# typer names the base of its errors in a private module only; it is the grandparent of a public one.
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell calls the end by these signals
CLI_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])

_EPOCHS = f"{EPOCHS['digits']} for digits, {EPOCHS['mnist']} for the others"
_RATES = ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())
_BATCH_SIZES = ",".join(map(str, BATCH_SIZES))
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result to FILE as JSON.")]
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="mnist, fashion-mnist, kmnist, qmnist, digits, idx:FOLDER; auto is MNIST if it is there or can be had.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where data sets are or go.  [default: $GRADTWIN_DATA, else a cache folder]"),
]
Model = Annotated[str, typer.Option(help="cnn or lenet5.")]
Epochs = Annotated[int | None, typer.Option(help=f"Times through the images.  [default: {_EPOCHS}]")]
Dtype = Annotated[str, typer.Option(help="float32 or float64.")]
DeviceName = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
Seed = Annotated[int, typer.Option(help="Draws the weights and the order of the images.")]
RunDir = Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder for the logs.  [default: runs/...]")]


@app.command()
def run(
    dataset: DatasetName = "auto",
    data_dir: DataDir = None,
    model: Model = Settings.model,
    epochs: Epochs = None,
    dtype: Dtype = Settings.dtype,
    device: DeviceName = Settings.device,
    seed: Seed = Settings.seed,
    run_dir: RunDir = None,
    json: Json = None,
) -> None:
    """The main job: prove that the twins agree, then train both.

    `gradtwin train` does the same with every setting an option.
    """
    settings = Settings(model=model, epochs=epochs, dtype=dtype, device=device, seed=seed)
    _train(settings, DataOptions(dataset, _text(data_dir)), run_dir, None, json)


@app.command()
def train(
    context: typer.Context,
    dataset: DatasetName = "auto",
    data_dir: DataDir = None,
    train_images: Annotated[int | None, typer.Option(help="Only the first so many.  [default: all]")] = None,
    test_images: Annotated[int | None, typer.Option(help="Only the first so many.  [default: all]")] = None,
    model: Model = Settings.model,
    epochs: Epochs = None,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = Settings.batch_size,
    optimizer: Annotated[str, typer.Option(help="sgd or adam.")] = Settings.optimizer,
    lr: Annotated[float | None, typer.Option(help=f"Learning rate.  [default: {_RATES}]")] = None,
    schedule: Annotated[str, typer.Option(help="cosine: the learning rate falls to 0; or constant.")] = (
        Settings.schedule
    ),
    momentum: Annotated[float, typer.Option(help="Momentum of SGD.")] = Settings.momentum,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="SGD looks ahead.")] = Settings.nesterov,
    beta1: Annotated[float, typer.Option(help="Adam's average of the gradients.")] = Settings.beta1,
    beta2: Annotated[float, typer.Option(help="Adam's average of their squares.")] = Settings.beta2,
    eps: Annotated[float, typer.Option(help="Adam's smallest divisor.")] = Settings.eps,
    weight_decay: Annotated[float, typer.Option(help="L2 weight decay.")] = Settings.weight_decay,
    dtype: Dtype = Settings.dtype,
    device: DeviceName = Settings.device,
    tf32: Annotated[bool, typer.Option("--tf32", help="See what TF32 does, with --device cuda.")] = Settings.tf32,
    seed: Seed = Settings.seed,
    threads: Annotated[int, typer.Option(help="Threads of each twin; on few cores, more than 1 slows both.")] = (
        Settings.threads
    ),
    only: Annotated[str | None, typer.Option(help="Train one alone: scratch or torch.")] = Settings.only,
    resync: Annotated[
        bool, typer.Option("--resync", help="Scratch takes torch's weights before each step, and each step is checked.")
    ] = Settings.resync,
    yardstick: Annotated[
        bool, typer.Option(help="Train torch again, one ulp away: what rounding alone does.")
    ] = Settings.yardstick,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Start both twins from this safetensors file.")
    ] = None,
    log_every: Annotated[int, typer.Option(help="Steps in one point of a curve in TensorBoard.")] = Settings.log_every,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints, besides one after each epoch.")] = (
        Settings.checkpoint_every
    ),
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped, with its settings.")
    ] = None,
    run_dir: RunDir = None,
    json: Json = None,
) -> None:
    """Train both twins in lockstep; every setting is an option.

    Ctrl-C finishes the step and saves; --resume goes on, bit for bit on the CPU.
    """
    if resume is not None:
        _refuse_others(context, "resume", "data_dir", "json")
        _resume(resume, data_dir, json)
    settings = Settings(
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        schedule=schedule,
        momentum=momentum,
        nesterov=nesterov,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        dtype=dtype,
        device=device,
        tf32=tf32,
        seed=seed,
        threads=threads,
        only=only,
        resync=resync,
        yardstick=yardstick,
        log_every=log_every,
        checkpoint_every=checkpoint_every,
    )
    _train(settings, DataOptions(dataset, _text(data_dir), train_images, test_images), run_dir, weights, json)


@app.command()
def check(
    pair: Annotated[
        list[str] | None, typer.Option(help="Only this pair, cnn or conv2d for instance; may be repeated.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="One line for every tensor.")] = False,
    json: Json = None,
) -> None:
    """Compare every layer, loss, optimizer and model with its twin.

    Outputs, gradients and updates, in float64 and float32, each tensor against a bound that was derived.
    """
    from compare.pairs.registry import chosen_pairs
    from compare.pairs.report import overview
    from compare.verify.agreement import check as compare_pairs

    require_writable(json)
    report = compare_pairs(chosen_pairs(pair))
    if verbose:
        _print(str(report))
    else:
        _print(report.headline())
        for row in (*report.wrong, *report.unjudged):
            _print(str(row))
        console.print(overview(report))
    _finish(report.outcome, report.as_json(), json)


@app.command()
def diagnose(
    target: Annotated[str, typer.Argument(help="FILE.py:Class, FILE.py:Class(8) or FILE.py:forward,backward.")],
    like: Annotated[
        str, typer.Option(help='What it should be: conv2d, or a torch module, "Sequential(Conv2d(1, 8, 3), ReLU())".')
    ],
    forward: Annotated[str, typer.Option(metavar="NAME", help="The forward method.")] = "",
    backward: Annotated[str, typer.Option(metavar="NAME", help="The backward method.")] = "",
    param: Annotated[
        list[str] | None, typer.Option(metavar="OWN=NAME", help="A weight: filters=weight, or W=weight:HWIO.")
    ] = None,
    grad: Annotated[
        list[str] | None, typer.Option(metavar="OWN=NAME", help="A gradient: grads['W']=weight, or dx=input.")
    ] = None,
    layout: Annotated[str, typer.Option(help="Axes of the input: NHWC; HWC, HW or C for one image; CN, C1.")] = "",
    output_layout: Annotated[str, typer.Option(help="Axes of the output, where they are others.")] = "",
    output_from: Annotated[str, typer.Option(metavar="ATTRIBUTE", help="Where the output is, if not returned.")] = "",
    targets: Annotated[str, typer.Option(help="What a loss takes: classes or one-hot.")] = "",
    input_shape: Annotated[str, typer.Option(metavar="C,H,W", help="The shape of one input, if it must be told.")] = "",
    format: Annotated[str, typer.Option(help="text, json, html, junit or gradescope.")] = "text",  # noqa: A002
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdict there.")] = None,
    points: Annotated[str, typer.Option(help="For grading: 10, or output=4,grad_input=6.")] = "",
    hint_only: Annotated[bool, typer.Option("--hint-only", help="Hide the mistake and expected values.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time limit of one call.")] = 20.0,
    memory: Annotated[int, typer.Option(min=16, help="Memory limit, in MiB.")] = 2048,
    require_contained: Annotated[
        bool, typer.Option("--require-contained", help="Refuse where the system cannot contain the code.")
    ] = False,
    seed: Annotated[str, typer.Option(metavar="N|random", help="Draws the inputs; random: told afterwards.")] = "0",
    json: Json = None,
) -> None:
    """Verdict on somebody's own layer: which tensor is wrong, where first, and what they did.

    The code needs no base class and is not changed. Names, axes and gradients are found out where they are not told.
    Exit status 0: right, 1: wrong, 2: not judged, and what to add.
    """
    from compare.contained.session import Limits, Session

    require_writable(json)
    require_writable(out)
    with Session(target, Limits(seconds, memory)) as session:  # its process starts while torch is imported here
        from compare.diagnosis.diagnose import diagnosed
        from compare.diagnosis.render.formats import check_format, parse_map, parse_seed, parse_shape, render
        from compare.diagnosis.written import parse_like
        from compare.driving.interface import Interface

        check_format(format)
        parameters, gradients = parse_map(param, "--param"), parse_map(grad, "--grad")
        interface = Interface(forward, backward, parameters, gradients, layout, output_layout, output_from, targets)
        result = diagnosed(
            session,
            parse_like(like),
            interface,
            parse_shape(input_shape),
            parse_seed(seed),
            require_contained=require_contained,
        )
    text = render(result, format, console, points=points, hint_only=hint_only, to_file=out is not None)
    if out is not None:
        write_bytes(out, text.encode(errors="backslashreplace"))
        _print(f"{result.headline(hint_only=hint_only)}\nwritten to {out}")
    elif text:
        sys.stdout.write(text)
    _finish(result.outcome, result.as_json(hint_only=hint_only), json)


@app.command()
def faults(
    pair: Annotated[
        list[str] | None, typer.Option(help="Only the mistakes of this pair, conv2d for instance; may be repeated.")
    ] = None,
    matrix: Annotated[bool, typer.Option("--matrix", help="Run each through the verifier: the kill matrix.")] = False,
    configurations: Annotated[
        int, typer.Option(min=0, help="With --matrix: so many random right configurations must pass.")
    ] = 2000,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """The catalogue of mistakes, and the proof that each is found."""
    from compare.faults.catalogue import catalogue_table, chosen_faults
    from compare.faults.fault import as_json

    require_writable(json)
    chosen = chosen_faults(pair)
    if not matrix:
        console.print(catalogue_table(chosen))
        _print(f"{len(chosen)} mistakes; try one: gradtwin break {chosen[0].name}")
        _finish(True, {"total": len(chosen), "faults": [as_json(fault) for fault in chosen]}, json)
    from compare.diagnosis.matrix import Kill, kill_matrix

    with console.status("") as status:
        for number, result in enumerate(kill_matrix(chosen, configurations, seed), 1):
            if isinstance(result, Kill):
                status.update(f"{number} of {len(chosen)}: {result.name}")
                continue
            status.stop()
            console.print(result.table())
            _print(result.headline())
            _finish(result.ok, result.as_json(), json)


@app.command(name="break")
def break_(
    name: Annotated[
        str, typer.Argument(help="A mistake of the catalogue, or a pair: then one of its mistakes by chance.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to.  [default: exercise_PAIR.py]")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the chance the same again.")] = None,
) -> None:
    """Write a copy of one of our layers with a mistake in it, as an exercise in debugging."""
    from compare.faults.exercise import write_exercise

    for line in write_exercise(name, out, seed):
        _print(line)


@app.command()
def bench(
    model: Annotated[
        list[str] | None, typer.Option(help="cnn, lenet5 or wide; may be repeated.  [default: all]")
    ] = None,
    batch_size: Annotated[str, typer.Option(metavar="N,N,...", help="Images per step.")] = _BATCH_SIZES,
    mode: Annotated[
        list[str] | None, typer.Option(help="train or inference; may be repeated.  [default: both]")
    ] = None,
    threads: Annotated[str, typer.Option(metavar="N,N,...", help="Threads, the same for both twins.")] = "1",
    seconds: Annotated[float, typer.Option(help="Time for each twin in each line of the table.")] = 1.0,
    device: DeviceName = Plan.device,
    compile_: Annotated[bool, typer.Option("--compile", help="Measure torch.compile too.")] = Plan.compiled,
    layers: Annotated[bool, typer.Option("--layers", help="Layer by layer, for one batch size (64).")] = Plan.layers,
    loops: Annotated[bool, typer.Option(help="Measure the plain loops too, for scale.")] = Plan.loops,
    memory: Annotated[bool, typer.Option(help="Measure the peak memory of a step too.")] = Plan.memory,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the ratios as a PNG picture.")] = None,
    json: Json = None,
) -> None:
    """Measure how fast the twins are, in turns: training steps and inference, in images per second.

    ratio is how many times as fast scratch is as torch; wide has two wide convolutions and 1.2 million weights. Nothing
    is timed before its results were found equal. Slow is no failure: there is no threshold.
    """
    plan = Plan(
        models=tuple(model or ()),
        modes=tuple(mode or ()),
        batch_sizes=parse_numbers(batch_size, "--batch-size"),
        threads=parse_numbers(threads, "--threads"),
        seconds=seconds,
        device=device,
        compiled=compile_,
        loops=loops,
        memory=memory,
        layers=layers,
    )
    if layers and plot is not None:
        raise UserError("--plot draws the models, not the --layers; leave one of them out")
    if plot is not None and json is not None and plot.absolute() == json.absolute():
        raise UserError(f"--plot and --json must be two files, got {plot} for both")
    require_writable(json)
    require_writable(plot)
    from compare.bench.run import bench as measure

    with console.status("") as status:
        result = measure(
            plan, lambda shown: _print(shown) if isinstance(shown, str) else console.print(shown), status.update
        )
    if plot is not None and result.rows:
        from compare.bench.chart import chart_png

        write_bytes(plot, chart_png(result.rows))
        _print(f"drawn in {plot}")
    _finish(result.ok, result.as_json(), json)


@app.command()
def board(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run, or a folder of runs.  [default: the newest of runs/]")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 6006,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """TensorBoard, opened on the answer; Ctrl-C ends it."""
    from compare.training.board.server import chosen_run, complaints, launch, require_free

    folder = chosen_run(run)
    require_free(port)
    for line in complaints(folder):
        _print(line)
    with suppress(KeyboardInterrupt):
        address = launch(folder, port)
        _print(f"logs:            {folder}")
        _wait_at(address, open_)
    _end_line()


@app.command()
def lesson(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")] = Path("lesson.html"),
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Show the network of this run.  [default: train a small one]")
    ] = None,
    model: Model = Settings.model,
    dataset: DatasetName = "auto",
    data_dir: DataDir = None,
    seed: Seed = Settings.seed,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page, to this machine only; Ctrl-C ends it.")] = (
        False
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="For --serve; 0 takes one that is free.")] = 8000,
    open_: Annotated[bool, typer.Option("--open", help="With --serve, open the page in the browser.")] = False,
    json: Json = None,
) -> None:
    """The page that teaches: formula, NumPy code, torch call and live numbers side by side.

    One HTML file that loads nothing from elsewhere. What it shows as equal is compared while it is built.
    """
    from compare.training.board.server import require_free

    if run is not None:
        why = "the lesson shows the network of the run, and its data; leave it out"
        _refuse_given(context, why, "model", "dataset", "seed")
    if not serve:
        _refuse_given(context, "it goes with --serve; add that, or leave it out", "port", "open_")
    if json is not None and json.absolute() == out.absolute():
        raise UserError(f"--out and --json must be two files, got {out} for both")
    require_writable(json)
    require_writable(out)
    if serve:
        require_free(port)
    page = _lesson(run, model, DataOptions(dataset, _text(data_dir)), seed, json)
    content = page.html.encode()
    write_bytes(out, content)
    _print(page.report.headline())
    for line in page.learning.lines():
        _print(line)
    _print(f"written:         {out}, {len(content) / 1e6:.1f} MB, one file")
    result = {
        "ok": True,
        "file": str(out),
        "bytes": len(content),
        "compared": page.report.compared,
        "learned": page.learning.learned,
    }
    if not serve:
        _finish(True, result, json)
    if json is not None:
        write_json(json, result)
    _serve(page, port, open_)


@app.command()
def doctor(data_dir: DataDir = None, json: Json = None) -> None:
    """Say what is wrong with this machine."""
    from compare.machine.doctor import examine, findings_table

    require_writable(json)
    findings = examine(data_dir)
    console.print(findings_table(findings))
    problems = [finding for finding in findings if finding.problem]
    for finding in problems:
        _print(f"{finding.name}: {finding.problem}")
    _print("all is well" if not problems else f"{len(problems)} to mend, see above")
    _finish(not problems, {"ok": not problems, "findings": [asdict(finding) for finding in findings]}, json)


@app.callback(invoke_without_command=True)
def _version(
    show: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and leave.")] = False,
) -> None:
    if show:
        _print(f"gradtwin {own_version()}")
        raise typer.Exit


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _refuse_others(context: typer.Context, *allowed: str) -> None:
    """Refuse every option that was given besides those that go with --resume."""
    others = [option.name or "" for option in context.command.params if option.name not in allowed]
    _refuse_given(context, "a run goes on with its own settings; leave it out", *others)


def _refuse_given(context: typer.Context, why: str, *names: str) -> None:
    """Refuse those of the named options that were given on the command line."""
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if name in names and source is not None and source.name == "COMMANDLINE":
            spelt = option.secondary_opts if context.params[name] is False and option.secondary_opts else option.opts
            raise UserError(f"{spelt[0]}: {why}")


def _train(
    settings: Settings, chosen: DataOptions, run_dir: Path | None, weights: Path | None, json: Path | None
) -> NoReturn:
    """What `run` and `train` have in common: everything after their options."""
    from compare.machine.data import data_folder
    from compare.training.run import new_folder, require_new
    from compare.training.twins import Twins

    require_writable(json)
    if run_dir is not None:
        require_new(run_dir)
    twins = Twins(settings, weights)
    data = _load(chosen)
    folder = new_folder(run_dir, settings, data)
    where = data_folder(None if chosen.data_dir is None else Path(chosen.data_dir))
    _go(twins, data, folder, chosen.settled(data.name, where), None, json)


def _resume(run: Path, data_dir: Path | None, json: Path | None) -> NoReturn:
    """Go on with a run from its checkpoint."""
    from compare.training.checkpoint import open_run, what_changed
    from compare.training.twins import Twins

    require_writable(json)
    saved = open_run(run, data_dir)
    twins = Twins(saved.settings)
    data = _load(saved.data)
    done, total = saved.steps(data)
    _print(f"{'finished before' if done == total else 'goes on'}: {saved.folder}, after step {done:,} of {total:,}")
    for line in what_changed(saved.checkpoint):
        _print(line)
    _go(twins, data, saved.folder, saved.data, saved.checkpoint, json)


def _lesson(run: Path | None, model: str, chosen: DataOptions, seed: int, json: Path | None) -> Lesson:
    """The page, built with the network of `run` or with one that is trained for it; or the end, where it cannot be."""
    with console.status("importing") as status:
        from compare.lesson.build import build
        from compare.lesson.history import read_run, train_small
        from compare.lesson.not_as_shown import NotAsShown
        from compare.pairs.registry import model_pair

        model_pair(model)
        status.update("training")
        if run is not None:
            history = read_run(run, None if chosen.data_dir is None else Path(chosen.data_dir), _print)
        else:
            history = train_small(model, _load(chosen), seed)
        status.update("comparing")
        try:
            return build(history, seed)
        except NotAsShown as wrong:
            problem, judged = str(wrong), wrong.judged
    _print(f"{'wrong' if judged else 'not judged'}: {problem}")
    _print(f"no page was written: it would show as equal what {'is not' if judged else 'nobody could compare'}")
    if json is not None:
        write_json(json, {"ok": False, "outcome": "wrong" if judged else "not_judged", "problem": problem})
    raise typer.Exit(1 if judged else 2)


def _serve(page: Lesson, port: int, open_: bool) -> None:
    """Serve the page until Ctrl-C."""
    from compare.lesson.server import launch

    with suppress(KeyboardInterrupt):
        _wait_at(launch(page.html, port), open_)
    _end_line()


def _wait_at(address: str, open_: bool) -> None:
    """Say where a server is, open its page where that was asked for, and let it work until a KeyboardInterrupt."""
    from compare.training.board.server import open_page, wait

    _print(f"open:            {address}")
    _print("Ctrl-C ends it")
    if open_:
        open_page(address, _print)
    wait()


def _end_line() -> None:
    """End the line on which a terminal has echoed ^C."""
    if console.is_terminal:
        console.print()


def _load(chosen: DataOptions) -> Dataset:
    from compare.machine.data import load

    folder = None if chosen.data_dir is None else Path(chosen.data_dir)
    data = load(chosen.dataset, folder, _print).limited(chosen.train_images, chosen.test_images)
    images = f"{len(data.train_images):,} training and {len(data.test_images):,} test images"
    _print(f"data: {data.origin}: {images}")
    return data


def _go(
    twins: Twins, data: Dataset, folder: Path, chosen: DataOptions, checkpoint: Checkpoint | None, json: Path | None
) -> NoReturn:
    """Train, show it, and say where to look next."""
    from compare.training.console import Display, summary
    from compare.training.result import STATUS
    from compare.training.run import Interrupted, run_twins

    settings = twins.settings
    steps = settings.total_steps(data.name, len(data.train_images))
    done = checkpoint.record["progress"]["step"] if checkpoint else 0
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, _end)  # a training takes the first one itself, to save; the next ends it
    try:
        with Display(console, steps, settings.twins, done) as display:
            result = run_twins(twins, data, folder, _print, display.show, chosen=chosen, resumed=checkpoint)
    except Interrupted as stop:
        _leave(INTERRUPTED, str(stop))
    if result.last is not None:
        console.print(summary(result.last))
    diverged = bool(result.stopped) and result.outcome == "not_judged"
    if result.last is not None or result.stopped:
        for line in result.lines()[1 if diverged else 0 :]:  # that one says it last, on the standard error
            _print(line)
        _print(f"logs:            {folder}")
        # Without an activated environment the command is beside the Python that runs this.
        gradtwin = "gradtwin" if which("gradtwin") else Path(sys.executable).with_name("gradtwin")
        _print(f"see them:        {gradtwin} board {shlex.quote(str(folder))}")
        _print("check layers:    gradtwin check")
    else:
        _print("nothing was trained: that makes sense when the twins agree")
    for row in result.rows():
        _print(str(row))
    if json is not None:
        write_json(json, result.as_json())
    if diverged:
        _leave(STATUS[result.outcome], result.headline())
    raise typer.Exit(STATUS[result.outcome])


def _finish(outcome: Outcome | bool, result: dict[str, Any], json: Path | None) -> NoReturn:
    """Write the result where it was asked for, and leave with the exit status of an outcome, or whether all is well."""
    if json is not None:
        write_json(json, result)
    if isinstance(outcome, bool):
        outcome = "right" if outcome else "wrong"
    raise typer.Exit(STATUS[outcome])


def _print(text: str) -> None:
    """Print a line as it is: no markup, no wrapping."""
    console.print(text, markup=False, soft_wrap=True)


def main() -> NoReturn:
    """Run the command line.

    Exit status: 0 all is well, 1 the thing checked is wrong, 2 it is not judged or cannot be done as asked, 3 a mistake
    of our own.
    """
    _take_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot write of somebody's text, it writes as numbers
            stream.reconfigure(errors="backslashreplace")
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        _leave(2, str(error))
    except CLI_ERROR as error:
        _leave(2, error.format_message())  # type: ignore[attr-defined]
    except BrokenPipeError:  # piped into head: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except OSError as error:  # a full disk under TensorBoard's feet, a folder that may not be listed ...
        _leave(2, f"{error.filename or 'the system'}: {error.strerror or error}; gradtwin doctor may know more")
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception:
        traceback.print_exc()
        _leave(3, "this is a mistake of gradtwin's own; please report it with the lines above")
    if status == INTERRUPTED:  # some versions of typer raise, some return this status
        _leave(INTERRUPTED, "interrupted")
    sys.exit(status or 0)


def _take_ctrl_c() -> None:
    """Let `_interrupt` have Ctrl-C, unless it is ignored, as in a job in the background."""
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """The first Ctrl-C: a KeyboardInterrupt, so that whatever runs can clean up. Any further one ends at once."""
    signal.signal(signal.SIGINT, _end)
    raise KeyboardInterrupt


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """End at once, wherever this is: nothing is closed, as that could wait for a thread that was interrupted."""
    if os.isatty(1):
        os.write(1, b"\x1b[?25h\n")  # progress bars hide the cursor
    with suppress(OSError):
        os.write(2, b"gradtwin: interrupted\n")
    os._exit(INTERRUPTED)


def _leave(status: int, message: str) -> NoReturn:
    """Say on one line of the standard error why it ends here."""
    print("gradtwin: " + " ".join(message.split()), file=sys.stderr)
    if status == INTERRUPTED and signal.getsignal(signal.SIGINT) in (_interrupt, _end):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more would change the exit status, and nothing else
    sys.exit(status)
