"""Exact values of a policy against formulas by hand, and the callback that records them."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize

from pkpo_sandbox import PKPO
from pkpo_sandbox.algorithm.groups import make_group_env
from pkpo_sandbox.metrics.callbacks import ExactCallback
from pkpo_sandbox.metrics.exact import exact_values, policy_entropy, policy_parameters
from tests.small import (
    CLIFF,
    PROBLEM_SET,
    SMALL,
    Numbered,
    dummy,
    indifferent,
    logged,
    problem_sets,
    small_pkpo,
)


def test_exact_values_of_a_categorical_policy():
    # Six easy problems (answer 0, probability 0.5) and two hard ones (answers 1 and 2).
    answers = [0.5, 0.25, 0.125, 0.125]
    env = make_group_env(PROBLEM_SET, 4, 8, **SMALL)
    model = indifferent(A2C("MlpPolicy", env), answers)
    world = gymnasium.make(PROBLEM_SET, **SMALL)
    record = logged(model, ExactCallback(world, ks=[1, 3], eval_freq=2), calls=2)
    assert record == {
        "exact/entropy": pytest.approx(1.75 * math.log(2), abs=1e-6),
        "exact/max_at_1": pytest.approx((6 * 0.5 + 0.25 + 0.125) / 8, abs=1e-6),
        "exact/max_at_1_hard": pytest.approx(0.1875, abs=1e-6),
        "exact/max_at_1_star": 1.0,
        "exact/max_at_3": pytest.approx((6 * 0.875 + 0.578125 + 0.330078125) / 8, abs=1e-6),
        "exact/max_at_3_hard": pytest.approx((0.578125 + 0.330078125) / 2, abs=1e-6),
        "exact/max_at_3_star": 1.0,
    }
    assert logged(model, ExactCallback(world, eval_freq=2), calls=1) == {}
    parameters = policy_parameters(model, world)
    assert parameters["probabilities"].dtype == np.float64
    assert parameters["probabilities"] == pytest.approx(np.tile(answers, (8, 1)), abs=1e-7)


@pytest.mark.parametrize("algorithm", [A2C, PPO, PKPO])
def test_exact_values_of_a_gaussian_policy(algorithm):
    sizes = {"n_steps": 4, "batch_size": 4} if algorithm is PPO else {}
    env = make_group_env(CLIFF, 16, 16) if algorithm is PKPO else dummy(gymnasium.make(CLIFF))
    model = algorithm("MlpPolicy", env, policy_kwargs={"log_std_init": math.log(0.1)}, **sizes)
    policy: Any = model.policy
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.fill_(0.4)  # x ~ N(0.9, 0.1)
    record = logged(model, ExactCallback(CLIFF, ks=[1, 4], eval_freq=1))
    world: Any = gymnasium.make(CLIFF).unwrapped
    assert record["exact/max_at_4"] == pytest.approx(world.max_at_k(0.9, 4, 0.1), abs=1e-6)
    assert record["exact/max_at_4_star"] == pytest.approx(0.892414, abs=1e-5)
    assert record["exact/entropy"] == pytest.approx(
        0.5 * math.log(2 * math.pi * math.e * 0.01), abs=1e-6
    )
    parameters = policy_parameters(model, world)
    assert {name: value.shape for name, value in parameters.items()} == {
        "mean": (1, 1),
        "std": (1, 1),
    }


def test_only_floats_named_max_at_k_are_recorded():
    model = A2C("MlpPolicy", dummy(Numbered()))
    record = logged(model, ExactCallback(Numbered(), ks=[4], eval_freq=1))
    assert record.pop("exact/entropy") == pytest.approx(math.log(3), abs=0.01)
    assert record == {"exact/max_at_4": 0.25, "exact/max_at_4_half": 2.0}


def test_the_parameters_of_each_problem_are_the_policys_at_its_own_observation():
    env = VecNormalize(dummy(Numbered()))
    model = A2C("MlpPolicy", env, n_steps=4)
    model.learn(40)
    found = policy_parameters(model, Numbered())["probabilities"]
    assert found.shape == (5, 3)
    assert model.policy.training  # as the algorithm had left it
    for problem in range(5):
        seen = (np.array([problem, -10 * problem]) - env.obs_rms.mean) / np.sqrt(
            env.obs_rms.var + env.epsilon
        )
        batch = torch.as_tensor(seen, dtype=torch.float32)[None]
        expected = model.policy.get_distribution(batch).distribution.probs[0]
        assert found[problem] == pytest.approx(expected.detach().numpy(), abs=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-4


def test_entropies_are_means_over_problems_and_sums_over_action_dimensions():
    certain_and_not = {"probabilities": np.array([[1.0, 0.0], [0.5, 0.5]])}
    assert policy_entropy(certain_and_not) == pytest.approx(math.log(2) / 2, abs=1e-15)
    unit = 0.5 * math.log(2 * math.pi * math.e)
    gaussian = {"mean": np.zeros((2, 2)), "std": np.array([[1.0, 1.0], [1.0, math.e]])}
    assert policy_entropy(gaussian) == pytest.approx((2 * unit + 2 * unit + 1) / 2, abs=1e-15)


def test_what_has_no_exact_values_is_refused():
    with pytest.raises(ValueError, match=r"no exact solution.*GroupEvalCallback"):
        ExactCallback("CartPole-v1")
    with pytest.raises(ValueError, match="no exact solution"):
        exact_values(small_pkpo(), gymnasium.make("CartPole-v1"), [1])
    world = gymnasium.make(PROBLEM_SET, **SMALL)
    dqn = DQN("MlpPolicy", problem_sets(1), buffer_size=10)
    with pytest.raises(ValueError, match=r"DQNPolicy of DQN has no action distribution"):
        dqn.learn(1, ExactCallback(world))
    sac = SAC("MlpPolicy", dummy(gymnasium.make(CLIFF)), buffer_size=10)
    with pytest.raises(ValueError, match=r"SACPolicy of SAC has no action distribution"):
        policy_parameters(sac, gymnasium.make(CLIFF))
    sde = PPO("MlpPolicy", dummy(gymnasium.make(CLIFF)), use_sde=True, n_steps=4, batch_size=4)
    with pytest.raises(ValueError, match="a StateDependentNoiseDistribution"):
        policy_parameters(sde, gymnasium.make(CLIFF))
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        small_pkpo().learn(1, ExactCallback(PROBLEM_SET))
    with pytest.raises(ValueError, match="ks="):
        ExactCallback(world, ks=[0])
    with pytest.raises(ValueError, match="eval_freq="):
        ExactCallback(world, eval_freq=0)
