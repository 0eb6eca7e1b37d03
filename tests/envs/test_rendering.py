"""What pictures show: attempts recorded rightly, worlds drawn differently when they go differently.

That the checkers of Gymnasium and SB3 accept every render mode is tested in test_problem_env.py.
"""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from matplotlib import pyplot
from matplotlib.figure import Figure
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from pkpo_envs import ProblemEnv, ProblemVectorEnv
from pkpo_envs.rendering import FPS, Attempts, Renderer, spread, summary

IDS = sorted(env_id for env_id in gym.registry if env_id.startswith("pkpo/"))


class CountdownEnv(ProblemEnv):
    """Problem i takes i + 1 steps and earns the action at each; draws itself by default."""

    n_problems = 3

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Discrete(4)
        self.action_space = spaces.Discrete(5)

    def start(self, problems):
        return problems + 1

    def advance(self, state, actions):
        return state - 1, actions.astype(float), state == 1


class CountdownVectorEnv(ProblemVectorEnv):
    world_class = CountdownEnv


def attempts_of(env: Any) -> Attempts:
    return Attempts.joined(env.unwrapped._renderer._rounds)


def drawn(world: ProblemEnv, attempts: Attempts) -> Any:
    axes = Figure().add_subplot()
    world.draw(axes, attempts)
    return axes


def one_step(problems: Any, actions: Any, returns: Any) -> Attempts:
    problems = np.asarray(problems)
    ended = np.ones(len(problems), dtype=bool)
    return Attempts(problems, problems, np.asarray(actions), np.asarray(returns, float), ended)


@pytest.mark.parametrize("env_id", IDS)
def test_every_world_is_drawn_before_and_after_attempts(env_id):
    env = gym.make(f"pkpo_envs:{env_id}", render_mode="rgb_array")
    env.action_space.seed(0)
    env.reset(seed=0)
    frames = [env.render()]
    for _ in range(20):
        if env.step(env.action_space.sample())[2]:
            env.reset()
    frames += [env.render(), env.render()]
    for frame in frames:
        assert (frame.dtype, frame.shape) == (np.uint8, (400, 640, 3))
    assert (frames[0] != frames[1]).any()
    assert np.array_equal(frames[1], frames[2])


@pytest.mark.parametrize("env_id", IDS)
def test_the_checkers_are_silent_about_a_rendering_env(env_id):
    env = gym.make(env_id, render_mode="rgb_array").unwrapped
    check_env(env)
    sb3_check_env(env, skip_render_check=False)


def test_the_checkers_are_silent_about_a_window():
    env = gym.make("pkpo/Bandit-v0", render_mode="human").unwrapped
    check_env(env)
    sb3_check_env(env, skip_render_check=False)
    env.close()
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("env_id", IDS)
def test_a_vector_env_draws_all_columns_into_one_picture(env_id):
    envs = gym.make_vec(env_id, 6, render_mode="rgb_array")
    assert envs.render_mode == "rgb_array"
    assert envs.metadata["render_fps"] == FPS
    envs.action_space.seed(0)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    frames = envs.render()
    assert len(frames) == 6
    assert all(frame is frames[0] for frame in frames)
    assert (frames[0].dtype, frames[0].shape) == (np.uint8, (400, 640, 3))
    assert len(attempts_of(envs)) == 6


@pytest.mark.parametrize("env_id", IDS)
def test_what_happens_does_not_depend_on_being_drawn(env_id):
    def rewards(**kwargs: Any) -> list[list[float]]:
        envs = gym.make_vec(env_id, 5, **kwargs)
        envs.action_space.seed(0)
        envs.reset(seed=0)
        steps = []
        for _ in range(6):
            steps.append(envs.step(envs.action_space.sample())[1].tolist())
            if kwargs:
                envs.render()
        return steps

    assert rewards() == rewards(render_mode="rgb_array")


def test_nothing_is_recorded_without_a_render_mode():
    env, envs = CountdownEnv(), CountdownVectorEnv(num_envs=2)
    for unseen in (env, envs):
        unseen.reset(seed=0)
        unseen.step(0 if unseen is env else [0, 0])
        assert unseen._renderer is None
        with pytest.warns(UserWarning, match=r"draws nothing without a render mode: choose one"):
            assert unseen.render() is None
        unseen.close()


