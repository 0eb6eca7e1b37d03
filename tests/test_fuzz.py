"""Random command lines: each command works, or explains the error in one line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.figures import command as figures
from pkpo_sandbox.figures import report, watch
from pkpo_sandbox.runs import train
from tests.commands import Outcome, command

SCHEDULES = "pkpo_sandbox.schedules"
CALLBACKS = "stable_baselines3.common.callbacks"


LINES = 24  # Hydra lists the choices of a group, and a sweep its jobs that failed


def assert_readable(outcome: Outcome, lines: int) -> None:
    """A refusal is short, and no bug of our own is dressed up as one."""
    assert outcome.code == 1
    assert outcome.err.strip()
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) <= lines
    root = outcome.error
    while root is not None and root.__cause__:
        root = root.__cause__
    frame = None if root is None else root.__traceback__
    if frame is None or isinstance(root, ValueError | ImportError | MemoryError | OSError):
        return
    while frame.tb_next is not None:
        frame = frame.tb_next
    room = frame.tb_frame.f_globals["__name__"].partition(".")[0]
    # A call that does not fit the user's class is a TypeError where we call it.
    assert room not in ("pkpo_sandbox", "pkpo_envs") or isinstance(root, TypeError), repr(root)


def check(max_examples: int) -> settings:
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture],  # a folder serves all cases
    )


def words(text: str) -> list[str]:
    return text.split()


# pkpo-train

TINY = [
    "total_timesteps=8",
    "algorithm.n_groups=2",
    "algorithm.group_size=2",
    "objective.k=2",
    "metrics.eval_freq=1",
    "++algorithm.policy_kwargs.net_arch=[4]",
]
ENVS = {
    "problem_set": ["++env.kwargs.n_problems=4", "++env.kwargs.n_answers=4"],
    "bandit": ["env=bandit"],
    "cliff_1d": ["env=cliff_1d"],
    "digit_sum": ["env=digit_sum", "env.kwargs.n_digits=1"],
    "CartPole": ["env.id=CartPole-v1", "env.max_episode_steps=4"],
}
INTEGERS = ["-1", "0", "1", "2", "7", "16", "1.5", "true", "null", "nan", "1e3", "'3'", "-(1)"]
INTEGER_KEYS = words(
    """
    env.num_envs env.max_episode_steps env.seeded_problems algorithm.group_size
    algorithm.n_groups algorithm.n_epochs algorithm.stats_window_size metrics.eval_freq
    metrics.eval_groups seed log_interval checkpoint_every ++env.kwargs.n_problems
    ++env.kwargs.n_answers ++env.kwargs.n_digits +env.kwargs.num_envs +env.kwargs.n_groups
    +env.kwargs.max_episode_steps
    """
)
NUMBERS = [
    *INTEGERS,
    *["1e30", "1e308", "1e-300", "inf", "-inf", "[1]", "{a:1}", "99999999999999999999"],
    f"{{_target_:{SCHEDULES}.Linear,start:0.1,end:0}}",
    f"{{_target_:{SCHEDULES}.Linear,start:0.1,end:-1}}",
    f"{{_target_:{SCHEDULES}.Step,start:2,end:1}}",
    f"{{_target_:{SCHEDULES}.Step,start:9,end:1}}",
    f"{{_target_:{SCHEDULES}.Step,start:2,end:1,at:2}}",
    f"{{_target_:{SCHEDULES}.Constant,value:nan}}",
    f"{{_target_:{SCHEDULES}.Constant}}",
    "{_target_:builtins.len}",
    "{_target_:builtins.bool}",
    "{_target_:builtins.complex}",
    "{_target_:nope.x}",
    "{_target_:torch.nn.Tanh}",
]
NUMBER_KEYS = words(
    """
    algorithm.learning_rate algorithm.gamma algorithm.clip_range algorithm.ent_coef
    algorithm.max_grad_norm metrics.solve_threshold objective.k ++env.kwargs.hard_fraction
    ++algorithm.policy_kwargs.fixed_std +objective.beta +objective.eps
    """
)
TEXTS = [
    *["${nope}", "${nope:1}", "${oc.env:NOPE}", "???"],
    *["abc", "''", "null", "3", "é漢🎲", '"quo\'te"', "'a b'", "a/b", "..", ".x", "x.", "[]", "{}"],
    *["[null]", "[1,2]", "{_target_:builtins.print}", "{_target_:null}", "sync", "native", "none"],
    *["csv", "[csv,nope]", "[csv,csv]", "[csv,wandb]", "[json]", "[csv,json]", "mps", "cuda:9"],
    *["MlpPolicy", "CnnPolicy", "MultiInputPolicy", "nope:Nope-v0", "Nope-v0", "Ant-v5", "os:x"],
    *["pkpo_envs:pkpo/Bandit-v0", "pkpo/Bandit-v9", "FrozenLake-v1", "Pendulum-v1", "Blackjack-v1"],
    *["builtins.len", "os.getcwd", "torch.sort", "torch.nn.Tanh", "torch.optim.SGD", "numpy"],
    *["pkpo_sandbox.transforms.rloo", "pkpo_sandbox.transforms.nope", "pkpo_sandbox.transforms"],
    *["pkpo_sandbox.transforms.BASELINES", "pkpo_sandbox.transforms.rs_grpo", "final.train/loss"],
    *["exact.2.max_at_k", "final", "human", "rgb_array", "grpo", "linear", "bandit", "pkpo", "[1]"],
    *[f"{CALLBACKS}.BaseCallback", f"{CALLBACKS}.CheckpointCallback", f"{CALLBACKS}.EvalCallback"],
    f"{{_target_:{CALLBACKS}.CheckpointCallback,save_freq:1}}",
    "[",
    "{a:",
    "1,2",
    "${seed}",
    "'${'",
]
TEXT_KEYS = words(
    """
    env.id env.kwargs env.vectorization env objective objective._target_ objective.baseline
    schedule rival experiment algorithm algorithm.policy algorithm.policy_kwargs
    algorithm.device metrics metrics.exact_ks callbacks +callbacks.a +callbacks.a._target_
    log_formats progress_bar score measure +measure._target_ +foo +env.foo +algorithm.foo
    +objective.foo ++env.kwargs.foo ++env.kwargs.payouts ++env.kwargs.probabilities
    ++env.kwargs.render_mode ++algorithm.policy_kwargs.net_arch
    ++algorithm.policy_kwargs.activation_fn ++algorithm.policy_kwargs.optimizer_class
    ++algorithm.policy_kwargs.foo objective.kk +objective.k._target_ hydra/launcher
    hydra/job_logging +hydra.foo name
    """
)
DELETIONS = [
    "~objective",
    "~objective.k",
    "~objective._target_",
    "~algorithm",
    "~callbacks",
    "~env",
    "~env.id",
    "~nope",
]


def written(keys: list[str], values: list[str]) -> st.SearchStrategy[str]:
    return st.builds("{}={}".format, st.sampled_from(keys), st.sampled_from(values))


overrides = st.lists(
    written(INTEGER_KEYS, INTEGERS)
    | written(NUMBER_KEYS, NUMBERS)
    | written(TEXT_KEYS, TEXTS)
    | st.sampled_from(DELETIONS)
    | st.sampled_from(["", "=", "a", "+", "~", "objective.k", "=3", "@a=b", "a@b=c", "ä=1"]),
    min_size=1,
    max_size=2,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory for all cases of this module."""
    path = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


