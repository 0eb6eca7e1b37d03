"""Properties that hold for any input: transforms, schedules, groups, configs, worlds."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hydra import compose, initialize_config_module
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pkpo_envs.columns import ColumnProblem
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_sandbox.algorithm.groups import GroupVecEnv
from pkpo_sandbox.runs.config import NOT_IN_HASH, checked, resolved
from pkpo_sandbox.runs.loading import read_config
from pkpo_sandbox.runs.naming import run_id
from pkpo_sandbox.runs.train import TrainConfig
from pkpo_sandbox.schedules import Constant, Cosine, Linear, Step
from pkpo_sandbox.transforms import (
    BASELINES,
    dr_grpo,
    grpo,
    max_at_k,
    max_rl,
    pass_at_k,
    passk_training,
    pkpo,
    reinforce,
    rloo,
    rs_grpo,
    tail_rl,
)

Transform = Callable[[Tensor], Tensor]


def check(max_examples: int) -> settings:
    return settings(derandomize=True, database=None, deadline=None, max_examples=max_examples)


def close(actual: Tensor, expected: Any) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-11, atol=1e-11)


# Transforms

eighths = st.integers(-64, 64).map(lambda i: i / 8)  # exact in binary, and so are their sums
CENTRED = ("rloo", "dr_grpo", "grpo", "tail_rl", "rs_grpo", "max_rl", "passk_training")


def every_transform(n: int, k: int, binary: bool) -> dict[str, Transform]:
    """The transforms of groups of n that take such rewards."""
    chosen: dict[str, Transform] = {
        "reinforce": reinforce,
        "rloo": rloo,
        "dr_grpo": dr_grpo,
        "grpo": grpo,
        "tail_rl": tail_rl,
        "rs_grpo": partial(rs_grpo, beta=0.5),
        "averse": partial(rs_grpo, beta=-0.5),
    }
    for baseline in BASELINES:
        if baseline != "loo" or k < n:
            chosen[f"pkpo {baseline}"] = partial(pkpo, k=k, baseline=baseline)
    if binary:
        chosen |= {"max_rl": max_rl, "passk_training": partial(passk_training, k=k)}
    return chosen


@st.composite
def group(draw: st.DrawFn) -> tuple[Tensor, int, dict[str, Transform]]:
    """Rewards (n,) float64, k, and the transforms that take them."""
    binary = draw(st.booleans())
    values = st.integers(0, 1).map(float) if binary else eighths
    rewards = draw(st.lists(values, min_size=2, max_size=9))
    k = draw(st.integers(1, len(rewards)))
    return torch.tensor(rewards, dtype=torch.float64), k, every_transform(len(rewards), k, binary)


@check(60)
@given(group(), st.randoms(use_true_random=False))
def test_attempts_are_interchangeable(case, random):
    rewards, _, transforms = case
    order = random.sample(range(len(rewards)), len(rewards))
    for transform in transforms.values():
        close(transform(rewards[order]), transform(rewards)[order])


@check(60)
@given(group())
def test_a_better_attempt_never_weighs_less_and_an_equal_one_the_same(case):
    rewards, _, transforms = case
    order = rewards.argsort()
    tied = rewards[order].diff() == 0
    for name, transform in transforms.items():
        steps = transform(rewards)[order].diff()
        assert (steps >= -1e-12).all(), name
        assert (steps[tied].abs() <= 1e-12).all(), name


@check(60)
@given(group())
def test_weights_add_up_to_what_the_formula_says(case):
    # Σ_i s_i counts every k-subset's maximum k times. The mean over i of ρ([n]∖i, j) is ρ(j), so
    # the baselines take k ρ(k−1) from it, or n k/(n−1) ρ(k).
    rewards, k, transforms = case
    n, rho = len(rewards), max_at_k(rewards, k)
    close(pkpo(rewards, k, "none").sum(), k * rho)
    if k < n:
        close(pkpo(rewards, k, "loo").sum(), -k * rho / (n - 1))
    if k > 1:
        close(pkpo(rewards, k).sum(), k * (rho - max_at_k(rewards, k - 1)))
    close(reinforce(rewards).sum(), rewards.mean())
    for name in transforms.keys() & {*CENTRED, "averse"}:
        close(transforms[name](rewards).sum(), 0)


@check(60)
@given(group())
def test_which_weights_are_never_negative(case):
    rewards, k, _ = case
    assert (pkpo(rewards.abs(), k, "none") >= 0).all()
    if k > 1:
        weights = pkpo(rewards, k)[rewards.argsort()]
        assert (weights >= 0).all()
        assert (weights[: k - 1] == 0).all()


@check(60)
@given(group(), eighths, st.integers(-9, 9))
def test_what_moves_with_the_rewards(case, offset, power):
    rewards, k, transforms = case
    n, scale = len(rewards), 2.0**power
    moved = {"pkpo none": k / n, "pkpo loo": -k / (n * (n - 1)), "reinforce": 1 / n}
    for name in transforms.keys() - {"max_rl", "passk_training"}:
        shifted = transforms[name](rewards + offset)
        close(shifted, transforms[name](rewards) + offset * moved.get(name, 0.0))
    for name in transforms.keys() - {"max_rl", "passk_training", "grpo", "rs_grpo", "averse"}:
        assert torch.equal(transforms[name](rewards * scale), transforms[name](rewards) * scale)
    # These have units of their own: ε and 1/β are rewards.
    close(grpo(rewards * scale, eps=1e-4 * scale), grpo(rewards))
    close(rs_grpo(rewards * scale, 0.5 / scale), rs_grpo(rewards, 0.5) * scale)


@check(60)
@given(group())
def test_the_best_of_more_is_at_least_as_good(case):
    rewards, _, _ = case
    n = len(rewards)
    values = torch.stack([max_at_k(rewards, k) for k in range(1, n + 1)])
    close(values[0], rewards.mean())
    assert values[-1] == rewards.max()
    assert (values.diff() >= -1e-12).all()
    gains = values.diff()
    assert (gains.diff() <= 1e-12).all()  # and each further attempt adds less
    counted = torch.stack([pass_at_k(n, torch.arange(n + 1), k) for k in range(1, n + 1)])
    assert (counted.diff(dim=0) >= -1e-12).all()
    assert (counted.diff(dim=1) >= -1e-12).all()
    assert ((counted >= 0) & (counted <= 1)).all()


@check(40)
@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(2, 6),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_batch_is_its_groups_one_by_one_in_shape_and_dtype(batch, n, dtype, strided, random):
    k = random.randint(1, n)
    shape = (*batch, n)
    rewards = torch.tensor([random.randint(0, 1) for _ in range(math.prod(shape))]).view(shape)
    rewards = rewards.to(dtype)
    if strided and len(batch) > 1:
        rewards = rewards.transpose(0, 1)
    for name, transform in {**every_transform(n, k, True), "": partial(max_at_k, k=k)}.items():
        result = transform(rewards)
        assert result.shape == (rewards.shape if name else rewards.shape[:-1])
        assert result.dtype == (dtype if dtype.is_floating_point else torch.get_default_dtype())
        for index in itertools.product(*map(range, rewards.shape[:-1])):
            torch.testing.assert_close(result[index], transform(rewards[index]), rtol=0, atol=1e-7)


def expected_gradient(transform: Transform, values: Tensor, logits: Tensor, n: int) -> Tensor:
    """E Σ_i w_i ∇log p(x_i) by the logits, the sum over all groups of n attempts."""
    p = logits.softmax(-1)
    arms = torch.tensor(list(itertools.product(range(len(p)), repeat=n)))
    scores = torch.eye(len(p), dtype=p.dtype)[arms] - p
    return torch.einsum("b,bi,bia->a", p[arms].prod(-1), transform(values[arms]), scores)


@check(25)
@given(
    st.integers(2, 3).flatmap(
        lambda n_arms: st.tuples(
            st.lists(eighths, min_size=n_arms, max_size=n_arms),
            st.lists(st.floats(-2, 2), min_size=n_arms, max_size=n_arms),
        )
    ),
    st.integers(2, 4),
)
def test_all_baselines_have_the_true_gradient_as_their_mean(arms, n):
    values, logits = (torch.tensor(numbers, dtype=torch.float64) for numbers in arms)
    for k in range(1, n + 1):
        leaf = logits.clone().requires_grad_()
        tuples = torch.tensor(list(itertools.product(range(len(values)), repeat=k)))
        best = values[tuples].amax(-1)
        (true,) = torch.autograd.grad((leaf.softmax(-1)[tuples].prod(-1) * best).sum(), leaf)
        for name, transform in every_transform(n, k, False).items():
            if name.startswith("pkpo"):
                close(expected_gradient(transform, values, logits, n), true)


@check(60)
@given(
    group(),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.data(),
)
def test_one_reward_that_is_not_finite_is_refused_wherever_it_stands(case, bad, data):
    rewards, k, transforms = case
    batch = torch.stack([rewards, rewards])
    row, column = data.draw(st.integers(0, 1)), data.draw(st.integers(0, len(rewards) - 1))
    batch[row, column] = bad
    for transform in (*transforms.values(), partial(max_at_k, k=k)):
        with pytest.raises(ValueError, match=f"1 of {batch.numel()} rewards are nan or infinite"):
            transform(batch)


@check(60)
@given(
    group(),
    st.integers(-9, 0) | st.integers(10, 2**70) | st.floats() | st.text(max_size=3) | st.none(),
)
def test_no_other_k_than_one_to_n_is_taken(case, k):
    rewards, _, _ = case
    for call in (pkpo, max_at_k, passk_training):
        with pytest.raises(ValueError, match="k = "):
            call(rewards, k)


# Schedules

finite = st.floats(allow_nan=False, allow_infinity=False)
ends = st.integers(-(2**53), 2**53) | finite


@check(100)
@given(st.sampled_from([Linear, Cosine, Step]), ends, ends, st.floats(-3, 1))
@example(Linear, 2**53, -(2**53) + 1, 1.0)
@example(Cosine, 1.7e308, -1.7e308, 0.5)
def test_a_schedule_stays_between_its_ends_and_whole(kind, start, end, remaining):
    schedule = kind(start, end)
    value = schedule(remaining)
    assert min(start, end) <= value <= max(start, end)
    assert isinstance(value, int) == (isinstance(start, int) and isinstance(end, int))
    assert (schedule(1.0), schedule(0.0), schedule(-0.1)) == (start, end, end)


@check(60)
@given(
    st.sampled_from([math.nan, math.inf, -math.inf, None, "8", True, [1], 1j])
    | st.integers(2**53 + 1, 10**400)
)
def test_no_other_ends_than_finite_numbers_are_taken(bad):
    for make in (Constant, partial(Linear, 1), partial(Cosine, 1), partial(Step, 1)):
        with pytest.raises(ValueError, match=r"(value|end)=.* must be"):
            make(bad)
    for make in (Linear, Cosine, Step):
        with pytest.raises(ValueError, match=r"start=.* must be"):
            make(bad, 1)


# Groups


class Tape(ProblemEnv):
    """Every episode is logged, with its own number, and no two steps of a run pay the same.

    Problem p takes ``lengths[p]`` steps, and step t of episode e pays 100 e + t.
    """

    episodes: ClassVar[list[int]] = []  #: the problem of each episode so far, of all copies

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.n_problems, self.lengths = len(lengths), np.array(lengths)
        self.observation_space = spaces.Box(0, 1e9, (3,), np.float64)
        self.action_space = spaces.Discrete(2)

    def start(self, problems):
        numbers = len(self.episodes) + np.arange(len(problems))
        self.episodes.extend(problems.tolist())
        return np.stack([problems, numbers, np.zeros_like(problems)], axis=1)

    def advance(self, state, actions):
        problems, numbers, steps = (state + np.array([0, 0, 1])).T
        rewards = 100.0 * numbers + steps
        return (
            np.stack([problems, numbers, steps], axis=1),
            rewards,
            steps == self.lengths[problems],
        )


class TapeVector(ProblemVectorEnv):
    world_class = Tape


def columns_of(lengths: tuple[int, ...], n_columns: int, native: bool) -> GroupVecEnv:
    disabled = AutoresetMode.DISABLED
    if native:
        return GroupVecEnv(TapeVector(n_columns, disabled, lengths=lengths))
    makers = [
        lambda column=column: ColumnProblem(Tape(lengths), column) for column in range(n_columns)
    ]
    return GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=disabled))


def played(env: GroupVecEnv, n_groups: int, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths (n_groups, group_size) of one iteration on an env that starts it."""
    returns, lengths = np.zeros((n_groups, group_size)), np.zeros((n_groups, group_size), dtype=int)
    for _ in range(10_000):
        _, rewards, _, _ = env.step(np.zeros(env.num_envs, dtype=np.int64))
        playing = env.attempts >= 0
        returns.flat[env.attempts[playing]] += rewards[playing]
        lengths.flat[env.attempts[playing]] += 1
        if env.finished:
            return returns, lengths
    raise AssertionError("the iteration does not end")


