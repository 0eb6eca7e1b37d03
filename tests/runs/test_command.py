"""Sweeps that are killed, interrupted, fail or run twice end as one that was left alone.

What goes wrong is told to a callback of each run by files in the working directory: ``kill-1``
kills the process of seed 1 with SIGKILL, ``fail-1`` raises, ``wait-1`` waits until it is gone.
"""

import contextlib
import csv
import importlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

from pkpo_sandbox.runs import command as sweeps
from pkpo_sandbox.runs.command import missing_extra
from pkpo_sandbox.runs.folder import read_failures
from pkpo_sandbox.runs.tables import load_runs

TROUBLE = """
import os, signal, time
from pathlib import Path
from stable_baselines3.common.callbacks import BaseCallback

class Trouble(BaseCallback):
    def _on_step(self):
        seed = self.model.seed
        if Path(f"kill-{seed}").exists():
            Path(f"kill-{seed}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if Path(f"fail-{seed}").exists():
            raise RuntimeError("no luck")
        while Path(f"wait-{seed}").exists():
            Path(f"waits-{seed}").touch()
            time.sleep(0.05)
        return True
"""
SWEEP = ["-m", "seed=0,1,2", "total_timesteps=512", "+callbacks.trouble._target_=trouble.Trouble"]
LAUNCHERS = ["basic", "joblib"]

needs_signals = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def needs_plugin(name: str):
    installed = importlib.util.find_spec(f"hydra_plugins.{name}") is not None
    return pytest.mark.skipif(not installed, reason=f"the extra with {name} is not installed")


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    """If a test fails, neither the commands that it started nor their workers run on."""
    yield
    for process in STARTED:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()
        process.communicate()
    STARTED.clear()


