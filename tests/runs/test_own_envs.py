"""``pkpo-train`` on foreign envs: ids, wrappers, attributes of other meanings, failures."""

import json
import time

import gymnasium
import numpy as np
import pytest
from hydra.errors import HydraException

from pkpo_envs.bandit import BanditVectorEnv
from pkpo_envs.processes import CLOSE_SECONDS
from pkpo_sandbox.figures import watch
from pkpo_sandbox.figures.film import EpisodePicture
from pkpo_sandbox.runs.loading import read_config
from tests.envs.failing_envs import Failing
from tests.envs.odd_envs import OtherMeanings, OtherMethods
from tests.runs.training import run_here

SMALL = ["algorithm.n_groups=2", "algorithm.group_size=4", "total_timesteps=24", "objective.k=2"]
HALVED = "env.wrappers=[{_target_: tests.runs.test_own_envs.Halved}]"


class Halved(gymnasium.RewardWrapper):
    """Pays half, or another share."""

    def __init__(self, env: gymnasium.Env, share: float = 0.5) -> None:
        super().__init__(env)
        self.share = share

    def reward(self, reward):
        return self.share * reward


class Words(gymnasium.Env):
    """Observes text beside numbers, as MiniGrid's worlds do, and pays 1 a step for two steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
    observation_space = gymnasium.spaces.Dict(
        {"image": gymnasium.spaces.Box(0, 1, (2,)), "mission": gymnasium.spaces.Text(20)}
    )
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.seen(), {}

    def step(self, action):
        self.t += 1
        return self.seen(), 1.0, self.t == 2, False, {}

    def seen(self):
        return {"image": np.full(2, self.t / 2, np.float32), "mission": "go"}

    def render(self):
        return np.full((4, 4, 3), 100 * self.t, np.uint8)


class ImageOnly(gymnasium.ObservationWrapper):
    """Keeps the numbers."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.observation_space = env.observation_space["image"]

    def observation(self, observation):
        return observation["image"]


CARTS = "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv"
IDS = {
    "test/Meanings-v0": {"entry_point": OtherMeanings},
    "test/Methods-v0": {"entry_point": OtherMethods},
    "test/Words-v2": {"entry_point": Words, "reward_threshold": 2.0},
    "test/Carts-v0": {"vector_entry_point": CARTS, "reward_threshold": 1.0},
    "test/Arms-v0": {"vector_entry_point": BanditVectorEnv},
    "test/Failing-v0": {"entry_point": Failing, "kwargs": {"where": "step"}},
}


@pytest.fixture(autouse=True)
def registered():
    for env_id, how in IDS.items():
        gymnasium.register(env_id, **how)
    yield
    for env_id in IDS:
        del gymnasium.registry[env_id]


@pytest.fixture
def summary(tmp_path):
    def train(*overrides: str) -> dict:
        folder = run_here(tmp_path, *SMALL, *overrides)
        return json.loads((folder / "summary.json").read_text())

    return train


@pytest.mark.parametrize("env_id", ["test/Meanings-v0", "test/Methods-v0"])
def test_attributes_of_other_meanings_are_left_alone(env_id, summary):
    found = summary(f"env.id={env_id}")
    assert "exact" not in found
    assert found["final"]["rollout/ep_len_mean"] == 3


def test_an_id_of_a_vector_env_only_is_trained_on(summary, tmp_path):
    carts = summary("env.id=test/Carts-v0")
    (folder,) = tmp_path.iterdir()
    with pytest.raises(ValueError, match=r"cannot be watched.*a vector entry point only"):
        watch.watch(folder, 2)
    assert "exact" not in carts
    assert carts["final"]["rollout/solved"] == 1  # the threshold of its registration
    # A world of ours knows its exact values there too.
    arms = summary(
        "env.id=test/Arms-v0", "env.kwargs.payouts=[1,2]", "env.kwargs.probabilities=[1,1]"
    )
    assert arms["exact"]["2"]["max_at_k_star"] == 2


def test_wrappers_are_applied_in_their_order_and_make_another_world(summary):
    plain = summary("env=bandit", "env.vectorization=sync")
    assert "exact" in plain
    halved = summary("env=bandit", HALVED)
    assert halved["final"]["rollout/ep_rew_mean"] == plain["final"]["rollout/ep_rew_mean"] / 2
    assert halved["config"]["env"]["wrappers"] == [{"_target_": Halved.__module__ + ".Halved"}]
    assert "exact" not in halved
    assert "exact/entropy" not in halved["final"]


def test_an_env_with_text_and_no_version_is_trained_on_through_wrappers(summary, tmp_path):
    words = [
        "env.id=test/Words",
        "env.wrappers=[{_target_: tests.runs.test_own_envs.ImageOnly}, "
        "{_target_: tests.runs.test_own_envs.Halved, share: 3}]",
        "metrics.eval_groups=2",
        "metrics.eval_freq=2",
    ]
    with pytest.warns(UserWarning, match="latest versioned environment `test/Words-v2`"):
        final = summary(*words)["final"]
    assert final["rollout/ep_rew_mean"] == final["eval/ep_rew_mean"] == 6
    assert final["rollout/solved"] == 1
    (stored,) = tmp_path.glob("*/config.yaml")
    config = read_config(stored, trusted=True)
    with pytest.raises(ValueError, match=r"tests\.runs\.test_own_envs\.ImageOnly"):
        read_config(stored)
    config.env.id += "-v2"
    world = watch.building.world(config)
    picture = watch.picture(world, config)
    assert isinstance(picture, EpisodePicture)
    assert picture._env.observation_space.shape == (2,)


@pytest.mark.parametrize(
    ("wrappers", "message"),
    [
        ("[my_module.Mine]", r"env\.wrappers\[0\] is 'my_module\.Mine': name a wrapper.*_target_"),
        ("[{share: 2}]", r"env\.wrappers\[0\] is \{'share': 2\}: name a wrapper"),
        ("[{_target_: json.dumps}]", "made a .* of the env|not JSON serializable"),
    ],
)
def test_what_is_no_wrapper_is_refused_in_one_line(wrappers, message, summary):
    with pytest.raises(HydraException, match=message):
        summary("env=bandit", f"env.wrappers={wrappers}")


@pytest.mark.slow
def test_an_env_that_fails_in_a_process_leaves_the_failure_of_its_run(summary, tmp_path):
    begun = time.monotonic()
    settings = ["env.id=test/Failing-v0", "env.vectorization=async", "env.num_envs=2"]
    with pytest.raises(KeyError, match="no such level"):
        summary(*settings, "algorithm.group_size=30")
    assert time.monotonic() - begun < CLOSE_SECONDS + 20
    (failure,) = tmp_path.glob("*/failure.json")
    assert "no such level" in json.loads(failure.read_text())["error"]
