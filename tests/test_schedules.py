"""Schedules: values computed by hand, properties, in training and on the command line."""

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from pkpo_sandbox import PKPO
from pkpo_sandbox.runs.build import build
from pkpo_sandbox.schedules import Constant, Cosine, Linear, Objective, Step, label
from pkpo_sandbox.transforms import pkpo, rloo, rs_grpo

BANDIT = "pkpo_envs:pkpo/Bandit-v0"
FILES = {
    "constant": Constant(4),
    "step": Step(8, 1, 0.5),
    "linear": Linear(8, 1),
    "cosine": Cosine(8, 1),
}
ends = st.integers(-100, 100) | st.floats(-1e6, 1e6)
progress = st.floats(0, 1)
each_ramp = pytest.mark.parametrize("ramp", [Linear, Cosine, Step])


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(4), [4, 4, 4, 4, 4]),
        (Constant(0.1), [0.1, 0.1, 0.1, 0.1, 0.1]),
        (Step(8, 1), [8, 8, 1, 1, 1]),
        (Step(8, 1, at=0.75), [8, 8, 8, 1, 1]),
        (Step(0.5, 0.1, at=0.2), [0.5, 0.1, 0.1, 0.1, 0.1]),
        # 8 - 7t = 8, 6.25, 4.5, 2.75, 1; the half goes to the even number.
        (Linear(8, 1), [8, 6, 4, 3, 1]),
        (Linear(1, 9), [1, 3, 5, 7, 9]),
        (Linear(1.0, 2.0), [1.0, 1.25, 1.5, 1.75, 2.0]),
        # c = (1 - cos πt)/2 = 0, 0.1464, 0.5, 0.8536, 1, so 8 - 7c = 8, 6.975, 4.5, 2.025, 1.
        (Cosine(8, 1), [8, 7, 4, 2, 1]),
        (Cosine(0.0, 1.0), [0.0, 0.5 - math.sqrt(2) / 4, 0.5, 0.5 + math.sqrt(2) / 4, 1.0]),
    ],
    ids=str,
)
def test_values_at_the_quarters_of_training(schedule, values):
    quarters = [schedule(1 - done / 4) for done in range(5)]
    assert quarters == pytest.approx(values, abs=1e-15)
    assert {type(value) for value in quarters} == {type(values[0])}


@each_ramp
@given(start=ends, end=ends)
def test_both_ends_are_exact(ramp, start, end):
    assert ramp(start, end)(1.0) == start
    assert ramp(start, end)(0.0) == end


@each_ramp
@given(start=ends, end=ends, first=progress, second=progress)
def test_values_move_from_start_to_end_and_never_beyond(ramp, start, end, first, second):
    schedule = ramp(start, end)
    earlier, later = schedule(max(first, second)), schedule(min(first, second))
    assert min(start, end) <= earlier <= max(start, end)
    rounding = 1e-9 * max(abs(start), abs(end))
    assert (later - earlier) * (1 if end >= start else -1) >= -rounding


@each_ramp
@pytest.mark.parametrize("value", [0.1, 0.3, 3, 1e-300, -7.7])
def test_equal_ends_are_that_value_throughout(ramp, value):
    assert {ramp(value, value)(step / 1000) for step in range(1001)} == {value}


@each_ramp
@given(start=ends, end=ends, remaining=progress)
def test_values_are_integers_if_both_ends_are(ramp, start, end, remaining):
    both = isinstance(start, int) and isinstance(end, int)
    assert type(ramp(start, end)(remaining)) is (int if both else float)


@pytest.mark.parametrize("ramp", [Linear, Cosine])
@pytest.mark.parametrize(("start", "end"), [(8, 1), (1, 16), (-2, 2), (3, 3)])
def test_every_integer_is_visited_once(ramp, start, end):
    values = [ramp(start, end)(1 - step / 10_000) for step in range(10_001)]
    visited = list(dict.fromkeys(values))
    down = start > end
    assert visited == sorted(range(min(start, end), max(start, end) + 1), reverse=down)


def test_linear_spends_equal_time_at_each_integer_and_half_of_it_at_the_ends():
    values = [Linear(8, 1)(1 - (step + 0.5) / 70_000) for step in range(70_000)]
    assert [values.count(k) for k in range(1, 9)] == [5000, *[10_000] * 6, 5000]


