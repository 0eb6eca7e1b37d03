"""Configs are checked: unknown keys, wrong values, and numbers that JSON lacks."""

import math
from dataclasses import dataclass

import pytest
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf

from pkpo_sandbox.runs import config as configs
from tests.runs.training import run_here


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective.kk=3"], "Could not override 'objective.kk'"),
        (
            ["+objective.kk=3"],
            "pkpo does not take the arguments .*got an unexpected keyword argument 'kk'",
        ),
        (["+foo=1"], "unknown key foo"),
        (["+algorithm.foo=1"], "unknown key algorithm.foo"),
        (["seed=abc"], "Error merging override seed=abc"),
        (["seed=-1"], "seed=-1 must be at least 0"),
        (["objective.k=99"], "k = 99 exceeds n = 16"),
        (["objective.k=2.5"], "k = 2.5"),
        (["algorithm.group_size=1"], "group_size must be an integer of at least 2, got 1"),
        (["algorithm.learning_rate=abc"], "must be a float or a callable, not abc"),
        (["algorithm.policy=Foo"], "Policy Foo unknown"),
        (["env=nope"], "Could not find 'env/nope'"),
        (["env.id=Nope-v0"], "`Nope` doesn't exist"),
        (["env.id=nowhere:Nope-v0"], "No module named 'nowhere'"),
        (["env.vectorization=async"], "vectorization=async needs env.num_envs"),
        (["algorithm.device=meta"], "device='meta' must be auto, cpu, cuda"),
        (["checkpoint_every=0"], "checkpoint_every=0 must be at least 1"),
        (
            ["env=bandit", "env.kwargs.probabilities=[2,0,0]"],
            r"The probability 2.0 of arm 0 must be in \[0, 1\]",
        ),
        (["objective._target_=foo.bar"], "No module named 'foo'"),
        (["log_formats=[tensorboard]"], "must contain csv"),
    ],
)
def test_a_wrong_key_or_value_gives_a_readable_error(overrides, message, tmp_path):
    # In this process, for speed; what the command prints of it is tested below.
    with pytest.raises((HydraException, ValueError), match=message):
        run_here(tmp_path, *overrides)
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files <= {".lock", "failure.json", "failure.log"}  # nothing that looks like a result


@dataclass
class Settings:
    steps: int = MISSING
    rate: float = 0.5


def test_a_config_becomes_its_dataclass():
    found = configs.checked({"steps": 3}, Settings)
    assert found == Settings(3, 0.5)
    assert configs.checked(found, Settings) is found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 1, "size": 2}, "unknown key size: see my-command --cfg job for all keys"),
        ({}, "steps is missing: give it a value"),
        ({"steps": "many"}, "'many' of type 'str' could not be converted to Integer"),
    ],
)
def test_a_wrong_key_or_value_is_named(given, message):
    for config in (given, OmegaConf.create(given)):
        with pytest.raises(ValueError, match=message):
            configs.checked(config, Settings, command="my-command")


@pytest.mark.parametrize(
    ("value", "bound"), [(0, "at least 1"), (2**53 + 1, r"at most 2\*\*53"), (2**53, None)]
)
def test_a_setting_is_from_its_bound_to_the_largest_exact_integer(value, bound):
    if bound is None:
        configs.at_least(1, steps=value)
        return
    with pytest.raises(ValueError, match=f"steps={value} must be {bound}"):
        configs.at_least(1, steps=value)


def test_a_stored_config_is_resolved_and_its_numbers_are_finite():
    config = OmegaConf.create(
        {"a": [math.inf, 1.5], "b": {"c": "${a}", "d": math.nan}, "hydra": {"x": "???"}}
    )
    assert configs.resolved(config) == {"a": ["inf", 1.5], "b": {"c": ["inf", 1.5], "d": "nan"}}


def test_an_error_is_one_line_with_its_type():
    error = ValueError("k = 99\n  exceeds n")
    assert configs.one_line(error) == "ValueError: k = 99 exceeds n"
    with (
        pytest.raises(configs.UnusableConfigError, match=r"^ValueError: k = 99 exceeds n$"),
        configs.readable(ValueError),
    ):
        raise error
    with pytest.raises(KeyError), configs.readable(ValueError):  # no error of the user's
        raise KeyError("x")