def episode_numbers(returns: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Which episode earned each return: a sum over L steps of 100 e + t is 100 L e + L(L+1)/2."""
    numbers = (returns - lengths * (lengths + 1) / 2) / (100 * lengths)
    assert (numbers == numbers.round()).all()
    return numbers.astype(int)


@check(60)
@given(
    st.integers(1, 4),
    st.integers(2, 5),
    st.integers(1, 24),
    st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple),
    st.integers(0, 2**32 - 1),
)
def test_every_attempt_is_one_whole_episode_of_its_groups_problem(
    n_groups, group_size, n_columns, lengths, seed
):
    histories = []
    for native in (True, False):
        Tape.episodes.clear()
        env = columns_of(lengths, n_columns, native)
        env.set_groups(n_groups, group_size)
        env.seed(seed)
        env.reset()
        seen: set[int] = set()
        for _ in range(3):
            returns, steps = played(env, n_groups, group_size)
            numbers = episode_numbers(returns, steps)
            assert len({*numbers.flat, *seen}) == len(seen) + n_groups * group_size  # once each
            seen.update(numbers.flat)
            problems = np.array(Tape.episodes)[numbers]
            assert (problems == problems[:, :1]).all()
            assert (steps == np.array(lengths)[problems]).all()
            histories.append((numbers.tolist(), problems.tolist()))
        env.close()
    assert histories[:3] == histories[3:]


# Configs


def config_of(*overrides: str) -> DictConfig:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return compose("train", list(overrides))


def named(config: DictConfig) -> str:
    return run_id(_root_=config)


positive = st.floats(1e-6, 1e3)
size = st.integers(1, 10**6)
spread = st.sampled_from(["Linear", "Cosine", "Step"])


def node(kind: str, start: float, end: float) -> dict[str, Any]:
    return {"_target_": f"pkpo_sandbox.schedules.{kind}", "start": start, "end": end}


#: values that differ from the default, for each key that changes results
# Hypothesis also draws what stands in the code, such as "${", which OmegaConf would resolve.
words = st.text(st.characters(exclude_characters="$", codec="utf-8"), max_size=5)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(1, 2**31),
    "total_timesteps": size,
    "log_interval": st.integers(11, 10**6),
    "checkpoint_every": size,
    "log_formats": st.sampled_from([["csv", "json"], ["stdout", "csv"]]),
    "env.id": st.sampled_from(["CartPole-v1", "pkpo_envs:pkpo/Bandit-v0", "é:☃ 'x'"]),
    "env.vectorization": st.sampled_from(["native", "sync"]),
    "env.num_envs": size,
    "env.max_episode_steps": size,
    "env.seeded_problems": size,
    "env.wrappers": st.just([{"_target_": "gymnasium.wrappers.FlattenObservation"}]),
    "env.kwargs": st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.lists(words),
        min_size=1,
    ),
    "algorithm.policy": st.sampled_from(["MlpPolicy", "CnnPolicy"]),
    "algorithm.group_size": st.integers(17, 999),
    "algorithm.n_groups": st.integers(17, 999),
    "algorithm.learning_rate": positive | st.builds(node, spread, positive, positive),
    "algorithm.gamma": st.floats(1e-3, 0.999),
    "algorithm.n_epochs": st.integers(2, 99),
    "algorithm.clip_range": positive | st.builds(node, spread, positive, positive),
    "algorithm.ent_coef": positive | st.builds(node, spread, positive, positive),
    "algorithm.max_grad_norm": st.floats(0.6, 1e9) | st.just(math.inf),
    "algorithm.policy_kwargs": st.builds(
        lambda sizes: {"net_arch": sizes}, st.lists(size, max_size=3)
    ),
    "algorithm.device": st.sampled_from(["auto", "cuda"]),
    "algorithm.stats_window_size": st.integers(101, 10**6),
    "metrics.eval_freq": st.integers(11, 10**6),
    "metrics.exact_ks": st.lists(size, max_size=3),
    "metrics.eval_groups": size,
    "metrics.solve_threshold": st.floats(-1e9, 1e9),
    "objective.k": st.integers(5, 99) | st.builds(node, spread, size, size),
    "objective.baseline": st.sampled_from(["loo", "none"]),
    "callbacks": st.just({"mine": {"_target_": "mine.Callback"}}),
}


def with_values(config: DictConfig, values: dict[str, Any]) -> DictConfig:
    """A copy of a composed config with other values."""
    changed = config.copy()
    OmegaConf.set_struct(changed, False)
    for key, value in values.items():
        OmegaConf.update(changed, key, value, merge=False)
    return changed


settings_of_a_run = st.fixed_dictionaries({}, optional=VALUES)


def test_every_key_that_changes_results_is_drawn_below():
    def keys(schema: Any, prefix: str = "") -> set[str]:
        found: set[str] = set()
        for entry in dataclasses.fields(schema):
            value = getattr(schema, entry.name)
            nested = dataclasses.is_dataclass(value)
            name = f"{prefix}{entry.name}"
            found |= keys(value, f"{name}.") if nested else {name}
        return found

    not_drawn = {*NOT_IN_HASH, "objective", "measure"}
    assert keys(TrainConfig()) - not_drawn == VALUES.keys() - {"objective.k", "objective.baseline"}


@pytest.fixture(scope="module")
def default() -> DictConfig:
    return config_of()


@check(25)
@given(values=settings_of_a_run, other=settings_of_a_run, names=words.filter(bool))
def test_runs_share_a_name_if_and_only_if_their_results_are_the_same(default, values, other, names):
    config = with_values(default, values)
    backwards = with_values(default, dict(reversed(values.items())))
    unnamed = with_values(config, {"name": names, "progress_bar": True, "score": names})
    assert named(config) == named(backwards) == named(unnamed)
    changed = with_values(default, other)
    assert (named(config) == named(changed)) == (resolved(config) == resolved(changed))
    for key, value in values.items():
        without = with_values(default, {k: v for k, v in values.items() if k != key})
        same = resolved(without) == resolved(config)  # the default was drawn
        assert (named(without) == named(config)) == same, (key, value)


@check(30)
@given(values=settings_of_a_run)
def test_a_config_comes_back_from_its_file(default, tmp_path_factory, values):
    config = with_values(default, values)
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")
    again = read_config(path, trusted=True)
    assert repr(again) == repr(checked(config, TrainConfig))  # NaN is not NaN
    assert named(OmegaConf.create(dataclasses.asdict(again))) == named(config)
    assert named(OmegaConf.load(path)) == named(config)  # type: ignore[arg-type]


def written(value: Any) -> str:
    """A value as it is written on Hydra's command line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


@check(15)
@given(values=settings_of_a_run)
def test_what_is_written_on_the_command_line_is_the_config(default, values):
    assume("$" not in repr(values) and "\\" not in repr(values))
    free = ("env.kwargs", "algorithm.policy_kwargs", "callbacks")
    overrides = [
        f"++{key}.{name}={written(entry)}" if key in free else f"{key}={written(entry)}"
        for key, value in values.items()
        for name, entry in (value.items() if key in free else [("", value)])
    ]
    composed = config_of(*overrides)
    assert named(composed) == named(with_values(default, values))


# Worlds

chances = st.floats(0, 1)
payouts = st.floats(-1e6, 1e6)


@st.composite
def bandits(draw: st.DrawFn) -> dict[str, Any]:
    arms = draw(st.lists(st.tuples(payouts, chances), min_size=1, max_size=5))
    return {"payouts": [arm[0] for arm in arms], "probabilities": [arm[1] for arm in arms]}


@st.composite
def problem_sets(draw: st.DrawFn) -> dict[str, Any]:
    n_problems, hard_fraction = draw(st.integers(1, 40)), draw(chances)
    n_answers = round(hard_fraction * n_problems) + draw(st.integers(1, 9))
    return {"n_problems": n_problems, "n_answers": n_answers, "hard_fraction": hard_fraction}


WORLDS = {
    "pkpo/Bandit-v0": bandits(),
    "pkpo/Cliff1D-v0": st.just({}),
    "pkpo/ProblemSet-v0": problem_sets(),
    "pkpo/DigitSum-v0": st.fixed_dictionaries({"n_digits": st.integers(1, 15)}),
}
each_world = pytest.mark.parametrize("env_id", sorted(WORLDS))


def test_every_registered_world_is_drawn():
    assert {env_id for env_id in gymnasium.registry if env_id.startswith("pkpo/")} == set(WORLDS)


@each_world
@check(12)
@given(data=st.data())
def test_every_world_passes_the_checker(env_id, data):
    check_env(gymnasium.make(env_id, **data.draw(WORLDS[env_id])).unwrapped, skip_render_check=True)


@each_world
@check(12)
@given(data=st.data(), n_columns=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_columns_step_as_scalar_envs_do(env_id, data, n_columns, seed):
    kwargs = data.draw(WORLDS[env_id])
    if env_id == "pkpo/Bandit-v0":
        n_columns = 1  # columns share their noise
    make = partial(gymnasium.make, env_id, **kwargs)
    vector = gymnasium.make_vec(env_id, n_columns, autoreset_mode=AutoresetMode.DISABLED, **kwargs)
    scalars = [make() for _ in range(n_columns)]
    problems = np.random.default_rng(seed).integers(vector.unwrapped.n_problems, size=n_columns)
    vector.action_space.seed(seed)
    observations, infos = vector.reset(seed=seed, options={"problem": problems})
    for column, scalar in enumerate(scalars):
        observation, _ = scalar.reset(seed=seed, options={"problem": int(problems[column])})
        assert np.array_equal(observation, observations[column])
    ended = np.zeros(n_columns, dtype=bool)
    while not ended.any():
        actions = vector.action_space.sample()
        observations, rewards, ended, _, infos = vector.step(actions)
        assert (infos["problem"] == problems).all()
        for column, scalar in enumerate(scalars):
            observation, reward, terminated, truncated, info = scalar.step(actions[column])
            assert np.array_equal(observation, observations[column])
            assert (reward, terminated, truncated) == (rewards[column], ended[column], False)
            assert info["problem"] == problems[column]


not_a_size = st.integers(-(10**30), 0) | st.floats() | st.sampled_from([True, None, "3", [3]])
not_a_chance = st.floats().filter(lambda x: not 0 <= x <= 1) | st.sampled_from(
    ["0.5", None, True, 1j]
)
INVALID = {
    ("pkpo/ProblemSet-v0", "n_problems"): not_a_size | st.integers(2**63, 10**30),
    ("pkpo/ProblemSet-v0", "n_answers"): not_a_size | st.integers(2**63, 10**30),
    ("pkpo/ProblemSet-v0", "hard_fraction"): not_a_chance,
    ("pkpo/DigitSum-v0", "n_digits"): not_a_size | st.integers(16, 10**30),
    ("pkpo/Bandit-v0", "probabilities"): st.lists(chances, max_size=2)
    | st.tuples(chances, chances, st.floats().filter(lambda x: not 0 <= x <= 1)).map(list)
    | st.sampled_from(["abc", 3, None, [[0.1], [0.2], [0.3]], [0.1, "0.2", 0.3]]),
    ("pkpo/Bandit-v0", "payouts"): st.lists(payouts, max_size=2)
    | st.tuples(payouts, payouts, st.sampled_from([math.nan, math.inf, -math.inf])).map(list)
    | st.sampled_from(["abc", 3, None, [[1.0], [2.0], [3.0]], [1j, 1j, 1j]]),
}


@pytest.mark.parametrize(("env_id", "name"), sorted(INVALID))
@check(40)
@given(data=st.data())
def test_a_world_says_which_of_its_parameters_it_cannot_take(env_id, name, data):
    value = data.draw(INVALID[env_id, name])
    with pytest.raises(ValueError) as caught:  # noqa: PT011, what it says is looked at below
        gymnasium.make(env_id, **{name: value})
    message = str(caught.value)
    shown = [repr(value), *map(str, value if isinstance(value, list) else [value])]
    counted = isinstance(value, list) and f"{len(value)} {name}" in message
    assert counted or any(text in message for text in shown)
    assert name.rstrip("s").removesuffix("ie") in message
