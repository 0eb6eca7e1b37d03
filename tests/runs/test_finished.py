"""A finished run is kept, unless its config or the user's code has changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from pkpo_sandbox.runs import folder as runs
from pkpo_sandbox.runs.config import UnusableConfigError
from pkpo_sandbox.runs.finished import Wanted, check_unfinished, finished
from tests.runs.training import SHORT

CONFIG = {"objective": {"k": 4}, "seed": 0, "name": "train"}
BEFORE, AFTER = ({"own": {"mine": digest}, "package": "p"} for digest in ("old", "new"))


def wanted(code: dict, if_code_changed: str | None = None, **changes) -> Wanted:
    return Wanted({**CONFIG, **changes}, "", code, if_code_changed)


@pytest.fixture
def done(tmp_path) -> Path:
    """A finished run that was made by the code BEFORE, with a checkpoint."""
    runs.write_summary(tmp_path, {"config": CONFIG, "code": BEFORE})
    (tmp_path / runs.CHECKPOINT).touch()
    return tmp_path


@pytest.fixture
def begun(tmp_path) -> Path:
    """A run that began with the code BEFORE and has a checkpoint."""
    (tmp_path / runs.STARTED).write_text(json.dumps({"code": BEFORE}))
    (tmp_path / "config.yaml").write_text(json.dumps(CONFIG))  # JSON is YAML
    (tmp_path / runs.CHECKPOINT).touch()
    return tmp_path


def test_a_finished_run_is_not_run_again_but_a_changed_one_is(train_here, capsys):
    folder = train_here(SHORT)
    before = (folder / "summary.json").stat().st_mtime_ns
    capsys.readouterr()
    assert train_here(SHORT) == folder
    assert "finished before" in capsys.readouterr().out
    assert (folder / "summary.json").stat().st_mtime_ns == before
    assert train_here(SHORT, "algorithm.ent_coef=0.1") != folder


def test_an_unfinished_run_is_trained_again(train_here):
    folder = train_here(SHORT)
    (folder / "summary.json").unlink()
    assert train_here(SHORT) == folder
    assert (folder / "summary.json").exists()


def test_only_a_summary_makes_a_run_finished(tmp_path, done):
    assert finished(tmp_path / "none", wanted(BEFORE)) is None
    assert finished(done, wanted(BEFORE)) == {"config": CONFIG, "code": BEFORE}
    assert finished(done, wanted(BEFORE, name="other")) is not None  # changes no result


def test_the_run_of_another_config_is_refused(done):
    message = r"holds another run, which finished there\. This job has objective\.k=8 \(there 4\)"
    with pytest.raises(UnusableConfigError, match=message):
        finished(done, wanted(BEFORE, objective={"k": 8}))
    others: dict[str, Any] = dict.fromkeys("abcde", 1)
    with pytest.raises(UnusableConfigError, match=r"c=1 \(there none\) and 2 more"):
        finished(done, wanted(BEFORE, **others))


def test_a_summary_without_a_config_is_damaged(tmp_path):
    runs.write_summary(tmp_path, {"config": 3})
    with pytest.raises(UnusableConfigError, match=r"summary\.json is damaged: delete it"):
        finished(tmp_path, wanted(BEFORE))


def test_a_finished_run_of_other_code_is_refused_kept_or_trained_again(done):
    with pytest.raises(UnusableConfigError, match=r"before mine changed.*if_code_changed=train"):
        finished(done, wanted(AFTER))
    # The folder changes only if this process holds it.
    assert finished(done, wanted(AFTER, "keep")) is None
    assert runs.read_summary(done) == {"config": CONFIG, "code": BEFORE}
    assert finished(done, wanted(AFTER, "keep"), held=True) == {"config": CONFIG, "code": AFTER}
    assert finished(done, wanted(AFTER)) == {"config": CONFIG, "code": AFTER}
    assert finished(done, wanted(BEFORE, "train")) is None
    assert (done / runs.SUMMARY).exists()
    assert finished(done, wanted(BEFORE, "train"), held=True) is None
    assert not (done / runs.SUMMARY).exists()
    assert not (done / runs.CHECKPOINT).exists()


def test_a_checkpoint_of_another_job_or_of_other_code_is_refused(begun):
    check_unfinished(begun, wanted(BEFORE))
    with pytest.raises(UnusableConfigError, match=r"which began there\. This job has seed=1"):
        check_unfinished(begun, wanted(BEFORE, seed=1))
    with pytest.raises(UnusableConfigError, match="began before mine changed"):
        check_unfinished(begun, wanted(AFTER))
    check_unfinished(begun, wanted(AFTER, "keep"))
    assert (begun / runs.CHECKPOINT).exists()
    check_unfinished(begun, wanted(AFTER, "train"))
    assert not (begun / runs.CHECKPOINT).exists()
    check_unfinished(begun, wanted(AFTER, seed=1))  # nothing to go on from
