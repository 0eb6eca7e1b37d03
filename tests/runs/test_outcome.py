"""What the final policy of a run achieves."""

import json

import numpy as np
import pytest

from pkpo_sandbox.metrics.evaluation import evaluate_groups
from pkpo_sandbox.runs import outcome
from pkpo_sandbox.runs.loading import load_model
from pkpo_sandbox.runs.outcome import evaluation

SMALL = ["algorithm.n_groups=1", "algorithm.group_size=4", "total_timesteps=400"]


def test_the_final_policy_is_evaluated_where_no_exact_value_tells_what_it_is(train_here, capsys):
    """Each of 16 iterations of 4 episodes is played by the policy that is saved."""
    folder = train_here("env.id=CartPole-v1", "env.vectorization=sync", "objective.k=3", *SMALL)
    values = json.loads((folder / "summary.json").read_text())["evaluation"]
    assert values["episodes"] == 64
    assert list(values)[3:] == ["max_at_1", "max_at_2", "max_at_3", "max_at_4"]
    assert values["max_at_1"] == pytest.approx(values["mean_return"])
    assert values["max_at_1"] < values["max_at_2"] < values["max_at_4"]
    assert "final policy: mean return" in capsys.readouterr().out
    model = load_model(folder)
    again = evaluation(model, seed=0, ks=[1, 2, 3, 4])
    assert again == values
    returns = evaluate_groups(model, model.get_env(), 100, 4, seed=1).mean(-1)
    difference = values["mean_return"] - returns.mean().item()
    error = np.hypot(values["standard_error"], returns.std().item() / 10)
    assert abs(difference) < 3 * error  # another 400 episodes; in standard errors


def test_an_evaluation_that_fails_costs_no_run(train_here, monkeypatch, capsys):
    def broken(*arguments, **keywords):
        raise RuntimeError("no luck")

    monkeypatch.setattr(outcome, "evaluation", broken)
    folder = train_here("env.id=CartPole-v1", *SMALL)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["evaluation"] == {"error": "RuntimeError: no luck"}
    assert summary["final"]["train/n_updates"] >= 1
    assert "could not be evaluated: RuntimeError: no luck" in capsys.readouterr().err
