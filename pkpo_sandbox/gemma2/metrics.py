# pyright: reportMissingImports=false
# (transformers comes with an optional extra: types are checked where it is installed.)
"""Metrics of a run while it trains, under the sandbox's metric names.

    rollout/max_at_{k}, rollout/pass_at_{k}     unbiased, from the groups of training
    rollout/max_at_k                            the same for the current k, train/k
    rollout/zero_signal                         share of groups in which all weights are 0
    rollout/solved                              solve rate: share of problems solved so far
    eval/max_at_{k}, eval/pass_at_{k}           from the groups of an evaluation, also k = 12;
                                                with _sem, the standard error over the problems
    train/entropy                               entropy of the next token, nats, mean over tokens
    exact/...                                   from tasks that compute exact values

They go to TRL's own log, and so to TensorBoard and similar tools, and to ``progress.csv``.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from pkpo_sandbox.gemma2.objective import by_size
from pkpo_sandbox.runs.folder import write_atomically
from pkpo_sandbox.runs.values import number, printable
from pkpo_sandbox.transforms import max_at_k, powers_of_two


def best_of(rewards: Tensor, k: int) -> Tensor:
    """max@k of each group from its scorable attempts, NaN if there are fewer than k.

    :param rewards: (groups, n), NaN where unscorable
    :return: (groups,)
    """
    values = rewards.new_full(rewards.shape[:1], torch.nan)
    for rows, _, group in by_size(rewards):
        if group.shape[-1] >= k:
            values[rows] = max_at_k(group, k)
    return values


def evaluated_at(n: int) -> list[int]:
    """Return each k of an evaluation with n attempts: powers of two, and the paper's 12."""
    return sorted({*powers_of_two(n), *([12] if n >= 12 else [])})


def standard_error(values: list[float]) -> float:
    """The standard error of the mean without NaN values. NaN for fewer than two values."""
    known = torch.tensor([value for value in values if not math.isnan(value)], dtype=torch.float64)
    return float(known.std() / math.sqrt(len(known))) if len(known) > 1 else math.nan


def group_metrics(rewards: Tensor, solved_at: float, ks: list[int]) -> dict[str, list[float]]:
    """max@k and pass@k of each group.

    :param rewards: (groups, n), NaN where unscorable
    :param solved_at: an attempt with at least this reward counts as correct
    :param ks: each from 1 to n
    :return: by name, one value per group
    """
    correct = torch.where(rewards.isnan(), rewards, (rewards >= solved_at).to(rewards))
    metrics = {}
    for k in ks:
        metrics[f"max_at_{k}"] = best_of(rewards, k).tolist()
        metrics[f"pass_at_{k}"] = best_of(correct, k).tolist()
    return metrics


class SolvedProblems(TrainerCallback, ExportableState):
    """The problems solved so far in training. Checkpoints save and restore them.

    It stops training after ``args.patience`` updates in which the solve rate did not rise.

    :param n_problems: size of the training set, the denominator of the solve rate
    """

    def __init__(self, n_problems: int) -> None:
        self.n_problems = n_problems
        self.solved: list[int] = []
        self.risen = 0  # the last update with a newly solved problem

    def add(self, problems: Iterable[int], update: int) -> float:
        """Mark problems as solved. -> the solve rate in [0, 1], which never falls

        :param update: number of the update that uses these attempts, from 1
        """
        solved = sorted({*self.solved, *problems})
        if len(solved) > len(self.solved):
            self.risen = update
        self.solved = solved
        return len(self.solved) / self.n_problems

    def on_step_end(self, args: Any, state, control, **kwargs) -> None:
        if args.patience is not None and state.global_step - self.risen >= args.patience:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        attributes = {"solved": self.solved, "risen": self.risen}
        return {"args": {"n_problems": self.n_problems}, "attributes": attributes}


class PromptOrder(TrainerCallback):
    """Makes a resumed run continue with the next prompts.

    TRL draws the order of each epoch from a generator that is not saved in checkpoints. Without
    this callback a resumed run would repeat the order of the first epoch.
    """

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        batches = kwargs["train_dataloader"].batch_sampler
        sampler = getattr(batches, "batch_sampler", batches).sampler  # wrapped for many processes
        for _ in range(int(state.epoch or 0)):
            next(iter(sampler))


class ProgressLog(TrainerCallback):
    """Writes ``progress.csv``, one row per logged update. The file is replaced atomically.

    The rows are the trainer's ``log_history``. Checkpoints save it, so a resumed run continues its
    curve from the checkpoint.

    :param folder: the run's folder
    :param exact: returns the task's exact values of the current policy, by name; called before the
        first update and at every log
    """

    def __init__(self, folder: Path, exact: Callable[[], dict[str, float]]) -> None:
        self.folder, self.exact = folder, exact

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step == 0:
            state.log_history.append({"step": 0, **self.exact()})

    def on_log(self, args, state, control, **kwargs) -> None:
        # Every process calls it: a forward pass of a sharded model needs all processes.
        if "loss" in state.log_history[-1]:
            state.log_history[-1].update(self.exact())
        if state.is_world_process_zero:
            table = progress(state.log_history)
            text = table.to_csv(index=False, lineterminator="\n")
            write_atomically(self.folder / "progress.csv", text)


def progress(log_history: list[dict[str, Any]]) -> pd.DataFrame:
    """Convert a trainer's log to a table: one row per update, columns with the sandbox's names."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in log_history:
        row = rows.setdefault(int(entry["step"]), {})
        # Drop the trainer's final mean loss: on resume it covers only part of the training.
        row.update({_column(name): _entry(entry[name]) for name in entry if name != "train_loss"})
    return pd.DataFrame(list(rows.values())).sort_index(axis=1)


def _column(name: str) -> str:
    if name == "step":
        return "train/n_updates"
    if name == "step_time":
        return "time/step_time"
    for prefix, scope in (("eval_", "eval/"), ("train_", "time/")):
        if name.startswith(prefix):
            return scope + name.removeprefix(prefix)
    return name if "/" in name else f"train/{name}"


def _entry(value: Any) -> Any:
    """Convert a logged value for CSV. NaN becomes text, because pandas treats it as missing."""
    one = number(value)
    if value is None or (one is not None and not math.isnan(one)):
        return one
    return printable(value)
