"""The journal of a sweep: its lines for every kind of sweep and every failure."""

import pickle
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox.runs import command as sweeps
from pkpo_sandbox.runs.journal import BASIC, Journal, Said, clear_stale, failures, journals
from tests.commands import Outcome, command


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    journals.clear()


def hydra_config(folder: Path, num: int, *overrides: str, **sweeper: Any) -> DictConfig:
    """As Hydra gives it to its callbacks."""
    sweeper = sweeper or {"_target_": BASIC, "params": {"seed": "range(4)"}}
    return OmegaConf.create(
        {
            "score": "final.x",
            "hydra": {
                "sweep": {"dir": str(folder)},
                "runtime": {"output_dir": str(folder / f"run-{num}")},
                "overrides": {"task": list(overrides)},
                "job": {"num": num},
                "sweeper": sweeper,
            },
        }
    )


DONE = JobReturn(status=JobStatus.COMPLETED, _return_value=0.5)
FAILED = JobReturn(status=JobStatus.FAILED, _return_value=ValueError("no  luck\nat all"))


def test_a_journal_tells_how_the_sweep_stands(tmp_path, capsys):
    noted = Journal()
    noted.on_multirun_start(hydra_config(tmp_path, 0))
    assert noted.n_jobs == 4
    ends = [JobReturn(status=JobStatus.COMPLETED, _return_value=0.25), FAILED, DONE]
    (tmp_path / "run-2").mkdir()
    (tmp_path / "run-2" / "summary.json").touch()  # finished before
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / "failure.log").touch()
    said = []
    for num, end in enumerate(ends):
        config = hydra_config(tmp_path, num, f"seed={num}")
        noted.on_job_start(config)
        noted.started = time.time() - 100
        noted.on_job_end(config, end)
        said.append(capsys.readouterr().out.strip())
    assert said == [
        "sweep: 1 of 4 runs done, 3 left, about 5 min",
        "sweep: 1 of 4 runs done, 1 failed, 2 left, about 2 min",
        "sweep: 2 of 4 runs done, 1 failed, 1 left, about 50 s",
    ]
    noted.on_job_start(hydra_config(tmp_path, 3, "seed=3"))
    assert noted.tells(ValueError("no luck at all"))
    assert not noted.tells(ValueError("another"))
    assert not noted.close()
    out, err = capsys.readouterr()
    assert err.split("\n")[1:] == [
        "2 of 4 runs failed:",
        "overrides  error                                           log",
        "seed=1     ValueError: no luck at all                      run-1/failure.log",
        "seed=3     did not end, as its worker or another one died",
        "",
        "stopped with 1 of 4 runs not done",
        "start the same command again: it does only what is missing",
        "",
    ]
    assert out.splitlines()[2:] == [
        "seed  metric   score  folder",
        "2     final.x  0.5    run-2",
        "0     final.x  0.25   run-0",
    ]
    assert not list(tmp_path.glob(".sweep-*"))


def test_workers_write_into_the_journal_of_the_sweep(tmp_path, capsys):
    noted = Journal()
    noted.on_multirun_start(hydra_config(tmp_path, 0))
    for num, end in enumerate((DONE, FAILED, DONE, FAILED)):
        worker = pickle.loads(pickle.dumps(noted))
        worker.on_job_start(hydra_config(tmp_path, num, f"seed={num}"))
        worker.on_job_end(hydra_config(tmp_path, num), end)
    assert "sweep: 2 of 4 runs done, 2 failed\n" in capsys.readouterr().out
    assert noted.tells(ValueError("no luck at all"))
    assert not noted.close()
    assert capsys.readouterr().err.count("ValueError: no luck at all") == 2


def test_what_killed_sweeps_left_is_removed_and_what_runs_is_not(tmp_path):
    (tmp_path / ".sweep-killed").mkdir()
    (tmp_path / ".sweep-killed" / "3.begun").touch()
    running = Journal()
    running.on_multirun_start(hydra_config(tmp_path, 0))
    assert list(tmp_path.glob(".sweep-*")) == [running.folder]
    clear_stale(tmp_path)
    assert list(tmp_path.glob(".sweep-*")) == [running.folder]
    assert running._lock is not None
    running._lock.release()
    clear_stale(tmp_path)
    assert not list(tmp_path.glob(".sweep-*"))


