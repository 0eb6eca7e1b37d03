"""Settings: schedules, learning rates, epochs, and what is out of range."""

import pytest
from stable_baselines3.common.utils import LinearSchedule

from tests.algorithm.short_runs import bandit, collect, logged, parameters, same


def test_a_schedule_of_the_learning_rate_is_followed():
    model = bandit(learning_rate=LinearSchedule(1e-2, 0.0, 1.0))
    rates = [row["train/learning_rate"] for row in logged(model, 32)]
    assert rates == pytest.approx([7.5e-3, 5e-3, 2.5e-3, 0])
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_several_epochs_are_several_steps():
    model = bandit(n_epochs=3, clip_range=0.2)
    model.learn(16)
    assert model._n_updates == 6
    assert {s["step"].item() for s in model.policy.optimizer.state.values()} == {6}


def test_several_epochs_stop_at_the_clip_range():
    # Many epochs at a large rate: with clipping, the ratio of no action is driven far from 1.
    def largest_ratio(clip_range: float) -> float:
        model = bandit(n_epochs=100, clip_range=clip_range, learning_rate=1e-2, max_grad_norm=10)
        rollout = collect(model)
        model.train(rollout)
        after = model.policy.get_distribution(rollout.observations).log_prob(rollout.actions)
        return (after - rollout.log_prob).exp().max().item()

    assert largest_ratio(0.2) < 1.5
    assert largest_ratio(100.0) > 1.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_epochs": 2}, r"n_epochs=2 trains again.*give clip_range"),
        ({"gamma": 0}, "gamma must be above 0 and at most 1, got 0"),
        ({"gamma": 1.01}, r"gamma must be above 0 and at most 1, got 1\.01"),
        ({"gamma": float("nan")}, "gamma must be above 0 and at most 1, got nan"),
        ({"gamma": True}, "gamma must be above 0 and at most 1, got True"),
        ({"n_epochs": 0}, "n_epochs must be an integer of at least 1, got 0"),
        ({"learning_rate": -1e-3}, "learning_rate must be at least 0 and finite, got -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0 and finite, got nan"),
        ({"max_grad_norm": -0.5}, "max_grad_norm must be a positive number, got -0.5"),
        ({"max_grad_norm": 0}, "max_grad_norm must be a positive number, got 0"),
        ({"clip_range": -0.2}, "clip_range must be at least 0 and finite, got -0.2"),
        ({"clip_range": lambda p: -1.0}, "at 0 % of training: clip_range must be at least 0"),
        ({"n_epochs": 1.5}, r"n_epochs must be an integer of at least 1, got 1\.5"),
        ({"learning_rate": float("inf")}, "learning_rate must be at least 0 and finite, got inf"),
        ({"ent_coef": float("nan")}, "ent_coef must be at least 0 and finite, got nan"),
        ({"max_grad_norm": None}, "max_grad_norm=None: give a number"),
    ],
)
def test_settings_out_of_range_are_refused_before_training(settings, message):
    with pytest.raises(ValueError, match=message):
        bandit(**settings)


@pytest.mark.parametrize(
    ("name", "value"), [("ent_coef", 0.5), ("clip_range", 0.2), ("learning_rate", 0.5)]
)
def test_a_setting_may_be_a_schedule(name, value):
    """A schedule that is c throughout trains as c does, and one that falls does not."""

    def trained(value):
        settings = {"n_epochs": 3, "clip_range": 0.2, "learning_rate": 0.01, name: value}
        return parameters(bandit(**settings).learn(64))

    assert same(trained(lambda p: value), trained(value))
    assert not same(trained(lambda p: value * p), trained(value))


@pytest.mark.parametrize("zero", [0, 0.0, lambda p: 0.0])
def test_a_learning_rate_of_zero_plays_and_changes_nothing(zero):
    model = bandit(learning_rate=zero)
    before = parameters(model)
    assert logged(model, 16)[-1]["train/grad_norm"] > 0
    assert same(parameters(model), before)