def test_a_world_promises_pictures_only_if_it_takes_a_render_mode():
    class Plain(CountdownEnv):
        def __init__(self) -> None:
            super().__init__()

    class Passing(Plain):
        def __init__(self, **kwargs: Any) -> None:
            CountdownEnv.__init__(self, **kwargs)

    class Inheriting(CountdownEnv):
        pass

    assert Plain.metadata["render_modes"] == []
    for world in (CountdownEnv, Inheriting, Passing):
        assert world.metadata["render_modes"] == ["human", "rgb_array"]
        world(render_mode="rgb_array").reset()
    gym.register("Plain-v0", entry_point=Plain)
    try:
        check_env(gym.make("Plain-v0").unwrapped)
    finally:
        del gym.registry["Plain-v0"]
    envs = type("Envs", (ProblemVectorEnv,), {"world_class": Plain})(2, render_mode="rgb_array")
    envs.reset(seed=0)
    assert envs.metadata["render_modes"] == ["human", "rgb_array"]
    assert envs.render()[0].shape == (400, 640, 3)


def test_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match=r"render_mode='ansi' must be one of \['human', 'rgb_arr"):
        CountdownEnv(render_mode="ansi")
    with pytest.raises(ValueError, match=r"render_mode='ansi' must be one of"):
        CountdownVectorEnv(render_mode="ansi")
    with pytest.raises(ResetNeeded, match=r"nothing to draw before the first reset\(\)"):
        CountdownEnv("rgb_array").render()


def test_columns_show_an_attempt_each_until_all_have_ended():
    envs = CountdownVectorEnv(num_envs=3, render_mode="rgb_array")
    envs.reset(options={"problem": np.array([0, 1, 2])})
    envs.step([1, 2, 3])  # the first column ends and restarts, wherever
    shown = attempts_of(envs)
    assert shown.returns.tolist() == [1, 2, 3]
    assert shown.ended.tolist() == [True, False, False]
    envs.step([4, 2, 3])
    envs.step([4, 4, 3])
    shown = attempts_of(envs)
    assert shown.problems.tolist() == [0, 1, 2]
    assert shown.returns.tolist() == [1, 4, 9]
    assert shown.states.tolist() == [0, 0, 0]
    assert shown.actions.tolist() == [1, 2, 3]
    assert shown.ended.all()
    envs.step([0, 0, 0])
    assert len(attempts_of(envs)) == 3
    assert attempts_of(envs).returns[2] == 0  # the next round; the third column begins with it


def test_an_attempt_under_way_is_shown_with_all_it_has_earned():
    envs = CountdownVectorEnv(num_envs=2, render_mode="rgb_array", autoreset_mode="Disabled")
    envs.reset(options={"problem": np.array([0, 2])})
    for mask in (None, [True, False]):
        if mask:
            envs.reset(options={"reset_mask": np.array(mask), "problem": 0})
        envs.step([1, 2])
    assert attempts_of(envs).returns.tolist() == [1, 4]
    envs.reset(options={"problem": 1})  # gives the third column's attempt up
    envs.step([4, 1])
    assert attempts_of(envs).returns.tolist() == [1, 1]


def test_a_scalar_env_shows_its_latest_64_attempts():
    env = CountdownEnv("rgb_array")
    for attempt in range(70):
        env.reset(options={"problem": 0})
        env.step(attempt % 5)
    assert attempts_of(env).returns.tolist() == [attempt % 5 for attempt in range(6, 70)]
    env.reset(options={"problem": 2})
    env.step(4)
    env.step(4)
    shown = attempts_of(env)
    assert len(shown) == 64
    assert (shown.problems[-1], shown.returns[-1], shown.ended[-1]) == (2, 8, False)


