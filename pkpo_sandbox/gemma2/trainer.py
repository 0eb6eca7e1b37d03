# pyright: reportMissingImports=false
# (TRL is an optional extra: types are checked where it is installed.)
"""PKPO for language models: TRL's GRPOTrainer with other advantages."""

from typing import Any

import torch
from accelerate.utils import gather
from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback, set_seed
from transformers.trainer_utils import has_length
from trl.trainer.grpo_trainer import GRPOTrainer

from pkpo_sandbox.gemma2.config import IID, PKPOConfig
from pkpo_sandbox.gemma2.metrics import (
    PromptOrder,
    SolvedProblems,
    best_of,
    evaluated_at,
    group_metrics,
    standard_error,
)
from pkpo_sandbox.gemma2.objective import weights_of_scorable
from pkpo_sandbox.transforms import powers_of_two

PROBLEM = "problem_index"  # the column that identifies a row of the training set
# Settings of a model's generation_config that change the samples and that TRL does not reset.
BENT = (
    "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "guidance_scale",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty",
    "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "sequence_bias",
    "exponential_decay_length_penalty", "min_length", "min_new_tokens", "num_beams",
    "penalty_alpha", "watermarking_config",
)  # fmt: skip


class PKPOTrainer(GRPOTrainer):
    """``GRPOTrainer`` with n · transform(rewards) as advantages (arXiv 2505.15201).

    TRL averages its loss over attempts, so the advantages are n times the sum-convention weights.
    GRPOTrainer has no hook for advantages. This class overrides two of its private methods:

    - ``_calculate_rewards`` keeps its result, the rewards of all processes;
    - ``_generate_and_score_completions`` replaces the advantages before TRL shuffles and splits
      them. It also checks the order of TRL's rows: it computes TRL's own advantages from the kept
      rewards, and stops training if they differ.

    In evaluation the groups are only measured, and no advantage is replaced.

    :param model: a model or its path, as for ``GRPOTrainer``
    :param reward_funcs: ``f(prompts, completions, **columns)`` -> list of rewards, None where an
        attempt cannot be scored; a completion is a str, or messages if the prompt is messages
    :param args: the settings
    :param train_dataset: rows with a ``prompt``; one row is one problem
    :param kwargs: of ``GRPOTrainer``: ``eval_dataset``, ``processing_class``, ``peft_config``, ...
    :raises ValueError: if the settings are not a ``PKPOConfig``, the data do not fill a batch, or
        the model does not sample answers from the policy that is trained
    """

    args: PKPOConfig

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: PKPOConfig,
        train_dataset: Dataset,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, PKPOConfig):
            raise ValueError(f"args is a {type(args).__name__}: give a PKPOConfig")
        _check_data(args, train_dataset)
        if kwargs.get("eval_dataset") is not None:
            _check_evaluation(args)
        self.objective = args.make_objective()
        self.n_problems = len(train_dataset)
        super().__init__(
            model=model,
            reward_funcs=reward_funcs,
            args=args,
            train_dataset=train_dataset.add_column(PROBLEM, list(range(self.n_problems))),
            callbacks=[*(callbacks or []), PromptOrder(), SolvedProblems(self.n_problems)],
            **kwargs,
        )
        _check_sampling(self.model)
        if args.use_vllm and args.vllm_mode == "colocate":
            # vLLM has reseeded this process, so seed it with args.seed again.
            set_seed(args.seed + self.accelerator.process_index // args.vllm_tensor_parallel_size)

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        self._reward_parts = super()._calculate_rewards(*args, **kwargs)
        return self._reward_parts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        model: Any = self.model
        training = model.training
        n: Any = self.num_generations if training else self.num_generations_eval
        # 1. the rewards of all processes (groups, n), NaN where no function could score an attempt;
        # on the CPU, because a GPU is slower for many small operations
        parts = self._reward_parts.cpu()
        flat = (parts * self.reward_weights.to(parts.device)).nansum(dim=1)
        flat = flat.masked_fill(parts.isnan().all(dim=1), torch.nan)
        start = self.accelerator.process_index * len(inputs)
        here = slice(start, start + len(inputs))
        # 2. the check of the row order
        _check_layout(flat, n, output["advantages"].cpu(), here)
        rewards = flat.view(-1, n)
        ks = powers_of_two(n) if training else evaluated_at(n)
        metrics = group_metrics(rewards, self.args.solved_at, ks)
        if training:
            # 3. the transform; its weights are not centred or scaled afterwards
            values = self.objective.at(self._remaining())
            weights = weights_of_scorable(self.objective, rewards, values)
            advantages = (n * weights).flatten()
            output["advantages"] = advantages[here].to(output["advantages"])
            _replace_last(self._logs["advantages"], advantages.tolist())
            # 4. metrics of training
            metrics["zero_signal"] = (weights == 0).all(dim=1).float().tolist()
            if "k" in values:
                metrics["max_at_k"] = best_of(rewards, values["k"]).tolist()
                self._metrics["train"]["k"] = [values["k"]]
            self._metrics["train"]["rollout/solved"] = [self._solve(inputs, rewards)]
        # TRL's log averages these lists, so all groups of a logging step have the same weight.
        if training:
            for name, per_group in metrics.items():
                self._metrics["train"][f"rollout/{name}"].extend(per_group)
        else:
            new = self._unmeasured()
            for name, per_group in metrics.items():
                values = self._metrics["eval"][name]
                values.extend(per_group[:new])
                self._metrics["eval"][f"{name}_sem"] = [standard_error(values)]
        return output

    def _unmeasured(self) -> int | None:
        """Return the number of problems that this evaluation has not yet measured.

        Several processes repeat measured problems to fill their last batch.
        """
        handler: Any = self.callback_handler
        data = handler.eval_dataloader.dataset
        return len(data) - len(self._metrics["eval"]["max_at_1"]) if has_length(data) else None

    def _remaining(self) -> float:
        """Return the remaining fraction of training. It depends on the step only."""
        return 1 - self.state.global_step / self.state.max_steps

    def _solve(self, inputs: list[dict[str, Any]], rewards: Tensor) -> float:
        """Record the solved problems of all processes. -> the solve rate"""
        # A resume replaces the callback's instance, so look it up each time.
        callbacks = self.callback_handler.callbacks
        (solved,) = (callback for callback in callbacks if isinstance(callback, SolvedProblems))
        if solved.n_problems != self.n_problems:
            raise ValueError(
                f"the checkpoint is of {solved.n_problems} problems, but the training set has "
                f"{self.n_problems}: resume on the same data"
            )
        local = torch.tensor([row[PROBLEM] for row in inputs], device=self.accelerator.device)
        problems: Any = gather(local)
        problems = problems.cpu().view_as(rewards)
        if not (problems == problems[:, :1]).all():
            raise RuntimeError("a group holds attempts at several problems: " + _PIN)
        won = (rewards >= self.args.solved_at).any(dim=1)
        return solved.add(problems[won, 0].tolist(), self.state.global_step + 1)


_PIN = (
    "this version of TRL lays its rows out in another way than 1.16, for which pkpo_sandbox was "
    "written; nothing has been trained on it. Install trl>=1.16,<1.17"
)


def _check_layout(flat: Tensor, n: int, advantages: Tensor, here: slice) -> None:
    """Compare TRL's advantages of this process with those computed from the kept rewards.

    :param flat: (rows of all processes,) the rewards, one group after another
    :param advantages: (rows of this process,) of TRL: g - mean g, and 0 where unscorable
    :raises RuntimeError: if they differ
    """
    if flat.numel() % n == 0:
        rewards = flat.view(-1, n)
        centred = rewards - rewards.nanmean(dim=1, keepdim=True)
        expected = centred.flatten().nan_to_num(0.0)[here].to(advantages)
        tolerance = 1e-5 * float(flat.nan_to_num(0.0).abs().max())
        if expected.shape == advantages.shape and torch.allclose(
            advantages, expected, rtol=1e-4, atol=tolerance
        ):
            return
    raise RuntimeError("TRL's advantages are not g - mean g of the rewards it gave: " + _PIN)


def _replace_last(log: Any, values: list[float]) -> None:
    """Replace the last len(values) entries of a deque."""
    for _ in range(min(len(values), len(log))):
        log.pop()
    log.extend(values)


def _check_evaluation(args: PKPOConfig) -> None:
    n = args.num_generations_eval or args.num_generations
    rows = args.per_device_eval_batch_size * args.world_size
    if rows % n:
        raise ValueError(
            f"an evaluation batch of {rows} attempts does not hold whole groups of {n}: make "
            "per_device_eval_batch_size times the processes a multiple of num_generations_eval"
        )


def _check_sampling(model: Any) -> None:
    """Refuse a model that does not sample answers from the policy that is trained.

    TRL generates with dropout on. It also uses the model's generation_config for settings that it
    does not set itself.
    """
    dropout = [part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)]
    if max([getattr(model.config, "attention_dropout", 0.0), *dropout]) > 0:
        raise ValueError(
            "the model has dropout, drawn anew between sampling an answer and training on it, "
            "which biases the estimate: set disable_dropout=True, and attention_dropout=0 in its "
            "config"
        )
    own = vars(model.generation_config)
    if bent := [name for name in BENT if own.get(name) not in (None, 0, 1, [])]:
        raise ValueError(
            f"the model's generation_config sets {', '.join(bent)}, which TRL leaves in force, but "
            f"{IID}: set it to None"
        )


def _check_data(args: PKPOConfig, train_dataset: Any) -> None:
    if not isinstance(train_dataset, Dataset):
        raise ValueError(
            f"train_dataset is a {type(train_dataset).__name__}: give a datasets.Dataset, whose "
            "size the cumulative solve rate is divided by"
        )
    if PROBLEM in train_dataset.column_names:
        raise ValueError(f"train_dataset has a column {PROBLEM!r} of its own: rename it")
    assert args.generation_batch_size is not None  # TRL fills it in
    prompts = args.generation_batch_size // args.num_generations
    if len(train_dataset) < prompts:
        raise ValueError(
            f"train_dataset has {len(train_dataset)} prompts, but a generation batch takes "
            f"{prompts} and TRL would train on none: lower per_device_train_batch_size, "
            "gradient_accumulation_steps or generation_batch_size"
        )
    if not args.shuffle_dataset and len(train_dataset) % prompts:
        raise ValueError(
            f"shuffle_dataset=False would never reach the last {len(train_dataset) % prompts} of "
            f"{len(train_dataset)} prompts, as a batch takes {prompts}: leave it out, or give a "
            "multiple of that"
        )
