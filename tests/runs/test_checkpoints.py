"""A killed run resumes from its checkpoint, and ends like an uninterrupted run."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections import deque
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger

from pkpo_sandbox import PKPO
from pkpo_sandbox.metrics.callbacks import GroupEvalCallback, SolveRateCallback
from pkpo_sandbox.runs.checkpoints import Checkpoint, decoded, encoded, kept, nested
from pkpo_sandbox.runs.logs import ProgressWriter
from pkpo_sandbox.runs.tables import load_runs

BANDIT = "pkpo_envs:pkpo/Bandit-v0"
PROBLEMS = "pkpo_envs:pkpo/ProblemSet-v0"
KILL = """
import os, signal
from pathlib import Path
from stable_baselines3.common.callbacks import BaseCallback

class Kill(BaseCallback):
    def _on_step(self):
        file = Path("kill")
        if file.exists() and self.num_timesteps >= 13_000:
            file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return True
"""
LONG_RUN = [
    "total_timesteps=20_000",
    "checkpoint_every=5_000",
    "log_interval=7",  # a row stands out at most checkpoints
    "log_formats=[csv,json]",
    "metrics.eval_groups=4",
    "schedule=step",
    "algorithm.learning_rate={_target_:pkpo_sandbox.schedules.Linear,start:0.01,end:0.0}",
    "+callbacks.kill._target_=kill.Kill",
]


def pkpo_train(cwd: Path, *overrides: str) -> subprocess.CompletedProcess:
    (cwd / "kill.py").write_text(KILL)
    command = [sys.executable, "-m", "pkpo_sandbox.runs.train", *overrides]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def table(cwd: Path) -> str:
    runs = load_runs(cwd / "runs").drop(columns=["folder", "wall_time_seconds"])
    return runs.to_csv(index=False)


def weights(cwd: Path) -> dict[str, torch.Tensor]:
    (path,) = cwd.glob("runs/*/*/model.zip")
    with zipfile.ZipFile(path) as archive:
        return torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    result = pkpo_train(whole, *LONG_RUN)
    assert result.returncode == 0, result.stderr
    (stopped / "kill").touch()
    assert pkpo_train(stopped, *LONG_RUN).returncode == -signal.SIGKILL
    (checkpoint,) = stopped.glob("runs/*/*/checkpoint.pt")
    again = pkpo_train(stopped, *LONG_RUN)
    assert again.returncode == 0, again.stderr
    assert "continues at timestep 10240" in again.stdout
    assert not checkpoint.exists()
    expected = weights(whole)
    for name, tensor in weights(stopped).items():
        assert torch.equal(tensor, expected[name]), name
    (log,) = whole.glob("runs/*/*/progress.csv")
    assert (stopped / log.relative_to(whole)).read_bytes() == log.read_bytes()
    assert table(stopped) == table(whole)
    steps = [
        pd.read_json(folder / log.parent.relative_to(whole) / "progress.json", lines=True)
        for folder in (whole, stopped)
    ]
    clock = ["time/fps", "time/time_elapsed"]
    pd.testing.assert_frame_equal(*[frame.drop(columns=clock) for frame in steps])


class Draws(BaseCallback):
    """Has a bit of every kind of state that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)
        self.seen: dict = {"steps": deque(maxlen=3), "best": np.float32(0.5)}
        self.path = Path("here")

    def _on_step(self) -> bool:
        self.seen["steps"].append((self.num_timesteps, self.generator.random()))
        self.logger.record_mean("mine/mean", self.generator.random())
        return True


def build(folder: Path, env: str, **kwargs) -> tuple[PKPO, list[BaseCallback]]:
    model = PKPO("MlpPolicy", env, k=2, group_size=4, n_groups=4, seed=3, device="cpu", **kwargs)
    model.set_logger(Logger(str(folder), [ProgressWriter(folder / "progress.csv")]))
    watchers: list[BaseCallback] = [
        SolveRateCallback(0.9),
        GroupEvalCallback(env, 4, 4, eval_freq=3),
        Draws(),
    ]
    return model, watchers


def learn(folder: Path, env: str, total: int, stop: int | None = None, **kwargs):
    """Train to ``stop`` or the end, from the checkpoint if there is one."""
    folder.mkdir(exist_ok=True)
    model, watchers = build(folder, env, **kwargs)
    checkpoint = Checkpoint(folder / "checkpoint.pt", 100, 3, watchers)
    resumed = checkpoint.restore(model)

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return stop is None or self.num_timesteps < stop

    model.learn(
        total - model.num_timesteps,
        [*watchers, Stop(), checkpoint] if stop else [*watchers, checkpoint],
        log_interval=4,
        reset_num_timesteps=not resumed,
    )
    return model, watchers


