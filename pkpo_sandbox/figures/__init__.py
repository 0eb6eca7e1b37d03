"""``pkpo-figures``: draw the figures of finished experiments.

One module is one figure, named after its experiment in ``conf/experiment/``. It has

- ``table(runs)``: the numbers of the figure from the finished runs, a tidy DataFrame,
- ``draw(table)``: a matplotlib figure of that table, and
- ``RUNS``, if the runs lie in another folder than one of the figure's name.

A figure of your own is such a module anywhere: ``pkpo-figures my_package.my_figure``.
"""

import argparse
import pkgutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from pkpo_sandbox import plotting
from pkpo_sandbox.runs import load_runs


def names() -> list[str]:
    """The figures of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def module(name: str) -> Any:
    """The module that draws a figure: one of :func:`names`, or the full name of your own.

    :raises ValueError: if there is no such figure
    """
    known = names()
    if name not in known and "." not in name:
        raise ValueError(f"no figure {name!r}: choose from {', '.join(known)}, or name a module")
    return import_module(f"{__name__}.{name}" if name in known else name)


def make(name: str, runs: Path, output: Path) -> list[Path]:
    """Draw one figure from its experiment's folder in ``runs``, and write it to ``output``.

    :raises ValueError: if there is no such figure, or its runs are missing or do not match
    """
    figure, short = module(name), name.rpartition(".")[2]
    table: pd.DataFrame = figure.table(load_runs(runs / getattr(figure, "RUNS", short)))
    with plotting.style():
        return plotting.save(figure.draw(table), table, output, short)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the figures of finished experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}, or all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the experiments")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="where to write")
    arguments = parser.parse_args()
    for name in arguments.names or names():
        try:
            paths = make(name, arguments.runs, arguments.output)
        except (ValueError, ImportError) as error:
            sys.exit(f"pkpo-figures {name}: {error}")
        print(", ".join(map(str, paths)), flush=True)
