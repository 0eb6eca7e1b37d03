"""Policies: an actor without a critic, a fixed standard deviation, and SB3's options."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, NatureCNN
from torch import nn

from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.policies import (
    ActorPolicy,
    CnnActorPolicy,
    MultiInputActorPolicy,
    NoCritic,
)
from tests.algorithm.short_runs import pkpo_on
from tests.small import BANDIT, CLIFF

DISCRETE = spaces.Discrete(5)
LINE = spaces.Box(-1.0, 1.0, (2,), np.float32)


def actor(observations=DISCRETE, actions=DISCRETE, **kwargs) -> ActorPolicy:
    return ActorPolicy(observations, actions, lambda _: 1e-3, **kwargs)


def parameters(policy: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in policy.named_parameters()}


def test_there_are_no_critic_parameters():
    policy = pkpo_on(BANDIT).policy
    assert list(parameters(policy)) == [
        "mlp_extractor.policy_net.0.weight",
        "mlp_extractor.policy_net.0.bias",
        "mlp_extractor.policy_net.2.weight",
        "mlp_extractor.policy_net.2.bias",
        "action_net.weight",
        "action_net.bias",
    ]
    # 1 observation -> 64 -> 64 -> 3 arms: (1+1)64 + (64+1)64 + (64+1)3.
    assert sum(p.numel() for p in policy.parameters()) == 128 + 4160 + 195
    assert set(policy.optimizer.param_groups[0]["params"]) == set(policy.parameters())
    assert isinstance(policy.value_net, NoCritic)


def test_a_gaussian_policy_has_a_trained_deviation_besides():
    policy = pkpo_on(CLIFF, net_arch=[]).policy
    shapes = {name: tuple(value.shape) for name, value in policy.named_parameters()}
    assert shapes == {"log_std": (1,), "action_net.weight": (1, 1), "action_net.bias": (1,)}
    assert len(policy.optimizer.param_groups[0]["params"]) == 3


def test_values_are_nan_and_the_rest_of_sb3s_interface_works():
    policy = actor()
    observations = torch.arange(5)
    actions, values, log_prob = policy(observations)
    assert values.isnan().all()
    assert values.shape == (5, 1)
    assert policy.predict_values(observations).isnan().all()
    again, evaluated, entropy = policy.evaluate_actions(observations, actions)
    assert again.isnan().all()
    assert torch.allclose(evaluated, log_prob, atol=1e-6)
    assert entropy.shape == (5,)


@pytest.mark.parametrize(
    ("net_arch", "layers"),
    [
        ([], []),
        ([8], [8]),
        ([8, 4], [8, 4]),
        ({"pi": [6], "vf": [32, 32]}, [6]),
        ({"vf": [32]}, []),
    ],
)
def test_net_arch_shapes_the_actor_only(net_arch, layers):
    policy = actor(net_arch=net_arch, activation_fn=nn.ReLU)
    linear = [m.out_features for m in policy.mlp_extractor.modules() if isinstance(m, nn.Linear)]
    assert linear == layers
    activations = [m for m in policy.mlp_extractor.modules() if isinstance(m, nn.ReLU)]
    assert len(activations) == len(layers)


def test_the_optimizer_is_of_the_chosen_class():
    policy = actor(optimizer_class=torch.optim.SGD, optimizer_kwargs={"momentum": 0.5})
    assert type(policy.optimizer) is torch.optim.SGD
    assert policy.optimizer.defaults["momentum"] == 0.5
    assert policy.optimizer.defaults["lr"] == 1e-3


class Doubled(BaseFeaturesExtractor):
    """Gives every observation twice, through a trained scale."""

    def __init__(self, observation_space: spaces.Space, scale: float = 1.0) -> None:
        super().__init__(observation_space, features_dim=2)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.scale * observations.expand(-1, 2)


def test_a_features_extractor_of_ones_own_is_trained():
    model = pkpo_on(
        BANDIT, features_extractor_class=Doubled, features_extractor_kwargs={"scale": 3.0}
    )
    assert model.policy.mlp_extractor.policy_net[0].in_features == 2
    model.learn(80)
    assert model.policy.features_extractor.scale != 3


def test_the_network_sees_each_distinct_discrete_observation_once():
    policy = actor()
    seen = []
    policy.features_extractor.register_forward_hook(
        lambda _, inputs, __: seen.append(len(inputs[0]))
    )
    observations = torch.tensor([3, 1, 3, 3, 0, 1])
    probabilities = policy.get_distribution(observations).distribution.probs
    assert seen == [3]
    plain = ActorCriticPolicy.get_distribution(policy, observations).distribution.probs
    assert torch.allclose(probabilities, plain, atol=1e-6)
    assert not torch.allclose(plain[0], plain[1], atol=1e-4)


def test_gradients_flow_to_every_row_of_a_shared_observation():
    policy = actor(net_arch=[])
    observations, actions = torch.tensor([3, 3, 1]), torch.tensor([0, 2, 4])
    weights = torch.tensor([1.0, -2.0, 0.5])

    def gradient(get_distribution) -> torch.Tensor:
        policy.zero_grad()
        (weights * get_distribution(policy, observations).log_prob(actions)).sum().backward()
        return policy.action_net.weight.grad.clone()

    shared = gradient(ActorPolicy.get_distribution)
    assert torch.allclose(shared, gradient(ActorCriticPolicy.get_distribution), atol=1e-6)
    assert shared.abs().max() > 0.1


def test_shared_distributions_sample_by_their_probabilities():
    policy = actor(net_arch=[], actions=spaces.Discrete(3))
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.copy_(torch.tensor([0.2, 0.0, 0.8]).log().clamp(min=-1000))
    torch.manual_seed(0)
    distribution = policy.get_distribution(torch.arange(5).repeat(2000))
    counts = torch.bincount(distribution.sample(), minlength=3)
    # 10,000 draws: standard deviation of the first count sqrt(10000 * 0.2 * 0.8) = 40.
    assert counts[0].item() == pytest.approx(2000, abs=160)
    assert counts[1] == 0
    assert distribution.mode().unique().tolist() == [2]
    # −0.2 log 0.2 − 0.8 log 0.8 = 0.500402
    assert distribution.entropy().tolist() == pytest.approx([0.500402] * 10_000, abs=1e-5)


def test_a_policy_that_diverged_says_so():
    policy = actor()
    with torch.no_grad():
        policy.action_net.bias[2] = math.nan
    with pytest.raises(ValueError, match=r"logits are not finite.*lower learning_rate"):
        policy.get_distribution(torch.arange(5))


# Fixed standard deviation


def test_fixed_std_is_held_exactly_and_not_trained():
    model = pkpo_on(CLIFF, fixed_std=0.1, net_arch=[])
    policy = model.policy
    assert policy.log_std.tolist() == [torch.tensor(math.log(0.1)).item()]
    assert not policy.log_std.requires_grad
    assert all(p is not policy.log_std for p in policy.optimizer.param_groups[0]["params"])
    before = parameters(policy)
    model.learn(80)
    assert policy.log_std.equal(before["log_std"])
    assert not policy.action_net.bias.equal(before["action_net.bias"])
    deviation = policy.get_distribution(torch.zeros(3, dtype=torch.int64)).distribution.stddev
    assert deviation.flatten().tolist() == pytest.approx([0.1] * 3, rel=1e-6)


def test_fixed_std_outlives_saving_and_loading(tmp_path):
    model = pkpo_on(CLIFF, fixed_std=0.1)
    model.learn(16).save(tmp_path / "model.zip")
    loaded = PKPO.load(tmp_path / "model.zip", env=model.get_env(), device="cpu")
    loaded.learn(80)
    for policy in (loaded.policy,):
        assert policy.fixed_std == 0.1
        assert not policy.log_std.requires_grad
        assert policy.log_std.equal(model.policy.log_std)
    model.policy.save(tmp_path / "policy.pt")
    policy = ActorPolicy.load(tmp_path / "policy.pt", device="cpu")
    assert policy.fixed_std == 0.1
    assert not policy.log_std.requires_grad


@pytest.mark.parametrize("fixed_std", [0, -0.1, math.nan, math.inf])
def test_a_fixed_std_must_be_positive_and_finite(fixed_std):
    with pytest.raises(ValueError, match=f"fixed_std must be positive and finite, got {fixed_std}"):
        actor(actions=LINE, fixed_std=fixed_std)


@pytest.mark.parametrize("actions", [DISCRETE, spaces.MultiBinary(3), spaces.MultiDiscrete([2, 3])])
def test_a_fixed_std_needs_gaussian_actions(actions):
    with pytest.raises(ValueError, match=r"fixed_std=0.1 needs Gaussian actions.*has none"):
        actor(actions=actions, fixed_std=0.1)


def test_a_second_features_extractor_is_refused():
    with pytest.raises(ValueError, match=r"share_features_extractor=False.*leave it at True"):
        actor(share_features_extractor=False)


def test_noise_that_attempts_would_share_is_refused():
    with pytest.raises(ValueError, match=r"use_sde=True.*must be independent"):
        pkpo_on(CLIFF, use_sde=True)


# Kinds of policies


def test_a_saved_policy_acts_as_before(tmp_path):
    policy = actor(net_arch=[8], activation_fn=nn.ReLU)
    policy.save(tmp_path / "policy.pt")
    loaded = ActorPolicy.load(tmp_path / "policy.pt", device="cpu")
    assert isinstance(loaded.value_net, NoCritic)
    assert parameters(loaded).keys() == parameters(policy).keys()
    observations = torch.arange(5)
    expected = policy.get_distribution(observations).distribution.probs
    assert loaded.get_distribution(observations).distribution.probs.equal(expected)


class PaysForActionOne(gymnasium.Wrapper):
    """Rewards that differ within a group, so that there is a gradient."""

    def step(self, action):
        observation, _, *rest = self.env.step(action)
        return observation, float(action == 1), *rest


class WithCritic(ActorCriticPolicy):
    """SB3's own policy, critic and all."""


