"""The problem set: its sizes and answers, and its exact pass@k."""

from itertools import product

import numpy as np
import pytest

from pkpo_envs.problem_set import ProblemSetEnv, ProblemSetVectorEnv


def random_policy(env: ProblemSetEnv) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(env.n_answers), size=env.n_problems)


def test_easy_problems_share_an_answer_and_hard_ones_do_not():
    env = ProblemSetEnv()
    assert (env.n_problems, env.n_answers) == (128, 128)
    assert env.hard.tolist() == [False] * 32 + [True] * 96
    assert env.answers.tolist() == [0] * 32 + list(range(1, 97))
    assert (env.observation_space.n, env.action_space.n) == (128, 128)


@pytest.mark.parametrize(
    ("hard_fraction", "n_hard"), [(0.0, 0), (0.3, 2), (0.5, 2), (0.7, 4), (1.0, 5)]
)
def test_hard_fraction_is_rounded(hard_fraction, n_hard):
    # Of five problems: 0, 1.5, 2.5, 3.5 and 5; Python rounds an exact half to the even number.
    env = ProblemSetEnv(n_problems=5, n_answers=6, hard_fraction=hard_fraction)
    assert env.hard.sum() == n_hard


def test_hard_problems_leave_answer_0_alone_even_without_easy_ones():
    env = ProblemSetEnv(n_problems=3, n_answers=4, hard_fraction=1.0)
    assert env.answers.tolist() == [1, 2, 3]


def test_only_the_correct_answer_is_rewarded():
    env = ProblemSetEnv(n_problems=4, n_answers=4, hard_fraction=0.5)
    envs = ProblemSetVectorEnv(num_envs=16, n_problems=4, n_answers=4, hard_fraction=0.5)
    problems, answers = np.array(list(product(range(4), range(4)))).T
    observations, _ = envs.reset(seed=0, options={"problem": problems})
    assert np.array_equal(observations, problems)
    _, rewards, ends, _, _ = envs.step(answers)
    assert rewards.reshape(4, 4).tolist() == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
    ]
    assert ends.all()
    assert env.answers.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pass_at_k_is_the_enumeration_of_all_attempts(k):
    env = ProblemSetEnv(n_problems=3, n_answers=3, hard_fraction=0.67)
    policy = random_policy(env)
    solved = np.zeros(3)
    for problem, attempts in product(range(3), product(range(3), repeat=k)):
        if env.answers[problem] in attempts:
            solved[problem] += np.prod(policy[problem, list(attempts)])
    assert env.pass_at_k(policy, k) == pytest.approx(solved.mean(), abs=1e-14)
    assert env.pass_at_k(policy, k, "easy") == pytest.approx(solved[0], abs=1e-14)
    assert env.pass_at_k(policy, k, "hard") == pytest.approx(solved[1:].mean(), abs=1e-14)


def test_pass_at_k_keeps_its_digits_for_rare_answers():
    env = ProblemSetEnv(n_problems=1, n_answers=2, hard_fraction=1.0)
    # 1 - (1 - p)^8 = 8 p - 28 p^2 + ...; computed as it stands it would be 0 here.
    assert env.pass_at_k([[1.0, 1e-18]], 8) == pytest.approx(8e-18, rel=1e-12, abs=0)
    assert env.pass_at_k([[0.0, 1.0]], 8) == 1.0
    assert env.pass_at_k([[1.0, 0.0]], 8) == 0.0
    assert env.pass_at_k([[0.0, 1.0 + 1e-7]], 8) == 1.0  # rounded up by float32


def test_exact_facts():
    env = ProblemSetEnv(n_problems=4, n_answers=8, hard_fraction=0.5)
    policy = random_policy(env)
    assert env.exact(2, probabilities=policy) == {
        "max_at_k": env.pass_at_k(policy, 2),
        "max_at_k_hard": env.pass_at_k(policy, 2, "hard"),
        "max_at_k_star": 1.0,
    }
    easy = ProblemSetEnv(n_problems=4, n_answers=8, hard_fraction=0.0)
    assert easy.exact(2, probabilities=policy).keys() == {"max_at_k", "max_at_k_star"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_problems": 0}, "n_problems=0 must be an integer of at least 1"),
        ({"n_problems": 2.0}, "n_problems=2.0 must be"),
        ({"n_answers": -3}, "n_answers=-3 must be"),
        ({"n_answers": True}, "n_answers=True must be"),
        ({"hard_fraction": 1.2}, "hard_fraction=1.2 must be a number from 0 to 1"),
        ({"hard_fraction": float("nan")}, "hard_fraction=nan must be"),
        ({"n_problems": True}, "n_problems=True must be an integer"),
        ({"n_answers": 128.0}, "n_answers=128.0 must be an integer"),
        ({"hard_fraction": True}, "hard_fraction=True must be a number from 0 to 1"),
        ({"hard_fraction": "a"}, "hard_fraction='a' must be a number"),
        ({"hard_fraction": None}, "hard_fraction=None must be a number"),
        ({"hard_fraction": 1.0}, "never answer 0, .* raise n_answers to at least 129"),
        ({"n_answers": 96}, "96 hard problems .* n_answers=96: raise n_answers to at least 97"),
    ],
)
def test_refuses_sizes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProblemSetEnv(**arguments)


def test_refuses_a_policy_k_or_subset_that_means_nothing():
    env = ProblemSetEnv(n_problems=2, n_answers=3, hard_fraction=0.0)
    uniform = np.full((2, 3), 1 / 3)
    with pytest.raises(ValueError, match=r"shape \(3, 2\), expected \(2, 3\)"):
        env.pass_at_k(uniform.T, 2)
    with pytest.raises(ValueError, match="k=0 must be an integer"):
        env.pass_at_k(uniform, 0)
    with pytest.raises(ValueError, match="problems='simple' must be 'hard', 'easy' or None"):
        env.pass_at_k(uniform, 2, "simple")
    with pytest.raises(ValueError, match="no hard problems to average over"):
        env.pass_at_k(uniform, 2, "hard")
