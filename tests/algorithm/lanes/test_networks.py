"""Networks of lanes: outputs and gradients as PyTorch's, and networks that are refused."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from pkpo_sandbox.algorithm.lanes.networks import BLOCKED, LaneNetwork
from pkpo_sandbox.algorithm.lanes.parameters import LaneParameters
from pkpo_sandbox.algorithm.policies import ActorPolicy
from tests.algorithm.lanes.kinds import learn_one
from tests.small import BANDIT

CPU = torch.device("cpu")
SPACES = [
    spaces.Discrete(5),
    spaces.Box(-1, 1, (2, 2), np.float32),
    spaces.MultiDiscrete([2, 3]),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
@pytest.mark.parametrize(
    ("net_arch", "activation_fn"), [([], nn.Tanh), ([7], nn.ReLU), ([6, 40], nn.Tanh)]
)
def test_outputs_and_gradients_are_pytorchs(space, net_arch, activation_fn):
    torch.manual_seed(0)
    policies = [
        ActorPolicy(
            space, spaces.Discrete(3), lambda _: 1.0, net_arch=net_arch, activation_fn=activation_fn
        )
        for _ in range(2)
    ]
    network = LaneNetwork(policies[0])
    weights = LaneParameters(network.parts, 2, CPU)
    gradient = weights.like()
    for lane, policy in enumerate(policies):
        weights.write(lane, policy.state_dict())
    network.block_outputs(weights)
    network.bind(weights, gradient)
    space.seed(0)
    observations = torch.as_tensor(np.array([[space.sample() for _ in range(6)] for _ in range(2)]))
    above = torch.zeros(2, 6, network.widths[-1])
    above[..., :3] = torch.randn(2, 6, 3)
    work = network.new_pass(2, 6, CPU)
    work.inputs = network.encode(observations)
    network.forward(work)
    assert (work.outputs[..., 3:] == BLOCKED).all()
    for times in (1, 2):  # the second pass is added to the first
        network.backward(work, above.clone(), add=times == 2)
        for lane, policy in enumerate(policies):
            features = policy.extract_features(observations[lane])
            logits = policy.action_net(policy.mlp_extractor.forward_actor(features))
            assert torch.allclose(work.outputs[lane, :, :3], logits, atol=1e-6)
            policy.zero_grad()
            (times * above[lane, :, :3] * logits).sum().backward()
            found = gradient.read(lane)
            for name, parameter in policy.named_parameters():
                assert torch.allclose(found[name], parameter.grad, atol=1e-5), name


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("lanes/Odd-v0", {"env_kwargs": {"observation": "image"}}, "are images"),
        (BANDIT, {"policy_kwargs": {"activation_fn": nn.ELU}}, "activation_fn is ELU"),
        (
            BANDIT,
            {"policy_kwargs": {"features_extractor_class": type("My", (FlattenExtractor,), {})}},
            "this one is My",
        ),
    ],
)
def test_networks_that_lanes_cannot_have_are_refused(env, settings, message):
    with pytest.raises(ValueError, match=message):
        learn_one(env, settings)
