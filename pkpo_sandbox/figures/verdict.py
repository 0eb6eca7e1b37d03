"""Check whether the runs on this machine agree with the claims of the README."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from pkpo_sandbox.figures.claims import Claim, Number
from pkpo_sandbox.figures.gallery import figure_module
from pkpo_sandbox.runs.folder import write_atomically

WIDTH = 120  # characters of the printed table if there is no terminal
HOLDS = {True: "yes", False: "NO", None: "shown"}


@dataclass(frozen=True)
class Verdict:
    """One claim, and the numbers of the runs on this machine."""

    figure: str
    claim: Claim
    here: tuple[float, ...]

    @property
    def holds(self) -> bool | None:
        """None for numbers that are shown without a claim."""
        return self.claim.holds(self.here)

    def as_dict(self) -> dict[str, Any]:
        """The entry of the JSON file."""
        claim = self.claim
        return {
            "figure": self.figure,
            "claim": claim.title,
            "paper": claim.paper,
            "committed": list(claim.values),
            "here": list(self.here),
            "relation": claim.relation,
            "tolerance": list(claim.bounds),
            "holds": self.holds,
        }


def compare(name: str, committed: pd.DataFrame, here: pd.DataFrame) -> list[Verdict]:
    """The claims of a figure, each with the numbers of the committed table and of another one.

    :param name: of the figure
    :return: an empty list for your own figure without ``claims``
    :raises ValueError: if a table lacks what the claims need, for example some settings
    """
    claims = getattr(figure_module(name), "claims", None)
    if claims is None:
        return []
    try:
        pairs = list(zip(claims(committed), claims(here), strict=True))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"a table of {name} lacks what its claims need: {error!r}") from error
    return [Verdict(name, claim, other.values) for claim, other in pairs]


def compare_folders(names: Sequence[str], committed: Path, here: Path) -> Iterator[Verdict]:
    """The claims of figures whose tables are in two folders.

    :raises ValueError: if a table is missing or does not fit its figure
    """
    for name in names:
        file = f"{name.rpartition('.')[2]}.csv"
        yield from compare(name, *(read_table(folder / file) for folder in (committed, here)))


def read_table(path: Path) -> pd.DataFrame:
    """Read a figure's table, as :func:`pkpo_sandbox.figures.plotting.save` wrote it.

    :raises ValueError: if the file is missing or damaged
    """
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} is missing or damaged ({reason}): draw the figure first"
        ) from error


def all_hold(verdicts: Sequence[Verdict]) -> bool:
    """Whether all claims hold."""
    return all(verdict.holds is not False for verdict in verdicts)


def write_json(verdicts: Sequence[Verdict], path: Path) -> None:
    """Write the verdicts: ``{"holds": true, "claims": [...]}``. NaN becomes null."""
    content = {"holds": all_hold(verdicts), "claims": [verdict.as_dict() for verdict in verdicts]}
    write_atomically(path, json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n")


def finite(value: Any) -> Any:
    """Containers with None instead of numbers that JSON cannot store."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def print_table(verdicts: Sequence[Verdict]) -> None:
    """Print a row for each claim, and the number of claims that hold."""
    table = Table(title="What the README says, and the runs on this machine", show_lines=True)
    for heading in ("claim", "paper", "committed", "here", "tolerance", "holds"):
        table.add_column(heading, overflow="fold")
    for verdict in verdicts:
        claim = verdict.claim
        table.add_row(
            f"{verdict.figure}: {claim.title}",
            claim.paper,
            written(claim.values),
            written(verdict.here),
            tolerance(claim),
            HOLDS[verdict.holds],
            style="bold red" if verdict.holds is False else None,
        )
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=WIDTH)
    console.print(table)
    claimed = [verdict.holds for verdict in verdicts if verdict.holds is not None]
    console.print(f"{sum(claimed)} of {len(claimed)} claims hold")


def written(values: Sequence[float]) -> str:
    return ", ".join(format(Number(value), ".4g") for value in values)


def tolerance(claim: Claim) -> str:
    """The bounds in words. A bound that all numbers share is written once."""
    words = {"within": "± {}", "above": "at least {}", "below": "at most {}", "shown": "none"}
    digits = ".2g" if claim.relation == "within" else ".4g"
    bounds = [format(Number(bound), digits) for bound in claim.bounds]
    same = bounds[:1] if len(set(bounds)) == 1 else bounds
    return words[claim.relation].format(", ".join(same))
