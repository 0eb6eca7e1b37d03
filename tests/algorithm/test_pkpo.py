"""PKPO: its k and baseline, k = 1 is RLOO, and what it learns on the bandit."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from pkpo_envs.bandit import BanditEnv
from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.transforms import rloo
from tests.algorithm.short_runs import bandit, logged, parameters, same
from tests.small import BANDIT


def test_pkpo_with_k_one_is_rloo():
    def general(updates: int) -> dict[str, torch.Tensor]:
        model = GroupPolicyGradient(
            "MlpPolicy", BANDIT, rloo, group_size=4, n_groups=2, seed=0, device="cpu"
        )
        return parameters(model.learn(8 * updates))

    for updates in (1, 10):
        assert same(parameters(bandit(k=1).learn(8 * updates)), general(updates))
        assert not same(parameters(bandit(k=2).learn(8 * updates)), general(updates))


def test_the_first_update_is_at_the_progress_after_its_episodes():
    # 20 timesteps are 2.5 iterations of 8, so 3 are played; progress never goes below 0.
    seen = []
    model = bandit(k=lambda remaining: seen.append(remaining) or 2)
    seen.clear()
    model.learn(20)
    assert model.num_timesteps == 24
    assert seen == pytest.approx([1 - 8 / 20, 1 - 16 / 20, 0])


def test_a_schedule_of_k_is_logged_as_evaluated():
    model = bandit(k=lambda remaining: 8 if remaining > 0.5 else 1, group_size=8, n_groups=1)
    assert [row["train/k"] for row in logged(model, 32)] == [8, 1, 1, 1]
    assert [row["train/k"] for row in logged(bandit(k=np.int64(3)), 8)] == [3]


def test_loading_may_change_settings_within_their_range(tmp_path):
    bandit().save(tmp_path / "model.zip")
    assert PKPO.load(tmp_path / "model.zip", device="cpu", k=4).k == 4
    with pytest.raises(ValueError, match=r"k = 5 exceeds n = 4"):
        PKPO.load(tmp_path / "model.zip", device="cpu", k=5)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="Policy TreePolicy unknown"):
        PKPO("TreePolicy", BANDIT)


def final_probabilities(k: int, updates: int) -> torch.Tensor:
    model = PKPO(
        "MlpPolicy",
        BANDIT,
        k=k,
        learning_rate=LinearSchedule(2e-2, 0.0, 1.0),
        policy_kwargs={"net_arch": []},
        seed=0,
        device="cpu",
    )
    model.learn(updates * 256, log_interval=None)
    distribution = model.policy.get_distribution(torch.zeros(1, dtype=torch.int64)).distribution
    return distribution.probs[0].detach()


@pytest.mark.slow
def test_the_best_of_four_is_learned_on_the_bandit():
    # 0.176, 0.824, 0: mostly the risky arm, and some of the safe one.
    found = final_probabilities(k=4, updates=1500)
    assert found.tolist() == pytest.approx(BanditEnv().best_policy(4).tolist(), abs=0.02)


@pytest.mark.slow
def test_the_mean_is_learned_with_k_one():
    # 0.5 for sure beats 0.32 and 0.1 in the mean.
    assert final_probabilities(k=1, updates=500)[0] > 0.97


def test_k_may_be_one_of_sb3s_own_schedules():
    assert logged(bandit(k=FloatSchedule(4), group_size=4), 8)[0]["train/k"] == 4
    with pytest.raises(ValueError, match=r"at 1 % of training: k = 3.* is a float: pass an int"):
        bandit(k=LinearSchedule(4, 1, 0.5), group_size=4)


def test_without_an_env_there_is_no_training():
    with pytest.raises(ValueError, match="env=None: give an id"):
        PKPO("MlpPolicy", None)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"group_size": 1}, "group_size must be an integer of at least 2, got 1"),
        ({"group_size": 4.0}, "group_size must be an integer of at least 2, got 4.0"),
        ({"n_groups": 0}, "n_groups must be an integer of at least 1, got 0"),
        ({"k": 5}, r"^k = 5 exceeds n = 4.*sample at least 5 attempts a group"),
        ({"k": 0}, "k = 0 is below 1"),
        ({"k": 2.5}, r"k = 2.5 is a float: pass an int"),
        ({"k": True}, "k = True is a bool"),
        ({"k": lambda p: 2 if p > 0.25 else 0}, r"at 75 % of training: k = 0 is below 1"),
        ({"k": lambda p: 2 if p < 1 else 9}, r"at 0 % of training: k = 9 exceeds n = 4"),
        ({"k": lambda p: 2.5}, r"at 0 % of training: k = 2.5 is a float: pass an int"),
        ({"k": 4, "baseline": "loo"}, r"'loo' with k = 4 needs n > k"),
        ({"baseline": "mean"}, "unknown baseline 'mean': choose one of loo_minus_one, loo, none"),
    ],
)
def test_k_baseline_and_groups_out_of_range_are_refused_before_training(own, message):
    with pytest.raises(ValueError, match=message):
        bandit(**own)