@check(100)
@given(st.sampled_from(sorted(ENVS)), overrides)
@example("bandit", ["algorithm.max_grad_norm=inf"])
@example("bandit", ["algorithm.clip_range=1e308"])
@example("bandit", [f"total_timesteps={10**400}"])
@example("bandit", ["+callbacks.a=x"])
@example("bandit", ["log_formats=[csv,nope]"])
@example("bandit", ["objective._target_=builtins.len", "~objective.k"])
@example("bandit", ["algorithm.ent_coef=abc"])
@example("CartPole", ["algorithm.policy=MultiInputPolicy"])
def test_training_starts_or_says_in_a_line_why_not(folder, env, nonsense):
    outcome = command(train.main, *TINY, *ENVS[env], *nonsense)
    if outcome.code == 0:
        assert "finished in" in outcome.out or "finished before" in outcome.out
    else:
        assert_readable(outcome, lines=LINES)


@check(8)
@given(overrides)
def test_so_does_every_job_of_a_sweep(folder, nonsense):
    outcome = command(train.main, "-m", *TINY, "env=bandit", *nonsense, "seed=0,1")
    if outcome.code == 0:
        assert outcome.out.count("finished in") + outcome.out.count("finished before") >= 2
    else:
        assert_readable(outcome, lines=LINES)