@pytest.mark.parametrize("total", [3, 7, 10, 30, 250])
def test_the_step_comes_with_the_very_update_at_that_fraction(total):
    # SB3 computes 1 - num_timesteps/total_timesteps; 1 - 0.9 is less than 0.1, a step too late.
    for at in range(1, total):
        step = Step(0, 1, at / total)
        values = [step(1.0 - done / total) for done in range(total + 1)]
        assert values == [int(done >= at) for done in range(total + 1)]


@pytest.mark.parametrize("schedule", [*FILES.values(), Linear(0.1, 0.01)], ids=str)
def test_an_overshoot_is_the_end_of_training_and_rounding_above_1_is_its_start(schedule):
    assert schedule(-0.002) == schedule(-1.56) == schedule(0.0)
    assert schedule(1 + 1e-12) == schedule(1.0)


@pytest.mark.parametrize("schedule", FILES.values(), ids=str)
@pytest.mark.parametrize("remaining", [1.01, 2, math.nan, math.inf, -math.inf])
def test_a_progress_above_1_or_not_finite_is_refused(schedule, remaining):
    with pytest.raises(ValueError, match="must be at most 1"):
        schedule(remaining)


@pytest.mark.parametrize("end", [math.nan, math.inf, -math.inf, "8", None, True])
def test_ends_that_are_not_finite_numbers_are_refused(end: Any):
    with pytest.raises(ValueError, match=r"value=.* must be a finite number"):
        Constant(end)
    for ramp in (Step, Linear, Cosine):
        with pytest.raises(ValueError, match=r"start=.* must be a finite number"):
            ramp(end, 1)
        with pytest.raises(ValueError, match=r"end=.* must be a finite number"):
            ramp(1, end)


@pytest.mark.parametrize("at", [0, 1, 0.0, 1.0, -0.5, 1.5])
def test_a_step_at_no_moment_within_training_is_refused(at):
    with pytest.raises(ValueError, match=r"must be inside \(0, 1\).*Constant"):
        Step(8, 1, at=at)


def test_a_step_at_no_number_is_refused():
    with pytest.raises(ValueError, match="at=nan must be a finite number"):
        Step(8, 1, at=math.nan)


@pytest.mark.parametrize("schedule", FILES.values(), ids=str)
def test_schedules_compare_by_value_survive_pickling_and_cannot_be_changed(schedule):
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule
    assert hash(copy) == hash(schedule)
    with pytest.raises(AttributeError):
        copy.start = 2


