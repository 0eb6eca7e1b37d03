"""Optimizers of lanes: steps and states as PyTorch's, and options that are refused."""

import pytest
import torch
from gymnasium import spaces

from pkpo_sandbox.algorithm.lanes.networks import LaneNetwork
from pkpo_sandbox.algorithm.lanes.optimizers import LaneOptimizer
from pkpo_sandbox.algorithm.lanes.parameters import LaneParameters
from pkpo_sandbox.algorithm.policies import ActorPolicy
from tests.algorithm.lanes.kinds import learn_one
from tests.small import BANDIT


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("rates", [[0.1, 0.1, 0.1], [0.1, 0.1, 0.02], [0.01, 0.1, 0.01]])
def test_each_lane_takes_the_steps_of_pytorchs_optimizer(kind, rates):
    torch.manual_seed(0)
    policies = [
        ActorPolicy(
            spaces.Discrete(4),
            spaces.Discrete(3),
            lambda _, rate=rate: rate,
            net_arch=[5],
            optimizer_class=kind,
        )
        for rate in rates
    ]
    weights = LaneParameters(LaneNetwork(policies[0]).parts, 3, torch.device("cpu"))
    gradient, optimizer = weights.like(), LaneOptimizer(policies[0])
    for lane, policy in enumerate(policies):
        weights.write(lane, policy.state_dict())
    optimizer.bind(weights, gradient)
    for _ in range(3):
        gradient.flat.normal_()
        optimizer.step(rates)
        for lane, policy in enumerate(policies):
            for name, parameter in policy.named_parameters():
                parameter.grad = gradient.read(lane)[name]
            policy.optimizer.step()
    for lane, policy in enumerate(policies):
        for name, value in weights.read(lane).items():
            assert torch.allclose(value, policy.get_parameter(name), atol=1e-6), name
        expected = policy.optimizer.state_dict()
        found = optimizer.state_dict(lane, rates[lane])
        assert found["param_groups"] == expected["param_groups"]
        assert found["state"].keys() == {i for i, s in expected["state"].items() if "exp_avg" in s}
        for i, state in found["state"].items():
            for name, value in state.items():
                assert torch.allclose(value, expected["state"][i][name], atol=1e-6), name


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        (BANDIT, {"policy_kwargs": {"optimizer_class": torch.optim.RMSprop}}, "Adam or SGD"),
        (BANDIT, {"policy_kwargs": {"optimizer_kwargs": {"amsgrad": True}}}, "no amsgrad=True"),
    ],
)
def test_optimizers_that_lanes_cannot_have_are_refused(env, settings, message):
    with pytest.raises(ValueError, match=message):
        learn_one(env, settings)