def full_disk(*args: Any, **kwargs: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("trouble", ["full disk", "folder removed", "no folder", "no temporary"])
def test_no_trouble_with_the_journal_hides_a_failure_or_raises(
    trouble, tmp_path, monkeypatch, capsys
):
    noted, place = Journal(), tmp_path / "runs"
    if trouble in ("no folder", "no temporary"):
        place.write_text("a file")
    if trouble == "no temporary":
        monkeypatch.setattr("tempfile.mkdtemp", full_disk)
    noted.on_multirun_start(hydra_config(place, 0))
    assert noted.n_jobs == 4
    if trouble == "full disk":
        monkeypatch.setattr(Path, "write_text", full_disk)
    for num, end in enumerate((DONE, FAILED, DONE, FAILED)):
        noted.on_job_start(hydra_config(place, num, f"seed={num}"))
        if trouble == "folder removed" and noted.folder is not None:
            shutil.rmtree(noted.folder)
        noted.on_job_end(hydra_config(place, num), end)
    out, err = capsys.readouterr()
    assert "sweep: 2 of 4 runs done, 2 failed\n" in out
    told = {"folder removed": "", "no folder": "File exists"}.get(trouble, "No space left")
    assert told in err
    assert bool(told) == bool(err)
    assert not noted.close()
    assert "2 of 4 runs failed" in (said := capsys.readouterr().err)
    assert said.count("ValueError: no luck at all") == 2
    assert noted.folder is None or not noted.folder.exists()


def test_scores_that_cannot_be_written_are_told_of(tmp_path, capsys):
    noted = Journal()
    noted.on_multirun_start(hydra_config(tmp_path, 0, "seed=0", _target_=BASIC, params=None))
    noted.on_job_start(hydra_config(tmp_path, 0))
    noted.on_job_end(hydra_config(tmp_path, 0), DONE)
    (tmp_path / "scores.csv").mkdir()
    assert noted.close()
    assert "scores.csv was not written: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sweeper", "n_jobs", "said"),
    [
        ({"_target_": BASIC, "params": None}, 1, ""),
        ({"_target_": BASIC, "params": {"k": "choice(1,2,3)", "seed": "range(2)"}}, 6, ""),
        ({"_target_": BASIC, "params": {"k": "interval(0,1)"}}, None, "does not support"),
        ({"_target_": BASIC, "params": {"k": "${nowhere}"}}, None, "InterpolationKeyError"),
        ({"_target_": "optuna.Sweeper", "n_trials": 7}, 7, ""),
        ({"_target_": "my.Sweeper"}, None, "only my.Sweeper knows"),
    ],
)
def test_jobs_are_counted_where_that_can_be_done(sweeper, n_jobs, said, tmp_path, capsys):
    noted = Journal()
    noted.on_multirun_start(hydra_config(tmp_path, 0, "x=${hydra:job.num}", **sweeper))
    told = "".join(capsys.readouterr())
    assert (noted.n_jobs, told == "") == (n_jobs, said == "")
    assert said in told
    for num in range(2):
        noted.on_job_start(hydra_config(tmp_path, num, "x=${hydra:job.num}"))
        noted.on_job_end(hydra_config(tmp_path, num), DONE)
    total = "" if n_jobs is None else f" of {n_jobs}"
    assert f"sweep: 2{total} runs done" in capsys.readouterr().out
    assert noted.close()  # the sweeper has ended: it wanted no more
    assert (tmp_path / "scores.csv").exists()


def test_a_search_that_is_stopped_tells_what_is_missing(tmp_path, capsys):
    noted = Journal()
    noted.on_multirun_start(hydra_config(tmp_path, 0, _target_="optuna.Sweeper", n_trials=7))
    noted.on_job_start(hydra_config(tmp_path, 0))
    noted.on_job_end(hydra_config(tmp_path, 0), DONE)
    noted.on_job_start(hydra_config(tmp_path, 1))
    assert not noted.close(KeyboardInterrupt())
    assert "stopped with 6 of 7 runs not done" in capsys.readouterr().err


def test_a_search_without_a_score_is_refused(tmp_path):
    config = hydra_config(tmp_path, 0, _target_="optuna.Sweeper", n_trials=7)
    config.score = None
    with pytest.raises(SystemExit, match="a search maximises a score"):
        Journal().on_multirun_start(config)