def listen_to_ctrl_c() -> None:
    """What runs in the background of a script may have been told to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(cwd: Path, *overrides: str, **kwargs) -> subprocess.Popen:
    (cwd / "trouble.py").write_text(TROUBLE)
    command = [sys.executable, "-m", "pkpo_sandbox.runs.train", *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=cwd, start_new_session=True, **pipes, **kwargs)
    STARTED.append(process)
    return process


def pkpo_train(cwd: Path, *overrides: str, **kwargs) -> subprocess.CompletedProcess:
    process = start(cwd, *overrides, **kwargs)
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f"{paths} did not come"
        time.sleep(0.05)


def table(cwd: Path) -> str:
    """All finished runs, without what names this folder and what is timed."""
    runs = load_runs(cwd / "runs").drop(columns="wall_time_seconds")
    runs["folder"] = [Path(folder).relative_to(cwd).as_posix() for folder in runs["folder"]]
    return runs.to_csv(index=False)


def outputs(cwd: Path) -> dict[str, tuple[bytes, list[list[float]]]]:
    """The log and the weights of each run."""
    found = {}
    for folder in sorted((cwd / "runs").glob("*/*/")):
        if (folder / "model.zip").exists():
            with zipfile.ZipFile(folder / "model.zip") as archive:
                weights = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
            flat = [tensor.flatten().tolist() for tensor in weights.values()]
            found[folder.name] = ((folder / "progress.csv").read_bytes(), flat)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    result = pkpo_train(folder, *SWEEP)
    assert result.returncode == 0, result.stderr
    return folder


def finish(cwd: Path, undisturbed: Path, *overrides: str, found: int) -> None:
    """Start the sweep again: it finds so many runs, does the others, and is as if undisturbed."""
    result = pkpo_train(cwd, *SWEEP, *overrides)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("finished before") == found
    assert result.stdout.count("finished in") == 3 - found
    assert "3 of 3 runs done" in result.stdout
    assert table(cwd) == table(undisturbed)
    assert outputs(cwd) == outputs(undisturbed)
    left = {path.name for path in (cwd / "runs").rglob("*") if path.is_file()}
    assert left <= {"config.yaml", "model.zip", "progress.csv", "summary.json", "multirun.yaml"}


@needs_signals
@pytest.mark.slow
def test_a_sweep_goes_on_after_its_process_was_killed(tmp_path, undisturbed):
    (tmp_path / "kill-1").touch()
    result = pkpo_train(tmp_path, *SWEEP)
    assert result.returncode == -signal.SIGKILL
    (summary,) = tmp_path.glob("runs/*/*/summary.json")
    before = summary.stat().st_mtime_ns
    finish(tmp_path, undisturbed, found=1)
    assert summary.stat().st_mtime_ns == before


@needs_signals
@needs_plugin("hydra_joblib_launcher")
@pytest.mark.slow
def test_a_worker_that_dies_ends_the_sweep_in_one_message(tmp_path, undisturbed):
    (tmp_path / "kill-1").touch()
    (tmp_path / "wait-2").touch()  # so that a run is under way in another worker
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "hydra.launcher.batch_size=1"]
    result = pkpo_train(tmp_path, *SWEEP, *joblib)
    assert result.returncode == 1
    assert "a worker process of joblib died" in result.stderr
    assert "Traceback" not in result.stderr
    assert "did not end, as its worker or another one died" in result.stderr
    assert "start the same command again" in result.stderr
    (tmp_path / "wait-2").unlink()
    finished = len(list(tmp_path.glob("runs/*/*/summary.json")))
    finish(tmp_path, undisturbed, "hydra/launcher=joblib", found=finished)


@needs_signals
@needs_plugin("hydra_joblib_launcher")
@pytest.mark.slow
def test_a_sweep_under_joblib_goes_on_after_its_main_process_was_killed(tmp_path, undisturbed):
    for seed in range(3):
        (tmp_path / f"wait-{seed}").touch()
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = start(tmp_path, *SWEEP, *joblib)
    wait_for(tmp_path / "waits-0", tmp_path / "waits-1")
    process.kill()
    process.wait(60)
    for seed in range(3):
        (tmp_path / f"wait-{seed}").unlink()
    result = pkpo_train(tmp_path, *SWEEP, *joblib)  # the workers may still be at it
    assert result.returncode == 0, result.stderr
    finish(tmp_path, undisturbed, found=3)


@needs_signals
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ctrl_c_ends_in_a_sentence(launcher, tmp_path, undisturbed):
    (tmp_path / "wait-1").touch()
    (tmp_path / "wait-2").touch()
    launch = [*SWEEP, f"hydra/launcher={launcher}"]
    process = start(tmp_path, *launch, preexec_fn=listen_to_ctrl_c)
    wait_for(tmp_path / "waits-1")
    finished = len(list(tmp_path.glob("runs/*/*/summary.json")))
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"stopped with {3 - finished} of 3 runs not done" in stderr
    assert "start the same command again" in stderr
    assert "Traceback" not in stderr
    for seed in (1, 2):
        (tmp_path / f"wait-{seed}").unlink()
    finish(tmp_path, undisturbed, f"hydra/launcher={launcher}", found=finished)


@pytest.mark.slow
def test_a_full_disk_fails_the_runs_and_spoils_nothing(tmp_path, undisturbed):
    resource = pytest.importorskip("resource", reason="limits of POSIX")

    def limit():  # a file that grows beyond fails as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    result = pkpo_train(tmp_path, *SWEEP, preexec_fn=limit)
    assert result.returncode == 1
    assert "3 of 3 runs failed" in result.stderr
    table = result.stderr[result.stderr.index("3 of 3 runs failed") :].splitlines()
    assert ["File too large" in row for row in table[2:5]] == [True] * 3
    assert [f"seed={seed}" in row for seed, row in enumerate(table[2:5])] == [True] * 3
    assert len(read_failures(tmp_path)) == 3
    assert not list(tmp_path.glob("runs/*/*/summary.json"))
    finish(tmp_path, undisturbed, found=0)


@needs_signals
@needs_plugin("hydra_joblib_launcher")
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_that_nobody_listens_to_finish(launcher, tmp_path, undisturbed):
    """Not even one whose messages cannot be printed: a pipe without a reader, and ASCII only."""
    home = tmp_path / "ü"
    home.mkdir()
    (home / "wait-0").touch()
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start(home, *SWEEP, f"hydra/launcher={launcher}", env=ascii_only)
    wait_for(home / "waits-0")
    assert process.stdout is not None
    process.stdout.close()
    (home / "wait-0").unlink()
    assert process.wait(120) == 0
    assert table(home) == table(undisturbed)
    assert outputs(home) == outputs(undisturbed)


TALKER = """
import gymnasium