@pytest.mark.parametrize(
    ("env", "kwargs"),
    [
        (PROBLEMS, {"learning_rate": lambda progress: 0.01 * progress}),
        (BANDIT, {"clip_range": 0.2, "n_epochs": 2, "ent_coef": 0.01}),
    ],
)
def test_everything_that_decides_the_rest_is_kept(env, kwargs, tmp_path):
    whole, watched = learn(tmp_path / "whole", env, 700, **kwargs)
    learn(tmp_path / "stopped", env, 700, stop=350, **kwargs)
    model, watchers = learn(tmp_path / "stopped", env, 700, **kwargs)
    assert model.num_timesteps == whole.num_timesteps
    assert model._n_updates == whole._n_updates
    for mine, theirs in zip(model.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    state, expected = (m.policy.optimizer.state_dict()["state"] for m in (model, whole))
    for index, values in expected.items():
        assert all(torch.equal(state[index][name], value) for name, value in values.items())
    solve, reference = watchers[0], watched[0]
    assert isinstance(solve, SolveRateCallback)
    assert isinstance(reference, SolveRateCallback)
    assert reference.solved.any()
    np.testing.assert_array_equal(solve.solved, reference.solved)
    draws, expected_draws = watchers[2], watched[2]
    assert isinstance(draws, Draws)
    assert isinstance(expected_draws, Draws)
    assert draws.seen == expected_draws.seen
    assert draws.generator.random() == expected_draws.generator.random()
    logs = [(tmp_path / name / "progress.csv").read_bytes() for name in ("whole", "stopped")]
    assert logs[0] == logs[1]
    assert b"mine/mean" in logs[0]


def test_long_episodes_on_columns_that_idle_go_on_too(tmp_path):
    def run(folder: Path, stop: int | None = None) -> PKPO:
        folder.mkdir(exist_ok=True)
        env = make_vec_env("CartPole-v1", n_envs=3, seed=1)  # 8 attempts: the third wave has 2
        model = PKPO("MlpPolicy", env, k=1, group_size=4, n_groups=2, seed=1, device="cpu")
        model.set_logger(Logger(str(folder), [ProgressWriter(folder / "progress.csv")]))
        checkpoint = Checkpoint(folder / "checkpoint.pt", 500, 1, [])
        resumed = checkpoint.restore(model)

        class Stop(BaseCallback):
            def _on_step(self) -> bool:
                return stop is None or self.num_timesteps < stop

        model.learn(
            3000 - model.num_timesteps,
            [Stop(), checkpoint],
            log_interval=1,
            reset_num_timesteps=not resumed,
        )
        return model

    whole = run(tmp_path / "whole")
    run(tmp_path / "stopped", stop=1700)
    model = run(tmp_path / "stopped")
    assert model.num_timesteps == whole.num_timesteps
    for mine, theirs in zip(model.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    logs = [(tmp_path / name / "progress.csv").read_bytes() for name in ("whole", "stopped")]
    assert logs[0] == logs[1]


def test_there_is_nothing_to_restore_at_first(tmp_path):
    model, watchers = build(tmp_path, BANDIT)
    assert not Checkpoint(tmp_path / "checkpoint.pt", 100, 3, watchers).restore(model)


def test_a_damaged_checkpoint_is_named(tmp_path):
    learn(tmp_path, BANDIT, 200)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    model, watchers = build(tmp_path, BANDIT)
    with pytest.raises(ValueError, match=r"checkpoint.pt is damaged, .*delete it"):
        Checkpoint(path, 100, 3, watchers).restore(model)


def test_a_checkpoint_holds_no_code(tmp_path):
    learn(tmp_path, BANDIT, 200)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["num_timesteps"] >= 100


def test_state_that_is_not_kept_is_named_once(tmp_path):
    class Odd(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.noise = torch.nn.Linear(2, 2)

        def _on_step(self) -> bool:
            return True

    model, _ = build(tmp_path, BANDIT)
    odd = Odd()
    with pytest.warns(UserWarning, match=r"does not keep Odd.noise \(Linear\)") as warned:
        model.learn(400, [odd, Checkpoint(tmp_path / "checkpoint.pt", 100, 3, [odd])])
    assert len(warned) == 1


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    learn(tmp_path, BANDIT, 200)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        learn(tmp_path, BANDIT, 400)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_callbacks_of_callbacks_are_found_once():
    inner = Draws()
    outer = EveryNTimesteps(10, inner)
    inner.parent = outer
    evaluation = EvalCallback(make_vec_env("CartPole-v1"), callback_after_eval=inner)
    assert list(nested([outer, evaluation])) == [outer, evaluation, inner]


def test_what_sb3s_evaluation_remembers_is_kept(tmp_path):
    evaluation = EvalCallback(make_vec_env("CartPole-v1"), log_path=str(tmp_path))
    evaluation.evaluations_results.append([1.0, 2.0])
    evaluation.best_mean_reward = 2.0
    lost: list[str] = []
    attributes = kept(evaluation, lost)
    assert lost == []
    assert decoded(attributes["evaluations_results"]) == [[1.0, 2.0]]
    assert attributes["best_mean_reward"] == 2.0


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**100,
        0.1,
        "text",
        Path("a/b"),
        [1, (2.0, {"x"}), {"a": [None], 3: "b"}],
        deque([1, 2], maxlen=2),
    ],
)
def test_values_come_back_from_a_file_as_they_were(value, tmp_path):
    torch.save(encoded(value), tmp_path / "value.pt")
    again = decoded(torch.load(tmp_path / "value.pt", weights_only=True))
    assert again == value
    assert type(again) is type(value)
    assert getattr(again, "maxlen", None) == getattr(value, "maxlen", None)


@pytest.mark.parametrize("kind", ["bool", "int64", "uint8", "float32", "complex128"])
def test_arrays_come_back_with_their_type(kind, tmp_path):
    array = np.array([[0, 1], [1, 0]], dtype=kind)
    torch.save(encoded(array), tmp_path / "value.pt")
    again = decoded(torch.load(tmp_path / "value.pt", weights_only=True))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_generators_go_on_where_they_were(bits, tmp_path):
    generator = np.random.Generator(bits(1))
    generator.random(7)
    torch.save(encoded(generator), tmp_path / "value.pt")
    expected = generator.random(5)
    again = decoded(torch.load(tmp_path / "value.pt", weights_only=True))
    np.testing.assert_array_equal(again.random(5), expected)


def test_what_has_no_place_in_a_checkpoint_is_refused():
    with pytest.raises(TypeError, match="no place in a checkpoint for object"):
        encoded([object()])