def test_what_was_drawn_does_not_change_with_the_state():
    class InPlace(CountdownEnv):
        def advance(self, state, actions):
            state -= 1
            return state, actions.astype(float), state == 0

    env = InPlace("rgb_array")
    env.reset(options={"problem": 2})
    env.step(1)
    shown = attempts_of(env)
    env.step(1)
    assert (shown.states.tolist(), shown.returns.tolist()) == ([2], [1])


def test_the_default_picture_marks_the_best_attempt_at_each_problem():
    attempts = one_step([0, 0, 2, 2, 2], [0] * 5, [1.0, 2.0, 0.5, 0.5, -1.0])
    assert attempts.best().tolist() == [False, True, True, True, False]
    assert attempts.mean_returns(3).tolist() == pytest.approx([1.5, np.nan, 0.0], nan_ok=True)
    others, best = drawn(CountdownEnv(), attempts).lines
    assert others.get_ydata().tolist() == [1.0, -1.0]
    assert best.get_ydata().tolist() == [2.0, 0.5, 0.5]
    assert np.round(best.get_xdata()).tolist() == [0, 2, 2]
    assert summary(attempts) == "5 attempts at 2 problems: mean return 0.60, mean best 1.25"
    assert summary(one_step([1, 1], [0, 0], [1, 2])) == "2 attempts: mean return 1.50, best 2.00"
    assert summary(Attempts.none(CountdownEnv())) == "no attempts yet"


def test_points_are_set_apart_within_their_problem():
    for n in (0, 1, 2, 50):
        assert (np.abs(spread(n)) <= 0.5).all()
        assert len(np.unique(spread(n))) == n


def test_cliff_shows_who_fell():
    world = gym.make("pkpo/Cliff1D-v0").unwrapped
    actions = np.float32([[0.0], [0.4], [0.6], [7.0]])
    attempts = one_step([0] * 4, actions, world.reward_at(0.5 + actions[:, 0]))
    fell, stand, best = drawn(world, attempts).lines
    assert fell.get_xdata().tolist() == pytest.approx([1.1, 1.5])  # kept within the picture
    assert stand.get_xdata().tolist() == pytest.approx([0.5, 0.9])
    assert best.get_xdata().tolist() == pytest.approx([0.9])


def test_bandit_shows_choices_and_what_they_paid():
    world = gym.make("pkpo/Bandit-v0").unwrapped
    axes = drawn(world, one_step([0] * 4, [1, 1, 1, 2], [0.8, 0, 0, 1]))
    chosen, paid = axes.containers
    assert [bar.get_height() for bar in chosen] == [0, 0.75, 0.25]
    assert [bar.get_height() for bar in paid] == [0, 0.25, 0.25]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["0.5\np = 1", "0.8\np = 0.4", "1\np = 0.1"]


def test_problem_set_shows_what_is_solved():
    world = gym.make("pkpo/ProblemSet-v0", n_problems=6, n_answers=9).unwrapped
    axes = drawn(world, one_step([0, 0, 1, 5], [0] * 4, [1, 0, 0, 1]))
    mesh = axes.collections[0]
    shares = mesh.get_array().ravel()
    assert shares[:6].tolist() == [0.5, 0, -1, -1, -1, 1]  # -1: not attempted
    assert mesh.cmap.get_under().tolist() != mesh.cmap(0.0)
    solved = axes.lines[0]
    assert list(zip(solved.get_xdata(), solved.get_ydata(), strict=True)) == [
        (0.5, 0.5),
        (1.5, 1.5),
    ]


def test_digit_sum_shows_sums_against_targets():
    world = gym.make("pkpo/DigitSum-v0", n_digits=2).unwrapped
    targets, totals = np.array([3, 3, 9, 9]), np.array([3, 4, 9, 9])
    states = np.stack([[2, 2, 2, 1], totals, targets], axis=-1)
    ended = np.array([True, True, True, False])
    attempts = Attempts(targets, states, np.zeros(4, int), np.array([1.0, 0, 1, 0]), ended)
    under_way, missed, met, _ = drawn(world, attempts).lines
    assert (under_way.get_xdata().tolist(), under_way.get_ydata().tolist()) == ([9], [9])
    assert (missed.get_xdata().tolist(), missed.get_ydata().tolist()) == ([3], [4])
    assert met.get_xdata().tolist() == met.get_ydata().tolist() == [3, 9]


