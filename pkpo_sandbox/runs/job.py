"""A job is done once. Steps: find the finished run, or lock the folder, build, learn and write.

Each job writes into its own folder (:mod:`pkpo_sandbox.runs.naming`). A finished job is not done
again, and two processes never do the same job at the same time. So a stopped sweep continues when
it is started again. Importing this module loads neither torch nor pandas.
"""

import json
import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pkpo_sandbox.runs.config import checked, one_line, readable, resolved
from pkpo_sandbox.runs.console import safe_output
from pkpo_sandbox.runs.fingerprint import (
    fingerprint,
    note_loaded,
    other_versions,
    package,
    versions,
)
from pkpo_sandbox.runs.finished import Wanted, check_unfinished, finished
from pkpo_sandbox.runs.folder import (
    STARTED,
    SUMMARY,
    tidy,
    write_atomically,
    write_failure,
    write_summary,
)
from pkpo_sandbox.runs.journal import said
from pkpo_sandbox.runs.layers import refuse_losses, settled, written
from pkpo_sandbox.runs.locks import is_main_process, taken
from pkpo_sandbox.runs.naming import run_name
from pkpo_sandbox.runs.values import plain, restored

Learn = Callable[[], dict[str, Any] | None]


@dataclass(frozen=True)
class App:
    """A command whose jobs are done once.

    :param command: its name
    :param schema: the dataclass of its config
    :param build: builds all that a job needs, from the settings and the folder, and returns a
        function. That function does the job and returns results for the summary. In a distributed
        job it returns None in all processes but the main one
    :param packages: packages whose versions are stored in the summary
    """

    command: str
    schema: type
    build: Callable[[Any, Path], Learn]
    packages: tuple[str, ...]


@safe_output()
def perform(config: Any, app: App, folder: str | Path | None = None) -> float | None:
    """Do one job in its folder, unless it is finished, and declare it finished.

    :param config: a config from Hydra, or an instance of the app's schema
    :param folder: the run's folder. None: Hydra's output folder, or ``runs/<name>/<run>`` without
        Hydra
    :return: the entry of the summary that ``score`` names; a search maximises it
    :raises UnusableConfigError: if the config cannot be used, or the folder holds another run
    """
    config, hydra = apart(config)
    place = folder_of(config, hydra) if folder is None else Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    overrides = None if hydra is None else written(hydra)
    with failures_noted(place, config, overrides):
        if hydra is not None:
            refuse_losses(config, hydra)
            config = settled(config, hydra)
        with readable(Exception):  # errors here are mistakes in the user's config
            settings = checked(config, app.schema, app.command)
            wanted = wanted_of(config)
        # 1. Look for the finished run.
        before = finished(place, wanted)
        summary = before
        if before is None:
            # 2. Lock the folder. While this process waits, another one may finish the run.
            with taken(place):
                before = finished(place, wanted, held=True)
                summary = before or attempt(settings, wanted, overrides, app, place)
        if before is not None:
            print(f"finished before: {place}", flush=True)
            tell_versions(before, app)
    with readable(ValueError):
        return None if summary is None else score(summary, config)


def apart(config: Any) -> tuple[DictConfig, DictConfig | None]:
    """Split a config into the job's part and Hydra's own part, which is None without Hydra.

    :raises UnusableConfigError: if settings contain a value that a config cannot represent
    """
    with readable(OmegaConfBaseException):
        config = config if isinstance(config, DictConfig) else OmegaConf.structured(config)
    if "hydra" in config:  # composed with return_hydra_config=True
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        return own, config.hydra
    hydra: Any = HydraConfig.get() if HydraConfig.initialized() else None
    return config, hydra


def folder_of(config: DictConfig, hydra: DictConfig | None) -> Path:
    """The default folder of a job."""
    if hydra is not None and not OmegaConf.is_missing(hydra.runtime, "output_dir"):
        return Path(hydra.runtime.output_dir)
    with readable(Exception):
        settings = config if hydra is None else settled(config, hydra)
        return Path("runs", config.name, run_name(resolved(settings)))


def wanted_of(config: DictConfig) -> Wanted:
    """The run that a job looks for in its folder, and writes there."""
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key != "if_code_changed"])
    stored = resolved(kept)
    text = OmegaConf.to_yaml(kept, resolve=True)
    return Wanted(stored, text, fingerprint(stored), config.get("if_code_changed"))


def attempt(
    settings: Any, wanted: Wanted, overrides: list[str] | None, app: App, folder: Path
) -> dict[str, Any] | None:
    """Do a job that is not finished. Returns its summary, or None outside the main process."""
    started = time.perf_counter()
    check_unfinished(folder, wanted)
    # 3. Build all that the job needs.
    with readable(Exception), failing_alone():
        learn = app.build(settings, folder)
    note_loaded(wanted.code["own"])
    made = {"versions": versions(*app.packages), "code": wanted.code}
    if is_main_process():
        write_atomically(folder / "config.yaml", wanted.text)
        write_atomically(folder / STARTED, json.dumps(made))
    # 4. Learn.
    with readable(ValueError, ImportError, OSError, MemoryError), failing_alone():
        results = learn()
    if results is None:
        return None
    # 5. Write the summary, last.
    seconds = time.perf_counter() - started
    about = {"config": wanted.config, "overrides": overrides, "seed": settings.seed}
    summary = {**about, **results, **made, "wall_time_seconds": round(seconds, 3)}
    write_summary(folder, summary)
    tidy(folder)
    print(f"finished in {seconds:.1f} s: {folder}", flush=True)
    return summary


@contextmanager
def failures_noted(folder: Path, config: DictConfig, overrides: list[str] | None) -> Iterator[None]:
    """Write the failure of a job into its folder, unless a finished run is there.

    :param overrides: the overrides of the command line; None without a command line
    """
    try:
        yield
    except Exception as error:
        if is_main_process() and not (folder / SUMMARY).exists():
            failure: dict[str, Any] = {"error": one_line(error), "overrides": overrides or []}
            with suppress(Exception):  # the config itself may be the cause of the error
                failure["config"] = resolved(config)
            write_failure(folder, failure, traceback.format_exc())
        raise


@contextmanager
def failing_alone() -> Iterator[None]:
    """Turn ``sys.exit`` in a job into an error: the job fails and the sweep continues."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"the job called sys.exit({error.code!r})") from error


def tell_versions(summary: dict[str, Any], app: App) -> None:
    """Print, once per sweep, that a finished run was made with other versions."""
    others = other_versions(summary.get("versions", {}), versions(*app.packages))
    if (made := summary.get("code")) and made.get("package") not in (None, package()):
        others.append("pkpo-sandbox's own code")
    if others:
        said.once(f"kept: finished runs that were made with other versions ({', '.join(others)})")


def score(summary: dict[str, Any], config: DictConfig) -> float | None:
    """The entry of a summary that ``config.score`` names, as in "exact.8.max_at_k".

    Returns None if ``config.score`` is None.

    :raises ValueError: if the summary has no such number
    """
    name = config.get("score")
    if name is None:
        return None
    found: Any = summary
    for key in str(name).split("."):
        if not isinstance(found, dict) or key not in found:
            known = ", ".join(sorted(found)) if isinstance(found, dict) else "none"
            raise ValueError(f"score={name}: the summary has no {key!r} there, but {known}")
        found = found[key]
    found = restored(plain(found))  # inf for "inf"
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"score={name} is not a number: name one, such as final.time/iterations")
    if math.isnan(found):
        raise ValueError(f"score={name} is nan in this run: it cannot be compared with others")
    return float(found)
