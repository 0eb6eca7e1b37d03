"""Training like SB3's own on-policy algorithms: spaces, policies, seeds, rates, logs."""

import copy
import io
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule
from torch import nn

from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.policies import ActorPolicy

from .conftest import ENVS, LENGTH, parameters, same, small, vec_env

SIZES = pytest.mark.parametrize("n_envs", [1, 3])


def cartpole(n_envs: int = 2, seed: int = 0):
    return make_vec_env("CartPole-v1", n_envs, seed=seed)


@SIZES
@pytest.mark.parametrize("kind", ENVS)
@pytest.mark.parametrize("clip", [{}, {"clip_range": 0.2, "n_epochs": 2}])
def test_every_space_is_trained_on_with_any_number_of_envs(kind, n_envs, clip):
    model = small(vec_env(kind, n_envs), ENVS[kind][0], k=1, **clip)
    before = parameters(model.policy)
    model.learn(60)
    assert model.num_timesteps >= 60
    assert {info["l"] for info in model.ep_info_buffer} == {LENGTH}
    after = parameters(model.policy)
    assert not same(before, after)
    assert all(value.isfinite().all() for value in after.values())


# Seeds


@SIZES
def test_a_seed_fixes_a_training_and_the_next(n_envs):
    def trained(seed: int) -> tuple:
        model = small(cartpole(n_envs, seed=99), seed=seed).learn(100)
        first = parameters(model.policy)
        return first, parameters(model.learn(100, reset_num_timesteps=False).policy)

    (one, onward), (again, again_onward), (other, _) = trained(3), trained(3), trained(4)
    assert same(one, again)
    assert same(onward, again_onward)
    assert not same(one, other)


def test_a_seed_sets_every_generator():
    def drawn(seed: int) -> tuple:
        model = small(cartpole(), seed=seed)
        env = model.get_env()
        spaces = [model.action_space.sample().item() for _ in range(20)]
        numpys = np.random.rand()  # noqa: NPY002
        return random.random(), numpys, torch.rand(1).item(), env.reset().sum(), spaces

    assert drawn(1) == drawn(1)
    assert all(one != other for one, other in zip(drawn(1), drawn(2), strict=True))


def test_without_a_seed_nothing_is_seeded():
    def drawn() -> list[float]:
        model = small(cartpole(), seed=None)
        assert model.seed is None
        return parameters(model.policy)["action_net.weight"].flatten().tolist()

    assert drawn() != drawn()


# Policies


class Mirrored(BaseFeaturesExtractor):
    """Every feature and its negative, through a trained scale."""

    def __init__(self, observation_space, gain: float = 1.0) -> None:
        super().__init__(observation_space, 2 * observation_space.shape[0])
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, observations):
        return self.gain * torch.cat([observations, -observations], dim=1)


