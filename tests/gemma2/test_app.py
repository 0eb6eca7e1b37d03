"""``pkpo-gemma2`` from the command line: commands, files, and errors in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import pandas as pd
import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf

from pkpo_sandbox.gemma2 import app
from pkpo_sandbox.gemma2.models import PretrainedGemma2, TinyGemma2
from pkpo_sandbox.runs.tables import load_runs, read_runs
from tests.gemma2.app_runs import SHORT, composed, run_here

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing:FutureWarning",  # transformers 5.23 within TRL 1.16
)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def pkpo_gemma2(*overrides: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pkpo_sandbox.gemma2", *overrides]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_the_trainer_loads_no_sb3():
    code = "import sys, pkpo_sandbox.gemma2 as g; g.PKPOTrainer; "
    code += "print('trl' in sys.modules, 'stable_baselines3' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip() == "True False"


def test_a_run_writes_what_the_toys_write(tmp_path):
    folder = run_here(tmp_path, *SHORT, "objective.k=2", "seed=3")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["config.yaml", "model", "progress.csv", "summary.json"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["config"]["objective"]["k"] == 2
    assert summary["seed"] == 3
    assert summary["device"] == "cpu"
    assert {"trl", "transformers", "torch"} <= set(summary["versions"])
    final = summary["final"]
    assert final["train/n_updates"] == 2
    assert final["train/k"] == 2
    names = {f"rollout/{kind}_at_{k}" for kind in ("pass", "max") for k in (1, 2, 4, 8, 16)}
    names |= {"rollout/solved", "rollout/zero_signal", "train/entropy", "exact/max_at_8_hard"}
    assert names <= set(final)
    progress = pd.read_csv(folder / "progress.csv")
    assert progress["train/n_updates"].tolist() == [0, 1, 2]
    assert progress["rollout/solved"].dropna().is_monotonic_increasing
    row = load_runs(tmp_path).iloc[0]
    assert row["config.objective.k"] == 2
    assert row["final.exact/max_at_1"] == final["exact/max_at_1"]
    saved = PretrainedGemma2(str(folder / "model"))
    saved.check({"use_cpu": True})
    model, tokenizer, _ = saved.load(seed=0)
    from pkpo_sandbox.gemma2.tasks.factor import FactorTask

    exact = FactorTask().exact(model, tokenizer)
    assert exact["exact/max_at_1"] == pytest.approx(final["exact/max_at_1"], abs=1e-6)


def test_the_same_config_and_seed_give_the_same_files(tmp_path):
    first, again = (run_here(tmp_path / name, *SHORT) for name in "ab")
    tables = [pd.read_csv(folder / "progress.csv") for folder in (first, again)]
    kept = [name for name in tables[0] if not name.startswith("time/")]
    pd.testing.assert_frame_equal(tables[0][kept], tables[1][kept])
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (first, again)]
    assert weights[0] == weights[1]


def test_a_finished_run_is_not_run_again(tmp_path, capsys):
    folder = run_here(tmp_path, *SHORT)
    before = (folder / "summary.json").stat().st_mtime_ns
    assert run_here(tmp_path, *SHORT) == folder
    assert "finished before" in capsys.readouterr().out
    assert (folder / "summary.json").stat().st_mtime_ns == before


def test_an_interrupted_run_continues_from_its_checkpoint(tmp_path, monkeypatch):
    """Stopped after its checkpoint at update 2 of 4, and started again with the same command."""
    settings = [*SHORT, "training.max_steps=4", "training.save_strategy=steps"]
    settings += ["+training.save_steps=2", "schedule=step"]
    whole = run_here(tmp_path / "whole", *settings)

    from pkpo_sandbox.gemma2 import metrics

    original = metrics.ProgressLog.on_log

    def interrupted(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt
        original(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(metrics.ProgressLog, "on_log", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_here(tmp_path / "cut", *settings)
    resumed = run_here(tmp_path / "cut", *settings)
    tables = [pd.read_csv(folder / "progress.csv") for folder in (whole, resumed)]
    kept = [name for name in tables[0] if "time/" not in name]
    pd.testing.assert_frame_equal(tables[0][kept], tables[1][kept])
    assert tables[1]["train/k"].dropna().tolist() == [8, 8, 1, 1]


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    """Killed while it wrote: of what it writes, the state comes last."""
    assert app.last_checkpoint(str(tmp_path / "none")) is None
    for step in (90, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").touch()
    (tmp_path / "checkpoint-110").mkdir()
    (tmp_path / "checkpoint-110" / "model.safetensors").touch()
    assert app.last_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-100")


@pytest.mark.parametrize("objective", options("objective"))
def test_every_objective_config_trains(objective, tmp_path):
    folder = run_here(tmp_path, *SHORT, f"objective={objective}", "training.max_steps=1")
    assert json.loads((folder / "summary.json").read_text())["final"]["train/n_updates"] == 1


@pytest.mark.parametrize("schedule", options("schedule"))
def test_every_schedule_config_trains(schedule, tmp_path):
    folder = run_here(tmp_path, *SHORT, f"schedule={schedule}", "training.max_steps=1")
    start = 4 if schedule == "constant" else 8
    assert json.loads((folder / "summary.json").read_text())["final"]["train/k"] == start


@pytest.mark.parametrize("model", [name for name in options("gemma2/model") if name != "tiny"])
def test_every_pretrained_model_config_describes_a_model(model):
    config = composed(f"model={model}", "task=math", "++model.path=somewhere", "data.path=x")
    from hydra.utils import instantiate

    described = instantiate(OmegaConf.to_container(config.model), _convert_="all")
    assert isinstance(described, PretrainedGemma2)
    assert (described.lora is not None) == model.endswith("lora")
    assert config.training.max_steps == 3000


@pytest.mark.parametrize("experiment", options("gemma2/experiment"))
def test_every_experiment_composes_and_sweeps(experiment):
    config = composed(f"experiment={experiment}", return_hydra_config=True)
    assert config.name == experiment
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.training.num_generations == 16
    swept = config.hydra.sweeper.params
    if experiment.endswith("_entropy"):
        assert swept["training.entropy_coef"] == "0.001,0.005,0.01,0.05,0.1"
        assert config.objective["_target_"].endswith(".rloo")
    else:
        assert "Step,start:8,end:1,at:0.5" in swept["objective.k"]


@pytest.mark.parametrize(
    "experiment", [name for name in options("gemma2/experiment") if name.startswith("paper")]
)
def test_the_papers_step(experiment):
    """16 problems x 16 answers, 750 updates an epoch of 12,000 problems, k up to n."""
    config = composed(f"experiment={experiment}", return_hydra_config=True)
    training = config.training
    answers = training.per_device_train_batch_size * training.gradient_accumulation_steps
    assert answers == 16 * training.num_generations == 12_000 * 16 / 750
    assert 0.5 * training.max_steps == 1500  # where the paper anneals
    assert config.model.path == "google/gemma-2-2b-it"
    if "entropy" not in experiment:
        assert config.hydra.sweeper.params["objective.k"].startswith("1,2,4,8,16,{")
    if "arc" in experiment:
        assert (config.task.test_fraction, training.patience) == (0.2, 1000)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+foo=1"], "unknown key foo"),
        (["+data.foo=1"], "unknown key data.foo"),
        (["seed=-1"], "seed=-1 must be at least 0"),
        (["training.foo=1"], "unexpected keyword argument 'foo'"),
        (["+training.seed=1"], "training.seed is set elsewhere"),
        (["training.max_steps=many"], "training.max_steps='many' must be a number"),
        (["training.beta=0.01"], "training.beta=0.01 loads the model once more from model.path"),
        (["+training.loss_type=grpo"], "loss_type='grpo' must be 'dr_grpo' or 'luspo'"),
        (["objective.k=32"], "k = 32 exceeds n = 16"),
        (["task=math"], "model=tiny reads numbers only"),
        (["data.path=x"], "task=factor makes its own prompts"),
        (["model=gemma2_2b_it"], "task=factor is worded in numbers"),
        (["model=gemma2_2b_it", "task=math"], "task=math needs data.path="),
        (["model=gemma2_2b_it", "task=arc"], "task=arc needs data.path="),
        (["experiment=paper_math"], "task=math needs data.path="),
        (["model=gemma2_2b_it", "task=arc", "data.path=/nowhere"], "neither a folder with .json"),
        (["model.numbers=many"], "has sizes that are not integers above 0"),
        (["model.hidden_size=63"], "hidden_size=63 must be a multiple of twice num_attention"),
        (["model.num_key_value_heads=3"], "must be a multiple of num_key_value_heads=3"),
        (["task.warm_up=3"], "Could not override 'task.warm_up'"),
        (["model=nope"], "Could not find 'model/nope'"),
        (["objective._target_=no.such"], "cannot be imported"),
    ],
)
def test_a_mistake_gives_a_readable_error_and_leaves_no_run(overrides, message, tmp_path):
    with pytest.raises((HydraException, ValueError), match=message):
        run_here(tmp_path, *overrides)
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files <= {".lock", "failure.json", "failure.log"}


def puzzle(folder: Path) -> Path:
    pair = {"input": [[1]], "output": [[2]]}
    (folder / "a.json").write_text(json.dumps({"train": [pair], "test": [pair]}))
    return folder


def test_missing_weights_and_gpu_are_said_before_anything_is_loaded(tmp_path, monkeypatch):
    def unwanted(*args, **kwargs):
        raise AssertionError("something was loaded")

    for kind in (PretrainedGemma2, TinyGemma2):
        monkeypatch.setattr(kind, "load", unwanted)
    command = ["model=gemma2_2b_it", "task=arc", f"data.path={puzzle(tmp_path)}"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HydraException, match="google/gemma-2-2b-it needs a GPU and there is none"):
        run_here(tmp_path / "runs", *command)
    with pytest.raises(HydraException, match=r"no weights of .*hf download google/gemma-2-2b-it"):
        run_here(tmp_path / "runs", *command, "+training.use_cpu=true")
    with pytest.raises(HydraException, match="no weights of '/nowhere'"):
        run_here(tmp_path / "runs", *command, "+training.use_cpu=true", "model.path=/nowhere")
    with pytest.raises(HydraException, match="does not apply Gemma-2's soft-capping"):
        run_here(tmp_path / "runs", *command, "model.attn_implementation=sdpa")


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_vllm_is_refused_where_it_cannot_follow_the_policy(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "require_extra", lambda extra="gemma2": None)
    with pytest.raises(HydraException, match=r"use_vllm=True loads .* model=tiny is made on the"):
        run_here(tmp_path, "+training.use_vllm=true", f"+training.vllm_mode={mode}")
    command = ["model=gemma2_2b_it", "task=arc", f"data.path={puzzle(tmp_path)}"]
    command += ["training.use_vllm=true", f"training.vllm_mode={mode}", "+training.use_cpu=true"]
    with pytest.raises(HydraException, match=r"use_vllm=true needs a GPU: on a CPU vLLM packs"):
        run_here(tmp_path, *command)


@pytest.mark.parametrize("lora", [False, True])
def test_the_real_thing_end_to_end_on_a_folder_of_weights(lora, tmp_path):
    """MATH on a tiny Gemma-2 saved as a pretrained one is: a folder with a chat template."""
    from .conftest import TEMPLATE

    model, tokenizer, _ = TinyGemma2(numbers=20).load(seed=0)
    tokenizer.chat_template = TEMPLATE
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "weights")
    rows = [{"problem": str(i), "solution": "\\boxed{1}"} for i in range(4)]
    rows += [{"problem": " ".join("1" * 100), "solution": "\\boxed{1}"}]
    pd.DataFrame(rows).to_parquet(tmp_path / "math.parquet")
    folder = run_here(
        tmp_path / "runs",
        "model=gemma2_2b_it" + ("_lora" if lora else ""),
        "task=math",
        f"data.path={tmp_path / 'math.parquet'}",
        f"data.eval_path={tmp_path / 'math.parquet'}",
        f"model.path={tmp_path / 'weights'}",
        "model.dtype=float32",
        "+training.use_cpu=true",
        "+training.bf16=false",
        "+training.gradient_checkpointing=false",
        "+training.disable_tqdm=true",
        "training.max_steps=1",
        "training.max_completion_length=4",
        "training.logging_steps=1",
        "training.eval_strategy=steps",
    )
    final = json.loads((folder / "summary.json").read_text())["final"]
    assert {"eval/pass_at_16", "rollout/pass_at_16", "rollout/solved"} <= set(final)
    assert (folder / "model" / "adapter_model.safetensors").exists() == lora


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [("+foo=1", "unknown key foo"), ("objective.k=32", "k = 32 exceeds n = 16")],
)
def test_the_command_prints_an_error_without_a_traceback(override, message, tmp_path):
    result = pkpo_gemma2(override, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) < 15


@pytest.mark.slow
def test_the_experiment_sweeps_and_its_figure_is_drawn(tmp_path):
    sweep = ["experiment=gemma2_factor", "seed=0", *SHORT]
    result = pkpo_gemma2(*sweep, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    from pkpo_sandbox.figures.command import draw_figure, run_folders

    folders = run_folders("gemma2_factor", tmp_path / "runs", sweep[1:])
    paths = draw_figure("gemma2_factor", read_runs(folders), tmp_path / "out")
    table = pd.read_csv(paths[-1])
    assert table["update"].tolist() == [0, 1, 2] * 4
    assert table["k"].tolist() == [1, 1, 1, 4, 4, 4, 8, 8, 8, 8, 8, 1]
    assert table["schedule"].tolist() == ["constant"] * 9 + ["8 then 1"] * 3


@pytest.mark.slow
def test_a_task_of_ones_own_is_a_module_and_a_config_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from pkpo_sandbox.gemma2.tasks.factor import FactorTask\n"
        "class Sevens(FactorTask):\n"
        "    def reward(self, prompts, completions, **columns):\n"
        "        return [float(answer == '7') for answer in completions]\n"
    )
    (tmp_path / "my_conf" / "task").mkdir(parents=True)
    (tmp_path / "my_conf" / "task" / "sevens.yaml").write_text("_target_: mine.Sevens\n")
    sweep = [*SHORT[:2], "+task.warm_up_steps=60", "training.max_steps=60"]
    result = pkpo_gemma2("--config-dir", "my_conf", "task=sevens", *sweep, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    final = load_runs(tmp_path / "runs").iloc[0]
    assert final["final.rollout/pass_at_1"] > 0.5  # 7 % after the warm-up


def on_two_processes(cwd: Path, *command: str) -> Path:
    """The folder of a run on two processes; ``command`` is what torchrun starts."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    launcher += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", *command]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        launcher, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    # Not the exit status: torch's gloo threads now and then abort a process that has finished.
    assert result.stdout.count("finished in") == 1, result.stderr[-3000:]
    (summary,) = (cwd / "runs").rglob("summary.json")
    return summary.parent