def test_a_long_error_is_cut_short_in_the_table_and_whole_in_its_log(tmp_path):
    (tmp_path / "failure.log").touch()
    overrides = [f"+objective.coefficient_{i}=0.1" for i in range(200)]
    entry = {"overrides": overrides, "folder": str(tmp_path), "error": "ValueError: " + "x" * 9000}
    _, row = failures([entry]).splitlines()
    assert row.split("  ")[0] == " ".join(overrides)
    assert row.endswith(f"xxx...  {tmp_path / 'failure.log'}")
    assert len(row) < len(" ".join(overrides)) + 600


# Whole sweeps, of a job that does next to nothing.


def job(config: DictConfig) -> float | None:
    """Fails where seed is 1; else its score is the seed."""
    OmegaConf.to_container(config, resolve=True)
    if config.seed == 1:
        raise ValueError("no luck")
    return float(config.seed)


def sweep(*overrides: str) -> Outcome:
    return command(lambda: sweeps.main(job, "train"), "-m", *overrides)


class Counter(Sweeper):
    """Somebody's sweeper, which starts the seeds 0, 1 and 2, and minds no failure."""

    __module__ = "hydra_plugins.counter"  # where Hydra wants plugins to be

    def setup(self, *, hydra_context, task_function, config) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        for seed in range(3):
            self.launcher.launch([[*arguments, f"seed={seed}"]], initial_job_idx=seed)


def test_the_sweeper_of_somebody_else_has_a_journal(monkeypatch):
    plugin = ModuleType(Counter.__module__)
    vars(plugin)["Counter"] = Counter
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    if find_spec("hydra_plugins") is None:
        monkeypatch.setitem(sys.modules, "hydra_plugins", ModuleType("hydra_plugins"))
    Plugins.instance().register(Counter)
    target = {"_target_": "hydra_plugins.counter.Counter"}
    ConfigStore.instance().store("counter", target, group="hydra/sweeper")
    outcome = sweep("hydra/sweeper=counter", "score=final.x")
    assert outcome.code == 1
    assert "only hydra_plugins.counter.Counter knows" in outcome.out
    assert "sweep: 2 runs done, 1 failed\n" in outcome.out
    assert "1 of 3 runs failed:" in outcome.err
    assert outcome.err.count("ValueError: no luck") == 1
    rows = Path("runs", "train", "scores.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["seed", "2", "0"]
    assert not list(Path().rglob(".sweep-*"))


@pytest.mark.parametrize(
    ("overrides", "done", "failed"),
    [
        (["objective=glob([rl*,reinf*])", "seed=1"], 0, 2),
        (["objective=glob(*po,exclude=*grpo)", "seed=0"], 1, 0),
        (["seed=range(0,3)"], 2, 1),
        (["seed=choice(1,2)", "+callbacks.x.path=${hydra:runtime.output_dir}"], 1, 1),
        (["seed=0,1", "+callbacks.x.n=${hydra:job.num}", "+callbacks.x.at=${now:%Y}"], 1, 1),
        (["seed=0,1", "hydra.sweep.subdir=${hydra:job.num}"], 1, 1),
        (["seed=0,1", "hydra.sweep.dir=out/${now:%Y}"], 1, 1),
        (["seed=0,1", "+env.kwargs.x='a b,c=[1]'"], 1, 1),
        (["experiment=risk_1d", "objective.k=1", "seed=0,1"], 1, 1),
    ],
)
def test_every_sweep_of_hydra_has_a_journal(overrides, done, failed):
    outcome = sweep(*overrides, "score=final.x")
    total = done + failed
    end = f", {failed} failed" if failed else ""
    assert f"sweep: {done} of {total} runs done{end}\n" in outcome.out
    assert outcome.code == (1 if failed else 0)
    assert outcome.err.count("ValueError: no luck") == failed
    assert (f"{failed} of {total} runs failed" in outcome.err) == bool(failed)
    assert "the journal" not in outcome.err
    assert bool(list(Path().rglob("scores.csv"))) == bool(done)
    assert not list(Path().rglob(".sweep-*"))


def test_what_a_sweep_says_once_is_said_in_one_of_its_processes(tmp_path, capsys):
    processes = [Said(), Said(), Said()]
    for process in processes[:2]:
        process.start(tmp_path)
    for process in processes:
        for message in ("one", "two", "one"):
            process.once(message)
    assert capsys.readouterr().out.split() == ["one", "two"] * 2  # the third has no sweep
