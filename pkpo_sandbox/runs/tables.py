"""Reads finished runs into one tidy table."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from pkpo_sandbox.runs.config import NOT_IN_HASH
from pkpo_sandbox.runs.folder import SUMMARY, find, read_summary
from pkpo_sandbox.runs.naming import completed
from pkpo_sandbox.runs.values import number, restored


def read_progress(folder: Path) -> pd.DataFrame:
    """The training log of a run: one row per logged iteration, columns by name.

    In a column that also has text, entries that are numbers are returned as numbers.

    :raises ValueError: if there is no log, or it is damaged
    """
    table = read_log(folder)
    for name in table.columns:
        if not is_numeric_dtype(table[name]):
            table[name] = table[name].map(parsed, na_action="ignore")
    return table


def read_log(folder: Path, **kwargs: Any) -> pd.DataFrame:
    """``progress.csv`` as pandas reads it, columns in alphabetical order.

    :raises ValueError: if there is no file, or it is damaged
    """
    path = folder / "progress.csv"
    try:
        return pd.read_csv(path, low_memory=False, **kwargs).sort_index(axis=1)
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is missing or damaged ({reason}): train the run again") from error


def parsed(entry: Any) -> Any:
    """An entry of a log, converted to a number if its text is one.

    An integer too large for a float stays text, because pandas cannot compute with it.
    """
    if isinstance(entry, str) and "_" not in entry:  # Python reads 1_000 as a number
        for kind in (int, float):
            with suppress(ValueError):
                return parsed(kind(entry))
    return str(entry) if isinstance(entry, int) and number(entry) is None else entry


def final_values(folder: Path, of_each: bool = False) -> dict[str, Any]:
    """The last logged values of a run, by name. A logged NaN is "nan".

    :param of_each: True for the last entry of each column, False for the entries of the last row
    :raises ValueError: if there is no log, or it is damaged
    """
    table = read_progress(folder)
    # pandas does not distinguish a missing entry from a logged NaN or "None".
    log = read_log(folder, dtype=str, keep_default_na=False, na_values=[""])
    last = (table.ffill() if of_each else table).iloc[-1].to_dict()
    values: dict[str, Any] = {}
    for name, column in log.items():
        at = (column if of_each else column.iloc[-1:]).last_valid_index()
        if at is not None:
            values[str(name)] = column[at] if pd.isna(table[name][at]) else last[name]
    return values


def load_runs(folder: str | Path) -> pd.DataFrame:
    """Read every finished run below a folder, including those behind symbolic links.

    :return: one row per run, with a column for each entry of the summary. Nested entries have
        dotted names ("config.objective.k", "final.rollout/max_at_4", "exact.8.max_at_k").
        "folder" is the run's folder. "inf", "-inf" and "nan" in a summary become numbers
    :raises ValueError: if there is no finished run below the folder, or a summary is damaged
    """
    paths = find(folder, SUMMARY)
    if not paths:
        raise ValueError(f"no finished run below {folder}: train one with pkpo-train first")
    return read_runs([path.parent for path in paths])


def read_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """Read these runs, in this order. The columns are those of :func:`load_runs`.

    :raises ValueError: if a run is not finished, or its summary is damaged
    """
    if not folders:
        raise ValueError("no finished run to read: train one with pkpo-train first")
    summaries = [read_summary(folder) for folder in folders]
    for summary in summaries:
        if summary is not None and isinstance(summary.get("config"), dict):
            summary["config"] = completed(summary["config"])  # so old and new runs have equal keys
    missing = [str(folder) for folder in folders if not (folder / SUMMARY).exists()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(folders)} runs are not finished, such as {missing[0]}: "
            "start the experiment (again), it trains what is missing"
        )
    return pd.json_normalize(
        [
            {"folder": str(folder), **restored(summary or {})}
            for folder, summary in zip(folders, summaries, strict=True)
        ]
    )


def curves(runs: pd.DataFrame, columns: Mapping[str, str], keys: Mapping[str, str]) -> pd.DataFrame:
    """The training logs of several runs, concatenated.

    :param runs: from :func:`load_runs`
    :param columns: new names and columns of the log: ``{"solved": "rollout/solved"}``
    :param keys: new names and columns of ``runs``: ``{"k": "config.objective.k"}``
    :return: one row per run and logged iteration: the keys, then the columns
    :raises ValueError: if a log lacks a column
    """
    tables = []
    for run in runs.to_dict("records"):
        progress = read_progress(Path(str(run["folder"])))
        if missing := set(columns.values()) - set(progress):
            raise ValueError(f"{run['folder']} did not log {', '.join(sorted(missing))}")
        table = progress[list(columns.values())].set_axis(list(columns), axis=1)
        for position, (name, key) in enumerate(keys.items()):
            table.insert(position, name, run[key])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def measurements(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that runs with ``measure`` stored in their summaries, concatenated.

    :raises ValueError: if a run trained a policy instead
    """
    if "measurements" not in runs or runs["measurements"].isna().any():
        raise ValueError("a run holds no measurements: it trained a policy, move it elsewhere")
    return pd.DataFrame([row for rows in runs["measurements"] for row in rows])


def complete_sweep(runs: pd.DataFrame, *swept: str) -> pd.DataFrame:
    """Check that the runs are exactly one complete sweep, and return them sorted.

    A mean over seeds is valid only if nothing else differs and no seed is missing.

    :param runs: from :func:`load_runs`
    :param swept: the config keys that vary besides the seed: ``"objective.k"``
    :raises ValueError: if another key differs, or a run is missing or there twice
    """
    keys = [f"config.{key}" for key in swept]
    may_differ = {*keys, "config.seed", *(f"config.{key}" for key in NOT_IN_HASH)}
    for column in runs.columns:
        if column.startswith("config.") and column not in may_differ:
            values = runs[column].map(str).unique()
            if len(values) > 1:
                raise ValueError(
                    f"the runs differ in {column.removeprefix('config.')} ({', '.join(values)}): "
                    "name it as swept too, or keep the sweep that you mean and move the other runs "
                    "elsewhere"
                )
    # dropna=False keeps settings without a swept key, such as those of another objective.
    counts = runs.groupby([*keys, "config.seed"], dropna=False).size().unstack(fill_value=0)
    for setting, row in counts.iterrows():
        for seed, count in row.items():
            if count != 1:
                raise ValueError(
                    f"{count} runs of {', '.join(swept)} = {setting}, seed = {seed}: there must be "
                    "one; start the experiment again to train what is missing"
                )
    return runs.sort_values([*keys, "config.seed"], ignore_index=True)
