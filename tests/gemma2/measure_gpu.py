"""Everything that has to be tried on a GPU, in one run of a few minutes: `make gpu`.

Each part is a process with its own time limit, the most important one first, so that a part that
fails or hangs costs no other. The folder gets, after every part:

    gpu.json    hardware, versions, and the result of each part
    gpu.md      the same as a table
    gpu.log     what the parts printed

    python tests/gemma2/measure_gpu.py FOLDER [--limit SECONDS] [--only PART ...]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BENCH = (sys.executable, "tests/gemma2/bench_update.py")
# Warnings of a library that a GPU's machine has are no failure.
TESTS = (sys.executable, "-m", "pytest", "tests/gemma2/test_gpu.py", "-q", "-s", "-W", "default")
SHORT = ("--rounds", "1", "--updates", "2", "--tokens", "128")
ONE_UPDATE = (
    "--rounds",
    "1",
    "--updates",
    "1",
    "--warm-up",
    "0",
    "--batch",
    "8",
    "--sides",
    "PKPO",
)
PACKAGES = ("torch", "triton", "transformers", "trl", "accelerate", "peft", "datasets", "numpy")
LEAST = 20.0  # seconds: a part with less time than that left is not started


@dataclass(frozen=True)
class Part:
    """One thing to try.

    :param shows: in a few words
    :param command: its last line that is JSON is its result
    :param seconds: its time limit
    :param needs: a package without which it is skipped
    """

    shows: str
    command: Sequence[str]
    seconds: float
    needs: str | None = None


PARTS: dict[str, Part] = {
    "transforms": Part(
        "each transform on CUDA against float64 on the CPU",
        (*TESTS, "-k", "transform or max_at_k"),
        90,
    ),
    "ratio": Part(
        "64 answers of 32 tokens, bf16, all weights, every other update as GRPO's",
        (*BENCH, "--alternate", "--rounds", "1", "--updates", "6", "--tokens", "32"),
        120,
    ),
    "eager": Part(
        "64 answers of 128 tokens, bf16, all weights, a trainer for each side",
        (*BENCH, *SHORT),
        120,
    ),
    "demonstration": Part(
        "the tiny Gemma-2 learns in 200 updates on the GPU", (*TESTS, "-k", "demonstration"), 120
    ),
    "flex_attention": Part(
        "as eager, PKPO alone, with flex_attention",
        (*BENCH, *SHORT, "--sides", "PKPO", "--attention", "flex_attention"),
        120,
    ),
    "flash_attention_2": Part(
        "as eager, PKPO alone, with flash_attention_2",
        (*BENCH, *SHORT, "--sides", "PKPO", "--attention", "flash_attention_2"),
        100,
        needs="flash_attn",
    ),
    "paper_step": Part(
        "adapters of rank 32, the paper's 256 answers an update, of 256 tokens",
        (*BENCH, *ONE_UPDATE, "--lora", "--prompts", "16", "--tokens", "256"),
        100,
    ),
    "lora": Part(
        "adapters of rank 32, 64 answers of 1,024 tokens",
        (*BENCH, *ONE_UPDATE, "--lora", "--tokens", "1024"),
        120,
    ),
    "float32": Part(
        "all weights in float32 under bf16 autocast, 64 answers of 128 tokens",
        (*BENCH, *ONE_UPDATE, "--dtype", "float32", "--tokens", "128"),
        100,
    ),
}


def hardware() -> dict[str, Any]:
    """The device's name and memory, and the versions of what runs on it."""
    import torch

    found: dict[str, Any] = {"device": "cpu", "python": sys.version.split()[0]}
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    found["cuda"] = torch.version.cuda
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    found["torch"] = torch.__version__  # with the build, which the metadata does not tell
    return found


def attempted(part: Part, limit: float) -> tuple[dict[str, Any], str]:
    """Run a part within a number of seconds: what became of it, and what it printed."""
    if part.needs is not None and find_spec(part.needs) is None:
        return {"status": f"skipped: {part.needs} is not installed"}, ""
    if limit < LEAST:
        return {"status": "skipped: no time left"}, ""
    started = time.monotonic()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        part.command,
        cwd=ROOT,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
        status = "ok" if process.returncode == 0 else f"failed: exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the processes that it started too
        output, _ = process.communicate()
        status = f"stopped after {limit:.0f} s"
    seconds = round(time.monotonic() - started, 1)
    return {"status": status, "seconds": seconds, **last_result(output)}, output


def last_result(output: str) -> dict[str, Any]:
    """The last line of JSON as ``result``; else the last line, as ``said``."""
    lines = [line for line in output.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                return {"result": json.loads(line)}
            except json.JSONDecodeError:
                continue
    return {"said": lines[-1]} if lines else {}


def table(report: Mapping[str, Any]) -> str:
    """The report for people."""
    head = report["hardware"]
    lines = [", ".join(f"{name} {value}" for name, value in head.items() if value is not None), ""]
    lines += [
        "| part | shows | became | s | s an update, GRPO | PKPO | ratio | tokens/s | peak, GiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in report["parts"].items():
        result = found.get("result", {})
        update, speed, peak = (
            result.get(key, {})
            for key in ("seconds_an_update", "tokens_a_second", "peak_memory_gib")
        )
        cells = [
            *(name, PARTS[name].shows if name in PARTS else "", found["status"]),
            *(found.get("seconds", ""), update.get("GRPO", ""), update.get("PKPO", "")),
            *(result.get("ratio", ""), speed.get("PKPO", ""), peak.get("PKPO", "")),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    said = [f"- {name}: {part['said']}" for name, part in report["parts"].items() if "said" in part]
    return "\n".join([*lines, "", *said, ""])


def measure(folder: Path, parts: Mapping[str, Part], limit: float) -> bool:
    """Run parts one after the other and write each result at once; whether all that ran passed.

    :param limit: seconds for all of them
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.log").write_text("", encoding="utf-8")
    report: dict[str, Any] = {"hardware": hardware(), "parts": {}}
    end = time.monotonic() + limit
    for name, part in parts.items():
        print(f"{name}: {part.shows} ...", flush=True)
        found, output = attempted(part, min(part.seconds, end - time.monotonic()))
        report["parts"][name] = found
        with (folder / "gpu.log").open("a", encoding="utf-8") as log:
            log.write(f"=== {name}: {found['status']}\n{output}\n")
        (folder / "gpu.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (folder / "gpu.md").write_text(table(report), encoding="utf-8")
        print(json.dumps(found), flush=True)
    print(table(report))
    return all(found["status"].startswith(("ok", "skipped")) for found in report["parts"].values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=float, default=480.0, help="seconds for all parts")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args()
    if hardware()["device"] == "cpu":
        parser.error("there is no GPU: nothing to measure")
    chosen = {name: part for name, part in PARTS.items() if name in options.only}
    sys.exit(0 if measure(options.folder, chosen, options.limit) else 1)


if __name__ == "__main__":
    main()
