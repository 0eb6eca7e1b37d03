"""Makes the environment in which RL Zoo is tested: ``python tests/citizenship/zoo_env.py``.

RL Zoo needs Optuna 3 or newer, Hydra's Optuna plugin needs Optuna 2. So RL Zoo has an environment
of its own. It sees the packages of the environment that runs this script, and has its own version
of those that differ.
"""

import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(sys.prefix) / "zoo"
PYTHON = ENVIRONMENT / "bin" / "python"
OPTUNA = "optuna==5.0.0"


def make() -> None:
    """Make the environment. Print what pip says if it fails."""
    venv.create(ENVIRONMENT, symlinks=True)
    paths = {"base": str(ENVIRONMENT), "platbase": str(ENVIRONMENT)}
    here = Path(sysconfig.get_path("purelib", "venv", paths))
    base = sysconfig.get_path("purelib")
    # addsitedir, and not the bare path: editable packages have .pth files of their own.
    (here / "base.pth").write_text(f"import site; site.addsitedir({base!r})\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        others = [line for line in pinned if not line.startswith("optuna==")]
        constraints.write("\n".join([*others, OPTUNA]))
        constraints.flush()
        pip = [sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet"]
        command = [*pip, "-c", constraints.name, *project["optional-dependencies"]["zoo"]]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout)


if __name__ == "__main__":
    make()
