"""How long sweeps, runs and commands take: the basic launcher against joblib on two cores.

Every number is that of whole commands, start-up included, as a user waits for them:

- a sweep of 16 `unblock` runs (k = 1, 2, 4, 8, four seeds each) under both launchers, in turns.
  With fewer than the experiment's own ``--total-timesteps``, 768,000, the seconds in which
  joblib's workers import torch weigh more. Anything else that runs on the machine spoils it;
- a sweep of ``--jobs`` trivial runs (one iteration each), less the time of a single one;
- ``pkpo-train --help``, and a trivial run;
- one `unblock` run of 768,000 timesteps, and the most memory it needed.

Run as ``python tests/benchmarks/bench_sweeps.py [--total-timesteps 768000] [--repeats 1]``.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pkpo_sandbox.runs.tables import load_runs

UNBLOCK = ["experiment=unblock", "seed=0,1,2,3"]
TRIVIAL = ["total_timesteps=256", "env=bandit"]


def seconds(*overrides: str) -> float:
    """Wall time of a command in a folder of its own, which must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "pkpo_sandbox.runs.train", *overrides]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        elapsed = time.perf_counter() - start
        if "--help" not in overrides:
            assert len(load_runs(Path(folder) / "runs")) >= 1
    return elapsed


def best(repeats: int, *overrides: str) -> float:
    """The shortest of several: what else ran on the machine only adds."""
    return min(seconds(*overrides) for _ in range(repeats))


def launchers(total_timesteps: int, repeats: int) -> None:
    sweep = [*UNBLOCK, f"total_timesteps={total_timesteps}"]
    times: dict[str, list[float]] = {"basic": [], "joblib": []}
    for _ in range(repeats):
        for name, found in times.items():
            found.append(seconds(*sweep, f"hydra/launcher={name}"))
    basic, joblib = min(times["basic"]), min(times["joblib"])
    print(
        f"16 unblock runs of {total_timesteps:,} timesteps: basic {basic:.1f} s, "
        f"joblib {joblib:.1f} s, {basic / joblib:.2f} times as fast",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--total-timesteps", type=int, default=768_000)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    repeats = arguments.repeats
    print(f"pkpo-train --help: {best(max(3, repeats), '--help'):.2f} s", flush=True)
    one = best(max(3, repeats), *TRIVIAL)
    print(f"a trivial run: {one:.2f} s", flush=True)
    many = best(repeats, "-m", f"seed=range({arguments.jobs})", *TRIVIAL)
    rate = (arguments.jobs - 1) / (many - one)
    print(
        f"{arguments.jobs} trivial runs: {many:.1f} s, {rate:.1f} further runs a second", flush=True
    )
    launchers(arguments.total_timesteps, repeats)
    unblock = ["experiment=unblock", "hydra.mode=RUN", "objective.k=4", "seed=0"]
    whole = best(repeats, *unblock)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # Linux counts in KiB
    print(f"one unblock run of 768,000 timesteps: {whole:.1f} s", flush=True)
    print(f"the largest process of all of these: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
