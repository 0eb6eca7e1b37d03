"""``pkpo-figures``: draw the figures of finished experiments.

One module is one figure, named after its experiment in ``conf/experiment/``. It has

- ``table(runs)``: the numbers of the figure from the experiment's runs, a tidy DataFrame,
- ``draw(table)``: a matplotlib figure of that table, and
- ``APP``, if another command than ``pkpo-train`` runs the experiment: its primary config.

A figure of your own is such a module anywhere, for the runs in ``runs/<its last name>``:
``pkpo-figures my_package.my_figure``.
"""

import argparse
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

import pkpo_sandbox.runs.train  # noqa: F401, Hydra then knows the schema of its configs
from pkpo_sandbox.figures import gallery, plotting
from pkpo_sandbox.runs.folder import SUMMARY
from pkpo_sandbox.runs.naming import sweep_folders
from pkpo_sandbox.runs.tables import read_runs


def names() -> list[str]:
    """The figures of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(gallery.__path__))


def module(name: str) -> Any:
    """The module that draws a figure: one of :func:`names`, or the full name of your own.

    :raises ValueError: if there is no such figure
    """
    known = names()
    if name not in known and ("." not in name or not all(map(str.isidentifier, name.split(".")))):
        raise ValueError(f"no figure {name!r}: choose from {', '.join(known)}, or name a module")
    found = import_module(f"{gallery.__name__}.{name}" if name in known else name)
    if not (hasattr(found, "table") and hasattr(found, "draw")):
        raise ValueError(f"{name} draws no figure: it has no functions table(runs) and draw(table)")
    return found


def folders(name: str, runs: Path, overrides: Sequence[str] = ()) -> list[Path]:
    """Where in ``runs`` the runs of a figure's experiment lie, finished or not."""
    figure = module(name)
    if name not in names():
        return [path.parent for path in sorted((runs / name.rpartition(".")[2]).rglob(SUMMARY))]
    app = getattr(figure, "APP", "train")
    return [runs / folder for folder in sweep_folders(name, overrides, app)]


def make(name: str, finished: pd.DataFrame, output: Path) -> list[Path]:
    """Draw one figure from the finished runs of its experiment, and write it to ``output``.

    :raises ValueError: if there is no such figure, or the runs do not match
    """
    figure = module(name)
    table: pd.DataFrame = figure.table(finished)
    with plotting.style():
        return plotting.save(figure.draw(table), table, output, name.rpartition(".")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the figures of finished experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}, or all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="where to write")
    parser.add_argument(
        "--overrides", nargs="*", default=[], help="as they were given to the sweep"
    )
    arguments = parser.parse_args()
    sys.path.insert(0, os.getcwd())  # for a figure of one's own
    for name in arguments.names or names():
        try:
            lie = folders(name, arguments.runs, arguments.overrides)
            if not arguments.names and not any(folder.exists() for folder in lie):
                print(f"{name}: its experiment has not been run", flush=True)
                continue
            paths = make(name, read_runs(lie), arguments.output)
        except (ValueError, ImportError, OSError, HydraException, OmegaConfBaseException) as error:
            sys.exit(f"pkpo-figures {name}: {' '.join(str(error).split())}")
        print(", ".join(map(str, paths)), flush=True)
