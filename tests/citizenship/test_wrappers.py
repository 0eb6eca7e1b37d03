"""PKPO trains inside SB3's wrappers of vector envs, and on a bare Gymnasium env."""

import pickle
from functools import partial
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env, unwrap_wrapper
from stable_baselines3.common.envs import IdentityEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    sync_envs_normalization,
)

from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO

from .coin import LONG, SHORT, Coin
from .conftest import ENVS, LENGTH, Rows, parameters, same, small, vec_env

SIZES = pytest.mark.parametrize("n_envs", [1, 3])


@SIZES
def test_normalisation_is_learned_in_training_and_held_when_told(n_envs):
    env = VecNormalize(vec_env("box", n_envs), norm_reward=False)
    model = small(env).learn(100)
    assert model.get_vec_normalize_env() is env
    # One observation a step and column, and those of the reset before the first step.
    assert env.obs_rms.count == pytest.approx(model.num_timesteps + n_envs, abs=1e-3)
    assert np.abs(env.normalize_obs(env.get_original_obs()) - model._last_obs).max() < 1e-6
    env.training = False
    held = env.obs_rms.mean.copy()
    model.learn(50, reset_num_timesteps=False)
    assert np.array_equal(env.obs_rms.mean, held)


@SIZES
def test_rewards_are_normalised_for_the_transform_but_not_in_the_statistics(n_envs):
    env = VecNormalize(vec_env("discrete", n_envs), norm_obs=False, clip_reward=0.25)
    model = small(env).learn(40)
    returns = model._window[-1][0]
    assert 0 < returns.max() <= 0.25 * LENGTH + 1e-6
    assert max(info["r"] for info in model.ep_info_buffer) > 0.25 * LENGTH


def test_evaluation_takes_over_the_normalisation_of_training():
    env = VecNormalize(make_vec_env("CartPole-v1", 2, seed=0))
    other = VecNormalize(make_vec_env("CartPole-v1", 1, seed=1), training=False, norm_reward=False)
    model = small(env).learn(100, callback=EvalCallback(other, eval_freq=10, verbose=0))
    assert other.obs_rms.count > 10
    sync_envs_normalization(env, other)
    assert np.array_equal(other.obs_rms.mean, env.obs_rms.mean)
    assert evaluate_policy(model, other, 3)[0] >= 8  # a pole takes that long to fall


def test_statistics_of_normalisation_are_saved_beside_the_model(tmp_path):
    plain = partial(make_vec_env, "CartPole-v1", 2, seed=0)
    env = VecNormalize(plain())
    model = small(env).learn(100)
    model.save(tmp_path / "model.zip")
    env.save(str(tmp_path / "statistics.pkl"))
    assert PKPO.load(tmp_path / "model.zip", device="cpu").get_vec_normalize_env() is None
    restored = VecNormalize.load(str(tmp_path / "statistics.pkl"), plain())
    loaded = PKPO.load(tmp_path / "model.zip", env=restored, device="cpu")
    assert loaded.get_vec_normalize_env() is restored
    pickled = pickle.loads(pickle.dumps(env))
    pickled.set_venv(plain())
    raw = np.full((4, 4), 0.1)
    for each in (restored, pickled):
        assert np.array_equal(each.normalize_obs(raw), env.normalize_obs(raw))
    for one, its in ((model, env), (loaded, restored)):
        its.training = False
        one.set_random_seed(7)
        one.learn(100, reset_num_timesteps=False)
    assert same(parameters(model.policy), parameters(loaded.policy))


def test_chosen_keys_of_dict_observations_are_normalised():
    env = VecNormalize(vec_env("dict", 2), norm_obs_keys=["vec"])
    model = small(env, "MultiInputPolicy").learn(40)
    assert env.obs_rms.keys() == {"vec"}
    assert env.obs_rms["vec"].count > 40
    assert model._last_obs["img"].dtype == np.uint8


@SIZES
def test_monitors_fill_the_buffer_of_episodes_and_write_their_files(n_envs, tmp_path):
    env = make_vec_env(IdentityEnv, n_envs, monitor_dir=str(tmp_path), env_kwargs={"ep_length": 5})
    model = small(env, stats_window_size=6).learn(200)
    # of six groups of four attempts
    assert model.ep_info_buffer.maxlen == model.ep_success_buffer.maxlen == 24
    assert [info["l"] for info in model.ep_info_buffer] == [LENGTH] * 24
    assert list(model.ep_success_buffer) == []
    env.close()
    results = load_results(str(tmp_path))
    assert results["l"].sum() == model.num_timesteps
    listed = VecMonitor(DummyVecEnv([partial(IdentityEnv, ep_length=5)] * n_envs), str(tmp_path))
    model = small(listed).learn(60)
    assert model.ep_info_buffer[-1]["l"] == LENGTH
    listed.close()