def test_a_policy_class_with_a_critic_trains_its_actor_alone():
    model = pkpo_on(BANDIT, policy=WithCritic)
    before = parameters(model.policy)
    assert any("value" in name for name in before)
    model.learn(80)
    for name, value in parameters(model.policy).items():
        assert value.equal(before[name]) == ("value" in name), name


def test_images_go_through_a_convolutional_network():
    env = PaysForActionOne(FakeImageEnv(screen_height=36, screen_width=36, n_channels=1))
    model = pkpo_on(env, policy="CnnPolicy")
    assert type(model.policy) is CnnActorPolicy
    assert type(model.policy.features_extractor) is NatureCNN
    before = parameters(model.policy)
    model.learn(1)
    after = parameters(model.policy)
    assert not any("value" in name for name in after)
    assert not after["features_extractor.cnn.0.weight"].equal(
        before["features_extractor.cnn.0.weight"]
    )
    assert model.predict(env.reset()[0])[0].shape == ()


def test_dict_observations_go_through_a_combined_extractor():
    env = PaysForActionOne(gymnasium.wrappers.TimeLimit(SimpleMultiObsEnv(), 5))
    model = pkpo_on(env, policy="MultiInputPolicy")
    assert type(model.policy) is MultiInputActorPolicy
    assert set(model.policy.features_extractor.extractors) == {"vec", "img"}
    before = parameters(model.policy)
    model.learn(100)
    assert not parameters(model.policy)["action_net.weight"].equal(before["action_net.weight"])
    assert model.predict(env.reset()[0])[0].shape == ()


def test_dropout_is_off_when_the_policy_acts_and_learns():
    class Dropping(Doubled):
        def forward(self, observations):
            return nn.functional.dropout(super().forward(observations), training=self.training)

    model = pkpo_on(BANDIT, features_extractor_class=Dropping)
    model.learn(16)
    assert not model.policy.training


# Layers that behave differently in training mode


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.BatchNorm1d(4), "BatchNorm1d"),
        (nn.Dropout(0.1), "Dropout"),
        (nn.Dropout(0.0), None),
        (nn.BatchNorm1d(4, track_running_stats=False), None),
        (nn.LayerNorm(4), None),
    ],
)
def test_a_layer_that_training_mode_would_change_is_warned_of(layer, named):
    class Extractor(FlattenExtractor):
        def __init__(self, space):
            super().__init__(space)
            self.layer = layer

        def forward(self, observations):
            return self.layer(super().forward(observations))

    def make() -> PKPO:
        kwargs = {"features_extractor_class": Extractor}
        return PKPO("MlpPolicy", "CartPole-v1", 2, group_size=2, n_groups=1, policy_kwargs=kwargs)

    if named is None:
        make()
    else:
        with pytest.warns(UserWarning, match=f"the policy has {named}, and stays in evaluation"):
            make()
