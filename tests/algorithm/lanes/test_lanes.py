"""Lanes end to end: a run is bitwise the same in any batch, and the same as in SB3's loop."""

import numpy as np
import pytest
import torch

from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.lanes import Lane, LaneResult, Lanes
from pkpo_sandbox.schedules import Objective
from pkpo_sandbox.transforms import passk_training, pkpo, rloo
from tests.algorithm.lanes.kinds import (
    DEVICES,
    DIGIT_SUM,
    POLICIES,
    TERMS,
    learn_one,
    same,
    single,
    some_lanes,
)
from tests.small import BANDIT, PROBLEM_SET

# Bytes


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_lane_has_the_same_bytes_alone_in_any_company_and_at_any_place(policy, terms):
    env, env_kwargs, policy_kwargs = POLICIES[policy]
    lanes, n_epochs = some_lanes(9, terms, env_kwargs), TERMS[terms][0]

    def trained(numbers, **kwargs) -> list[LaneResult]:
        engine = Lanes(
            env,
            [lanes[number] for number in numbers],
            group_size=5,  # 15 attempts: no whole number of vectors
            n_groups=3,
            n_epochs=n_epochs,
            policy_kwargs=dict(policy_kwargs),
            **kwargs,
        )
        return engine.learn(15 * (2 if "digits" in policy or "drift" in policy else 1) * 6, 4)

    together = trained(range(9))
    assert [result.error for result in together] == [None] * 9
    assert len({result.policy["action_net.weight"].numpy().tobytes() for result in together}) > 4
    for numbers in ([8], [7, 2, 3], range(4, -1, -1)):
        for number, result in zip(numbers, trained(numbers), strict=True):
            assert same(result, together[number]), number


@pytest.mark.parametrize("memory", [1, 300_000])
def test_how_much_memory_a_batch_may_take_changes_no_byte(memory):
    lanes = some_lanes(9)
    results = [Lanes(BANDIT, lanes, memory=m).learn(256 * 4, 2) for m in (memory, None)]
    assert all(same(*pair) for pair in zip(*results, strict=True))


