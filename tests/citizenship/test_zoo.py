"""RL Zoo trains, tunes, plots and records PKPO with the commands of the guide."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.results_plotter import ts2xy

from pkpo_sandbox.algorithm.pkpo import PKPO
from tests.test_docs import fences

from .zoo_env import PYTHON, ROOT

INTERPRETER = Path(sys.executable) if find_spec("rl_zoo3") else PYTHON
GUIDE = ROOT / "docs" / "guides" / "sb3.md"
#: what makes each script short, after the words of the guide, of which the last wins
SHORT = {
    "train": "-n 600 --eval-freq 300 --save-freq 300 --seed 1 --device cpu",
    "enjoy": "-n 120 --no-render --device cpu",
    "record_video": "-n 30",
    "plot_train": "--episode-window 5",
    "all_plots": "",
    "pkpo-train": "total_timesteps=512",
}
TUNING = "-n 200 --n-trials 3 --n-startup-trials 1 --n-evaluations 2 --no-optim-plots --seed 1"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not INTERPRETER.exists(),
        reason="RL Zoo has an environment of its own: python tests/citizenship/zoo_env.py",
    ),
]


def commands() -> list[list[str]]:
    """What the guide runs with RL Zoo installed, made short."""
    found: list[list[str]] = []
    for fence in fences(GUIDE.read_text()):
        if "rl_zoo3" not in fence.remark or fence.file:
            continue
        if fence.language == "python":
            found.append(["python", "-c", fence.code])
            continue
        for line in fence.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            script = {"python": words[2], "rl_zoo3": words[1]}.get(words[0], words[0])
            words += SHORT[script].split()
            words += TUNING.split() if "--optimize-hyperparameters" in words else []
            found.append(words)
    return found


def do(folder: Path) -> SimpleNamespace:
    """Do the commands in a folder. -> their logs, what they printed, and the curves they drew."""
    for fence in fences(GUIDE.read_text()):
        if fence.file:
            (folder / fence.file).write_text(fence.code)
    result = subprocess.run(
        [INTERPRETER, Path(__file__).with_name("zoo_commands.py"), json.dumps(commands())],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    curves = json.loads((folder / "curves.json").read_text())
    return SimpleNamespace(
        folder=folder, logs=folder / "logs" / "pkpo", printed=result.stdout, curves=curves
    )


def load(path: Path) -> PKPO:
    """As RL Zoo loads a model: without the schedules, which may be its own classes."""
    replaced = {"learning_rate": 0.0, "lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0}
    return PKPO.load(path, device="cpu", custom_objects=replaced)


def check_a_training_leaves_what_rl_zoo_looks_for(done: SimpleNamespace):
    run = done.logs / "CartPole-v1_1"
    model = load(run / "CartPole-v1.zip")
    assert (model.k, model.n_groups, model.group_size) == (4, 2, 8)
    episodes = load_results(str(run))
    assert 0 < episodes["l"].sum() <= model.num_timesteps  # the rest are columns cut off
    assert len(episodes) >= 16 * model._n_updates
    assert load(run / "rl_model_300_steps.zip").num_timesteps == 300
    evaluations = np.load(run / "evaluations.npz")
    assert evaluations["timesteps"][0] == 300
    assert evaluations["results"].shape == (len(evaluations["timesteps"]), 5)
    assert np.array_equal(evaluations["results"], evaluations["ep_lengths"])  # CartPole pays 1
    best = load(run / "best_model.zip")
    assert best.num_timesteps in evaluations["timesteps"]


def check_a_training_goes_on_from_a_saved_model(done: SimpleNamespace):
    assert "Loading pretrained agent" in done.printed
    first, second = (
        load(done.logs / f"CartPole-v1_{number}" / "CartPole-v1.zip") for number in (1, 2)
    )
    assert second._n_updates > first._n_updates
    assert second.num_timesteps >= 600  # RL Zoo counts them anew


def check_a_saved_model_plays(done: SimpleNamespace):
    lengths = [int(each) for each in re.findall(r"^Episode Length (\d+)$", done.printed, re.M)]
    returns = [float(each) for each in re.findall(r"^Episode Reward: (.+)$", done.printed, re.M)]
    assert 0 < sum(lengths) <= 120
    assert returns == lengths


def check_a_saved_model_is_recorded(done: SimpleNamespace):
    (video,) = done.logs.glob("CartPole-v1_2/videos/*.mp4")
    assert video.name == "final-model-pkpo-CartPole-v1-step-0-to-step-30.mp4"
    (columns,) = (done.folder / "videos").glob("*.mp4")
    assert min(video.stat().st_size, columns.stat().st_size) > 1000


def check_training_is_plotted_from_the_monitor_files(done: SimpleNamespace):
    trainings, evaluations, sweep = done.curves
    assert len(trainings) == 2
    drawn = {tuple(x) for x, _ in trainings}
    for number in (1, 2):
        x, _ = ts2xy(load_results(str(done.logs / f"CartPole-v1_{number}")), "timesteps")
        assert tuple(x[4:]) in drawn  # means over five episodes
    assert [len(x) for x, _ in sweep] == [2 * 256 - 4] * 2  # two runs, each of two iterations
    (steps, means), *_ = evaluations
    runs = [np.load(done.logs / f"CartPole-v1_{number}" / "evaluations.npz") for number in (1, 2)]
    longest = max(len(each["results"]) for each in runs)  # RL Zoo leaves out the shorter ones
    complete = [each for each in runs if len(each["results"]) == longest]
    assert np.allclose(means, np.mean([each["results"].mean(1) for each in complete], axis=0))
    assert np.allclose(np.multiply(steps, 1e6), complete[0]["timesteps"])


def check_optuna_tunes_k_and_the_learning_rate(done: SimpleNamespace):
    (report,) = done.logs.glob("report_CartPole-v1_3-trials-200-tpe-median_*.csv")
    trials = pd.read_csv(report)
    assert set(trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert trials["state"][0] == "COMPLETE"
    assert set(trials["params_k"]) <= {1, 2, 4, 8}
    assert trials["params_learning_rate"].between(1e-4, 1e-2).all()
    assert (trials["value"] >= 8).all()  # a pole takes that long to fall
    assert "refused" not in done.printed


def check_a_schedule_of_k_comes_from_a_configuration_in_python(done: SimpleNamespace):
    model = load(done.logs / "CartPole-v1_4" / "CartPole-v1.zip")
    assert (model.k(1.0), model.k(0.0)) == (8, 1)


def test_the_commands_of_the_guide_do_what_it_says(tmp_path):
    done = do(tmp_path)
    check_a_training_leaves_what_rl_zoo_looks_for(done)
    check_a_training_goes_on_from_a_saved_model(done)
    check_a_saved_model_plays(done)
    check_a_saved_model_is_recorded(done)
    check_training_is_plotted_from_the_monitor_files(done)
    check_optuna_tunes_k_and_the_learning_rate(done)
    check_a_schedule_of_k_comes_from_a_configuration_in_python(done)
