"""Time of `pkpo` and `max_at_k` beside a `torch.sort` of the same rewards.

    python tests/benchmarks/bench_transforms.py [--seconds 2]

float64 on one CPU thread, in that thread's processor time: a busy neighbour takes slices of several
milliseconds from the wall clock. Every round draws new rewards (a processor learns the branches of
a sort that it sees again and again) and runs each function once, the sort among them, starting one
later than the round before. A row is the median over the rounds and its ratio to the sort's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pkpo_sandbox.transforms import BASELINES, max_at_k, pkpo

SHAPES = ((16, 16), (1024, 16), (64, 1024), (1, 1_000_000))

Call = Callable[[Tensor], object]


def contenders() -> dict[str, Call]:
    """What is timed, by name."""
    calls: dict[str, Call] = {"torch.sort": torch.sort}
    for k in (1, 4):
        for baseline in BASELINES:
            calls[f"pkpo k={k} {baseline}"] = partial(pkpo, k=k, baseline=baseline)
        calls[f"max_at_k k={k}"] = partial(max_at_k, k=k)
    return calls


def medians(calls: dict[str, Call], shape: tuple[int, int], seconds: float) -> dict[str, float]:
    """Median seconds of each call over interleaved rounds, at least one per call."""
    generator = torch.Generator().manual_seed(0)
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times[names[0]]) < len(names):
        rewards = torch.randn(shape, dtype=torch.float64, generator=generator)
        for name in names:
            start = time.thread_time()
            calls[name](rewards)
            times[name].append(time.thread_time() - start)
        names.append(names.pop(0))
    return {name: statistics.median(times[name]) for name in calls}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of the transforms beside a sort.")
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each shape")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    for shape in SHAPES:
        result = medians(contenders(), shape, seconds)
        print(f"\n{shape!s:28}{'median / us':>14}{'x torch.sort':>14}")
        for name, median in result.items():
            print(f"{name:28}{median * 1e6:14.1f}{median / result['torch.sort']:14.2f}")


if __name__ == "__main__":
    main()
