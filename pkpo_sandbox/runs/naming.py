"""The names of runs, and the runs of a sweep."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox.runs.config import NOT_IN_HASH, TrainConfig, resolved, store_schema
from pkpo_sandbox.runs.layers import settled

LONGEST = 120  #: bytes of a run's name; file systems allow 143 to 255, and report names are longer

#: Keys that were added to configs later. The values here are the behaviour of older runs. Hashes
#: and comparisons leave out a key with such a value, so that older runs keep their names.
LATER: dict[str, Any] = {"env.wrappers": []}
LATER_KWARGS: dict[str, dict[str, Any]] = {  # by env.id
    "pkpo_envs:pkpo/ProblemSet-v0": {"n_problems": 128, "n_answers": 128, "hard_fraction": 0.75}
}


def register() -> None:
    """Register with Hydra what the config tree of ``pkpo-train`` needs: schema and ``run_id``."""
    store_schema("schema", TrainConfig, ("env.kwargs", "algorithm.policy_kwargs", "callbacks"))
    OmegaConf.register_new_resolver("run_id", run_id, replace=True)


def run_id(*, _root_: DictConfig) -> str:
    """Name a run by its objective, seed and config hash: ``pkpo-k=4-seed=0-1a2b3c4d5e``.

    A name has at most 120 bytes. If the coefficients do not fit, the last ones are left out; the
    hash still distinguishes the runs.
    """
    hydra = _root_.get("hydra")
    return run_name(resolved(_root_ if hydra is None else settled(_root_, hydra)))


def run_name(config: Mapping[str, Any]) -> str:
    """The name of the run with this config, which is in plain containers."""
    from pkpo_sandbox.runs.folder import config_hash

    objective = config["objective"]
    first = str(objective.get("_target_", "none")).rpartition(".")[2]
    parts = [f"{key}={label}" for key, value in objective.items() if (label := short(value))]
    last = f"seed={config['seed']}-{config_hash(compared(config))}"
    name = "-".join([first, *parts, last])
    while len(name.encode()) > LONGEST and parts:
        parts.pop()
        name = "-".join([first, *parts, "etc", last])
    if len(name.encode()) > LONGEST:
        room = LONGEST - len(f"-etc-{last}")
        name = f"{first.encode()[:room].decode(errors='ignore')}-etc-{last}"
    return re.sub(r"[/\\\0]", "_", name)


def compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that distinguishes runs.

    :param config: in plain containers
    :return: the config without the keys in :data:`NOT_IN_HASH`, which change no result, and without
        the keys in :data:`LATER` and :data:`LATER_KWARGS` that have the values listed there
    """
    kept = {key: value for key, value in config.items() if key not in NOT_IN_HASH}
    for path, value in LATER.items():
        kept = without(kept, path.split("."), value)
    env = kept.get("env")
    if isinstance(env, Mapping):
        for name, value in LATER_KWARGS.get(str(env.get("id")), {}).items():
            kept = without(kept, ["env", "kwargs", name], value)
    return kept


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config, with later keys added at the values that applied when it was stored."""
    full = dict(config)
    env = full.get("env")
    if not isinstance(env, Mapping):
        return full
    kwargs = {**LATER_KWARGS.get(str(env.get("id")), {}), **(env.get("kwargs") or {})}
    full["env"] = {**env, "kwargs": kwargs}
    for path, value in LATER.items():
        node: Any = full
        *parents, name = path.split(".")
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.setdefault(name, value)
    return full


def without(config: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A config without the entry at a path, if that entry has this value."""
    kept = dict(config)
    name, *rest = path
    if name not in kept:
        return kept
    if rest and isinstance(kept[name], Mapping):
        kept[name] = without(kept[name], rest, value)
    elif not rest and type(kept[name]) is type(value) and kept[name] == value:
        del kept[name]
    return kept


def short(value: Any) -> str:
    """A coefficient in a run's name: 4 for a number, step-8-1-0.5 for a schedule, else ""."""
    if isinstance(value, dict) and "_target_" in value:
        kind = str(value["_target_"]).rpartition(".")[2].lower()
        return "-".join([kind, *filter(None, map(short, value.values()))])
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def combinations(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a grid: ``["k=1,2", "seed=0"]`` becomes [k=1, seed=0] and [k=2, seed=0]."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None  # resolves glob(*)
    parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
    return BasicSweeper.split_arguments(parsed, None)[0]


def sweep_jobs(
    experiment: str, app: str = "train", overrides: Sequence[str] = ()
) -> tuple[str, list[list[str]]]:
    """The jobs of an experiment's sweep, and their common folder in ``runs``.

    :param experiment: its name in ``conf/experiment/``
    :param app: name of the primary config
    :param overrides: further overrides of the command line: ``["seed=range(4)"]``
    :return: the config's ``name``, and the overrides of each job
    """
    from hydra import initialize_config_module

    chosen = f"experiment={experiment}"
    config = composed(app, (chosen,))
    swept = [f"{key}={values}" for key, values in (config.hydra.sweeper.params or {}).items()]
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        jobs = combinations([*swept, *overrides])
    return config.name, [[chosen, *job] for job in jobs]


def sweep_folders(
    experiment: str, overrides: Sequence[str] = (), app: str = "train"
) -> Iterator[Path]:
    """The folders of an experiment's runs, relative to ``runs``, in the order of its sweep.

    Unfinished runs are included. The parameters are those of :func:`sweep_jobs`.
    """
    _, jobs = sweep_jobs(experiment, app, overrides)
    for config in composed_jobs(app, jobs):
        yield Path(config.name) / run_id(_root_=config)


@cache
def composed(app: str, overrides: tuple[str, ...]) -> DictConfig:
    """The result of ``hydra.compose``, with Hydra's own config. It is cached: do not change it."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return compose(app, list(overrides), return_hydra_config=True)


def composed_jobs(app: str, jobs: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
    """The config of each job, as ``hydra.compose`` returns it.

    Composing takes 0.1 seconds. So jobs that differ only in values share one composition.

    :param app: name of the primary config
    :param jobs: the overrides of each job
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for job in jobs:
        parsed = OverridesParser.create().parse_overrides(list(job))
        own = any(one.key_or_group.endswith("._target_") for one in parsed)
        # With the user's own function settled() decides which values apply, so nothing is shared.
        values = [] if own else [one for one in parsed if sets_a_value(one)]
        others = tuple(str(one.input_line) for one in parsed if one not in values)
        config = composed(app, others)
        keys = [str(key) for key in config]
        if not own:
            keys.remove("hydra")  # it is large, and run_id needs it only for own functions
        config = OmegaConf.masked_copy(config, keys)
        for one in values:
            OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
        yield config


def sets_a_value(override: Any) -> bool:
    """Whether an override only replaces a value: ``objective.k=8``, and not ``env=bandit``."""
    key = override.key_or_group
    plain = not (override.is_delete() or override.is_add() or override.is_force_add())
    nested = "." in key and not {"/", "@"} & set(key)
    return plain and not key.startswith("hydra.") and (nested or key == "seed")
