"""The figures of this project, one module each, named after its experiment.

Such a module has

- ``table(runs)``: the numbers of the figure from the experiment's runs, a tidy DataFrame,
- ``draw(table)``: a matplotlib figure of that table,
- ``claims(table)``: what the README says of it, see :mod:`pkpo_sandbox.figures.claims` (optional
  in a figure of your own), and
- ``APP``, if another command than ``pkpo-train`` runs the experiment: its primary config.

A new module here, with an experiment of its name, is found by the commands, by make, by the site
and by the tests.
"""

import pkgutil
from importlib import import_module
from typing import Any


def figure_names() -> list[str]:
    """The figures of this package."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def figure_module(name: str) -> Any:
    """The module that draws a figure: one of :func:`figure_names`, or the full name of your own.

    :raises ValueError: if there is no such figure
    :raises ImportError: if the module cannot be imported
    """
    known = figure_names()
    if name not in known and ("." not in name or not all(map(str.isidentifier, name.split(".")))):
        raise ValueError(f"no figure {name!r}: choose from {', '.join(known)}, or name a module")
    found = import_module(f"{__name__}.{name}" if name in known else name)
    if not (hasattr(found, "table") and hasattr(found, "draw")):
        raise ValueError(f"{name} draws no figure: it has no functions table(runs) and draw(table)")
    return found


def primary_config(name: str) -> str:
    """The primary config of a figure's experiment: that of ``pkpo-train``, or another command's."""
    return getattr(figure_module(name), "APP", "train")
