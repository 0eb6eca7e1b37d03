"""Seeded problems: the attempts of a group share a start, then have independent randomness."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pkpo_envs import SeededProblems
from pkpo_envs.bandit import BanditEnv
from pkpo_envs.problem_set import ProblemSetEnv
from tests.envs.drift import Drift


def walk(env: gymnasium.Env, problem: int | None = None, steps: int = 5, **kwargs) -> list[float]:
    options = None if problem is None else {"problem": problem}
    places = [env.reset(options=options, **kwargs)[0].item()]
    return places + [env.step(0)[0].item() for _ in range(steps)]


def test_attempts_at_a_problem_share_the_start_and_nothing_after_it():
    env = SeededProblems(Drift(), 3)
    env.reset(seed=0)
    walks = np.array([[walk(env, problem) for _ in range(50)] for problem in range(3)])
    starts, moves = walks[:, :, 0], np.diff(walks)
    assert (starts == starts[:, :1]).all()
    assert len(set(starts[:, 0])) == 3
    # 3 × 50 × 5 draws of a standard normal distribution, none of them twice.
    assert len(np.unique(moves)) == moves.size == 750
    assert abs(moves.mean()) < 4 / np.sqrt(750)
    assert abs(moves.std() - 1) < 4 / np.sqrt(2 * 750)


def test_a_slippery_lake_leads_attempts_at_one_problem_to_different_places():
    env = SeededProblems(gymnasium.make("FrozenLake-v1", is_slippery=True), 4)
    env.reset(seed=0)
    ways = set()
    for _ in range(20):
        env.reset(options={"problem": 2})
        ways.add(env.step(2)[0])
    # To the right from the corner: right, down, or up against the edge, a third each.
    assert ways == {0, 1, 4}


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_problem_is_the_start_of_one_seed(env_id):
    env = SeededProblems(gymnasium.make(env_id), 5, seed=7)
    plain = gymnasium.make(env_id)
    for problem in range(5):
        seed = int(np.random.SeedSequence([7, problem]).generate_state(1)[0]) % 2**31
        start = env.reset(options={"problem": problem})[0]
        assert (start == plain.reset(seed=seed)[0]).all()


def test_copies_have_the_same_problems_and_another_seed_gives_others():
    def starts(**kwargs) -> list[float]:
        env = SeededProblems(Drift(), 10, **kwargs)
        return [walk(env, problem, steps=0)[0] for problem in range(10)]

    assert starts() == starts() == starts(seed=0)
    assert not set(starts()) & set(starts(seed=1))


def test_the_seed_of_reset_decides_draws_and_noise_but_not_the_problems():
    def history(seed: int) -> list[list[float]]:
        env = SeededProblems(Drift(), 100)
        return [walk(env, 4, seed=seed), walk(env), walk(env)]

    assert history(1) == history(1)
    one, other = history(1), history(2)
    assert one[0][0] == other[0][0]
    assert not set(one[0][1:]) & set(other[0][1:])
    assert one[1][0] != other[1][0]  # by chance equal once in 100
    first, second = SeededProblems(Drift(), 3), SeededProblems(Drift(), 3)
    assert walk(first, 0)[1:] != walk(second, 0)[1:]  # unseeded copies are independent too


def test_without_a_choice_problems_are_drawn_uniformly():
    env = SeededProblems(Drift(), 4)
    env.reset(seed=0)
    drawn = [env.reset()[1]["problem"] for _ in range(2000)]
    # Standard deviation of a count: sqrt(2000 * 1/4 * 3/4) = 19.4.
    assert np.abs(np.bincount(drawn, minlength=4) - 500).max() < 4 * 19.4


def test_infos_name_the_problem_at_every_step_and_keep_what_they_had():
    env = SeededProblems(Drift(), 4)
    assert env.reset(options={"problem": np.int64(3)})[1] == {"from": "reset", "problem": 3}
    for _ in range(3):
        assert env.step(0)[4] == {"from": "step", "problem": 3}
    assert env.get_wrapper_attr("n_problems") == 4


def test_other_options_go_on_to_the_env():
    env = SeededProblems(Drift(), 4)
    given = {"problem": 1, "low": 0.5}
    env.reset(options=given)
    assert env.unwrapped.options == {"low": 0.5}
    assert given == {"problem": 1, "low": 0.5}
    env.reset(options={"problem": 1})
    assert env.unwrapped.options is None


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version:UserWarning")
@pytest.mark.parametrize("env_id", ["Acrobot-v1", "FrozenLake-v1", "MountainCar-v0"])
def test_gymnasiums_checker_finds_no_fault(env_id):
    check_env(SeededProblems(gymnasium.make(env_id), 4), skip_render_check=True)


def test_its_spec_makes_it_again():
    env = SeededProblems(gymnasium.make("Acrobot-v1"), 4, seed=3)
    again = env.spec.make()
    assert isinstance(again, SeededProblems)
    assert (again.n_problems, again.seed) == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_problems": 0}, "n_problems=0 must be an integer of at least 1"),
        ({"n_problems": 2.0}, r"n_problems=2\.0 must be an integer"),
        ({"n_problems": True}, "n_problems=True must be an integer"),
        ({"n_problems": 2, "seed": -1}, "seed=-1 must be an integer of at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SeededProblems(Drift(), **arguments)


def test_an_env_with_problems_of_its_own_is_refused():
    with pytest.raises(ValueError, match=r"has 128 problems of its own: leave SeededProblems out"):
        SeededProblems(ProblemSetEnv(), 4)
    SeededProblems(BanditEnv(), 4).reset()  # one problem is no problem


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (4, "has 4, but the problems are 0 to 3"),
        (-1, "has -1, but the problems are"),
        (1.0, r"=1\.0 must be an integer from 0 to 3"),
        ([1, 2], r"has shape \(2,\): give one integer"),
        (None, "=None must be an integer"),
    ],
)
def test_a_problem_out_of_range_is_refused(problem, message):
    with pytest.raises(ValueError, match=message):
        SeededProblems(Drift(), 4).reset(options={"problem": problem})