def test_the_module_needs_neither_torch_nor_sb3_nor_hydra():
    code = "import sys, pkpo_sandbox.schedules; "
    code += (
        "print([m for m in ('torch', 'stable_baselines3', 'hydra', 'numpy') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip() == "[]"


class Series(BaseCallback):
    """Keeps a value of the log at every step."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.values = key, []

    def _on_step(self) -> bool:
        self.values.append(self.logger.name_to_value[self.key])
        return True

    def _on_training_end(self) -> None:
        self._on_step()


def train_pkpo(k: Any, total_timesteps: int) -> list[Any]:
    """The k of each update; an iteration is 32 steps."""
    model = PKPO("MlpPolicy", BANDIT, k=k, n_groups=2, seed=0, policy_kwargs={"net_arch": []})
    series = Series("train/k")
    model.learn(total_timesteps, series, log_interval=None)
    return series.values[1:]


def test_k_follows_the_schedule_and_ends_at_its_end_though_the_last_iteration_overshoots():
    # Four iterations of 32 steps: 0.32, 0.64, 0.96 and 1.28 of the 100.
    assert train_pkpo(Step(8, 1), 100) == [8, 1, 1, 1]
    assert train_pkpo(Linear(8, 1), 100) == [6, 4, 1, 1]  # 8 - 7t = 5.76, 3.52, 1.28, 1
    assert train_pkpo(Linear(16, 2), 10) == [2]  # one iteration, more than three times all training


def test_a_learning_rate_ends_at_its_end_though_the_last_iteration_overshoots():
    env = DummyVecEnv([lambda: gymnasium.make(BANDIT)] * 4)
    model = A2C("MlpPolicy", env, learning_rate=Linear(0.01, 0.001), n_steps=5)
    model.learn(50)  # three iterations of 20 steps: the progress remaining at the end is -0.2
    assert model._current_progress_remaining == pytest.approx(-0.2)
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.001


@pytest.mark.parametrize("schedule", [Step(8, 1), Linear(8, 1), Cosine(8, 1), Step(16, 2)], ids=str)
def test_schedules_within_the_group_are_accepted(schedule):
    assert PKPO("MlpPolicy", BANDIT, k=schedule, group_size=16).k == schedule


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Linear(32, 1), "at 0 % of training: k = 32 exceeds n = 16"),
        (Linear(4, 0), r"at 8\d % of training: k = 0 is below 1"),
        (Cosine(1, 17), r"% of training: k = 17 exceeds n = 16"),
        (Step(8, 32, at=0.995), "at 100 % of training: k = 32 exceeds n = 16"),
        (Linear(8.0, 1.0), "at 1 % of training: k = 7.93 is a float: pass an int"),
    ],
    ids=str,
)
def test_a_schedule_that_leaves_the_group_is_refused_before_training(schedule, message):
    with pytest.raises(ValueError, match=message):
        PKPO("MlpPolicy", BANDIT, k=schedule, group_size=16)


def test_a_schedule_is_saved_with_the_model(tmp_path):
    PKPO("MlpPolicy", BANDIT, k=Cosine(8, 1), learning_rate=Linear(0.1, 0.0)).save(tmp_path / "m")
    model = PKPO.load(tmp_path / "m")
    assert model.k == Cosine(8, 1)
    assert model.lr_schedule(0.5) == 0.05


def objective(*overrides: str) -> dict[str, Any]:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        config = compose("train", list(overrides))
    return instantiate({**config.objective, "_target_": "builtins.dict"}, _convert_="all")


def test_every_schedule_has_a_file_and_every_file_a_schedule():
    folder = Path(__file__).parents[1] / "conf" / "schedule"
    assert {path.stem for path in folder.glob("*.yaml")} == set(FILES)


@pytest.mark.parametrize(("name", "schedule"), FILES.items())
def test_the_schedule_option_sets_the_k_of_the_objective(name, schedule):
    assert objective(f"schedule={name}") == {"k": schedule, "baseline": "loo_minus_one"}


def test_k_stays_a_number_without_a_schedule():
    assert objective()["k"] == 4
    assert objective("objective.k=8")["k"] == 8


def test_the_ends_of_a_schedule_are_set_one_by_one():
    assert objective("schedule=linear", "objective.k.start=16")["k"] == Linear(16, 1)
    assert objective("schedule=step", "objective.k.at=0.75")["k"] == Step(8, 1, 0.75)


def test_a_schedule_can_be_written_out_where_k_stands():
    node = "{_target_: pkpo_sandbox.schedules.Step, start: 8, end: 2, at: 0.25}"
    assert objective(f"objective.k={node}")["k"] == Step(8, 2, 0.25)


def test_the_app_builds_an_algorithm_with_the_schedule():
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        config = compose("train", ["schedule=step"])
    model = build(config)
    assert isinstance(model, PKPO)
    assert model.k == Step(8, 1, 0.5)


# Objectives


RETURNS = torch.tensor([[0.0, 1.0, 3.0, 2.0], [5.0, 5.0, 5.0, 6.0]], dtype=torch.float64)


def scaled(returns, scale=1.0, *, shift=0.0):
    return scale * returns + shift


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (4.0, 4.0),  # a value is handed on as it is
        (lambda p: 4.0, 4),
        (FloatSchedule(4), 4),
        (LinearSchedule(8.0, 0.0, 1.0), 4),
        (lambda p: np.float32(4), 4),
        (lambda p: 4, 4),
        (lambda p: 2.5, 2.5),
        (lambda p: True, True),
        (lambda p: "loo", "loo"),
        (lambda p: None, None),
        (lambda p: 1e300, 1e300),
        (lambda p: math.inf, math.inf),
        (Linear(8, 0), 4),
        (Linear(0.0, 5.0), 2.5),
    ],
)
def test_a_scheduled_whole_number_is_an_integer(value, expected):
    (found,) = Objective(scaled, scale=value).at(0.5).values()
    assert found == expected
    assert type(found) is type(expected)


def test_weights_are_those_of_the_transform_with_the_coefficients_of_the_moment():
    objective = Objective(pkpo, k=Step(3, 1), baseline="loo")
    assert objective.at(0.75) == {"k": 3, "baseline": "loo"}
    assert objective.weights(RETURNS, 0.75).equal(pkpo(RETURNS, 3, "loo"))
    assert objective.weights(RETURNS, 0.25).equal(pkpo(RETURNS, 1, "loo"))
    assert objective.apply(RETURNS, {"k": 2}).equal(pkpo(RETURNS, 2))
    assert Objective(rloo).weights(RETURNS, 1.0).equal(rloo(RETURNS))


def test_an_objective_can_be_pickled_and_printed():
    objective = Objective(rs_grpo, beta=Linear(0.5, 1.5))
    again = pickle.loads(pickle.dumps(objective))
    assert again.weights(RETURNS, 0.5).equal(rs_grpo(RETURNS, 1))
    assert repr(again) == "Objective(rs_grpo, beta=Linear(start=0.5, end=1.5))"


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda w: w.tolist(), "gave a list: it must give a tensor of weights"),
        (lambda w: w.sum(-1), r"gave weights of shape \(2,\) for returns of shape \(2, 4\)"),
        (lambda w: w[:, :2], r"gave weights of shape \(2, 2\) for returns of shape \(2, 4\)"),
        (lambda w: w * math.nan, "gave weights that are not finite"),
        (lambda w: w / 0, "gave weights that are not finite"),
    ],
)
def test_what_is_not_one_finite_weight_for_each_attempt_is_refused(transform, message):
    with pytest.raises(ValueError, match=f"^the transform {message}"):
        Objective(transform).weights(RETURNS, 1.0)


def test_large_weights_are_finite_even_if_their_sum_is_not():
    weights = Objective(lambda w: w * 2.5e307).weights(RETURNS, 1.0)
    assert weights.isfinite().all()
    assert weights.sum().isinf()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Objective(pkpo, k=5), r"^k = 5 exceeds n = 4"),
        (Objective(pkpo, k=lambda p: 2 if p > 0.25 else 9), r"^at 75 % of training: k = 9 exceeds"),
        (Objective(pkpo, k=2, beta=1), r"^pkpo does not take .*'beta'; it takes k, baseline"),
        (Objective(pkpo), r"^pkpo does not take .* 'k'; it takes k, baseline"),
        (Objective(rloo, k=1), r"^rloo does not take .*'k'; it takes no coefficients"),
        (Objective(scaled, shift=lambda p: math.log(p) if p else -math.inf), "^at 100 % of train"),
    ],
)
def test_an_objective_is_checked_at_every_moment_before_training(objective, message):
    with pytest.raises(ValueError, match=message):
        objective.check(4)


def test_an_objective_without_schedules_is_tried_once():
    calls = []
    transform = lambda returns, k: calls.append((returns.shape, k)) or returns  # noqa: E731
    Objective(transform, k=3).check(4)
    assert calls == [((1, 4), 3)]
    Objective(transform, k=Step(3, 1)).check(4)
    assert [k for _, k in calls[1:]] == [3] * 50 + [1] * 51


def test_schedules_load_no_torch():
    script = "import sys, pkpo_sandbox.schedules; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Constant(8), "8"),
        (Step(8, 1), "8 then 1"),
        (Step(8, 1, at=0.25), "8 then 1 from 0.25 of training on"),
        (Linear(8, 1), "8 to 1 linearly"),
        (Cosine(0.003, 0.0), "0.003 to 0 along a cosine"),
    ],
)
def test_a_schedule_and_its_node_of_a_config_are_said_alike(schedule, said):
    node = {"_target_": f"pkpo_sandbox.schedules.{type(schedule).__name__}", **vars(schedule)}
    assert (label(schedule), label(node)) == (said, said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (8, "8"),
        (8.0, "8"),
        (0.003, "0.003"),
        ("loo", "loo"),
        (None, "None"),
        ({"_target_": "pkpo_sandbox.schedules.Step", "start": 8, "end": 1}, "8 then 1"),
        ({"_target_": "mine.Halved", "start": 8, "of": Step(4, 2)}, "Halved(start=8, of=4 then 2)"),
    ],
)
def test_what_is_no_schedule_is_said_as_it_is(value, said):
    assert label(value) == said
