"""On a GPU: `pytest -m gpu tests/gemma2 -s`. Skipped without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import torch

from pkpo_sandbox import transforms
from pkpo_sandbox.gemma2.objective import named, names

COEFFICIENTS = {"pkpo": {"k": 4}, "passk_training": {"k": 4}, "rs_grpo": {"beta": 2.0}}
BENCH = Path(__file__).with_name("bench_update.py")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", names())
def test_a_transform_on_the_gpu_is_that_on_the_cpu_in_float64(name, dtype):
    """Rewards are 0 and 1, or eighths: exact in bfloat16, so only the result is rounded."""
    generator = torch.Generator().manual_seed(0)
    top = 1 if name in ("passk_training", "max_rl") else 8
    rewards = torch.randint(0, top + 1, (256, 16), generator=generator).double() / top
    objective = named(name, **COEFFICIENTS.get(name, {}))
    expected = objective.weights(rewards, 1.0)
    found = objective.weights(rewards.to("cuda", dtype), 1.0)
    assert found.device.type == "cuda"
    assert found.dtype == dtype
    relative = 1e-5 if dtype == torch.float32 else 2.0**-8
    torch.testing.assert_close(
        found.double().cpu(), expected, rtol=relative, atol=relative * float(expected.abs().max())
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_max_at_k_on_the_gpu_is_that_on_the_cpu_in_float64(dtype):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randint(0, 9, (256, 16), generator=generator).double() / 8
    for k in (1, 4, 16):
        found = transforms.max_at_k(rewards.to("cuda", dtype), k).double().cpu()
        relative = 1e-5 if dtype == torch.float32 else 2.0**-8
        torch.testing.assert_close(
            found, transforms.max_at_k(rewards, k), rtol=relative, atol=relative
        )


@pytest.mark.slow
def test_the_demonstration_learns_on_the_gpu(tmp_path):
    command = [sys.executable, "-m", "pkpo_sandbox.gemma2", "training.use_cpu=false"]
    result = subprocess.run(
        [*command, "training.max_steps=200"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    (path,) = tmp_path.rglob("summary.json")
    summary = json.loads(path.read_text())
    print(summary["device"], f"{summary['wall_time_seconds']} s for 200 updates")
    assert summary["device"].endswith("x 1")
    assert summary["final"]["exact/max_at_8_hard"] >= 0.6  # 0.33 after the warm-up


@pytest.mark.slow
def test_an_update_costs_what_grpo_costs():
    """Gemma-2 2B's geometry: at most 2 % over stock GRPOTrainer."""
    command = [sys.executable, str(BENCH), "--alternate", "--rounds", "1", "--tokens", "32"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    measured = json.loads(result.stdout.splitlines()[-1])
    print(json.dumps(measured, indent=2))
    assert measured["ratio"] <= 1.02
