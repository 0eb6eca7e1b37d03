"""Command lines that Hydra alone would not take."""

import pytest
from hydra.errors import ConfigCompositionException

from pkpo_sandbox.runs.arguments import OF_A_COMMAND, hint, prepared
from tests.runs.training import SHORT, pkpo_train

CONFIG = "name: train\nseed: 0\nobjective:\n  k: 4\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("env=bandit -m seed=0,1", "-m env=bandit seed=0,1"),
        ("env=bandit --multirun seed=0,1", "--multirun env=bandit seed=0,1"),
        ("a=1 --cfg job b=2 --resolve", "--cfg job --resolve a=1 b=2"),
        ("a=1 --info defaults b=2", "--info defaults a=1 b=2"),
        ("a=1 --info b=2", "--info a=1 b=2"),
        ("a=1 -cd x=y b=2 --config-name=c", "-cd x=y --config-name=c a=1 b=2"),
        ("~a +b=1 ++c=-1 objective", "~a +b=1 ++c=-1 objective"),
        ("", ""),
    ],
)
def test_options_may_stand_anywhere(given, expected):
    assert prepared(given.split()) == expected.split()


@pytest.mark.parametrize(
    "name", ["--config-name config", "--config-name=config", "-cn config.yaml"]
)
def test_a_saved_config_gets_the_folders_of_the_command(name, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    options = ["--config-dir", str(tmp_path), *name.split()]
    assert prepared(["seed=3", *options]) == [*options, *OF_A_COMMAND, "seed=3"]


@pytest.mark.parametrize(
    "text", ["defaults: [train]\nseed: 0\nobjective: {}", "hydra: {}", "[1]", "a: [", "x: 1"]
)
def test_other_configs_are_left_alone(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    options = ["--config-dir", str(tmp_path), "--config-name", "config"]
    assert prepared(options) == options
    assert prepared(options[:2]) == options[:2]
    assert prepared([options[0], "nowhere", *options[2:]]) == [options[0], "nowhere", *options[2:]]


def test_an_objective_without_a_coefficient_gets_a_hint():
    error = ConfigCompositionException("Could not override 'objective.k'.\nTo append...")
    text = hint(error)
    assert text is not None
    assert "The objective has no k" in text
    assert "pkpo-train -m objective=pkpo objective.k=2,4" in text
    assert hint(ConfigCompositionException("Could not override 'seeed'")) is None
    assert hint(ValueError("x")) is None


@pytest.mark.slow
def test_a_saved_config_runs_again_in_its_place(tmp_path):
    first = pkpo_train("env=bandit", "schedule=step", SHORT, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (folder,) = (tmp_path / "runs" / "train").glob("pkpo-*")
    saved = ["--config-dir", str(folder), "--config-name", "config"]
    assert "finished before" in pkpo_train(*saved, cwd=tmp_path).stdout
    result = pkpo_train(*saved, "-m", "seed=1,2", "objective.k.start=6", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 of 2 runs done" in result.stdout
    assert len(list((tmp_path / "runs" / "train").glob("pkpo-k=step-6-1-0.5-seed=*"))) == 2
    refused = pkpo_train(*saved, "objective.k=8", cwd=tmp_path)
    assert refused.returncode == 1
    assert "--config-name config" in refused.stderr
    assert "objective.k.start=8" in refused.stderr


@pytest.mark.slow
def test_options_may_stand_anywhere_and_what_would_be_lost_fails_its_jobs_only(tmp_path):
    sweep = ["objective=pkpo", "-m", "rival=pkpo,grpo", "seed=0,1", SHORT]
    result = pkpo_train(*sweep, cwd=tmp_path)
    assert result.returncode == 1
    assert "2 of 4 runs failed" in result.stderr
    assert result.stderr.count("rival=grpo chooses objective=grpo, and objective=pkpo would") == 2
    assert len(list((tmp_path / "runs" / "train").glob("pkpo-*/summary.json"))) == 2


@pytest.mark.slow
def test_a_coefficient_that_not_all_objectives_of_a_sweep_have_gets_a_hint(tmp_path):
    result = pkpo_train("-m", "objective=pkpo,rloo", "objective.k=2,4", SHORT, cwd=tmp_path)
    assert result.returncode == 1
    assert "The objective has no k" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("summary.json"))
