# pyright: reportMissingImports=false
# (TRL is an optional extra: types are checked where it is installed.)
"""``pkpo-gemma2``: build a Gemma-2 and a task from a config, train, and write the run to disk.

The run's folder is like that of ``pkpo-train``, plus ``model/`` for the weights. Importing this
module loads neither torch nor TRL, so that ``--help`` is fast.
"""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig

from pkpo_sandbox.gemma2 import require_extra
from pkpo_sandbox.gemma2.tasks import DataPaths, within_context
from pkpo_sandbox.runs import command as sweeps
from pkpo_sandbox.runs.config import at_least, check_choice, readable
from pkpo_sandbox.runs.job import App, perform
from pkpo_sandbox.runs.tables import final_values

CONFIG = "gemma2"  # the primary config
TRANSFORMS = "pkpo_sandbox.transforms."
PACKAGES = ("pkpo-sandbox", "torch", "transformers", "trl", "accelerate", "peft", "datasets")


@dataclass
class GemmaConfig:
    """One run. ``model``, ``task`` and ``objective`` hold a ``_target_`` and its arguments."""

    name: str = "gemma2"
    model: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    data: DataPaths = field(default_factory=DataPaths)
    objective: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # fields of PKPOConfig
    seed: int = MISSING
    score: str | None = None  # the summary entry that a search maximises
    if_code_changed: str | None = None  # after a run: keep it, or train it again; None: stop

    def __post_init__(self) -> None:
        at_least(0, seed=self.seed)
        check_choice(self.if_code_changed)
        for name in ("model", "task", "objective"):
            if "_target_" not in getattr(self, name):
                raise ValueError(f"{name} has no _target_: choose one, as pkpo-gemma2 --help lists")
        if taken := {"output_dir", "seed", "objective", "k", "baseline"} & set(self.training):
            raise ValueError(f"training.{sorted(taken)[0]} is set elsewhere in the config: drop it")


def train(config: DictConfig) -> float | None:
    """Train one model and write its run: config, progress, weights, and the summary last."""
    value = perform(config, APP)
    if "accelerate" in sys.modules:
        from accelerate import PartialState

        PartialState().wait_for_everyone()  # no process ends before the summary exists
    return value


def build(settings: GemmaConfig, folder: Path) -> Callable[[], dict[str, Any] | None]:
    """Check the settings and build the job. -> a function that trains and returns the results"""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # use local weights only
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Check everything before anything is loaded.
    model, task = prepare(settings)
    arguments = training_arguments(settings, folder)

    def learn() -> dict[str, Any] | None:
        with closing(task):
            trainer = learned(folder, arguments, model, task, settings.data)
        trainer.save_model(str(folder / "model"))
        with suppress(OSError):  # TRL makes this folder even if it saves nothing in it
            Path(arguments.output_dir).rmdir()
        if not trainer.is_world_process_zero():
            return None
        final = final_values(folder, of_each=True)
        for name, value in final.items():
            if name.startswith(("exact/", "eval/pass_at", "rollout/solved")):
                print(f"{name:24} {value if isinstance(value, str) else f'{value:.4f}'}")
        return {"final": final, "device": device(arguments)}

    return learn


def prepare(settings: GemmaConfig) -> tuple[Any, Any]:
    """Make the model and the task of the settings, and check them.

    :raises ImportError: without the extra
    :raises ValueError: if a value is out of range, or data, weights or a GPU are missing
    """
    require_extra()
    if settings.training.get("use_vllm"):
        require_extra("vllm")
    from hydra.utils import instantiate

    model = instantiate(settings.model, _convert_="all")
    task = instantiate(settings.task, _convert_="all")
    task.check(settings.data, model)
    model.check(settings.training)
    return model, task


