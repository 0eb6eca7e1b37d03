"""How lanes scale: updates of runs a second against how many lanes are trained together.

Two worlds, each with SB3's default MLP (64, 64) and 256 attempts an update: the bandit, whose
network is asked once an update, and the problem set of 128 problems and answers, whose network is
asked once a group and whose 20,800 weights a lane no longer fit the processor's cache when there
are many. The first row of each is PKPO's own loop, on the CPU. On a CPU one thread computes. On a
GPU the networks are there, the worlds and the random numbers stay on the CPU.

Needs PyTorch, Stable-Baselines3, SciPy and lazy-loader, no Hydra. Run as

    python tests/benchmarks/bench_lanes.py [--device cuda] [--lanes 64 256 1024 4096] [--out f.json]
"""

import argparse
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

import torch

from pkpo_sandbox.algorithm.lanes import Lane, LaneBatch
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.schedules import Objective
from pkpo_sandbox.transforms import pkpo

WORLDS = {"bandit": "pkpo_envs:pkpo/Bandit-v0", "problem set": "pkpo_envs:pkpo/ProblemSet-v0"}
ON_CPU = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
ON_GPU = [64, 256, 1024, 4096]
SEEDS = 32  # a lane more takes one of these again: they are only there to be computed
KS = [1, 2, 4, 8]


def hardware(device: torch.device) -> str:
    """The name of what computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def measure(world: str, n_lanes: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Train for about so many seconds, after a few updates that are not counted."""
    lanes = [Lane(i % SEEDS, Objective(pkpo, k=KS[i % len(KS)])) for i in range(n_lanes)]
    batch = LaneBatch(
        WORLDS[world],
        lanes,
        range(n_lanes),
        group_size=16,
        n_groups=16,
        n_epochs=1,
        policy_kwargs={},
        stats_window_size=100,
        device=device,
    )

    def updates(n: int) -> tuple[float, float]:
        """-> wall and CPU seconds."""
        start = time.perf_counter(), time.process_time()
        for _ in range(n):
            batch.iterate(10**9)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    updates(8)
    few, _ = updates(8)
    n = max(8, int(seconds / few) * 8)
    wall, cpu = updates(n)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    return {
        "world": world,
        "lanes": n_lanes,
        "updates": n,
        "run_updates_per_second": n_lanes * n / wall,
        "run_updates_per_cpu_second": n_lanes * n / cpu,
        "ms_per_update_of_all": 1000 * wall / n,
        "peak_mb": peak,  # on a CPU of the process so far
    }


def one_by_one(world: str, n_updates: int = 300) -> dict[str, Any]:
    """The same updates by PKPO's own loop, one run: without set-up, as a difference of two."""
    seconds = []
    for n in (n_updates + 30, 30):
        start = time.perf_counter(), time.process_time()
        PKPO("MlpPolicy", WORLDS[world], k=4, seed=0, device="cpu").learn(256 * n)
        seconds.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, cpu = (long - short for long, short in zip(*seconds, strict=True))
    return {
        "world": world,
        "lanes": 0,
        "updates": n_updates,
        "run_updates_per_second": n_updates / wall,
        "run_updates_per_cpu_second": n_updates / cpu,
        "ms_per_update_of_all": 1000 * wall / n_updates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--lanes", type=int, nargs="+", help="how many, several numbers")
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each point, about")
    parser.add_argument("--out", type=Path, help="write the numbers here, as JSON")
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.set_num_threads(1)
    name = hardware(device)
    print(f"{name}, torch {torch.__version__}, one CPU thread")
    print(
        f"{'world':12s} {'lanes':>6s} {'run-updates/s':>14s} {'per CPU s':>10s} {'ms/update':>10s}"
    )
    rows = []
    for world in given.worlds:
        for n_lanes in [0, *(given.lanes or (ON_GPU if device.type == "cuda" else ON_CPU))]:
            one = n_lanes == 0
            row = one_by_one(world) if one else measure(world, n_lanes, device, given.seconds)
            rows.append(row)
            print(
                f"{world:12s} {'PKPO' if one else n_lanes:>6} "
                f"{row['run_updates_per_second']:14,.0f} "
                f"{row['run_updates_per_cpu_second']:10,.0f} {row['ms_per_update_of_all']:10.3f}",
                flush=True,
            )
            if given.out:  # after each point: a run that is cut off has left what it knows
                report = {"hardware": name, "device": str(device), "torch": torch.__version__}
                given.out.write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