def test_a_solved_problem_looks_otherwise_than_a_failed_one():
    def cells(answers: Any) -> np.ndarray:
        envs = gym.make_vec("pkpo/ProblemSet-v0", 128, render_mode="rgb_array")
        envs.reset(seed=0, options={"problem": np.arange(128)})
        envs.step(answers(envs.world))
        return envs.render()[0]

    failed = cells(lambda world: np.full(128, 127))
    one = cells(lambda world: np.where(np.arange(128) == 20, world.answers, 127))
    everything = cells(lambda world: world.answers)

    def changed(frame: np.ndarray) -> float:
        return float((frame[40:330, :540] != failed[40:330, :540]).any(axis=-1).mean())

    assert 0.002 < changed(one) < 0.02  # about a cell of 128
    assert changed(everything) > 0.8


def test_user_settings_change_no_picture():
    env = CountdownEnv("rgb_array")
    env.reset(seed=0, options={"problem": 1})
    env.step(2)
    frame = env.render()
    with pyplot.rc_context({"figure.dpi": 50, "axes.facecolor": "red", "font.size": 30}):
        assert np.array_equal(env.render(), frame)


def test_a_drawn_env_pickles():
    env = CountdownEnv("rgb_array")
    env.reset(seed=0, options={"problem": 1})
    env.step(2)
    assert np.array_equal(pickle.loads(pickle.dumps(env)).render(), env.render())


def test_human_mode_draws_by_itself_into_one_window(monkeypatch):
    shown = []
    monkeypatch.setattr(
        Renderer, "render", lambda self, real=Renderer.render: shown.append(1) or real(self)
    )
    for env, action in (
        (CountdownEnv("human"), 1),
        (CountdownVectorEnv(num_envs=2, render_mode="human"), [1, 1]),
    ):
        del shown[:]
        env.reset(seed=0, options={"problem": 0})
        env.step(action)
        env.reset(options={"problem": 0})
        assert len(shown) == 2  # a restart alone changes nothing
        assert len(pyplot.get_fignums()) == 1
        assert env.render() is None
        env.close()
        assert pyplot.get_fignums() == []


def test_a_window_that_its_user_closed_stays_closed():
    env = CountdownEnv("human")
    env.reset(options={"problem": 0})
    pyplot.close("all")
    env.step(1)
    assert pyplot.get_fignums() == []
    env.close()


def test_human_mode_without_a_display_says_what_to_do(monkeypatch):
    pyplot.switch_backend("agg")  # what matplotlib falls back to
    monkeypatch.delenv("MPLBACKEND")
    env = CountdownEnv("human")
    with pytest.raises(
        ValueError, match=r"no display or no toolkit .*agg.*'rgb_array', or install"
    ):
        env.reset()
    assert pyplot.get_fignums() == []


def test_record_video_takes_the_picture_of_a_group(tmp_path):
    pytest.importorskip("moviepy")
    from gymnasium.wrappers.vector import RecordVideo

    envs = RecordVideo(
        gym.make_vec("pkpo/Cliff1D-v0", 8, render_mode="rgb_array", autoreset_mode="Disabled"),
        str(tmp_path / "videos"),
        record_first_only=True,
        episode_trigger=lambda episode: True,
    )
    envs.action_space.seed(0)
    envs.reset(seed=0)
    *_, ended, _, _ = envs.step(envs.action_space.sample())
    assert [frame.shape for frame in envs.recorded_frames] == [(400, 640, 3)] * 2
    envs.reset(options={"reset_mask": ended})
    envs.close()
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 2


def test_drawing_is_imported_only_when_something_is_drawn():
    import subprocess
    import sys

    code = (
        "import sys, pkpo_envs, gymnasium\n"
        "env = gymnasium.make('pkpo/Cliff1D-v0', render_mode='rgb_array')\n"
        "env.reset(seed=0), env.step(env.action_space.sample())\n"
        "assert 'matplotlib' not in sys.modules\n"
        "env.render()\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
