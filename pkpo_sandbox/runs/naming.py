"""The name of a run, and the runs of a sweep."""

from collections.abc import Iterator, Sequence
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
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None  # finds what glob(*) means
    parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
    return BasicSweeper.split_arguments(parsed, None)[0]


def sweep_folders(experiment: str, overrides: Sequence[str] = (), app: str = "train") -> list[Path]:
    """Where in ``runs`` an experiment's runs lie, in the order of its sweep, finished or not.

    :param experiment: its name in ``conf/experiment/``
    :param overrides: what else was on the command line: ``["seed=range(4)"]``
    :param app: name of the primary config
    """
    from hydra import compose, initialize_config_module

    chosen = [f"experiment={experiment}"]
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        sweeper = compose(app, chosen, return_hydra_config=True).hydra.sweeper
        swept = [f"{key}={values}" for key, values in (sweeper.params or {}).items()]
        jobs = combinations([*swept, *overrides])
        configs = composed_jobs(app, [[*chosen, *job] for job in jobs])
        return [Path(config.name) / run_id(_root_=config) for config in configs]


def composed_jobs(app: str, jobs: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
    """The config of each job, as ``hydra.compose`` gives it, Hydra's own included.

    Composing takes a tenth of a second, so it is done once for all jobs that differ in values only.

    :param app: name of the primary config
    :param jobs: the overrides of each job
    """
    from hydra import compose
    from hydra.core.override_parser.overrides_parser import OverridesParser

    composed: dict[tuple[str, ...], DictConfig] = {}
    for job in jobs:
        parsed = OverridesParser.create().parse_overrides(list(job))
        values = [one for one in parsed if sets_a_value(one)]
        others = tuple(str(one.input_line) for one in parsed if one not in values)
        if others not in composed:
            composed[others] = compose(app, list(others), return_hydra_config=True)
        config = composed[others].copy()
        for one in values:
            OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
        yield config


def sets_a_value(override: Any) -> bool:
    """Whether an override only replaces the value of a key: ``objective.k=8``, not ``env=bandit``.

    ``objective._target_`` decides how the run is named, by the overrides that Hydra notes.
    """
    key = override.key_or_group
    plain = not (override.is_delete() or override.is_add() or override.is_force_add())
    nested = "." in key and not {"/", "@"} & set(key) and not key.endswith("._target_")
    return plain and not key.startswith("hydra.") and (nested or key == "seed")
