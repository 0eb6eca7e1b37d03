"""Settings of lanes: numbers and schedules, and what is out of range."""

import pytest

from pkpo_sandbox.algorithm.lanes import Lane, Lanes
from pkpo_sandbox.schedules import Linear, Objective
from pkpo_sandbox.transforms import pkpo, rloo
from tests.algorithm.lanes.kinds import DIGIT_SUM, learn_one, same
from tests.small import BANDIT


def test_settings_that_sb3_has_as_numbers_only_may_be_schedules_of_lanes():
    numbers = {"gamma": 0.5, "max_grad_norm": 0.01}
    lanes = [
        Lane(1, Objective(rloo), **numbers),
        Lane(1, Objective(rloo), **{name: lambda _, v=v: v for name, v in numbers.items()}),
        Lane(1, Objective(rloo), gamma=Linear(0.5, 1.0), max_grad_norm=0.01),
        Lane(1, Objective(rloo), gamma=0.5, max_grad_norm=Linear(0.01, 0.1)),
    ]
    plain, constant, *others = Lanes(DIGIT_SUM, lanes).learn(768 * 4, 1)
    assert same(plain, constant)
    assert not any(same(plain, other) for other in others)


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        (BANDIT, {"policy_kwargs": {"use_sde": True}}, "use_sde"),
        (BANDIT, {"n_epochs": 2}, "lane 0: n_epochs=2 .* give clip_range"),
        (BANDIT, {"gamma": 0}, "lane 0: gamma must be above 0"),
        (BANDIT, {"gamma": Linear(1.0, 2.0)}, "lane 0: at 1 % of training: gamma"),
        (BANDIT, {"ent_coef": Linear(1.0, -1.0)}, "lane 0: at 51 % of training: ent_coef"),
        (BANDIT, {"objective": Objective(pkpo, k=17)}, "lane 0: .*k = 17 exceeds n = 16"),
    ],
)
def test_settings_out_of_range_name_the_lane(env, settings, message):
    with pytest.raises(ValueError, match=message):
        learn_one(env, settings)
