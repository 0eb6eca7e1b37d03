"""The figures of this project, one module each, named after its experiment.

Such a module has

- ``table(runs)``: the numbers of the figure, a tidy DataFrame made from the experiment's runs,
- ``draw(table)``: a matplotlib figure of that table,
- ``claims(table)``: the README's claims about it, see :mod:`pkpo_sandbox.figures.claims` (optional
  in your own figure), and
- ``APP``, if a command other than ``pkpo-train`` runs the experiment: its primary config.

The commands, make, the site and the tests find a new module here, together with the experiment of
the same name.
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
    """The primary config of a figure's experiment: of ``pkpo-train`` or of another command."""
    return getattr(figure_module(name), "APP", "train")
