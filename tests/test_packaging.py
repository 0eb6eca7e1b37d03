"""The wheel holds all needed files, and the layers of packages import downwards only."""

import ast
import graphlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A file imports only from rooms of a lower number; the worlds know nothing of the sandbox.
FLOORS = {
    "transforms": 0,
    "schedules": 0,
    "algorithm": 1,
    "metrics": 2,
    "runs": 3,
    "gemma2": 4,
    "figures": 5,
}


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def sources() -> dict[str, Path]:
    """The files of the packages, by the names of their modules."""
    roots = {"pkpo_sandbox": "pkpo_sandbox", "conf": "pkpo_sandbox.conf"}
    roots["envs/pkpo_envs"] = "pkpo_envs"
    return {
        ".".join([package, *path.relative_to(ROOT / root).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): path
        for root, package in roots.items()
        for path in (ROOT / root).rglob("*.py")
    }


def test_no_modules_import_each_other_in_a_circle():
    """Neither when they are loaded, nor in a function, nor for types only."""
    files = sources()
    graph = {}
    for name, path in files.items():
        deepest = {module for module in imported_modules(path) if module in files}
        # `from package import module` needs the module; the package's own file only hands it on.
        graph[name] = {
            module
            for module in deepest - {name}
            if not any(other.startswith(f"{module}.") for other in deepest)
        }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_room_has_its_floor():
    inside = [path for path in (ROOT / "pkpo_sandbox").iterdir() if path.suffix in ("", ".py")]
    names = {path.stem for path in inside if not path.stem.startswith("__")}
    assert names == FLOORS.keys()


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "pkpo_sandbox" and len(parts) > 1 else None


@pytest.mark.parametrize(
    "path", sorted((ROOT / "pkpo_sandbox").rglob("*.py")), ids=lambda path: path.stem
)
def test_no_import_runs_up_a_floor(path):
    inside = path.relative_to(ROOT / "pkpo_sandbox")
    own = inside.parts[0].removesuffix(".py")
    if own == "__init__":
        return
    used = {room(module) for module in imported_modules(path)} - {None, own}
    for other in used & FLOORS.keys():
        assert FLOORS[other] < FLOORS[own], f"{inside} imports {other}"


@pytest.mark.parametrize("path", sorted((ROOT / "envs").rglob("*.py")), ids=lambda path: path.stem)
def test_worlds_know_neither_torch_nor_sb3_nor_the_sandbox(path):
    roots = {module.split(".")[0] for module in imported_modules(path)}
    assert not roots & {"torch", "stable_baselines3", "pkpo_sandbox", "hydra"}


@pytest.mark.slow
def test_a_built_wheel_trains_in_another_environment(tmp_path):
    source = tmp_path / "source"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info")

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {*left_out(folder, names), *(["runs"] if Path(folder) == ROOT else [])}

    shutil.copytree(ROOT, source, ignore=ignored)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "other", with_pip=False)
    python = tmp_path / "other" / "bin" / "python"
    (site,) = (tmp_path / "other").glob("lib/python3.*/site-packages")
    # The dependencies come from here; pkpo_sandbox itself only from the wheel.
    dependencies = Path(pytest.__file__).parents[1]
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*install, "--quiet", str(wheel)], check=True)
    where = "import pkpo_sandbox, pkpo_envs; print(pkpo_sandbox.__file__, pkpo_envs.__file__)"
    command = [str(python), "-c", where]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.count(str(site)) == 2
    train = tmp_path / "other" / "bin" / "pkpo-train"
    usage = subprocess.run([train, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert "objective: " in usage.stdout
    result = subprocess.run(
        [train, "env=cliff_1d", "total_timesteps=512"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "runs" / "train").glob("*/summary.json"))
