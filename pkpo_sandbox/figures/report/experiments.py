"""The figures of experiments that have all their runs in a folder."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.gallery import figure_module, figure_names, primary_config
from pkpo_sandbox.figures.report.collect import Run
from pkpo_sandbox.figures.report.drawing import Plot, inline
from pkpo_sandbox.runs.naming import sweep_folders, sweep_jobs
from pkpo_sandbox.runs.tables import read_runs


def experiments(finished: Sequence[Run]) -> tuple[list[Plot], list[str]]:
    """The figures of the complete experiments, and the errors of those that cannot be drawn."""
    found, undrawn = [], []
    for name, folders in complete(finished):
        figure = figure_module(name)
        try:
            with plotting.style():
                drawn = figure.draw(figure.table(read_runs(folders)))
                title = str(figure.__doc__).splitlines()[0]
                found.append(Plot(name, inline(drawn, f"figure-{name}", title), title))
        except Exception as error:  # changed files may raise any error in a figure
            undrawn.append(f"{name}: {type(error).__name__}: {error}")
    return found, undrawn


def complete(finished: Sequence[Run]) -> Iterator[tuple[str, list[Path]]]:
    """The experiments that have all their runs here, with the folders of these runs."""
    places = {run.folder.name: run.folder for run in finished}
    names = Counter(str(run.config.get("name")) for run in finished)
    for name in figure_names():
        runs_name, jobs = sweep_jobs(name, primary_config(name))
        if names[runs_name] < len(jobs):  # runs are missing: skip the computation of folders
            continue
        here: list[Path] = []
        for folder in sweep_folders(name, (), primary_config(name)):
            if folder.name not in places:
                break
            here.append(places[folder.name])
        else:
            yield name, here
