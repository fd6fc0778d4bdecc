"""The commands as their users run them: what they print, write, and exit with; and one line for everything refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.machine import doctor
from compare.pairs import weights
from compare.pairs.registry import REGISTRY
from scratch import CNN, SGD, Array, ReLU
from tests.conftest import Run
from tests.test_data import write_mnist


def test_run_does_the_main_job(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("run", "--dataset", "digits", "--epochs", 2, "--json", "result.json")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == (
        "data: scikit-learn's 1,797 embedded digits, enlarged to 28x28 (asked for): 1,437 training and 360 test images"
    )
    assert lines[1].startswith("untrained twins: equal: 90 tensors compared")
    assert lines[2].startswith("epoch 0: test accuracy")
    assert "trained twins:   equal: 90 tensors compared" in outcome.out

    result = json.loads((tmp_path / "result.json").read_text())
    assert {key: result[key] for key in ("dataset", "train_images", "test_images", "model", "epochs", "dtype")} == {
        "dataset": "digits",
        "train_images": 1437,
        "test_images": 360,
        "model": "cnn",
        "epochs": 2,
        "dtype": "float32",
    }
    assert (result["device"], result["seed"]) == ("cpu", 0)
    for figure in ("test_accuracy", "final_loss", "images_per_second"):
        assert set(result[figure]) == {"scratch", "torch"}
    assert min(result["test_accuracy"].values()) > 0.85
    assert result["agreement"] == {"ok": True, "compared": 180}
    assert (result["ok"], result["outcome"], result["learned"], result["reason"]) == (True, "right", True, "")
    assert result["learning"]["likely_cause"] is None
    run_dir = tmp_path / result["run_dir"]
    assert f"logs:            {result['run_dir']}" in lines
    (seen,) = (line for line in lines if line.startswith("see them: "))
    command, *rest = seen.removeprefix("see them:").split()
    assert shutil.which(command)
    assert rest == ["board", result["run_dir"]]
    assert "\ndrift: the weights of scratch and torch are " in outcome.out
    assert sorted(path.name for path in run_dir.iterdir() if path.name != ".lock") == [
        "checkpoints",
        "compare",
        "perturbed",
        "scratch",
        "scratch.safetensors",
        "torch",
        "torch.safetensors",
    ]


def test_train_takes_every_setting(gradtwin: Run, tmp_path: Path) -> None:
    start = CNN(dtype="float64", generator=np.random.default_rng(0))
    weights.save_weights(tmp_path / "start", start.state_dict())
    arguments = "--dataset digits --model cnn --epochs 1 --batch-size 200 --lr 0.01 --schedule constant --momentum 0.5"
    more = (
        "--weight-decay 0.001 --dtype float64 --seed 3 --threads 1 --weights start --run-dir here --json r/result.json "
        "--nesterov --no-yardstick --log-every 3 --checkpoint-every 5 --train-images 1000 --test-images 300"
    )
    outcome = gradtwin("train", *arguments.split(), *more.split())
    assert (outcome.status, outcome.err) == (0, "")
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["settings"] == {
        "model": "cnn",
        "epochs": 1,
        "batch_size": 200,
        "optimizer": "sgd",
        "lr": 0.01,
        "schedule": "constant",
        "momentum": 0.5,
        "nesterov": True,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.001,
        "dtype": "float64",
        "device": "cpu",
        "tf32": False,
        "seed": 3,
        "threads": 1,
        "only": None,
        "resync": False,
        "yardstick": False,
        "log_every": 3,
        "checkpoint_every": 5,
    }
    assert (result["train_images"], result["test_images"]) == (1000, 300)
    assert result["run_dir"] == "here"
    assert result["final_loss"]["scratch"] == pytest.approx(result["final_loss"]["torch"], rel=1e-12)


@pytest.mark.long
def test_check_compares_all_pairs(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("check", "--json", "check.json")
    assert (outcome.status, outcome.err) == (0, "")
    result = json.loads((tmp_path / "check.json").read_text())
    assert result["ok"] is True
    assert result["compared"] == len(result["rows"]) >= 300
    assert outcome.out.startswith(f"equal: {result['compared']:,} tensors compared, none outside its bound")
    for name in REGISTRY:
        assert f"│ {name} " in outcome.out


def test_check_can_be_narrowed_and_print_every_tensor(gradtwin: Run) -> None:
    outcome = gradtwin("check", "--pair", "relu", "--pair", "flatten", "--verbose")
    lines = outcome.out.splitlines()
    assert outcome.status == 0
    assert lines[0].startswith(f"equal: {len(lines) - 1} tensors compared")
    assert all(line.startswith(("ok    relu [", "ok    flatten [")) for line in lines[1:])


def test_check_exits_with_1_and_says_first_what_is_wrong(
    gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unmasked(_: ReLU, grad_output: Array) -> Array:
        return grad_output

    monkeypatch.setattr(ReLU, "backward", unmasked)
    outcome = gradtwin("check", "--pair", "relu", "--json", "check.json")
    assert outcome.status == 1
    assert outcome.out.startswith("wrong: grad_input of relu [3x2x5x4 normal, float64]: ")
    assert "\nWRONG relu [3x2x5x4 normal] float64 grad_input (3x2x5x4): max |difference|" in outcome.out
    assert json.loads((tmp_path / "check.json").read_text())["ok"] is False

    outcome = gradtwin("run", "--dataset", "digits", "--json", "run.json")
    assert outcome.status == 1
    assert "untrained twins: wrong: grad_input of cnn [relu1 isolated, float64]" in outcome.out
    assert "epoch" not in outcome.out
    assert "nothing was trained" in outcome.out
    assert json.loads((tmp_path / "run.json").read_text())["agreement"]["ok"] is False


def test_doctor_finds_this_machine_well(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("doctor", "--data-dir", tmp_path / "none", "--json", "doctor.json")
    assert outcome.status == 0, outcome.out
    assert outcome.out.endswith("all is well\n")
    result = json.loads((tmp_path / "doctor.json").read_text())
    names = [finding["name"] for finding in result["findings"]]
    assert result["ok"] is True
    assert {"Python", "numpy", "torch", "tensorboard", "torchvision with torch", "CUDA", "threads", "MNIST"} <= set(
        names
    )


def test_doctor_knows_the_official_files(gradtwin: Run, mnist_folder: Path) -> None:
    outcome = gradtwin("doctor", "--data-dir", mnist_folder)
    assert outcome.status == 0, outcome.out
    assert "checksums match" in outcome.out


def test_doctor_finds_foreign_and_damaged_data(gradtwin: Run, tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "data")
    outcome = gradtwin("doctor", "--data-dir", folder)
    assert outcome.status == 1
    assert "\nMNIST: not official: train-images-idx3-ubyte, " in outcome.out
    (folder / "train-images-idx3-ubyte").write_bytes(b"")
    outcome = gradtwin("doctor", "--data-dir", folder)
    assert outcome.status == 1
    assert "train-images-idx3-ubyte: empty or truncated" in outcome.out


def test_doctor_recognises_packages_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.metadata.requires", lambda _: ["numpy>=99", "no-such-package>=1", "pytest; extra == 'dev'"]
    )
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["numpy"].problem == "pip install 'numpy>=99'"
    assert (findings["no-such-package"].value, findings["no-such-package"].problem) == (
        "missing",
        "pip install 'no-such-package>=1'",
    )
    assert "pytest" not in findings


def test_doctor_recognises_torch_and_torchvision_of_different_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["torchvision with torch"].value == "built for another torch"
    assert "pip install --force-reinstall torch torchvision" in findings["torchvision with torch"].problem


def test_doctor_survives_whatever_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("no such thing")

    monkeypatch.setattr("torch.cuda.is_available", broken)
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["CUDA"].problem == "OSError: no such thing"


# What is refused: one line, exit status 2.

REFUSED = [
    (
        "run --dataset cifar",
        "dataset 'cifar' is unknown; choose one of auto, mnist, fashion-mnist, kmnist, qmnist, digits, idx:FOLDER",
    ),
    ("run --model vgg", "model 'vgg' is unknown; choose one of cnn, lenet5"),
    ("run --dtype float16", "dtype 'float16' is unknown; choose one of float32, float64"),
    ("run --device tpu", "device 'tpu' is unknown; choose one of cpu, cuda"),
    ("run --epochs 0", "--epochs must be at least 1, got 0"),
    ("run --epochs many", "Invalid value for '--epochs': "),
    ("train --batch-size 0", "--batch-size must be at least 1, got 0"),
    ("train --dataset digits --batch-size 2000", "--batch-size must be at most the 1,437 training images, got 2000"),
    ("train --lr nan", "--lr must be a number above 0, got nan"),
    ("train --dataset digits --lr 1e30", "training diverged: the loss of scratch is"),
    ("train --dataset digits --weights missing", "missing: cannot be read"),
    ("train --dataset digits --weights text", "text: damaged, or not a safetensors file"),
    ("train --dataset digits --weights cnn --model lenet5", "cnn: not the weights of LeNet5: missing"),
    ("train --dataset digits --run-dir full", "full: holds something already; choose a new folder"),
    ("train --dataset digits --run-dir text/below", "text/below: cannot be written"),
    ("run --dataset digits --json full", "full: is a folder; give the name of a file"),
    ("check --json text/below", "text: cannot be written"),
    ("check --pair conv3d", "pair 'conv3d' is unknown"),
    ("check --frobnicate", "No such option: --frobnicate"),
    ("frobnicate", "No such command 'frobnicate'"),
    ("run --dataset mnist --data-dir damaged", "t10k-labels-idx1-ubyte: empty or truncated, 0 bytes"),
    ("run --data-dir damaged", "t10k-labels-idx1-ubyte: empty or truncated, 0 bytes"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[arguments for arguments, _ in REFUSED])
def test_what_cannot_be_done_gets_one_line_and_status_2(
    gradtwin: Run, tmp_path: Path, arguments: str, message: str
) -> None:
    (tmp_path / "text").write_text("hello " * 20)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("")
    weights.save_weights(tmp_path / "cnn", CNN().state_dict())
    (write_mnist(tmp_path / "damaged") / "t10k-labels-idx1-ubyte").write_bytes(b"")
    outcome = gradtwin(*arguments.split())
    assert outcome.status == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("gradtwin: ")
    assert message in line
    assert "Traceback" not in outcome.out


def test_cuda_without_a_device_is_refused(gradtwin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = gradtwin("run", "--dataset", "digits", "--device", "cuda", "--run-dir", "new")
    assert outcome.status == 2
    assert outcome.err == "gradtwin: device cuda: torch sees no CUDA device on this machine; take --device cpu\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_leaves_with_0(gradtwin: Run, arguments: list[str]) -> None:
    outcome = gradtwin(*arguments)
    assert (outcome.status, outcome.err) == (0, "")
    for command in ("run", "train", "check", "doctor"):
        assert f"  {command} " in outcome.out


def test_the_version_is_told(gradtwin: Run) -> None:
    assert gradtwin("--version").out == "gradtwin 0.1.0\n"


def test_an_interruption_leaves_with_130(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compare.machine.data.load", interrupt)
    outcome = gradtwin("run")
    assert (outcome.status, outcome.err) == (130, "gradtwin: interrupted\n")


def test_a_system_that_refuses_gets_one_line(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "events.out")

    monkeypatch.setattr("compare.machine.data.load", full)
    outcome = gradtwin("run")
    assert outcome.status == 2
    assert outcome.err == "gradtwin: events.out: No space left on device; gradtwin doctor may know more\n"


def test_the_module_is_the_same_program() -> None:
    command = [sys.executable, "-m", "compare", "run", "--epochs", "0"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert (finished.returncode, finished.stderr) == (2, "gradtwin: --epochs must be at least 1, got 0\n")


def test_a_mistake_of_our_own_is_not_called_somebody_elses(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(doctor, "examine", broken)
    outcome = gradtwin("doctor")
    assert outcome.status == 3
    assert outcome.err.endswith(
        "gradtwin: this is a mistake of gradtwin's own; please report it with the lines above\n"
    )
    assert "RuntimeError: a bug" in outcome.err


SHORT = ["--dataset", "digits", "--train-images", "200", "--test-images", "100", "--epochs", "1"]


def test_train_takes_one_twin_alone(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("train", *SHORT, "--only", "torch", "--run-dir", "alone", "--json", "result.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert "twins" not in outcome.out
    assert "│ scratch" not in outcome.out
    assert "│ torch" in outcome.out
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["test_accuracy"]["scratch"] is None
    assert 0 < result["test_accuracy"]["torch"] < 1
    assert result["agreement"] == {"ok": True, "compared": 0}
    assert not (tmp_path / "alone" / "scratch.safetensors").exists()


def test_train_checks_every_step_with_resync(gradtwin: Run, tmp_path: Path) -> None:
    outcome = gradtwin("train", *SHORT, "--resync", "--json", "result.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert "\n4 steps from the same weights: 52 tensors compared, none outside its bound; the closest " in outcome.out
    drift = json.loads((tmp_path / "result.json").read_text())["drift"]
    assert (drift["steps"], drift["tensors"], drift["wrong"]) == (4, 52, [])


def test_a_mistake_in_training_ends_with_status_1(gradtwin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right, count = SGD.step, [0]

    def forgets_once(self: SGD) -> None:
        count[0] += 1
        if count[0] != 12:  # two proofs of the untrained twins take steps of their own, 4 in all
            right(self)

    monkeypatch.setattr(SGD, "step", forgets_once)
    outcome = gradtwin("train", *SHORT, "--epochs", 3, "--resync")
    assert outcome.status == 1
    assert "WRONG cnn [step 8] float32 conv1.weight after the step" in outcome.out


def test_a_run_on_own_files_goes_on_from_another_folder(
    gradtwin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "own")
    outcome = gradtwin("train", "--dataset", "idx:own", "--batch-size", 2, "--epochs", 1, "--run-dir", "run")
    assert (outcome.status, outcome.err) == (0, "")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outcome = gradtwin("train", "--resume", tmp_path / "run")
    assert (outcome.status, outcome.err) == (0, "")
    assert "finished before: " in outcome.out
    (tmp_path / "own").rename(tmp_path / "moved")
    assert gradtwin("train", "--resume", tmp_path / "run").status == 2
    outcome = gradtwin("train", "--resume", tmp_path / "run", "--data-dir", tmp_path / "moved")
    assert (outcome.status, outcome.err) == (0, "")


def test_a_run_finds_its_data_again_without_the_environment(
    gradtwin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "data")
    monkeypatch.setenv("GRADTWIN_DATA", "data")
    outcome = gradtwin("train", "--dataset", "mnist", "--batch-size", 2, "--epochs", 1, "--run-dir", "run")
    assert (outcome.status, outcome.err) == (0, "")
    monkeypatch.delenv("GRADTWIN_DATA")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert gradtwin("train", "--resume", tmp_path / "run").status == 0


@pytest.mark.long
def test_output_that_nobody_reads_ends_as_it_does_elsewhere(tmp_path: Path) -> None:
    command = f"{sys.executable} -m compare train {' '.join(SHORT)} | head -1; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.startswith("data: ")