class Talker(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        print("☃" * 10_000, flush=True)
        return 0, {}

    def step(self, action):
        print("☃", flush=True)
        return 0, float(action), True, False, {}

gymnasium.register("Talker-v0", Talker)
"""


@needs_signals
@pytest.mark.slow
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_an_env_may_print_to_nobody(vectorization, tmp_path):
    (tmp_path / "talker.py").write_text(TALKER, encoding="utf-8")
    options = ["env.id=talker:Talker-v0", f"env.vectorization={vectorization}", "env.num_envs=2"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start(tmp_path, *options, "total_timesteps=512", env=ascii_only)
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")
    assert len(load_runs(tmp_path / "runs")) == 1


@pytest.mark.slow
def test_a_half_written_folder_is_done_again(tmp_path, undisturbed):
    shutil.copytree(undisturbed / "runs", tmp_path / "runs")
    folder = sorted((tmp_path / "runs" / "train").glob("*/"))[1]
    (folder / "summary.json").rename(folder / ".summary.json.1234.part")
    (folder / "progress.csv").write_bytes((folder / "progress.csv").read_bytes()[:50])
    (folder / "model.zip").write_bytes(b"PK")
    (folder / "failure.json").write_text("{}")
    finish(tmp_path, undisturbed, found=2)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_run_that_fails_leaves_the_others_alone_and_is_tried_again(
    launcher, tmp_path, undisturbed
):
    (tmp_path / "fail-1").touch()
    result = pkpo_train(tmp_path, *SWEEP, f"hydra/launcher={launcher}")
    assert result.returncode == 1
    assert len(list(tmp_path.glob("runs/*/*/summary.json"))) == 2
    assert "2 of 3 runs done, 1 failed" in result.stdout
    assert "1 of 3 runs failed" in result.stderr
    assert "Traceback" not in result.stderr
    (row,) = [line for line in result.stderr.splitlines() if "failure.log" in line]
    assert "seed=1" in row
    assert "RuntimeError: no luck" in row
    log = (tmp_path / row.split()[-1]).read_text()
    assert log.startswith("Traceback")
    assert log.strip().endswith("RuntimeError: no luck")
    (failure,) = read_failures(tmp_path / "runs")
    assert failure["error"] == "RuntimeError: no luck"
    (tmp_path / "fail-1").unlink()
    finish(tmp_path, undisturbed, f"hydra/launcher={launcher}", found=2)
    assert not read_failures(tmp_path / "runs")


@pytest.mark.slow
def test_two_processes_do_a_run_once(tmp_path):
    run = ["seed=1", *SWEEP[2:]]
    (tmp_path / "wait-1").touch()
    first = start(tmp_path, *run)
    wait_for(tmp_path / "waits-1")
    second = start(tmp_path, *run)
    assert second.stdout is not None
    assert "waiting for another process" in second.stdout.readline()
    (tmp_path / "wait-1").unlink()
    said = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert ["finished in" in text for text in said] == [True, False]
    assert not list(tmp_path.rglob(".lock"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("submitit_local", marks=needs_plugin("hydra_submitit_launcher")),
        pytest.param("ray", marks=needs_plugin("hydra_ray_launcher")),
    ],
)
def test_launchers_of_extras_give_the_same_runs_as_the_basic_one(launcher, tmp_path, undisturbed):
    result = pkpo_train(tmp_path, *SWEEP, f"hydra/launcher={launcher}")
    assert result.returncode == 0, result.stderr
    assert table(tmp_path) == table(undisturbed)
    assert outputs(tmp_path) == outputs(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_neither_launcher_nor_order_changes_a_byte(launcher, tmp_path, undisturbed):
    result = pkpo_train(tmp_path, SWEEP[0], "seed=2,0,1", *SWEEP[2:], f"hydra/launcher={launcher}")
    assert result.returncode == 0, result.stderr
    assert table(tmp_path) == table(undisturbed)
    assert outputs(tmp_path) == outputs(undisturbed)
    assert len({weights[0][0] for _, weights in outputs(tmp_path).values()}) == 3


@needs_plugin("hydra_submitit_launcher")
def test_slurm_asks_for_one_core_a_run():
    importlib.import_module("pkpo_sandbox.runs.train")  # has the config's schema
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        config = compose("train", ["hydra/launcher=slurm"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.cpus_per_task, launcher.mem_gb, launcher.timeout_min) == (1, 4, 60)
    assert launcher.array_parallelism > 1


SLURM = {  # runs the tasks of an array here, one after the other
    "sbatch": """
        script="${@: -1}"
        cp "$script" submitted.sh
        echo "Submitted batch job 77"
        export SLURM_ARRAY_JOB_ID=77 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
        export SLURM_JOB_NODELIST=here SLURM_JOB_NUM_NODES=1
        for i in 0 1 2; do SLURM_JOB_ID=8$i SLURM_ARRAY_TASK_ID=$i bash "$script"; done \\
            >slurm.log 2>&1 &
    """,
    "srun": """
        while [[ "$1" == -* ]]; do
            case "$1" in --output | --error) shift 2 ;; *) shift ;; esac
        done
        exec "$@"
    """,
    "sacct": """
        echo "JobID|State|NodeList"
        for i in 0 1 2; do echo "77_$i|RUNNING|here"; done
    """,
}


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for Slurm is a shell script")
@needs_plugin("hydra_submitit_launcher")
@pytest.mark.slow
def test_slurm_gives_the_same_runs_as_the_basic_launcher(tmp_path, undisturbed):
    for name, script in SLURM.items():
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/bash\n{script}")
        command.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    slurm = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=2"]
    result = pkpo_train(tmp_path, *SWEEP, *slurm, env={**os.environ, "PATH": path})
    assert result.returncode == 0, result.stderr
    assert table(tmp_path) == table(undisturbed)
    assert outputs(tmp_path) == outputs(undisturbed)
    asked = (tmp_path / "submitted.sh").read_text()
    for option in ("array=0-2%3", "cpus-per-task=1", "mem=2GB", "time=60"):
        assert f"#SBATCH --{option}\n" in asked


@needs_plugin("hydra_submitit_launcher")
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("srun") is not None, reason="this is a Slurm cluster")
def test_without_slurm_one_line_says_so(tmp_path):
    result = pkpo_train(tmp_path, *SWEEP, "hydra/launcher=slurm")
    assert result.returncode == 1
    assert "are you indeed on a slurm cluster?" in result.stderr
    assert "Traceback" not in result.stderr


@needs_plugin("hydra_optuna_sweeper")
@pytest.mark.slow
def test_a_search_maximises_the_score_and_can_be_taken_up_again(tmp_path):
    search = ["-m", "hydra/sweeper=search", "total_timesteps=512", "score=exact.8.max_at_k"]
    result = pkpo_train(tmp_path, *search, "hydra.sweeper.n_trials=4")
    assert result.returncode == 0, result.stderr
    path = tmp_path / "runs" / "train" / "scores.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert len(rows) == 4
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    for row in rows:
        summary = json.loads((tmp_path / row["folder"] / "summary.json").read_text())
        assert summary["exact"]["8"]["max_at_k"] == float(row["score"])
        for key in ("learning_rate", "ent_coef"):
            assert summary["config"]["algorithm"][key] == float(row[f"algorithm.{key}"])
    assert rows[0]["folder"] in result.stdout[result.stdout.index("the best of") :]
    assert f"Best value: {scores[0]}" in result.stdout
    result = pkpo_train(tmp_path, *search, "hydra.sweeper.n_trials=8")
    assert (result.stdout.count("finished before"), result.stdout.count("finished in")) == (4, 4)
    longer = list(csv.DictReader(io.StringIO(path.read_text())))
    assert len(longer) == 8
    assert all(row in longer for row in rows)


@needs_plugin("hydra_optuna_sweeper")
@pytest.mark.slow
def test_a_search_says_that_it_needs_a_score_and_survives_failures(tmp_path):
    search = ["-m", "hydra/sweeper=search", "hydra.sweeper.n_trials=4", *SWEEP[2:]]
    result = pkpo_train(tmp_path, *search)
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "a search maximises a score: name one, such as score=exact.8.max_at_k"
    )
    (tmp_path / "fail-1").touch()
    result = pkpo_train(tmp_path, *search, "seed=0,1", "score=exact.8.max_at_k")
    assert result.returncode == 1
    failed = result.stderr.count("RuntimeError: no luck")
    assert failed > 0
    assert len(list(tmp_path.glob("runs/*/*/summary.json"))) == 4 - failed


def test_a_launcher_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for choice, extra in {"joblib": "joblib", "slurm": "submitit", "ray": "ray"}.items():
        message = missing_extra(["seed=1", f"hydra/launcher={choice}"])
        assert message is not None
        assert f"pip install 'pkpo-sandbox[{extra}]'" in message
    assert "pkpo-sandbox[optuna]" in str(missing_extra(["hydra/sweeper=search"]))
    assert missing_extra(["hydra/launcher=basic", "objective=pkpo"]) is None


def test_a_launcher_that_is_installed_needs_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: asked.append(name) or object())
    assert missing_extra(["hydra/launcher=slurm", "hydra/sweeper=search"]) is None
    assert asked == [
        "hydra_plugins.hydra_submitit_launcher",
        "hydra_plugins.hydra_optuna_sweeper",
    ]


def test_the_command_line_names_what_is_missing_before_it_composes(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pkpo-train", "hydra/launcher=ray"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pkpo-sandbox\\[ray\\]"):
        sweeps.main(lambda config: None, "train")


@pytest.mark.parametrize(
    ("backend", "taken"),
    [
        ("module://nowhere.backend_inline", "agg"),
        ("module://os..x", "agg"),
        ("module://matplotlib.backends.backend_svg", "module://matplotlib.backends.backend_svg"),
        ("svg", "svg"),
        (None, None),
    ],
)
def test_a_backend_that_a_notebook_left_is_dropped(backend, taken, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", backend or "")
    if backend is None:
        monkeypatch.delenv("MPLBACKEND")
    sweeps.drop_missing_backend()
    assert os.environ.get("MPLBACKEND") == taken
    assert ("is not installed: agg is taken" in capsys.readouterr().err) == (backend != taken)


@pytest.mark.slow
def test_help_may_be_cut_short(tmp_path):
    command = f"{sys.executable} -m pkpo_sandbox.runs.train --help | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("train is powered by Hydra")
    assert not result.stderr
