"""Predictions: every shape of observation that SB3 supports, for one env and for columns."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from .conftest import ENVS, LENGTH, small, vec_env

KINDS = pytest.mark.parametrize("kind", ENVS)


def first(observations):
    """The observation of the first column."""
    if isinstance(observations, dict):
        return {key: values[0] for key, values in observations.items()}
    return observations[0]


@KINDS
def test_a_single_observation_gives_an_action_and_a_batch_one_for_each(kind):
    model = small(vec_env(kind, 3), ENVS[kind][0])
    observations = model.get_env().reset()
    actions, state = model.predict(observations, deterministic=True)
    assert state is None
    assert actions.shape == (3, *model.action_space.shape)
    action, _ = model.predict(first(observations), deterministic=True)
    assert action.shape == model.action_space.shape
    assert np.allclose(action, actions[0], atol=1e-6)
    for each in (*actions, action, *model.predict(observations)[0]):
        assert model.action_space.contains(each)


@KINDS
def test_predictions_repeat_unless_they_are_sampled(kind):
    model = small(vec_env(kind, 1), ENVS[kind][0])
    observation = first(model.get_env().reset())

    def seeded(seed: int, deterministic: bool) -> list:
        set_random_seed(seed)
        return [model.predict(observation, deterministic=deterministic)[0] for _ in range(30)]

    assert len(np.unique(seeded(0, True), axis=0)) == 1
    sampled = seeded(0, False)
    assert len(np.unique(sampled, axis=0)) > 1
    assert np.array_equal(sampled, seeded(0, False))
    assert not np.array_equal(sampled, seeded(1, False))


def test_the_deterministic_action_is_the_most_probable_and_draws_nothing():
    model = small(vec_env("discrete", 1))
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
    before = torch.get_rng_state()
    assert model.predict(np.array([0, 1, 2]), deterministic=True)[0].tolist() == [1, 1, 1]
    assert torch.get_rng_state().equal(before)


def test_an_image_may_have_its_channels_last_or_first():
    model = small(vec_env("image", 1), "CnnPolicy")
    assert model.observation_space.shape == (1, 36, 36)
    image = ENVS["image"][1]().reset()[0]
    assert image.shape == (36, 36, 1)
    action, _ = model.predict(image, deterministic=True)
    transposed, _ = model.predict(image.transpose(2, 0, 1)[None], deterministic=True)
    assert transposed.tolist() == [action]


@pytest.mark.parametrize(
    ("kind", "observation", "message"),
    [
        ("discrete", np.zeros((2, 2)), r"shape \(2, 2\) for Discrete"),
        ("box", np.zeros(4), r"shape \(4,\) for Box"),
        ("box", np.zeros((2, 1, 1)), r"shape \(2, 1, 1\) for Box"),
        ("multi-discrete", np.zeros(5), r"shape \(5,\) for MultiDiscrete"),
        ("multi-binary", np.zeros(5), r"shape \(5,\) for MultiBinary"),
        ("image", np.zeros((7, 7, 1), np.uint8), r"shape \(7, 7, 1\) for Box"),
    ],
)
def test_an_observation_of_a_wrong_shape_is_refused(kind, observation, message):
    model = small(vec_env(kind, 2), ENVS[kind][0])
    with pytest.raises(ValueError, match=message):
        model.predict(observation)


def test_what_a_gymnasium_reset_returns_is_refused_with_the_reason():
    model = small(make_vec_env("CartPole-v1", 1))
    with pytest.raises(ValueError, match="passed a tuple to the predict"):
        model.predict((np.zeros(4, np.float32), {}))


def test_dict_observations_need_their_keys_and_no_others():
    model = small(vec_env("dict", 2), ENVS["dict"][0])
    observations = model.get_env().reset()
    with pytest.raises(KeyError, match="smell"):
        model.predict({**observations, "smell": observations["vec"]})
    with pytest.raises(KeyError, match="vec"):
        model.predict({"img": observations["img"]})


@pytest.mark.parametrize(
    ("kind", "observation"),
    [
        ("discrete", 1),
        ("discrete", np.int32(1)),
        ("discrete", np.array(1)),
        ("box", [0.5]),
        ("box", np.array([0.5], np.float64)),
        ("box", np.array([1])),
        ("multi-discrete", [1, 0]),
        ("multi-binary", np.array([True, False])),
    ],
)
def test_an_observation_may_be_a_number_a_list_or_of_another_dtype(kind, observation):
    model = small(vec_env(kind, 2))
    action, _ = model.predict(observation, deterministic=True)
    batch = np.array([observation] * 3)
    actions, _ = model.predict(batch, deterministic=True)
    assert action.shape == model.action_space.shape
    assert np.allclose(actions, action, atol=1e-6)


def test_a_state_and_starts_of_episodes_are_for_recurrent_policies():
    """They are taken, as SB3's interface has them, and the state is handed back."""
    model = small(vec_env("discrete", 2))
    observations = model.get_env().reset()
    state = (np.zeros((2, 4)),)
    starts = np.ones(2, bool)
    actions, kept = model.predict(observations, state, starts, deterministic=True)
    assert kept is state
    assert np.array_equal(actions, model.predict(observations, deterministic=True)[0])


def test_actions_of_a_wide_gaussian_stay_inside_the_box():
    model = small(vec_env("box", 2), policy_kwargs={"log_std_init": 3.0})
    actions, _ = model.predict(np.zeros((200, 1)))
    space = model.action_space
    assert actions.min() == space.low
    assert actions.max() == space.high
    assert all(space.contains(action) for action in actions)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_trained_policy_is_evaluated_by_sb3_also_in_its_own_env(n_envs):
    model = small(vec_env("discrete", n_envs)).learn(50)
    for env in (vec_env("discrete", n_envs), model.get_env()):
        returns, lengths = evaluate_policy(model, env, 7, return_episode_rewards=True)
        assert lengths == [LENGTH] * 7
        assert all(0 <= value <= LENGTH for value in returns)
    model.env.step(np.zeros(n_envs, int))  # it stands in the middle of an episode
    model.learn(20, reset_num_timesteps=False)
    assert (model._window[-1][1] == LENGTH).all()
    mean, deviation = evaluate_policy(model.policy, Monitor(ENVS["discrete"][1]()), 4)
    assert 0 <= mean <= LENGTH
    assert deviation >= 0


def test_a_policy_learns_to_repeat_its_observation():
    # One step an episode, which pays 1 for naming the observation.
    envs = [IdentityEnv(3, ep_length=1) for _ in range(4)]
    for seed, env in enumerate(envs):
        env.action_space.seed(seed)  # it draws the observations
    vec = DummyVecEnv([lambda env=env: env for env in envs])
    model = small(vec, k=1, group_size=16, learning_rate=2e-2).learn(4000)
    assert model.predict(np.arange(3), deterministic=True)[0].tolist() == [0, 1, 2]