@pytest.mark.parametrize("kind", [TypeError, RuntimeError, KeyError, AttributeError])
def test_a_bug_of_training_is_shown_in_full(folder, monkeypatch, kind):
    def broken(*arguments: Any) -> None:
        raise kind("broken")

    monkeypatch.setattr(GroupPolicyGradient, "train", broken)
    outcome = command(train.main, *TINY, "env=bandit", f"name={kind.__name__}")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "in broken" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "nonsense",
    [
        ["algorithm=3"],
        ["algorithm.ent_coef=abc"],
        ["algorithm.gamma=-inf"],
        ["algorithm.group_size=1e3"],
        ["algorithm.policy=MultiInputPolicy"],
        ["callbacks={_target_:builtins.print}"],
        ["+callbacks.a=é漢🎲"],
        ["+env.kwargs.payouts=[nan,1,2]"],
        ["+env.kwargs.num_envs=3"],
        ["env.id='a b'"],
        ["env.id=nope:Nope-v0"],
        ["env.kwargs=[1,2]"],
        ["env.num_envs=1000000000000"],
        ["experiment=nope"],
        ["hydra/launcher=nope"],
        ["log_formats=[csv,nope]"],
        ["metrics.eval_freq=0"],
        ["metrics.solve_threshold=nan"],
        ["objective.k=${nope"],
        ["objective._target_=3"],
        ["objective._target_=torch.nope"],
        [f"objective.k={{_target_:{SCHEDULES}.Step,start:9,end:1}}"],
        ["schedule=[null]"],
        ["total_timesteps=''"],
        ["~objective._target_"],
        ["~env=3"],
    ],
    ids=" ".join,
)
def test_the_command_itself_prints_no_traceback(nonsense, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "pkpo_sandbox.runs.train", *TINY, "env=bandit", *nonsense],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    outcome = Outcome(result.returncode, result.stdout, result.stderr, None)
    assert_readable(outcome, lines=LINES)


# The other commands


@pytest.fixture(scope="module")
def run(folder) -> str:
    """The folder of a finished run."""
    outcome = command(train.main, *TINY, "env=bandit", "name=finished")
    assert outcome.code == 0
    (summary,) = Path("runs/finished").glob("*/summary.json")
    return str(summary.parent)


PLACES = ["nope", "", ".", "é", "x" * 300, "/dev/null", "{run}/summary.json", "{run}/nope", "runs"]


def put(arguments: list[str], run: str) -> list[str]:
    return [argument.replace("{run}", run) for argument in arguments]


@check(60)
@given(
    st.sampled_from(
        ["", "x", ".", "..", "a.b", "os.path", "é", "a/b", "sample_weights", "x" * 300]
    ),
    st.sampled_from(PLACES),
    st.sampled_from(["out", "", "{run}/summary.json", "/dev/null/x"]),
)
def test_no_figure_without_its_runs(folder, run, name, runs, output):
    arguments = put([name, "--runs", runs, "--output", output], run)
    assert_readable(command(figures.main, *arguments), lines=1)


@pytest.mark.parametrize(
    "override",
    ["seed=abc", "nope=1", "[", "hydra.x=1", "experiment=nope", "objective.k=${nope}", "=", "é=1"],
)
def test_overrides_of_a_figure_are_those_of_a_sweep(folder, override):
    outcome = command(figures.main, "sample_weights", "--overrides", override)
    assert_readable(outcome, lines=1)


@pytest.mark.parametrize("place", [place for place in PLACES if "{run}/" not in place])
@pytest.mark.parametrize("main", [watch.main, report.main])
def test_what_is_no_run_is_neither_watched_nor_reported(folder, tmp_path, main, place):
    if main is report.main and place in (".", "", "runs"):  # runs may be below
        place = str(tmp_path)
    assert_readable(command(main, place), lines=1)


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        *[(watch.main, ["--output", name]) for name in ("", ".", "x.png", ".gif", "runs/x")],
        *[(watch.main, ["--output", name]) for name in ("/dev/null/x.gif", "x" * 300 + ".gif")],
        *[(watch.main, ["--frames", number]) for number in ("0", "-5", "1")],
        *[(watch.main, ["--fps", number]) for number in ("0", "-1")],
        *[(report.main, ["--output", name]) for name in ("/dev/null/x", "x" * 300, "runs")],
    ],
)
def test_what_cannot_be_written_is_said(folder, run, main, arguments):
    assert_readable(command(main, run, *arguments), lines=1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b'{"config": 3}', b"\xff"])
@pytest.mark.parametrize("name", ["summary.json", "config.yaml", "model.zip", "progress.csv"])
@pytest.mark.parametrize("main", [watch.main, report.main])
def test_a_damaged_run_raises_nothing(folder, run, tmp_path, main, name, content):
    damaged = tmp_path / "run"
    damaged.mkdir()
    for path in Path(run).iterdir():
        (damaged / path.name).write_bytes(content if path.name == name else path.read_bytes())
    output = ["--output", str(tmp_path / "out.gif"), "--frames", "2"]
    arguments = output if main is watch.main else output[:2]
    outcome = command(main, str(damaged), *arguments)
    if outcome.code != 0:
        assert_readable(outcome, lines=1)
    else:
        assert (tmp_path / "out.gif").stat().st_size > 0
