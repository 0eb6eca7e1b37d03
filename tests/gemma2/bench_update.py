"""Seconds an update, PKPOTrainer against stock GRPOTrainer, both sides in one run, as JSON.

Gemma-2 2B's geometry with random weights in bfloat16, which seldom end an answer: every update
generates and trains 16 answers of `--tokens` tokens to each of `--prompts` prompts. The learning
rate is 0, so all updates cost the same. The sides take turns, so that a drift touches both.

Run as ``python tests/gemma2/bench_update.py`` on a GPU, or with ``--tiny --cpu`` anywhere.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
import warnings
from typing import Any

import torch
from datasets import Dataset
from transformers import Gemma2Config, Gemma2ForCausalLM, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from pkpo_sandbox.gemma2 import PKPOConfig, PKPOTrainer
from pkpo_sandbox.gemma2.models import TinyGemma2, number_tokenizer

N = 16


class Clock(TrainerCallback):
    """Seconds between the beginning and the end of each update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self._started = now()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.seconds.append(now() - self._started)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def model(options: argparse.Namespace) -> Any:
    if options.tiny:
        return TinyGemma2(numbers=1000).load(seed=0)[0]
    with torch.device("cpu" if options.cpu else "cuda"):
        torch.set_default_dtype(torch.bfloat16)
        made = Gemma2ForCausalLM(Gemma2Config(attn_implementation="eager"))  # the 2B model
        torch.set_default_dtype(torch.float32)
    return made


def reward(prompts, completions, **_) -> list[float | None]:
    return [float(len(answer) % 2) for answer in completions]


def updates(side: str, options: argparse.Namespace, folder: str) -> tuple[list[float], float]:
    """The seconds of one training's updates, without the first, and its peak of GPU memory, GiB."""
    if not options.cpu:
        torch.cuda.reset_peak_memory_stats()
    common: dict[str, Any] = {
        "output_dir": folder,
        "num_generations": N,
        "per_device_train_batch_size": options.batch,
        "gradient_accumulation_steps": options.prompts * N // options.batch,
        "max_completion_length": options.tokens,
        "max_steps": options.updates + 1,
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
    given = {"processing_class": number_tokenizer(1000), "callbacks": [clock]}
    if side == "PKPO":
        trainer = PKPOTrainer(model(options), reward, PKPOConfig(k=8, **common), data, **given)
    else:
        trainer = GRPOTrainer(model(options), reward, GRPOConfig(**common), data, **given)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    peak = 0.0 if options.cpu else torch.cuda.max_memory_allocated() / 2**30
    del trainer
    gc.collect()
    torch.cuda.empty_cache()
    return clock.seconds[1:], peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=4, help="timed in each round and side")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16, help="answers in a backward pass")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--tiny", action="store_true", help="a tiny model")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if not options.cpu and not torch.cuda.is_available():
        parser.error("there is no GPU: add --tiny --cpu")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    if options.cpu:
        torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"GRPO": [], "PKPO": []}
    peak = dict.fromkeys(seconds, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(options.rounds):
            for side in list(seconds)[:: 1 if round_ % 2 == 0 else -1]:
                taken, memory = updates(side, options, folder)
                seconds[side] += taken
                peak[side] = max(peak[side], memory)
    median = {side: statistics.median(values) for side, values in seconds.items()}
    result: dict[str, Any] = {
        "device": "cpu" if options.cpu else torch.cuda.get_device_name(),
        "seconds_an_update": {side: round(value, 4) for side, value in median.items()},
        "ratio": round(median["PKPO"] / median["GRPO"], 4),
        "tokens_a_second": round(options.prompts * N * options.tokens / median["PKPO"], 1),
    }
    if not options.cpu:
        result["peak_memory_gib"] = {side: round(value, 2) for side, value in peak.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
