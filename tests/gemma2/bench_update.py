"""Cost of an update: PKPOTrainer against stock GRPOTrainer, both sides in one run, as JSON.

The model has Gemma-2 2B's geometry and random weights, which seldom end an answer: every update
generates and trains 16 answers of ``--tokens`` tokens to each of ``--prompts`` prompts. The
learning rate is 0, so all updates cost the same. Each side has a trainer of its own, whose peak of
memory is told, or with ``--alternate`` one trainer does every other update as the other side would,
which compares their times best. ``share_of_override`` is the part of an update that PKPOTrainer
spends on top of GRPOTrainer's own method.

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
from pkpo_sandbox.gemma2.attention import register_flex_attention
from pkpo_sandbox.gemma2.models import TinyGemma2, number_tokenizer

N = 16


METHOD = "_generate_and_score_completions"


class Clock(TrainerCallback):
    """Seconds of each update: all of it, and inside of the method of either class.

    :param inside: the running totals of those two
    """

    def __init__(self, stock: list[float], ours: list[float]) -> None:
        self.inside = stock, ours
        self.updates: list[dict[str, float]] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self._started = now(), *(total[0] for total in self.inside)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        ended = now(), *(total[0] for total in self.inside)
        seconds, stock, ours = (b - a for a, b in zip(self._started, ended, strict=True))
        # Ours holds the stock one, and is not called at all in an update of GRPO.
        self.updates.append(
            {"seconds": seconds, "generating": stock, "override": max(ours - stock, 0.0)}
        )


class Alternating(PKPOTrainer):
    """Every second update is one of GRPO."""

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        kind = PKPOTrainer if self.state.global_step % 2 == 0 else GRPOTrainer
        return getattr(kind, METHOD)(self, inputs)


SIDES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "GRPO": (GRPOTrainer, GRPOConfig, {}),
    "PKPO": (PKPOTrainer, PKPOConfig, {"k": 8}),
    "both": (Alternating, PKPOConfig, {"k": 8}),
}


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
    if options.attention == "flex_attention":
        register_flex_attention()
    with torch.device("cpu" if options.cpu else "cuda"):
        torch.set_default_dtype(getattr(torch, options.dtype))
        # The defaults of the config are those of Gemma-2 2B.
        made = Gemma2ForCausalLM(Gemma2Config(attn_implementation=options.attention))
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


def train(side: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Train: the seconds of each update, and the peak of GPU memory, GiB.

    :param side: GRPO, PKPO, or both for updates of either in turn, PKPO's first
    """
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
        "max_steps": (options.updates + options.warm_up) * (2 if side == "both" else 1),
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
    kind, settings, own = SIDES[side]
    made = kind(
        model(options),
        reward,
        settings(**own, **common),
        data,
        processing_class=number_tokenizer(1000),
        **lora(options),
    )
    made.remove_callback(PrinterCallback)
    with timed(GRPOTrainer, METHOD) as stock, timed(PKPOTrainer, METHOD) as ours:
        clock = Clock(stock, ours)
        made.add_callback(clock)
        made.train()
    peak = 0.0 if options.cpu else torch.cuda.max_memory_allocated() / 2**30
    made.accelerator.free_memory()
    del made
    gc.collect()
    if not options.cpu:
        torch.cuda.empty_cache()
    return {"updates": clock.updates, "peak": peak - before, "before": before}


def result(options: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What has been measured so far."""
    timed_updates: dict[str, list[dict[str, float]]] = {}
    for side, made in runs.items():
        for run in made:
            if side == "both":
                for first, name in enumerate(("PKPO", "GRPO")):
                    kept = run["updates"][first::2][options.warm_up :]
                    timed_updates.setdefault(name, []).extend(kept)
            else:
                timed_updates.setdefault(side, []).extend(run["updates"][options.warm_up :])

    def median(side: str, name: str) -> float:
        return statistics.median([update[name] for update in timed_updates[side]])

    seconds = {side: median(side, "seconds") for side in timed_updates}
    tokens = options.prompts * N * options.tokens
    found: dict[str, Any] = {
        "device": "cpu" if options.cpu else torch.cuda.get_device_name(),
        "answers_an_update": options.prompts * N,
        "tokens_an_answer": options.tokens,
        "updates_timed": {side: len(updates) for side, updates in timed_updates.items()},
        "seconds_an_update": {side: round(value, 4) for side, value in seconds.items()},
        "seconds_generating": {side: round(median(side, "generating"), 4) for side in seconds},
        "tokens_a_second": {side: round(tokens / value, 1) for side, value in seconds.items()},
    }
    if "PKPO" in seconds:
        found["seconds_of_override"] = round(median("PKPO", "override"), 6)
        found["share_of_override"] = round(median("PKPO", "override") / seconds["PKPO"], 6)
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
    parser.add_argument("--updates", type=int, default=4, help="timed in a round, of each side")
    parser.add_argument("--warm-up", type=int, default=1, help="updates before those")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16, help="answers in a backward pass")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--attention", default="eager")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--lora", action="store_true", help="train adapters of rank 32 only")
    parser.add_argument("--sides", nargs="+", default=["GRPO", "PKPO"], choices=list(SIDES))
    parser.add_argument("--alternate", action="store_const", dest="sides", const=["both"])
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
                runs[side].append(train(side, options, folder))
                print(json.dumps(result(options, runs)), flush=True)


if __name__ == "__main__":
    main()