def test_the_statistics_are_of_all_attempts_and_not_of_the_last_to_end(logger, rows: Rows):
    # The last to end are the longest.
    env = make_vec_env("CartPole-v1", 64, seed=0)
    model = small(env, group_size=32, n_groups=2, stats_window_size=2)
    model.set_logger(logger)
    model.learn(1)
    lengths = model._window[-1][1]
    assert lengths.min() < lengths.mean() < lengths.max()
    for name in ("ep_rew_mean", "ep_len_mean"):
        assert rows.column(f"rollout/{name}") == pytest.approx([lengths.mean()])


def test_the_buffer_of_episodes_goes_on_with_the_counters(logger, rows: Rows):
    model = small(vec_env("discrete", 2)).learn(20)
    model.set_logger(logger)
    model.learn(20, reset_num_timesteps=False)
    assert len(model.ep_info_buffer) == 8
    mean = np.mean([info["r"] for info in model.ep_info_buffer])
    assert rows.column("rollout/ep_rew_mean") == pytest.approx([mean])
    model.learn(20)
    assert len(model.ep_info_buffer) == 4


@SIZES
def test_frames_are_stacked(n_envs):
    env = VecFrameStack(vec_env("image", n_envs), 3)
    model = small(env, "CnnPolicy").learn(1)
    assert isinstance(model.get_env(), VecTransposeImage)
    assert model.observation_space.shape == (3, 36, 36)
    observations = model.get_env().reset()
    assert observations.shape == (n_envs, 3, 36, 36)
    assert model.predict(observations)[0].shape == (n_envs,)


def test_dict_observations_are_stacked():
    model = small(VecFrameStack(vec_env("dict", 2), 2), "MultiInputPolicy").learn(1)
    shapes = {key: space.shape for key, space in model.observation_space.spaces.items()}
    assert shapes == {"vec": (10,), "img": (2, 64, 64)}


def test_a_key_of_dict_observations_can_be_extracted():
    env = VecExtractDictObs(vec_env("dict", 2), key="vec")
    model = small(env).learn(30)
    assert model.policy.mlp_extractor.policy_net[0].in_features == 5


def test_a_check_for_nan_stops_training():
    class Faulty(IdentityEnv):
        def _get_reward(self, action):
            return float("nan")

    env = VecCheckNan(DummyVecEnv([Faulty]), raise_exception=True)
    with pytest.raises(ValueError, match="found nan in rewards"):
        small(env).learn(10)


def test_options_of_a_reset_reach_the_envs():
    class Remembering(IdentityEnv):
        given: ClassVar[list] = []

        def reset(self, *, seed=None, options=None):
            self.given.append(options)
            return super().reset(seed=seed)

    env = DummyVecEnv([partial(Remembering, ep_length=5)] * 2)
    model = small(env)
    Remembering.given.clear()
    env.set_options([{"wind": 1}, {"wind": 2}])
    model.learn(1)
    # The reset of learn() has them; the two columns start two attempts each, and a third restart.
    assert Remembering.given == [{"wind": 1}, {"wind": 2}, None, None, None, None]


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_options_of_a_reset_reach_the_columns_of_groups(vectorization):
    env = make_group_env("CartPole-v1", 1, 4, vectorization=vectorization)
    env.set_options({"low": 0.2, "high": 0.21})
    observations = env.reset()
    assert ((observations >= 0.2) & (observations <= 0.21)).all()
    assert (env.reset() < 0.06).all()  # they are for one reset
    env.set_options([{"low": i, "high": i + 0.5} for i in range(4)])
    if vectorization == "native":
        with pytest.raises(ValueError, match="share the options of a reset"):
            env.reset()
    else:
        assert np.floor(env.reset()).tolist() == [[i] * 4 for i in range(4)]
    env.set_options([{}] * 3)
    with pytest.raises(ValueError, match=r"set_options\(\) got 3 dicts for 4 columns"):
        env.reset()


