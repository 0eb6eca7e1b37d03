"""Jobs that find their folder taken by another run, or by one of other code."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from pkpo_sandbox.runs import job
from pkpo_sandbox.runs.config import UnusableConfigError
from pkpo_sandbox.runs.folder import CHECKPOINT, STARTED, SUMMARY, read_summary
from pkpo_sandbox.runs.journal import Said
from pkpo_sandbox.runs.train import run

MINE = """
from helper import FACTOR

def centred(returns):
    return {factor} * FACTOR * (returns - returns.mean(-1, keepdim=True))
"""
SHORT = ["env=bandit", "total_timesteps=512"]
OWN = [*SHORT, "objective._target_=mine.centred"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working directory with a module of the user's, which imports another one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    change("mine", 1)
    change("helper", 1)
    yield
    forget()


def change(module: str, factor: int) -> None:
    """Write a module as if another process read it next."""
    text = {"mine": MINE.format(factor=factor), "helper": f"FACTOR = {factor}\n"}[module]
    Path(f"{module}.py").write_text(text)
    forget()


def forget() -> None:
    for name in ("mine", "helper"):
        sys.modules.pop(name, None)


def train(*overrides: str, folder: str = "out") -> dict[str, Any]:
    """Do a job as a command with ``hydra.run.dir=out`` would; its summary."""
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        run(compose("train", list(overrides), return_hydra_config=True), folder)
    return read_summary(Path(folder)) or {}


def test_the_summary_tells_overrides_code_and_versions():
    import torch

    summary = train(*OWN, "seed=${log_interval}")
    assert summary["overrides"] == [*OWN, "seed=${log_interval}"]
    assert summary["config"]["seed"] == 10
    assert set(summary["code"]["own"]) == {"mine", "helper"}
    assert summary["versions"]["torch"] == torch.__version__  # the build too
    assert not (Path("out") / STARTED).exists()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (["seed=1"], "seed=1 (there 0)"),
        (["env=problem_set"], "pkpo_envs:pkpo/ProblemSet-v0"),
        (["schedule=step"], "objective.k.start=8 (there none)"),
    ],
)
def test_another_run_in_the_folder_is_not_taken_for_this_one(other, told):
    before = train(*SHORT)
    with pytest.raises(UnusableConfigError) as caught:
        train(*SHORT, *other)
    message = str(caught.value)
    assert "out holds another run" in message
    assert told in message
    assert "(by default each run has its own" in message
    assert "\n" not in message
    assert read_summary(Path("out")) == before
    assert not (Path("out") / "failure.json").exists()


def test_keys_that_came_later_change_no_run():
    """As version 0.1.0 stored them: without kwargs of the problem set, wrappers, code."""
    overrides = ["env=problem_set", "total_timesteps=256"]
    summary = train(*overrides)
    env = summary["config"]["env"]
    assert env["kwargs"] == {"n_problems": 128, "n_answers": 128, "hard_fraction": 0.75}
    old = {key: value for key, value in summary.items() if key not in ("code", "overrides")}
    old["config"]["env"] = {"id": env["id"], "kwargs": {}, **dict.fromkeys(list(env)[2:-1])}
    (Path("out") / SUMMARY).write_text(json.dumps(old))
    assert train(*overrides) == old


def test_a_score_is_never_that_of_another_run():
    train(*SHORT)
    with pytest.raises(UnusableConfigError, match="holds another run"):
        train(*SHORT, "seed=1", "score=exact.4.max_at_k")


@pytest.mark.parametrize("module", ["mine", "helper"])
def test_a_run_of_other_code_is_refused_trained_anew_or_kept(module, capsys):
    first = train(*OWN)
    assert train(*OWN) == first
    change(module, 2)
    with pytest.raises(UnusableConfigError) as caught:
        train(*OWN)
    message = str(caught.value)
    assert f"out finished before {module} changed" in message
    assert "if_code_changed=train" in message
    assert "if_code_changed=keep" in message
    assert "\n" not in message
    assert read_summary(Path("out")) == first

    kept = train(*OWN, "if_code_changed=keep")
    assert kept["final"] == first["final"]
    assert kept["code"] != first["code"]
    capsys.readouterr()
    assert train(*OWN) == kept  # it is remembered
    assert "finished before" in capsys.readouterr().out

    change(module, 3)
    anew = train(*OWN, "if_code_changed=train")
    assert "finished in" in capsys.readouterr().out
    assert anew["code"] not in (first["code"], kept["code"])
    assert "if_code_changed" not in anew["config"]
    assert train(*OWN) == anew


def test_a_module_that_the_config_does_not_name_does_not_matter():
    summary = train(*SHORT)
    Path("mine.py").write_text("")
    assert summary["code"]["own"] == {}
    assert train(*SHORT) == summary


def test_a_file_that_is_edited_during_a_sweep_is_not_what_its_later_jobs_ran():
    first = train(*OWN)
    Path("mine.py").write_text(MINE.format(factor=2))  # this process has the old one
    second = train(*OWN, "seed=1", folder="second")
    assert second["code"] == first["code"]
    assert train(*OWN, "seed=1", folder="second") == second
    forget()  # another process
    with pytest.raises(UnusableConfigError, match="second finished before mine changed"):
        train(*OWN, "seed=1", folder="second")


def test_another_version_is_told_once_and_kept(monkeypatch, capsys):
    monkeypatch.setattr(job, "said", Said())
    first, second = train(*SHORT), train(*SHORT, "seed=1", folder="second")
    for folder, summary in (("out", first), ("second", second)):
        summary["versions"]["torch"] = "2.0.0+cpu"
        (Path(folder) / SUMMARY).write_text(json.dumps(summary))
    capsys.readouterr()
    assert train(*SHORT) == first
    assert train(*SHORT, "seed=1", folder="second") == second
    said = capsys.readouterr().out
    assert said.count("torch 2.0.0+cpu -> ") == 1


# Runs that began and did not end


@pytest.fixture
def begun(monkeypatch) -> list[str]:
    """A run that was stopped after its first checkpoint; its overrides."""
    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient

    original = GroupPolicyGradient.train

    def interrupted(self, rollout):
        if self.num_timesteps > 768:
            raise KeyboardInterrupt
        original(self, rollout)

    overrides = ["env=bandit", "total_timesteps=2048", "checkpoint_every=256"]
    overrides += ["objective._target_=mine.centred"]
    with monkeypatch.context() as patch:
        patch.setattr(GroupPolicyGradient, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(*overrides)
    assert (Path("out") / CHECKPOINT).exists()
    return overrides


def test_a_stopped_run_goes_on(begun, capsys):
    assert train(*begun)["final"]["time/total_timesteps"] == 2048
    assert "continues at timestep" in capsys.readouterr().out


def test_no_job_goes_on_from_the_checkpoint_of_another(begun):
    with pytest.raises(UnusableConfigError, match=r"seed=1 \(there 0\)"):
        train(*begun, "seed=1")
    assert (Path("out") / CHECKPOINT).exists()


@pytest.mark.parametrize(("choice", "goes_on"), [("keep", True), ("train", False)])
def test_a_checkpoint_of_other_code_is_refused_unless_it_is_said(begun, choice, goes_on, capsys):
    change("helper", 2)
    with pytest.raises(UnusableConfigError, match="out began before helper changed"):
        train(*begun)
    assert train(*begun, f"if_code_changed={choice}")
    assert ("continues at timestep" in capsys.readouterr().out) == goes_on


def test_a_checkpoint_without_a_note_of_the_code_is_valid(begun, capsys):
    (Path("out") / STARTED).unlink()  # as version 0.1.0 left it
    change("helper", 2)
    train(*begun)
    assert "continues at timestep" in capsys.readouterr().out