def test_the_number_of_threads_changes_no_byte_and_is_left_as_it_was():
    lanes = some_lanes(3)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append(Lanes(PROBLEM_SET, lanes).learn(5 * 256, 5))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    assert all(same(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize(("env", "steps"), [(BANDIT, 1), (DIGIT_SUM, 3)])
def test_a_batch_has_as_many_lanes_as_its_memory_holds(env, steps):
    # Weights, gradient and moments are 16 bytes a weight: a lane of the bandit has 9,000 or so.
    sizes = []
    engine = Lanes(env, some_lanes(4), memory=2**19 * steps**2)
    engine.learn(256 * steps, watch=lambda batch: sizes.append(batch.n_lanes))
    assert max(sizes) == (4 if env == BANDIT else 3)
    assert sum(sizes) == 4 * steps


def test_more_lanes_than_the_cores_of_a_large_machine_have_the_same_bytes():
    lanes = some_lanes(40)
    lanes[17] = Lane(17, Objective(passk_training, k=3))
    together = Lanes(PROBLEM_SET, lanes, memory=2**30).learn(4 * 256, 2)
    for number in (0, 17, 39):
        (alone,) = Lanes(PROBLEM_SET, [lanes[number]]).learn(4 * 256, 2)
        assert same(alone, together[number])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_lane_is_the_run_of_the_same_seed(policy, terms, device):
    env, env_kwargs, policy_kwargs = POLICIES[policy]
    lanes, n_epochs = (
        some_lanes(9, terms, env_kwargs)[:: 2 if device == "cpu" else 4],
        TERMS[terms][0],
    )
    shared = {
        "group_size": 6,
        "n_groups": 4,
        "n_epochs": n_epochs,
        "policy_kwargs": policy_kwargs,
        "stats_window_size": 8,
    }
    an_iteration = 24 * (2 if "digits" in policy or "drift" in policy else 1)
    # After one update float32 rounding, after 12 what the optimizer makes of it: Adam divides
    # gradients of the size of the rounding by their own size.
    for n_updates, tolerance in ((1, 1e-6), (12, 1e-4)):
        n_steps = n_updates * an_iteration
        results = Lanes(env, lanes, **shared).learn(n_steps, 1)
        for lane, result in list(zip(lanes, results, strict=True))[: 5 if n_updates == 1 else 2]:
            model, rows = single(env, lane, n_steps, **shared)
            state = model.policy.state_dict()
            assert list(state) == list(result.policy)
            for name, value in state.items():
                assert torch.allclose(value, result.policy[name], rtol=0, atol=tolerance), name
            assert [row.keys() for row in rows] == [row.keys() for row in result.rows]
            for row, other in zip(rows, result.rows, strict=True):
                assert other == pytest.approx(row, rel=1e-3, abs=1e-4)
            assert result.num_timesteps == model.num_timesteps == n_steps
            assert result.n_updates == model._n_updates


def test_a_lane_s_state_goes_on_as_a_model(tmp_path):
    lane = Lane(3, Objective(pkpo, k=2))
    shared = {"group_size": 4, "n_groups": 2, "n_epochs": 1, "policy_kwargs": {"net_arch": [6]}}
    (result,) = Lanes(BANDIT, [lane], **shared).learn(10 * 8)
    model, _ = single(BANDIT, lane, 10 * 8, **shared)
    expected = model.policy.optimizer.state_dict()
    assert result.optimizer["param_groups"] == expected["param_groups"]
    for i, moments in expected["state"].items():
        assert all(
            torch.allclose(value, result.optimizer["state"][i][name], atol=1e-6)
            for name, value in moments.items()
        )
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    model.policy.load_state_dict(result.policy)
    model.policy.optimizer.load_state_dict(result.optimizer)
    model.save(tmp_path / "model.zip")
    loaded = GroupPolicyGradient.load(tmp_path / "model.zip", BANDIT, device="cpu")
    for name, value in loaded.policy.state_dict().items():
        assert value.equal(result.policy[name])
    loaded.learn(8)


@pytest.mark.slow
def test_lanes_and_runs_of_other_seeds_end_alike():
    # 24 seeds each side, none shared: the mean of the final reward agrees within 4 standard errors.
    shared = {"group_size": 8, "n_groups": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [16]}}
    kwargs = {"n_problems": 8, "n_answers": 8, "hard_fraction": 0.5}
    lanes = [Lane(i, Objective(pkpo, k=2), 0.01, env_kwargs=kwargs) for i in range(48)]
    results = Lanes(PROBLEM_SET, lanes[:24], **shared).learn(64 * 40, 40)
    ours = [result.rows[-1]["rollout/ep_rew_mean"] for result in results]
    others = [
        single(PROBLEM_SET, lane, 64 * 40, **shared)[1][-1]["rollout/ep_rew_mean"]
        for lane in lanes[24:]
    ]
    error = np.sqrt((np.var(ours, ddof=1) + np.var(others, ddof=1)) / 24)
    assert 0 < error < 0.05
    assert abs(np.mean(ours) - np.mean(others)) < 4 * error


def test_no_lanes_and_lanes_of_other_spaces_are_refused():
    with pytest.raises(ValueError, match="at least one Lane"):
        Lanes(BANDIT, [])
    lanes = [
        Lane(0, Objective(rloo), env_kwargs={"payouts": [1.0] * n, "probabilities": [0.5] * n})
        for n in (2, 3)
    ]
    with pytest.raises(ValueError, match="env_kwargs give the action_space"):
        Lanes(BANDIT, lanes).learn(256)


def test_too_small_groups_are_refused():
    with pytest.raises(ValueError, match="group_size must be an integer of at least 2"):
        learn_one(BANDIT, {"group_size": 1})