def training_arguments(settings: GemmaConfig, folder: Path) -> Any:
    """Make the ``PKPOConfig`` of a run."""
    import torch
    from hydra.utils import instantiate
    from transformers.utils.logging import disable_progress_bar

    from pkpo_sandbox.gemma2.config import PKPOConfig

    for key, value in settings.training.items():
        default = getattr(PKPOConfig, key, None)
        if isinstance(value, str) and isinstance(default, int | float):
            kind = "true or false" if isinstance(default, bool) else "a number"
            raise ValueError(f"training.{key}={value!r} must be {kind}")
    # TRL 1.16 uses a name that is deprecated in transformers 5.23.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    if settings.training.get("disable_tqdm"):
        disable_progress_bar()
    if settings.training.get("use_cpu"):
        torch.set_num_threads(1)  # more threads slow a tiny model down, and runs share the cores
    objective = dict(settings.objective)
    name = objective.pop("_target_").removeprefix(TRANSFORMS)
    coefficients = instantiate(objective, _convert_="all")
    named = {key: coefficients.pop(key) for key in ("k", "baseline") if key in coefficients}
    return PKPOConfig(
        output_dir=str(folder / "checkpoints"),
        seed=settings.seed,
        objective=name,
        objective_kwargs=coefficients or None,
        **named,
        **settings.training,
    )


def learned(folder: Path, arguments: Any, model: Any, task: Any, data: DataPaths) -> Any:
    """Train, from the last checkpoint if the run was interrupted. -> the trainer"""
    from transformers import PrinterCallback

    from pkpo_sandbox.gemma2.metrics import ProgressLog
    from pkpo_sandbox.gemma2.trainer import PKPOTrainer

    with readable(ValueError, OSError):
        # 1. the data, the model, and the task's warm-up
        parts = task.load(data)
        policy, tokenizer, lora = model.load(arguments.seed)
        limit = policy.config.max_position_embeddings - arguments.max_completion_length
        train_set, test_set = (fitting(part, tokenizer, limit) for part in parts)
        task.warm_up(policy, tokenizer, arguments.seed)
        # 2. the trainer, which logs to progress.csv and not to the terminal
        trainer = PKPOTrainer(
            policy,
            task.reward,
            arguments,
            train_set,
            callbacks=[ProgressLog(folder, lambda: task.exact(trainer.model, tokenizer))],
            eval_dataset=test_set,
            processing_class=tokenizer,
            peft_config=lora,
        )
        trainer.remove_callback(PrinterCallback)
        # 3. training
        trainer.train(resume_from_checkpoint=last_checkpoint(arguments.output_dir))
        if test_set is not None:
            trainer.evaluate()
    return trainer


def fitting(dataset: Any, tokenizer: Any, limit: int) -> Any:
    """Drop prompts of more than ``limit`` tokens, and print how many were dropped."""
    if dataset is None:
        return None
    kept, dropped = within_context(dataset, tokenizer, limit)
    if dropped:
        print(
            f"dropped {dropped} of {len(dataset)} prompts of more than {limit} tokens: "
            "in the model's context they leave no room for an answer"
        )
    return kept


def last_checkpoint(folder: str) -> str | None:
    """Return the last complete checkpoint of an interrupted run, or None if there is none.

    A checkpoint writes its state last. Without a state it is incomplete.
    """
    complete = [path.parent for path in Path(folder).glob("checkpoint-[0-9]*/trainer_state.json")]
    step = {str(path): int(path.name.rpartition("-")[2]) for path in complete}
    return max(step, key=lambda path: step[path], default=None)


def device(arguments: Any) -> str:
    """Return the device of the training: "NVIDIA H100 80GB HBM3 x 1", or "cpu"."""
    import torch

    if arguments.device.type != "cuda":
        return arguments.device.type
    return f"{torch.cuda.get_device_name()} x {arguments.world_size}"


APP = App("pkpo-gemma2", GemmaConfig, build, PACKAGES)


def main() -> None:
    """The command ``pkpo-gemma2``."""
    sweeps.main(train, CONFIG)
