"""Cost of an update: PKPOTrainer against stock GRPOTrainer, both sides in one run, as JSON.

The model has Gemma-2 2B's geometry and random weights, which seldom end an answer: every update
generates and trains 16 answers of ``--tokens`` tokens to each of ``--prompts`` prompts. The
learning rate is 0, so all updates cost the same. The sides take turns, so a drift touches both.
``share_of_override`` is the time that PKPOTrainer spends on top of GRPOTrainer's own method.

Run as ``python tests/gemma2/bench_update.py`` on a GPU, or with ``--tiny --cpu`` anywhere. After
each side a line of JSON says what is known so far; the last line is the result.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from transformers import Gemma2Config, Gemma2ForCausalLM, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from pkpo_sandbox.gemma2 import PKPOConfig, PKPOTrainer
from pkpo_sandbox.gemma2.models import TinyGemma2, number_tokenizer

N = 16
SIDES = {"GRPO": (GRPOTrainer, GRPOConfig, {}), "PKPO": (PKPOTrainer, PKPOConfig, {"k": 8})}


class Clock(TrainerCallback):
    """Seconds between the beginning and the end of each update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self._started = now()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.seconds.append(now() - self._started)


@contextmanager
def timed(cls: type, method: str) -> Iterator[list[float]]:
    """Add up the seconds inside a method that a class itself defines."""
    original, spent = vars(cls)[method], [0.0]

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        started = now()
        result = original(self, *args, **kwargs)
        spent[0] += now() - started
        return result

    setattr(cls, method, wrapped)
    try:
        yield spent
    finally:
        setattr(cls, method, original)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def model(options: argparse.Namespace) -> Any:
    if options.tiny:
        return TinyGemma2(numbers=1000).load(seed=0)[0]
    with torch.device("cpu" if options.cpu else "cuda"):
        torch.set_default_dtype(getattr(torch, options.dtype))
        made = Gemma2ForCausalLM(
            Gemma2Config(attn_implementation=options.attention)
        )  # the 2B model
        torch.set_default_dtype(torch.float32)
    return made


def lora(options: argparse.Namespace) -> dict[str, Any]:
    """The adapters of conf/gemma2/model/gemma2_2b_it_lora.yaml, if they are asked for."""
    if not options.lora:
        return {}
    from peft import LoraConfig

    return {"peft_config": LoraConfig(r=32, lora_alpha=64, target_modules="all-linear")}


def reward(prompts, completions, completion_ids, **_) -> list[float | None]:
    return [float(sum(ids) % 2) for ids in completion_ids]


def updates(side: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Train one side: seconds of each update, the part of it in generation, GiB of GPU memory."""
    before = 0.0
    if not options.cpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**30
    common: dict[str, Any] = {
        "output_dir": folder,
        "num_generations": N,
        "per_device_train_batch_size": options.batch,
        "gradient_accumulation_steps": options.prompts * N // options.batch,
        "max_completion_length": options.tokens,
        "max_steps": options.updates + options.warm_up,
        "learning_rate": 0.0,
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
        "logging_steps": 1,
        "use_cpu": options.cpu,
        "bf16": not options.cpu,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
    }
    data = Dataset.from_dict({"prompt": [" ".join(map(str, range(i, i + 64))) for i in range(64)]})
    clock = Clock()
    kind, settings, own = SIDES[side]
    made = kind(
        model(options),
        reward,
        settings(**own, **common),
        data,
        processing_class=number_tokenizer(1000),
        callbacks=[clock],
        **lora(options),
    )
    made.remove_callback(PrinterCallback)
    method = "_generate_and_score_completions"
    with timed(GRPOTrainer, method) as stock, timed(PKPOTrainer, method) as ours:
        made.train()
    peak = 0.0 if options.cpu else torch.cuda.max_memory_allocated() / 2**30
    made.accelerator.free_memory()
    del made
    gc.collect()
    if not options.cpu:
        torch.cuda.empty_cache()
    return {
        "seconds": clock.seconds[options.warm_up :],
        "generating": stock[0] / sum(clock.seconds),
        "override": max(ours[0] - stock[0], 0.0) / sum(clock.seconds),
        "peak": peak - before,
        "before": before,
    }


def result(options: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What has been measured so far."""
    seconds = {
        side: statistics.median([second for run in made for second in run["seconds"]])
        for side, made in runs.items()
        if made
    }
    tokens = options.prompts * N * options.tokens
    found: dict[str, Any] = {
        "device": "cpu" if options.cpu else torch.cuda.get_device_name(),
        "answers_an_update": options.prompts * N,
        "tokens_an_answer": options.tokens,
        "updates_timed": {
            side: sum(len(run["seconds"]) for run in made) for side, made in runs.items()
        },
        "seconds_an_update": {side: round(value, 4) for side, value in seconds.items()},
        "tokens_a_second": {side: round(tokens / value, 1) for side, value in seconds.items()},
        "share_generating": {
            side: round(statistics.median([run["generating"] for run in made]), 3)
            for side, made in runs.items()
            if made
        },
    }
    if runs.get("PKPO"):
        share = statistics.median([run["override"] for run in runs["PKPO"]])
        found["share_of_override"] = round(share, 6)
    if len(seconds) == 2:
        found["ratio"] = round(seconds["PKPO"] / seconds["GRPO"], 4)
    if not options.cpu:
        for name in ("peak", "before"):
            found[f"{name}_memory_gib"] = {
                side: round(max(run[name] for run in made), 2)
                for side, made in runs.items()
                if made
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=4, help="timed in each round and side")
    parser.add_argument("--warm-up", type=int, default=1, help="updates before those")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16, help="answers in a backward pass")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--attention", default="eager")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--lora", action="store_true", help="train adapters of rank 32 only")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--tiny", action="store_true", help="a tiny model")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if not options.cpu and not torch.cuda.is_available():
        parser.error("there is no GPU: add --tiny --cpu")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    if options.cpu:
        torch.set_num_threads(1)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(options.rounds):
            for side in options.sides[:: 1 if round_ % 2 == 0 else -1]:
                runs[side].append(updates(side, options, folder))
                print(json.dumps(result(options, runs)), flush=True)


if __name__ == "__main__":
    main()
