"""The algorithm saved and loaded, and moved to another env."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from pkpo_envs.bandit import BanditVectorEnv
from pkpo_envs.problem_set import ProblemSetEnv
from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.transforms import pkpo
from tests.algorithm.short_runs import DISABLED, Seen, bandit, logged, parameters, same
from tests.small import BANDIT, PROBLEM_SET


def test_checkpoints_are_written(tmp_path):
    callback = CheckpointCallback(save_freq=2, save_path=str(tmp_path), name_prefix="m")
    bandit().learn(40, callback=callback)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m_16_steps.zip", "m_32_steps.zip"]
    loaded = PKPO.load(tmp_path / "m_32_steps.zip", env=make_group_env(BANDIT, 2, 4), device="cpu")
    assert loaded.num_timesteps == 32
    assert loaded.learn(16, reset_num_timesteps=False).num_timesteps == 48


def test_saving_and_loading_keep_policy_optimizer_and_settings(tmp_path):
    model = bandit(k=lambda remaining: 3, ent_coef=0.01, n_epochs=2, clip_range=0.3, gamma=0.9)
    model.learn(40)
    model.save(tmp_path / "model.zip")
    loaded = PKPO.load(tmp_path / "model.zip", device="cpu")
    assert same(parameters(loaded), parameters(model))
    observations = np.zeros(50, int)
    for deterministic in (True, False):
        predictions = []
        for each in (model, loaded):
            torch.manual_seed(3)
            predictions.append(each.predict(observations, deterministic=deterministic)[0])
        assert (predictions[0] == predictions[1]).all()
    assert (loaded.group_size, loaded.n_groups, loaded.n_epochs) == (4, 2, 2)
    assert (loaded.clip_range, loaded.ent_coef, loaded.k(0.5)) == (0.3, 0.01, 3)
    assert loaded.gamma == 0.9
    for one, other in zip(
        loaded.policy.optimizer.state.values(), model.policy.optimizer.state.values(), strict=True
    ):
        assert one["step"] == other["step"] == 10
        assert one["exp_avg"].equal(other["exp_avg"])
        assert one["exp_avg_sq"].equal(other["exp_avg_sq"])
    with pytest.raises(AssertionError):  # SB3's word for: no env
        loaded.learn(8)


def test_a_loaded_model_takes_the_same_step_on_the_same_episodes(tmp_path):
    model = bandit().learn(40)
    model.save(tmp_path / "model.zip")
    loaded = PKPO.load(tmp_path / "model.zip", env=make_group_env(BANDIT, 2, 4), device="cpu")
    pair = []
    for copy in (model, loaded):
        copy.set_random_seed(5)
        copy.learn(40, reset_num_timesteps=False)
        pair.append(parameters(copy))
    assert same(*pair)


def test_a_loaded_model_goes_on_with_problems_and_noise_that_it_has_not_had(tmp_path):
    def played(model) -> tuple[tuple[int, ...], ...]:
        """Problems and actions of the next iterations."""
        seen = Seen()
        model.learn(4 * 16, callback=seen).save(tmp_path / "model.zip")
        return tuple(seen.problems), tuple(seen.actions)

    def again() -> PKPO:
        return PKPO.load(tmp_path / "model.zip", env=PROBLEM_SET, device="cpu")

    settings = {"k": 2, "group_size": 4, "n_groups": 4, "seed": 0, "device": "cpu"}
    first = played(PKPO("MlpPolicy", PROBLEM_SET, **settings))
    second = played(again())
    kept = (tmp_path / "model.zip").read_bytes()
    third = played(again())
    for part in (0, 1):
        assert len({first[part], second[part], third[part]}) == 3
    (tmp_path / "model.zip").write_bytes(kept)
    assert played(again()) == third  # which follow from the seed and the updates so far


def test_a_loaded_model_trains_with_another_number_of_columns(tmp_path):
    bandit().save(tmp_path / "model.zip")
    venv = GroupVecEnv(BanditVectorEnv(3, DISABLED))
    loaded = PKPO.load(tmp_path / "model.zip", env=venv, device="cpu")
    loaded.learn(1)
    assert (venv.n_groups, venv.group_size) == (2, 4)
    assert loaded.num_timesteps == 9  # 8 attempts in three waves of 3 columns


def test_what_is_saved_can_be_chosen(tmp_path):
    model = bandit()
    model.custom_note = "kept"
    model.save(tmp_path / "without.zip", exclude=["custom_note"])
    assert not hasattr(PKPO.load(tmp_path / "without.zip", device="cpu"), "custom_note")
    model.save(tmp_path / "with.zip", exclude=["custom_note"], include=["custom_note"])
    assert PKPO.load(tmp_path / "with.zip", device="cpu").custom_note == "kept"


def test_the_general_algorithm_is_saved_with_its_transform(tmp_path):
    model = GroupPolicyGradient(
        "MlpPolicy", BANDIT, pkpo, {"k": 3}, group_size=4, n_groups=2, seed=0, device="cpu"
    )
    model.learn(8).save(tmp_path / "model.zip")
    loaded = GroupPolicyGradient.load(tmp_path / "model.zip", env=model.get_env(), device="cpu")
    assert loaded.transform_kwargs == {"k": 3}
    assert logged(loaded, 8)[0]["train/k"] == 3


def test_parameters_go_from_one_model_to_another():
    one, other = bandit().learn(40), bandit(seed=9)
    assert one.get_parameters().keys() == {"policy", "policy.optimizer"}
    other.set_parameters(one.get_parameters())
    assert same(parameters(one), parameters(other))
    assert {s["step"].item() for s in other.policy.optimizer.state.values()} == {5}


def test_another_env_can_be_set():
    model = bandit().learn(16)
    env = make_group_env(BANDIT, 4, 2, payouts=(3.0, 3.0, 3.0), probabilities=(1.0, 1.0, 1.0))
    model.set_env(env)
    model.learn(8, reset_num_timesteps=False)
    assert (env.n_groups, env.group_size) == (2, 4)
    assert (model._window[-1][0] == 3).all()
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(make_group_env(BANDIT, 2, 5))
    with pytest.raises(ValueError, match="Action spaces do not match"):
        model.set_env(make_group_env(PROBLEM_SET, 2, 4, n_problems=1, n_answers=9))


def test_a_problem_set_in_sb3s_vec_env_is_refused_also_later(tmp_path):
    model = PKPO("MlpPolicy", PROBLEM_SET, k=2, group_size=2, n_groups=1, device="cpu")
    model.save(tmp_path / "model.zip")
    env = DummyVecEnv([ProblemSetEnv] * 2)
    with pytest.raises(ValueError, match="problems by itself"):
        model.set_env(env)
    with pytest.raises(ValueError, match="problems by itself"):
        PKPO.load(tmp_path / "model.zip", env=env, device="cpu")


def test_an_env_may_be_given_by_its_id_after_loading(tmp_path):
    bandit().save(tmp_path / "model.zip")
    model = PKPO.load(tmp_path / "model.zip", env=BANDIT)
    assert model.n_envs == model.get_env().num_envs == 8  # a column for each of 2 x 4 attempts
    model.learn(64)
    assert (model.num_timesteps, model._n_updates) == (64, 8)
    model.set_env(BANDIT)
    assert model.learn(16).num_timesteps == 16
    waves = PKPO.load(tmp_path / "model.zip", env=GroupVecEnv(BanditVectorEnv(3, DISABLED)))
    waves.set_env(BANDIT)
    assert waves.n_envs == waves.get_env().num_envs == 3  # those it was loaded with