WRAPPED = [
    ("dict", partial(VecExtractDictObs, key="vec"), "MlpPolicy", (5,)),
    ("dict", partial(VecFrameStack, n_stack=2), "MultiInputPolicy", None),
    ("image", VecTransposeImage, "CnnPolicy", (1, 36, 36)),
    ("image", partial(VecFrameStack, n_stack=3), "CnnPolicy", (3, 36, 36)),
    ("box", partial(VecCheckNan, raise_exception=True), "MlpPolicy", (1,)),
    ("box", VecNormalize, "MlpPolicy", (1,)),
]


@pytest.mark.parametrize(("kind", "wrapper", "policy", "shape"), WRAPPED)
def test_wrappers_fit_around_groups(kind, wrapper, policy, shape):
    columns = SyncVectorEnv([ENVS[kind][1]] * 3, autoreset_mode=AutoresetMode.DISABLED)
    env = wrapper(GroupVecEnv(columns))
    model = small(env, policy).learn(2 * 6 * LENGTH)
    assert model._n_updates == 2
    if shape is not None:
        assert model.observation_space.shape == shape
    actions, _ = model.predict(model.get_env().reset())
    assert actions.shape == (3, *model.action_space.shape)
    assert [info["l"] for info in model.ep_info_buffer or ()] in ([], [LENGTH] * 8)


# Making envs


def test_make_vec_env_makes_what_it_is_told():
    """The Monitor is inside the wrapper: it sees no end where a time limit cuts an episode."""
    env = make_vec_env(
        Coin,
        n_envs=2,
        seed=3,
        wrapper_class=TimeLimit,
        wrapper_kwargs={"max_episode_steps": 5},
    )
    assert env.env_is_wrapped(Monitor) == env.env_is_wrapped(TimeLimit) == [True, True]
    assert unwrap_wrapper(env.envs[0], TimeLimit)._max_episode_steps == 5
    model = small(env).learn(200)
    assert {info["l"] for info in model.ep_info_buffer} == {SHORT}
    assert (model._window[-1][1] <= 5).all()


def test_a_monitor_keeps_chosen_infos_of_every_attempt(tmp_path):
    keep = {"info_keywords": ("is_success",)}
    env = make_vec_env(Coin, 2, seed=3, monitor_dir=str(tmp_path), monitor_kwargs=keep)
    model = small(env).learn(100)
    env.close()
    for info in model.ep_info_buffer:
        assert info["is_success"] == (info["l"] == LONG)
    table = load_results(str(tmp_path))
    assert (table["is_success"] == (table["l"] == LONG)).all()
    assert len(table) >= len(model.ep_info_buffer) > 0


def test_a_single_column_is_never_reset_early():
    """A Monitor that allows no early reset is content: every attempt is played to its end."""
    env = make_vec_env("CartPole-v1", 1, seed=0, monitor_kwargs={"allow_early_resets": False})
    model = small(env).learn(300)
    assert model.num_timesteps == env.get_attr("total_steps")[0]


# A bare Gymnasium env


def test_a_single_env_is_one_column():
    env = gymnasium.make("CartPole-v1")
    model = small(env).learn(60)
    assert model.get_env().num_envs == model.n_envs == 1
    # Nothing is idle: every timestep is one of an attempt.
    assert model.num_timesteps == sum(lengths.sum() for _, lengths in model._window)
    action, _ = model.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action)


def test_a_monitored_single_env_fills_the_buffer_of_episodes():
    model = small(Monitor(gymnasium.make("CartPole-v1"))).learn(60)
    assert model.get_env().env_is_wrapped(Monitor) == [True]
    lengths = np.concatenate([lengths.flatten() for _, lengths in model._window])
    assert [info["l"] for info in model.ep_info_buffer] == lengths.tolist()
    assert [info["r"] for info in model.ep_info_buffer] == lengths.tolist()


def test_nested_dict_observations_and_the_wrong_policy_are_refused():
    nested = SimpleMultiObsEnv()
    space = gymnasium.spaces.Dict(outer=gymnasium.spaces.Dict(inner=nested.observation_space))
    nested.observation_space = space
    with pytest.raises(NotImplementedError, match="Nested observation spaces"):
        small(DummyVecEnv([lambda: nested]), "MultiInputPolicy")
    for policy in ("MlpPolicy", "CnnPolicy"):
        with pytest.raises(ValueError, match="You must use `MultiInputPolicy`"):
            small(vec_env("dict", 1), policy)
