"""Who imports whom: the promise that `scratch` can be taken alone, and the floors of `compare`."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Which packages of `compare` a package may import, besides the two twins. None imports what stands above it.
MAY_IMPORT: dict[str, set[str]] = {
    "machine": set(),
    "pictures": set(),
    "driving": {"machine"},
    "contained": {"driving", "machine"},
    "pairs": {"driving", "machine"},
    "faults": {"machine"},
    "verify": {"pairs", "driving", "machine"},
    "diagnosis": {"verify", "faults", "pairs", "contained", "driving", "machine"},
    "training": {"verify", "pairs", "driving", "pictures", "machine"},
    "bench": {"verify", "pairs", "driving", "pictures", "machine"},
    "lesson": {"training", "diagnosis", "verify", "faults", "pairs", "driving", "pictures", "machine"},
}


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
    assert importing == {"scratch/backend.py", "compare/machine/doctor.py"}
    code = "import sys; sys.modules['cupy'] = None; import compare.cli; from compare.machine import devices, doctor"
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
        ("compare.pairs.registry, compare.machine.data, compare.pairs.weights, torch_ref", ""),
        ("compare.training.board.server, compare.training.board.logs", ""),
        ("compare.lesson.build", "PIL jinja2 pygments safetensors"),
        ("compare.training.run", "PIL safetensors sklearn scipy tensorboard google"),
    ],
)
def test_a_module_loads_nothing_heavy_that_few_of_its_users_need(heavy: set[str], modules: str, needed: str) -> None:
    assert loaded(f"import {modules}") & heavy <= set(needed.split())


def modules() -> dict[str, Path]:
    """Every module of `compare` by its dotted name."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "compare").rglob("*.py"))
    return {".".join(path.parts).removesuffix(".__init__"): ROOT / path.with_suffix(".py") for path in paths}


def package(module: str) -> str:
    """The package right below `compare` that a module lies in; empty for one of no package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "compare" / parts[1]).is_dir() else ""


def test_each_package_imports_from_those_below_only() -> None:
    found = {name: path for name, path in modules().items() if package(name)}
    assert {package(name) for name in found} == MAY_IMPORT.keys()
    for name, path in found.items():
        below = MAY_IMPORT[package(name)] | {package(name)}
        for imported in imports(path):
            if imported.startswith("compare."):
                assert package(imported) in below, f"{name} imports {imported}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = modules()
    graph = {
        name: {other for other in imports(path) & known.keys() if not name.startswith(f"{other}.")}
        for name, path in known.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, with the circle


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
        "SECURITY.md",
        "Makefile",
        "LICENSE",
    }


def test_what_runs_beside_somebodys_code_loads_nothing_that_knows_what_is_right() -> None:
    code = "import sys, compare.driving.worker; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split())
    assert not loaded & {"torch", "torchvision", "scratch", "torch_ref", "cloudpickle"}
    needed = {name for path in (ROOT / "compare/driving").glob("*.py") for name in imports(path)}
    ours = {name for name in needed if name.startswith(("compare.", "scratch"))}
    assert {name for name in ours if not name.startswith("compare.driving")} == {
        "compare.machine.errors",
        "compare.machine.errors.UserError",
        "scratch",  # with a model, which asks for it
    }