class OwnPolicy(ActorCriticPolicy):
    """SB3's policy with a network of one's own choice."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, net_arch=[6], activation_fn=nn.LeakyReLU)


@pytest.mark.parametrize(
    ("policy", "policy_kwargs"),
    [
        ("MlpPolicy", {}),
        ("MlpPolicy", {"net_arch": [6, 3], "activation_fn": nn.ReLU}),
        ("MlpPolicy", {"net_arch": {"pi": [4], "vf": [4]}, "ortho_init": False}),
        ("MlpPolicy", {"features_extractor_class": Mirrored}),
        (
            "MlpPolicy",
            {"features_extractor_class": Mirrored, "features_extractor_kwargs": {"gain": 2.0}},
        ),
        ("MlpPolicy", {"optimizer_class": torch.optim.AdamW, "optimizer_kwargs": {"eps": 1e-7}}),
        ("MlpPolicy", {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"alpha": 0.9}}),
        ("MlpPolicy", {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.5}}),
        (ActorPolicy, {"net_arch": []}),
        (ActorCriticPolicy, {"features_extractor_class": FlattenExtractor}),
        (OwnPolicy, {}),
    ],
)
@SIZES
def test_policies_of_any_kind_are_trained(policy, policy_kwargs, n_envs):
    given = dict(policy_kwargs)
    model = small(cartpole(n_envs), policy, policy_kwargs=policy_kwargs)
    before = parameters(model.policy)
    model.learn(100)
    assert policy_kwargs == given
    after = parameters(model.policy)
    # The action net is trained; a critic, where the class has one, is not.
    assert not after["action_net.weight"].equal(before["action_net.weight"])
    critic = [name for name in after if "value_net" in name]
    assert bool(critic) == (not isinstance(model.policy, ActorPolicy))
    assert all(after[name].equal(before[name]) for name in critic)
    if "features_extractor_class" in given and given["features_extractor_class"] is Mirrored:
        assert after["features_extractor.gain"] != before["features_extractor.gain"]


class Parts(BaseFeaturesExtractor):
    """The vector of a dict observation as it is, and the mean of each row of its image."""

    def __init__(self, observation_space) -> None:
        rows = observation_space["img"].shape[-2]
        super().__init__(observation_space, observation_space["vec"].shape[0] + rows)
        self.scale = nn.Parameter(torch.ones(self.features_dim))

    def forward(self, observations):
        rows = observations["img"].float().mean((-3, -1))
        return self.scale * torch.cat([observations["vec"], rows], dim=1)


@pytest.mark.parametrize("normalised", [True, False])
def test_a_features_extractor_of_ones_own_sees_images_as_it_is_told(normalised):
    """Pixels are numbers from 0 to 1, or as they are with ``normalize_images=False``."""
    seen = []

    class Watched(Parts):
        def forward(self, observations):
            seen.append(observations["img"].max().item())
            return super().forward(observations)

    kwargs = {"features_extractor_class": Watched, "normalize_images": normalised}
    model = small(vec_env("dict", 2), "MultiInputPolicy", policy_kwargs=kwargs).learn(20)
    assert (0 < max(seen) <= 1) == normalised
    assert not model.policy.features_extractor.scale.equal(torch.ones(5 + 64))


@pytest.mark.parametrize("policy", ["MlpPolicy", ActorCriticPolicy])
def test_a_policy_can_be_pickled_copied_and_saved_by_itself(policy, tmp_path):
    fresh = small(cartpole(), policy).policy
    assert same(parameters(copy.deepcopy(fresh)), parameters(fresh))
    trained = small(cartpole(), policy).learn(100).policy
    trained.save(tmp_path / "policy.pt")
    observations = np.random.default_rng(0).uniform(-0.2, 0.2, (20, 4)).astype(np.float32)
    expected = trained.predict(observations, deterministic=True)[0]
    for each in (
        pickle.loads(pickle.dumps(trained)),
        type(trained).load(tmp_path / "policy.pt", device="cpu"),
    ):
        assert same(parameters(each), parameters(trained))
        assert np.array_equal(each.predict(observations, deterministic=True)[0], expected)


# Rates


@pytest.mark.parametrize(
    ("learning_rate", "expected"),
    [
        (2e-3, [2e-3, 2e-3, 2e-3]),
        (ConstantSchedule(2e-3), [2e-3, 2e-3, 2e-3]),
        (LinearSchedule(3e-3, 0.0, 1.0), [2e-3, 1e-3, 0.0]),
        (LinearSchedule(3e-3, 1e-3, 0.5), [3e-3 - 2e-3 * (1 / 3) / 0.5, 1e-3, 1e-3]),
        (lambda remaining: 1e-2 * remaining**2, [1e-2 * 4 / 9, 1e-2 / 9, 0.0]),
    ],
)
def test_the_learning_rate_follows_any_schedule(learning_rate, expected, logger, rows):
    # Three iterations of 20 timesteps: the progress left after them is 2/3, 1/3 and 0.
    model = small(vec_env("discrete", 2), learning_rate=learning_rate)
    model.set_logger(logger)
    model.learn(60, log_interval=1)
    assert rows.column("train/learning_rate") == pytest.approx(expected)
    rates = [group["lr"] for group in model.policy.optimizer.param_groups]
    assert rates == pytest.approx(expected[-1:])


# Beside A2C


def right_actions(algorithm: type, length: int, timesteps: int, **kwargs) -> float:
    """The share of right actions in ``IdentityEnv`` of a policy trained on 16 columns."""

    def identity(n_envs: int, seed: int):
        env = make_vec_env(IdentityEnv, n_envs, env_kwargs={"dim": 3, "ep_length": length})
        for number, each in enumerate(env.envs):
            each.action_space.seed(seed + number)  # it draws the observations
        return env

    model = algorithm("MlpPolicy", identity(16, 0), seed=0, device="cpu", **kwargs)
    model.learn(timesteps)
    episodes = 20 if length > 1 else 400
    return evaluate_policy(model, identity(1, 99), episodes, deterministic=False)[0] / length


@pytest.mark.slow
def test_the_guide_says_truly_when_a2c_learns_faster_and_when_pkpo_does():
    """One seed of the three whose means stand in the table; seeds differ by .06 at most."""
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "sb3.md").read_text()
    rows = re.findall(r"^\| (\d+) steps? \| ([\d,]+) \|(.*)\|$", guide, re.MULTILINE)
    assert len(rows) == 3
    group = {"n_groups": 1, "group_size": 16}
    for length, steps, shares in rows:
        timesteps = int(steps.replace(",", ""))
        if timesteps > 10_000:
            continue  # the middle row takes too long
        told = [float(share) for share in shares.split("|")]
        measured = [
            right_actions(A2C, int(length), timesteps),
            right_actions(PKPO, int(length), timesteps, k=1, **group),
            right_actions(PKPO, int(length), timesteps, k=4, **group),
        ]
        assert measured == pytest.approx(told, abs=0.08)


# Logs


@SIZES
def test_the_log_goes_to_every_writer_of_sb3(n_envs, tmp_path, capsys):
    model = small(vec_env("discrete", n_envs))
    model.set_logger(configure(str(tmp_path), ["stdout", "log", "csv", "json", "tensorboard"]))
    model.learn(60, log_interval=1)
    model.logger.close()
    printed = capsys.readouterr().out
    assert "ep_rew_mean" in printed
    assert "ep_rew_mean" in (tmp_path / "log.txt").read_text()
    table = pd.read_csv(tmp_path / "progress.csv")
    records = pd.read_json(tmp_path / "progress.json", lines=True)
    assert table["time/total_timesteps"].iloc[-1] == model.num_timesteps
    assert table["train/n_updates"].tolist() == records["train/n_updates"].tolist()
    assert len(table) == model._n_updates
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"rollout/ep_rew_mean" in events.read_bytes()


def test_verbosity_decides_what_is_printed(capsys):
    small(vec_env("discrete", 1), verbose=0).learn(20, log_interval=1)
    assert capsys.readouterr().out == ""
    small(vec_env("discrete", 1), verbose=1).learn(20, log_interval=1)
    printed = capsys.readouterr().out
    assert "Using cpu device" in printed
    assert "total_timesteps" in printed


def test_tensorboard_runs_are_numbered_and_continued(tmp_path):
    model = small(vec_env("discrete", 2), tensorboard_log=str(tmp_path))
    model.learn(20, log_interval=1)
    model.learn(20, log_interval=1, reset_num_timesteps=False)
    assert [path.name for path in tmp_path.iterdir()] == ["PKPO_1"]
    assert len(list((tmp_path / "PKPO_1").iterdir())) == 2  # a file of events for each call
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = type(model).load(file, env=vec_env("discrete", 2), device="cpu")
    loaded.learn(20, log_interval=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PKPO_1", "PKPO_2"]


def test_no_timesteps_are_no_training():
    model = small(vec_env("discrete", 2))
    before = parameters(model.policy)
    assert model.learn(0, log_interval=1) is model
    assert model.num_timesteps == 0
    assert same(parameters(model.policy), before)
