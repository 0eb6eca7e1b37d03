"""A given setting takes effect in the run, or the command explains why it cannot."""

import itertools
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox.runs.config import UnusableConfigError
from pkpo_sandbox.runs.layers import refuse_losses, settled
from pkpo_sandbox.runs.naming import combinations, register, run_id

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("env", "objective", "schedule", "rival", "experiment")
GRPO = "pkpo_sandbox.transforms.grpo"
RATE = "algorithm.learning_rate.end"
LINEAR = "{_target_:pkpo_sandbox.schedules.Linear,start:3,end:2}"


@pytest.fixture(scope="module", autouse=True)
def tree() -> Iterator[None]:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        yield


def settings(*overrides: str, name: str = "train") -> DictConfig:
    """The config of a job, as ``perform`` would have it."""
    config = compose(name, list(overrides), return_hydra_config=True)
    refuse_losses(config, config.hydra)
    return settled(config, config.hydra)


def refusal(*overrides: str, name: str = "train") -> str:
    with pytest.raises(UnusableConfigError) as caught:
        settings(*overrides, name=name)
    return str(caught.value)


# A grid of groups and overrides


def flat(value: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            leaves |= flat(entry, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = entry
    return leaves


@cache
def contents(group: str, option: str) -> dict[str, Any]:
    """What a file sets, and what the files set that it chooses, by keys of the config."""
    text = (CONF / group / f"{option}.yaml").read_text()
    package = text.split("\n")[0].split()[-1] if text.startswith("# @package") else group
    values = yaml.safe_load(text)
    chosen: dict[str, Any] = {}
    for entry in values.pop("defaults", []):
        ((key, choice),) = entry.items()
        chosen |= contents(key.removeprefix("override /"), choice)
    values.pop("hydra", None)
    return chosen | flat(values, "" if package == "_global_" else f"{package}.")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def job(choice: str, *overrides: str) -> list[str]:
    """The overrides of the first job of a command."""
    swept: list[str] = []
    if choice.startswith("experiment="):
        values = yaml.safe_load((CONF / f"{choice.replace('=', '/')}.yaml").read_text())
        params = values["hydra"]["sweeper"]["params"]
        swept = [f"{key}={value}" for key, value in params.items()]
    return combinations([*swept, choice, *overrides])[0]


def assert_in_force(overrides: list[str]) -> bool:
    """Whether the job is refused; if it is not, all that is given must be in its config."""
    try:
        config = settings(*overrides)
    except (HydraException, UnusableConfigError):
        return True
    parsed = OverridesParser.create().parse_overrides(overrides)
    given = {one.key_or_group: one.value() for one in parsed}
    # The command line may choose another env or objective than the experiment does: it goes last.
    chosen = sorted(given.keys() & set(GROUPS), key=lambda group: group != "experiment")
    expected: dict[str, Any] = {}
    for group in chosen:
        expected |= contents(group, given[group])
    typed = {key: value for key, value in given.items() if key not in GROUPS}
    left = {key: value for key, value in expected.items() if key not in typed}
    for key, value in (left | flat(typed)).items():
        wanted = OmegaConf.create({"x": value, **plain(config)}).x  # interpolations resolved
        assert OmegaConf.select(config, key) == wanted, (overrides, key)
    return False


def plain(config: DictConfig) -> dict[str, Any]:
    return {str(key): config[key] for key in config if key != "hydra"}


OVERRIDES = {
    "number": ["objective.k=3"],
    "node": [f"objective.k={LINEAR}"],
    "rate": ["algorithm.learning_rate=0.02"],
    "interpolation": ["objective.k=${seed}", "seed=3"],
    "part": ["objective.k.start=6"],
    "text": ["objective.baseline=loo"],
    "function": ["objective._target_=pkpo_sandbox.transforms.rloo"],
    "nothing": ["env.kwargs={}"],
    "other": ["env.kwargs.n_digits=2", "total_timesteps=512"],
}
QUICK = ("number", "node", "rate")


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "override",
    [pytest.param(key, marks=[] if key in QUICK else pytest.mark.slow) for key in OVERRIDES],
)
def test_what_a_group_sets_and_what_is_given_is_in_force_or_refused(group, override):
    given = OVERRIDES[override]
    refused = [
        option for option in options(group) if assert_in_force(job(f"{group}={option}", *given))
    ]
    if group == "schedule":
        assert (refused == options(group)) == (override in ("number", "interpolation"))


PAIRS = [("rival", "objective"), ("experiment", "schedule"), ("experiment", "rival")]


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_two_groups_set_is_in_force_or_refused(one, other):
    for first, second in itertools.product(options(one), options(other)[::2]):
        assert_in_force(job(f"{one}={first}", f"{other}={second}"))


# What is refused, and what stays as Hydra has it

STEP = "schedule=step"
BETA = ["objective=rs_grpo", "+schedule@objective.beta=linear"]


@pytest.mark.parametrize(
    ("overrides", "both", "cure"),
    [
        ([STEP, "objective.k=8"], ["schedule=step", "objective.k=8"], "objective.k.start=8"),
        ([STEP, "++objective.k=8"], ["schedule=step", "++objective.k=8"], "objective.k.start=8"),
        ([STEP, "objective.k=${seed}"], ["schedule=step", "${seed}"], "leave out schedule=step"),
        (["schedule=constant", "objective.k=8"], ["schedule=constant"], "objective.k.value=8"),
        ([STEP, f"objective.k={LINEAR}"], ["schedule=step", LINEAR], "leave one of them out"),
        (
            [STEP, "objective.k.start=4", "objective.k=8"],
            ["objective.k.start=4", "objective.k=8"],
            "leave one of them out",
        ),
        (
            ["experiment=anneal", STEP, "objective.k=1"],  # as the sweep of the experiment has it
            ["schedule=step", "objective.k=1"],
            "leave out schedule=step",
        ),
        (
            ["experiment=risk_1d", "algorithm.learning_rate=0.1"],
            ["experiment=risk_1d", "algorithm.learning_rate=0.1"],
            "algorithm.learning_rate.start=0.1",
        ),
        (["rival=grpo", "objective=pkpo"], ["objective=grpo", "objective=pkpo"], "leave one of"),
        (
            ["rival=grpo", "experiment=unblock"],
            ["rival=grpo", "experiment=unblock"],
            "leave one of them out",
        ),
        (
            ["rival=pkpo", "experiment=digit_sum"],
            ["rival=pkpo", "experiment=digit_sum"],
            "algorithm.learning_rate=0.003",
        ),
        ([*BETA, "objective.beta=3"], [BETA[1], "objective.beta=3"], "objective.beta.start=3"),
        ([*BETA, "++objective.beta=3"], [BETA[1], "beta=3"], "objective.beta.start=3"),
        (
            ["callbacks.mine._target_=x.Mine", "callbacks.mine=null"],
            ["callbacks.mine._target_=x.Mine", "callbacks.mine=null"],
            "leave one of them out",
        ),
        (["schedule=[step]", "objective.k=8"], ["schedule=step"], "objective.k.start=8"),
        (["schedule=[step,linear]"], ["schedule=step", "schedule=linear"], "leave one of them"),
        ([STEP, "~schedule"], ["schedule=step", "~schedule"], "leave one of them out"),
        (["env=bandit", "env.kwargs={}"], ["env.kwargs={}"], "'~env.kwargs.payouts'"),
        (["experiment=sample_weights", "objective.k=8"], ["objective.k=8"], "Leave it out"),
        (["experiment=sample_weights", "env=bandit"], ["env=bandit"], "measures"),
        (["experiment=gradient_variance", "metrics.eval_groups=4"], ["eval_groups=4"], "measures"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_would_be_lost_is_refused_with_both_names_and_the_cure(overrides, both, cure):
    message = refusal(*overrides)
    for name in [*both, cure]:
        assert name in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([STEP, "objective.k.start=4"], {"objective.k.start": 4, "objective.k.end": 1}),
        (["objective.k=4", "objective.k=8"], {"objective.k": 8}),
        ([f"objective.k={LINEAR}", "objective.k=8"], {"objective.k": 8}),
        (["objective.k=8", f"objective.k={LINEAR}"], {"objective.k.start": 3}),
        (["schedule=linear", STEP], {"objective.k.at": 0.5}),
        (["objective=pkpo", STEP], {"objective.k.at": 0.5}),  # what schedules are there for
        (["experiment=unblock", "objective.k=2", "objective.k=16"], {"objective.k": 16}),
        (["experiment=entropy_bonus", "objective=grpo"], {"objective._target_": GRPO}),
        (["experiment=risk_1d", "algorithm.learning_rate.end=0.1"], {RATE: 0.1}),
        (["rival=grpo", "algorithm.learning_rate=0.1"], {"algorithm.learning_rate": 0.1}),
        (["rival=grpo", "objective=grpo"], {"objective._target_": GRPO}),
        (["rival=grpo", "experiment=objectives"], {"objective._target_": GRPO}),
        ([STEP, "~objective.k", "+objective.k=8"], {"objective.k": 8}),
        ([*BETA, "objective.beta.start=3"], {"objective.beta.start": 3, "objective.beta.end": 1}),
        (["env=bandit", "env.kwargs={payouts:[1,0,0]}"], {"env.kwargs.payouts": [1, 0, 0]}),
        (["env.kwargs.hard_fraction=0.9"], {"env.kwargs": {"hard_fraction": 0.9}}),
        (["env=problem_set", "env.kwargs.hard_fraction=0.9"], {"env.kwargs.n_answers": 128}),
        (["env.id=CartPole-v1"], {"env.id": "CartPole-v1", "env.kwargs": {}}),
        (["callbacks.mine={_target_:x.Mine,a:1}"], {"callbacks.mine.a": 1}),
        (["algorithm.policy_kwargs.net_arch=[8]"], {"algorithm.policy_kwargs.net_arch": [8]}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_other_overrides_are_in_force_as_hydra_has_them(overrides, expected):
    config = settings(*overrides)
    for key, value in expected.items():
        assert OmegaConf.select(config, key) == value


def test_a_function_of_ones_own_gets_what_is_given_and_no_defaults_of_another():
    own = "objective._target_=my_module.mine"
    for overrides, rest in (
        ([], {}),
        (["+objective.beta=2"], {"beta": 2}),
        (["objective.k=3"], {"k": 3}),
        (["objective=rs_grpo"], {"beta": 2.0}),  # chosen, so it is given
    ):
        objective = settings(own, *overrides).objective
        assert objective == {"_target_": "my_module.mine", **rest}
    named = compose("train", [own, "objective.k=3"], return_hydra_config=True)
    assert run_id(_root_=named).startswith("mine-k=3-seed=0-")


def test_a_budget_and_a_seed_may_be_given_to_all_experiments(capsys):
    settings("experiment=sample_weights", "seed=3", "total_timesteps=512")
    said = capsys.readouterr().out
    assert "seed=3 changes nothing: this run measures, and trains nothing" in said
    assert "total_timesteps=512 changes nothing" in said
    settings("experiment=gradient_variance", "seed=3", "algorithm.group_size=8")
    assert not capsys.readouterr().out  # it measures with this seed, on groups of this size


def test_gemma_has_the_same_refusals():
    pytest.importorskip("trl", reason="the extra gemma2 is not installed")
    assert "objective.k.start=8" in refusal(STEP, "objective.k=8", name="gemma2")
    assert "model=gemma2_2b_it" in refusal(
        "model=gemma2_2b_it", "model={_target_:x.Mine}", name="gemma2"
    )
    config = settings("experiment=paper_arc", "model=gemma2_9b_it", name="gemma2")
    assert config.training.max_completion_length == 2048  # of the experiment, which chose a model
    assert config.model.path == "google/gemma-2-9b-it"


FILES = {
    "experiment/both.yaml": """
        # @package _global_
        defaults:
          - override /schedule: step
        objective:
          k: 8
    """,
    "experiment/chosen.yaml": """
        # @package _global_
        defaults:
          - override /schedule: step
    """,
    "experiment/amended.yaml": """
        # @package _global_
        defaults:
          - override /env: bandit
          - override /objective: rs_grpo
        objective:
          beta: 3.0
        env:
          kwargs:
            payouts: [1, 1, 1]
    """,
    "experiment/own.yaml": """
        # @package _global_
        objective:
          _target_: my_module.mine
          beta: ${seed}
    """,
    "env/far.yaml": """
        # @package _global_
        env:
          id: CartPole-v1
        algorithm:
          learning_rate: 0.5
    """,
    "callbacks/stop.yaml": """
        # @package callbacks.stop
        _target_: x.Stop
        after: 3
    """,
    "mine.yaml": """
        defaults:
          - train
          - override schedule: step
          - _self_
        objective:
          k: 8
    """,
}


@pytest.fixture(scope="module")
def own_tree(tmp_path_factory) -> Iterator[None]:
    """Files of the user's with those of the package, as by ``--config-dir``."""
    folder = shutil.copytree(CONF, tmp_path_factory.mktemp("own") / "conf")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip())
    register()
    hydra = GlobalHydra.instance()
    package, hydra.hydra = hydra.hydra, None
    with initialize_config_dir(str(folder), version_base="1.3"):
        yield
    hydra.hydra = package


@pytest.mark.parametrize(
    ("overrides", "both", "cure"),
    [
        (["experiment=both"], ["experiment=both", "schedule=step of"], "'~schedule'"),
        (["experiment=chosen", "objective.k=8"], ["schedule=step of experiment=chosen"], "start=8"),
        (["env=far", "rival=grpo"], ["env=far", "rival=grpo"], "algorithm.learning_rate=0.5"),
        (
            ["+callbacks=stop", "callbacks.stop=null"],
            ["+callbacks=stop", "callbacks.stop=null"],
            "callbacks.stop.after",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_files_of_ones_own_lose_nothing_either(own_tree, overrides, both, cure):
    message = refusal(*overrides)
    for name in [*both, cure]:
        assert name in message


def test_a_primary_config_of_ones_own_loses_nothing_either(own_tree):
    assert "schedule=step of --config-name mine" in refusal(name="mine")
    assert settings("~schedule", name="mine").objective.k == 8


def test_files_of_ones_own_may_amend_what_they_choose(own_tree):
    config = settings("experiment=amended")
    assert config.objective.beta == 3
    assert config.env.kwargs.payouts == [1, 1, 1]
    assert settings("experiment=amended", "objective=grpo").objective._target_ == GRPO
    assert settings("experiment=own", "seed=4").objective == {
        "_target_": "my_module.mine",
        "beta": 4,
    }
    assert settings("env=far", "rival=grpo", "algorithm.learning_rate=0.1")
