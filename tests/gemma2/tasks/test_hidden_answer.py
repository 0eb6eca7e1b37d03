"""The hidden-answer task: its best policies, and its exact pass@k, also against sampling."""

import json
from itertools import product

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import numpy as np

from pkpo_sandbox.gemma2.models import PretrainedGemma2, TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths
from pkpo_sandbox.gemma2.tasks.hidden_answer import HiddenAnswerTask, best_policy, pass_at
from tests.gemma2.app_runs import SHORT, run_here

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing:FutureWarning",  # transformers 5.23 within TRL 1.16
)
ZIPF = (1 / np.arange(1, 17) / (1 / np.arange(1, 17)).sum())[None]


@pytest.mark.parametrize(
    ("k", "values"),
    [
        (1, (0.2958, 0.2958, 0.2958, 0.2958, 0.2958)),
        (2, (0.2465, 0.3451, 0.4108, 0.4379, 0.4435)),
        (4, (0.1937, 0.3178, 0.4546, 0.5573, 0.6137)),
        (8, (0.1484, 0.2636, 0.4250, 0.5945, 0.7155)),
        (16, (0.1092, 0.2034, 0.3555, 0.5585, 0.7569)),
    ],
)
def test_the_best_policy_for_k_and_its_pass_at_other_k(k, values):
    """Zipf's law over 16 answers; the values by bisection in double precision elsewhere."""
    policy = best_policy(ZIPF, k)
    assert policy.sum() == pytest.approx(1)
    found = [pass_at(policy, ZIPF, other) for other in (1, 2, 4, 8, 16)]
    assert found == pytest.approx(values, abs=5e-5)


def test_pass_at_k_is_a_sum_over_what_the_attempts_can_be():
    policy, chances = np.array([[0.5, 0.3, 0.2]]), np.array([[0.1, 0.2, 0.7]])
    for k in (1, 2, 3):
        right = sum(
            np.prod([policy[0, a] for a in attempts]) * chances[0, list(set(attempts))].sum()
            for attempts in product(range(3), repeat=k)
        )
        assert pass_at(policy, chances, k) == pytest.approx(right)


def test_the_problems_are_drawn_from_the_chances_of_their_contexts():
    task = HiddenAnswerTask(n_contexts=4, n_train=4000)
    np.testing.assert_allclose(np.sort(task.chances, axis=1)[:, ::-1], ZIPF.repeat(4, axis=0))
    contexts, answers = task.problems("train")
    assert np.bincount(contexts).tolist() == [1000] * 4
    error = np.sqrt(task.chances * (1 - task.chances) / 1000)  # 64 numbers, 4.5 standard errors
    assert (np.abs(task.weights("train") - task.chances) < 4.5 * error).all()
    train, test = task.load(DataPaths())
    assert train["prompt"] == contexts.astype(str).tolist()
    assert train["gold"] == answers.tolist()
    assert len(test) == task.n_test
    assert task.reward(["0"] * 4, ["3", "4", "3 3", ""], gold=[3] * 4) == [1, 0, 0, 0]


def test_a_run_measures_held_out_attempts_that_agree_with_the_exact_values(tmp_path):
    """After one update: sampled on 64 fresh problems, 16 attempts each; 4 standard errors."""
    settings = [*SHORT, "task=hidden_answer", "task.warm_up_steps=100", "training.max_steps=1"]
    folder = run_here(tmp_path, *settings)
    final = json.loads((folder / "summary.json").read_text())["final"]
    for k in (1, 2, 4, 8, 12, 16):
        exact, error = final[f"exact/pass_at_{k}_held_out"], final[f"eval/pass_at_{k}_sem"]
        assert 0 < error < 0.1
        assert final[f"eval/pass_at_{k}"] == pytest.approx(exact, abs=4 * error)
    assert final["exact/pass_at_16_held_out"] > 0.3  # .64 for a policy that is uniform


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_contexts": 0}, "n_contexts=0 must be at least 1"),
        ({"n_train": 20}, "n_train=20 must be a multiple of n_contexts=8"),
        ({"n_test": 0}, "n_test=0 must be a multiple of n_contexts=8, above 0"),
        ({"exponent": -1.0}, "exponent=-1.0 and .* at least 0"),
        ({"warm_up_lr": 0.0}, r"warm_up_lr=0\.0 above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        HiddenAnswerTask(**given)


def test_data_and_a_model_that_cannot_read_are_refused():
    with pytest.raises(ValueError, match="makes its own prompts"):
        HiddenAnswerTask().check(DataPaths("somewhere"), TinyGemma2())
    for model in (TinyGemma2(numbers=15), PretrainedGemma2("google/gemma-2-2b-it")):
        with pytest.raises(ValueError, match="in numbers below 16"):
            HiddenAnswerTask().check(DataPaths(), model)
