"""Who imports whom: the promise that `scratch` can be taken alone, and the floors of `compare`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each module may import only from floors below its own.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"doctor", "testing", "__init__", "lesson.build"},
    {"lesson.chapters", "lesson.learnt"},
    {"lesson.scene"},
    {"lesson.windows"},
    {"lesson.agreement", "lesson.history"},
    {"bench.run"},
    {"bench.chart", "bench.layers", "bench.loops", "bench.memory"},
    {"bench.cells"},
    {"bench.equality"},
    {"bench.sides"},
    {"bench.models"},
    {"training.run", "training.console"},
    {"training.board"},
    {"training.lockstep"},
    {"training.drift"},
    {"training.findings", "training.twins"},
    {"diagnosis.diagnose", "diagnosis.matrix", "diagnosis.render.formats"},
    {"diagnosis.resolve"},
    {"diagnosis.examine", "diagnosis.render.grading", "diagnosis.render.page", "diagnosis.render.terminal"},
    {"diagnosis.verdict"},
    {"diagnosis.naming", "diagnosis.shrink"},
    {"diagnosis.patterns"},
    {"diagnosis.trial"},
    {"diagnosis.adapter", "diagnosis.likeness", "diagnosis.optimizers"},
    {"diagnosis.gradients"},
    {"diagnosis.placement"},
    {"diagnosis.calling"},
    {"diagnosis.interface", "diagnosis.making"},
    {"diagnosis.layouts"},
    {"diagnosis.signatures"},
    {"diagnosis.isolation", "diagnosis.names", "diagnosis.paths", "diagnosis.target", "diagnosis.render.numbers"},
    {"verify.agreement", "verify.configurations", "faults.exercise", "lesson.gallery"},
    {"faults.catalogue", "verify.canaries", "verify.models", "verify.one_step", "verify.probe"},
    {
        "faults.activation",
        "faults.convolution",
        "faults.linear",
        "faults.loss",
        "faults.normalisation",
        "faults.optimizer",
        "faults.pooling",
        "faults.program",
        "faults.verifier",
    },
    {"faults.fault"},
    {"verify.end_to_end", "verify.ties", "lesson.notes"},
    {"verify.report"},
    {"lesson.close"},
    {"pairs", "weights"},
    {"conditioning", "dropout", "lesson.render"},
    {"tolerance", "devices", "conditions", "lesson.examples"},
    {"bench.machine", "observe", "probes", "data", "training.checkpoint", "training.logs", "training.projector"},
    {"lesson.layers", "lesson.server"},
    {"bench.plan", "files", "training.pictures", "training.settings", "training.server", "lesson.pixels", "lesson.why"},
    {
        "bench.__init__",
        "bench.timing",
        "errors",
        "processor",
        "package",
        "diagnosis.__init__",
        "diagnosis.render.__init__",
        "faults.__init__",
        "lesson.__init__",
        "lesson.chart",
        "lesson.formula",
        "lesson.source",
        "lesson.verdict",
        "lesson.with_scratch",
        "lesson.with_torch",
        "training.__init__",
        "training.canvas",
        "verify.__init__",
    },
]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_packages(folder: str) -> set[str]:
    return {name.split(".")[0] for path in (ROOT / folder).rglob("*.py") for name in imports(path)}


def test_scratch_imports_numpy_and_the_standard_library_only() -> None:
    assert imported_packages("scratch") - set(sys.stdlib_module_names) == {"numpy", "scratch", "cupy"}


def test_cupy_is_imported_in_one_place_when_it_is_asked_for() -> None:
    paths = [path for folder in ("scratch", "torch_ref", "compare") for path in (ROOT / folder).rglob("*.py")]
    importing = {str(path.relative_to(ROOT)) for path in paths if "cupy" in imports(path)}
    assert importing == {"scratch/backend.py", "compare/doctor.py"}
    code = (
        "import sys; sys.modules['cupy'] = None; import scratch, compare, compare.cli, compare.devices, compare.doctor"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_reference_imports_neither_scratch_nor_compare() -> None:
    assert imported_packages("torch_ref") - set(sys.stdlib_module_names) == {"torch", "torchvision", "torch_ref"}


@pytest.mark.parametrize("command", ["import scratch", "import scratch.naive", "import compare.cli"])
def test_it_comes_without_torch(command: str) -> None:
    code = f"import sys; {command}; assert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def loaded(code: str, *arguments: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after `code`."""
    code = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def heavy() -> set[str]:
    """What takes long to import, besides what torch brings along by itself."""
    packages = {"torchvision", "tensorboard", "google", "sklearn", "scipy", "PIL", "jinja2", "pygments"}
    return (packages | {"safetensors", "sympy"}) - loaded("import torch")


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("--help", ""),
        ("faults", ""),
        ("diagnose scratch/activation.py:ReLU --like relu", "torch"),
        ("check --pair relu", "torch"),
        ("bench --model lenet5 --mode inference --batch-size 1 --seconds 0.01 --no-memory", "torch sympy"),
    ],
)
def test_a_command_loads_nothing_heavy_that_it_does_not_need(heavy: set[str], command: str, needed: str) -> None:
    code = "from compare.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    assert loaded(code, *command.split()) & (heavy | {"torch"}) <= set(needed.split())


@pytest.mark.long
@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        ("compare.pairs, compare.data, compare.weights, torch_ref", ""),
        ("compare.training.server, compare.training.logs", ""),
        ("compare.lesson.build", "PIL jinja2 pygments safetensors"),
        ("compare.training.run", "PIL safetensors sklearn scipy tensorboard google"),
    ],
)
def test_a_module_loads_nothing_heavy_that_few_of_its_users_need(heavy: set[str], modules: str, needed: str) -> None:
    assert loaded(f"import {modules}") & heavy <= set(needed.split())


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "compare").with_suffix("").parts)


def test_compare_imports_downwards_only() -> None:
    paths = {module_name(path): path for path in (ROOT / "compare").rglob("*.py")}
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    assert floor.keys() == paths.keys(), "a module has no floor"
    for name, path in paths.items():
        for imported in imports(path):
            below = imported.removeprefix("compare.")
            if imported.startswith("compare.") and below in floor:
                assert floor[below] > floor[name], f"{name} imports {below}"


def test_the_top_level_is_as_agreed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= {
        "pyproject.toml",
        "scratch",
        "torch_ref",
        "compare",
        "tests",
        "README.md",
        "Makefile",
        "LICENSE",
    }
