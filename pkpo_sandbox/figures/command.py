"""``pkpo-figures``: draw the figures of finished experiments, and check their claims.

A figure is a module of :mod:`pkpo_sandbox.figures.gallery`. Your own figure is such a module in any
package. ``pkpo-figures my_package.my_figure`` draws it from ``runs/my_figure``.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from pkpo_sandbox.figures import verdict
from pkpo_sandbox.figures.gallery import figure_module, figure_names, primary_config
from pkpo_sandbox.figures.terminal import drawing_command
from pkpo_sandbox.runs.folder import SUMMARY, find
from pkpo_sandbox.runs.naming import sweep_folders
from pkpo_sandbox.runs.tables import read_runs

EXPECTED = (ValueError, ImportError, OSError, HydraException, OmegaConfBaseException)


def run_folders(name: str, runs: Path, overrides: Sequence[str] = ()) -> list[Path]:
    """The folders in ``runs`` of the runs of a figure's experiment, finished or not.

    :param overrides: the overrides of the sweep. They are not used for your own figure, which
        takes all runs in its folder
    :raises ValueError: if there is no such figure
    """
    if name not in figure_names():
        figure_module(name)
        return [path.parent for path in find(runs / name.rpartition(".")[2], SUMMARY)]
    return [runs / folder for folder in sweep_folders(name, overrides, primary_config(name))]


def draw_figure(name: str, finished: pd.DataFrame, output: Path) -> list[Path]:
    """Draw one figure from the finished runs of its experiment, and write it to ``output``.

    :raises ValueError: if there is no such figure, or the runs do not match
    """
    from pkpo_sandbox.figures import plotting

    figure = figure_module(name)
    table: pd.DataFrame = figure.table(finished)
    with plotting.style():
        return plotting.save(figure.draw(table), table, output, name.rpartition(".")[2])


@drawing_command()
def main() -> None:
    """The command ``pkpo-figures``."""
    parser = argparse.ArgumentParser(description="Draw the figures of finished experiments.")
    known = ", ".join(figure_names())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {known}, or all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--output", type=Path, help="where to write (default: RUNS/figures)")
    parser.add_argument(
        "--overrides", nargs="*", default=[], help="as they were given to the sweep"
    )
    parser.add_argument(
        "--verdict",
        nargs="?",
        type=Path,
        const=Path("figures"),
        metavar="COMMITTED",
        help="compare with the figures in this folder (default: figures), write OUTPUT/claims.json,"
        " and exit with 1 if a claim about them does not hold",
    )
    arguments = parser.parse_args()
    sys.path.insert(0, os.getcwd())  # for your own figure
    output = arguments.output or arguments.runs / "figures"
    if arguments.verdict is not None and arguments.verdict.resolve() == output.resolve():
        sys.exit(f"pkpo-figures: {output} holds the committed figures: choose another --output")
    drawn = []
    for name in arguments.names or figure_names():
        try:
            folders = run_folders(name, arguments.runs, arguments.overrides)
            if not arguments.names and not any(folder.exists() for folder in folders):
                print(f"{name}: its experiment has not been run", flush=True)
                continue
            paths = draw_figure(name, read_runs(folders), output)
        except EXPECTED as error:
            sys.exit(f"pkpo-figures {name}: {' '.join(str(error).split())}")
        print(", ".join(map(str, paths)), flush=True)
        drawn.append(name)
    if arguments.verdict is not None:
        sys.exit(judge(drawn, arguments.verdict, output))


def judge(names: Sequence[str], committed: Path, output: Path) -> str | int:
    """Print and write the verdict, and return the exit status of the command."""
    try:
        verdicts = list(verdict.compare_folders(names, committed, output))
        verdict.write_json(verdicts, output / "claims.json")
    except EXPECTED as error:
        return f"pkpo-figures --verdict: {' '.join(str(error).split())}"
    verdict.print_table(verdicts)
    return 0 if verdict.all_hold(verdicts) else 1