@pytest.mark.slow
def test_two_processes_run_the_app(tmp_path):
    """As `accelerate launch` on several GPUs would, here by torchrun on CPUs."""
    folder = on_two_processes(tmp_path, "-m", "pkpo_sandbox.gemma2", *SHORT)
    assert read_runs([folder]).iloc[0]["final.train/n_updates"] == 2


@pytest.mark.slow
def test_two_processes_run_the_app_under_fsdp2(tmp_path):
    """It asks for exact values, saves whole weights, and continues after its first update."""
    shim = str(Path(__file__).with_name("fsdp2_on_cpu.py"))
    command = [shim, "no", "-m", "pkpo_sandbox.gemma2", *SHORT]
    command += ["training.save_strategy=steps", "+training.save_steps=1"]
    folder = on_two_processes(tmp_path, *command)
    whole = pd.read_csv(folder / "progress.csv")
    assert whole["exact/max_at_1"].notna().all()
    model, tokenizer, _ = PretrainedGemma2(str(folder / "model")).load(seed=0)
    from pkpo_sandbox.gemma2.tasks.factor import FactorTask

    exact = FactorTask().exact(model, tokenizer)
    assert exact["exact/max_at_1"] == pytest.approx(whole["exact/max_at_1"].iloc[-1], abs=1e-6)

    assert (folder / "checkpoints" / "checkpoint-1" / "pytorch_model_fsdp.bin").exists()
    shutil.rmtree(folder / "checkpoints" / "checkpoint-2")
    shutil.rmtree(folder / "model")
    (folder / "summary.json").unlink()
    assert on_two_processes(tmp_path, *command) == folder
    resumed = pd.read_csv(folder / "progress.csv")
    kept = [c for c in whole if not c.startswith("time/")]
    pd.testing.assert_frame_equal(resumed[kept], whole[kept])
    again, *_ = PretrainedGemma2(str(folder / "model")).load(seed=0)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b)
