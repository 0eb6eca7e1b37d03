"""The name of a run, and the runs of a sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox.runs.config import NOT_IN_HASH, resolved


def run_id(*, _root_: DictConfig) -> str:
    """Name a run by what it does: ``pkpo-k=4-seed=0-1a2b3c4d5e``, ending in its config's hash."""
    from pkpo_sandbox.runs.folder import config_hash

    config = resolved(_root_)
    objective = config["objective"]
    parts = [str(objective.get("_target_", "none")).rpartition(".")[2]]
    overrides = OmegaConf.select(_root_, "hydra.overrides.task") or []
    given = {override.lstrip("+~").partition("=")[0] for override in overrides}
    if "objective._target_" in given:  # the others may be those of another function's file
        objective = {key: objective[key] for key in objective if f"objective.{key}" in given}
    parts += [f"{key}={label}" for key, value in objective.items() if (label := short(value))]
    hashed = {key: value for key, value in config.items() if key not in NOT_IN_HASH}
    return "-".join([*parts, f"seed={config['seed']}", config_hash(hashed)])


def short(value: Any) -> str:
    """A coefficient in the name of a run: 4, or step-8-1-0.5 for a schedule; else nothing."""
    if isinstance(value, dict) and "_target_" in value:
        kind = str(value["_target_"]).rpartition(".")[2].lower()
        return "-".join([kind, *filter(None, map(short, value.values()))])
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def combinations(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a grid: ``["k=1,2", "seed=0"]`` is [k=1, seed=0] and [k=2, seed=0]."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return BasicSweeper.split_arguments(parsed, None)[0]


def sweep_folders(experiment: str, overrides: Sequence[str] = (), app: str = "train") -> list[Path]:
    """Where in ``runs`` an experiment's runs lie, in the order of its sweep, finished or not.

    :param experiment: its name in ``conf/experiment/``
    :param overrides: what else was on the command line: ``["seed=range(4)"]``
    :param app: name of the primary config
    """
    from hydra import compose, initialize_config_module

    chosen = [f"experiment={experiment}"]
    folders = []
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        sweeper = compose(app, chosen, return_hydra_config=True).hydra.sweeper
        swept = [f"{key}={values}" for key, values in (sweeper.params or {}).items()]
        for job in combinations([*swept, *overrides]):
            config = compose(app, [*chosen, *job], return_hydra_config=True)
            folders.append(Path(config.name) / run_id(_root_=config))
    return folders
