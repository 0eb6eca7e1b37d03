"""ZeRO-2 and ZeRO-3 with the config files of TRL, on CPUs. Skipped without DeepSpeed."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import pandas as pd
import torch

from pkpo_sandbox.gemma2.models import PretrainedGemma2

# DeepSpeed spreads weights of 100,000 numbers and more: here the embedding and the MLPs.
OVERRIDES = ("model.hidden_size=256", "model.intermediate_size=512", "task.warm_up_steps=10")
OVERRIDES += ("training.max_steps=3", "training.logging_steps=1", "+training.save_steps=1")
OVERRIDES += ("training.per_device_train_batch_size=32", "training.save_strategy=steps")
OVERRIDES += ("training.use_cpu=false", "+training.ddp_backend=gloo", "+training.ddp_timeout=120")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs pip install deepspeed"),
]


def run(folder: Path, *launcher: str, **environment: str) -> Path:
    """Run the app on two processes without a GPU; the run's folder."""
    folder.mkdir(exist_ok=True)
    hidden = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "pkpo_sandbox.gemma2", *OVERRIDES],
        cwd=folder,
        env={**os.environ, **hidden, **environment},
        capture_output=True,
        text=True,
        timeout=600,  # DeepSpeed compiles an operator once
    )
    assert result.stdout.count("finished in") == 1, result.stderr[-3000:]
    (summary,) = folder.rglob("summary.json")
    return summary.parent


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The run whose weights are whole on both processes."""
    launcher = ("torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d")
    launcher += ("--rdzv_endpoint=localhost:0",)
    return run(tmp_path_factory.mktemp("plain"), *launcher, ACCELERATE_USE_CPU="true")


def assert_same_run(one: Path, other: Path) -> None:
    tables = [pd.read_csv(folder / "progress.csv") for folder in (one, other)]
    kept = [name for name in tables[0] if "time/" not in name]
    pd.testing.assert_frame_equal(tables[0][kept], tables[1][kept], rtol=1e-3, atol=1e-5)
    models = [PretrainedGemma2(str(folder / "model")).load(0)[0] for folder in (one, other)]
    for weights in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(*weights, rtol=0, atol=1e-4)


@pytest.mark.parametrize("file", ["zero2.yaml", "zero3.yaml"])
def test_a_run_under_zero_is_that_of_two_plain_processes(file, plain, tmp_path):
    import trl

    path = Path(trl.__file__).parent / "accelerate_configs" / file
    launcher = ("accelerate.commands.launch", "--config_file", str(path), "--num_processes=2")
    launcher += ("--mixed_precision=no", "--main_process_port=0")
    folder = run(tmp_path, *launcher)
    assert_same_run(plain, folder)
    # and so it is when the run was killed after its first update
    first = pd.read_csv(folder / "progress.csv")["time/step_time"][1]
    (folder / "summary.json").unlink()
    for step in (2, 3):
        shutil.rmtree(folder / "checkpoints" / f"checkpoint-{step}")
    assert_same_run(plain, run(tmp_path, *launcher))
    assert pd.read_csv(folder / "progress.csv")["time/step_time"][1] == first
