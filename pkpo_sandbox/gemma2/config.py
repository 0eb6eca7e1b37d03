# pyright: reportMissingImports=false
# (TRL is an optional extra: types are checked where it is installed.)
"""Settings of PKPO on TRL: GRPO's settings plus an objective. Biased settings are refused."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trl.trainer.grpo_config import GRPOConfig

from pkpo_sandbox.gemma2.objective import named, needs
from pkpo_sandbox.schedules import Objective

HARMLESS = {"use_cache"}  # of generation_kwargs
OF_VLLM = {"stop", "stop_token_ids"}  # also harmless, but vLLM only
IID = "the group must be an i.i.d. sample of the policy that is trained"


@dataclass
class PKPOConfig(GRPOConfig):
    """``GRPOConfig`` with an objective of the sandbox in place of GRPO's advantages.

    The group size is TRL's ``num_generations``. All other options keep their names and meaning.
    ``beta`` (KL), ``num_iterations``, LoRA and vLLM are supported. Five defaults differ from TRL:

    - ``num_generations=16``
    - ``per_device_eval_batch_size=16``
    - ``loss_type="dr_grpo"``
    - ``scale_rewards="none"``
    - ``restore_callback_states_from_checkpoint=True``, to restore the set of solved problems

    The gradient is then the gradient of the objective, divided by the constant
    ``max_completion_length`` (arXiv 2503.20783).

    :param objective: a transform of :mod:`pkpo_sandbox.transforms` by name, or a dotted path
    :param k: the best of k attempts counts, 1..num_generations; or a schedule of
        :mod:`pkpo_sandbox.schedules`, evaluated at 1 - global_step/max_steps for each batch
    :param baseline: of ``pkpo``: "loo_minus_one" (its default), "loo" or "none"
    :param objective_kwargs: other coefficients of the transform, for example ``{"beta": 4.0}`` for
        ``rs_grpo``
    :param solved_at: an attempt with at least this reward solves its problem, for pass@k and the
        solve rate
    :param patience: training stops after this number of updates without a newly solved problem;
        None to train until ``max_steps``
    :raises ValueError: if the objective does not suit the group, or a setting would bias the
        estimate; the message gives the reason
    """

    objective: str = "pkpo"
    k: int | Callable[[float], int] | None = None
    baseline: str | None = None
    objective_kwargs: dict[str, Any] | None = None
    solved_at: float = 1.0
    patience: int | None = None

    num_generations: int = 16  # type: ignore[assignment]  # TRL also allows None
    per_device_eval_batch_size: int = 16
    loss_type: str = "dr_grpo"
    scale_rewards: str = "none"
    restore_callback_states_from_checkpoint: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            self.k is None
            and "k" not in (self.objective_kwargs or {})
            and needs(self.objective, "k")
        ):
            raise ValueError(
                f"objective={self.objective!r} needs k, the attempts whose best counts: "
                f"1 to num_generations={self.num_generations}"
            )
        self._refuse_bias()
        self._refuse_idle()
        objective = self.make_objective()
        try:
            objective.check(self.num_generations)
        except ValueError as error:
            raise ValueError(f"objective={self.objective!r}: {error}") from error
        try:
            pickle.dumps((self.k, self.objective_kwargs))
        except Exception as error:
            raise ValueError(
                f"{error}, but checkpoints hold the settings: give a schedule of "
                "pkpo_sandbox.schedules, or a function or class at the top level of a module"
            ) from None

    def make_objective(self) -> Objective:
        """Make the objective of these settings."""
        settings = {"k": self.k, "baseline": self.baseline}
        given = {name: value for name, value in settings.items() if value is not None}
        return named(self.objective, **given, **(self.objective_kwargs or {}))

    def to_dict(self) -> dict[str, Any]:
        """Like TRL's, but with the repr of each schedule, which loggers can write."""
        values = super().to_dict()
        if callable(self.k):
            values["k"] = repr(self.k)
        if self.objective_kwargs:
            kwargs = self.objective_kwargs.items()
            values["objective_kwargs"] = {k: repr(v) if callable(v) else v for k, v in kwargs}
        return values

    def _refuse_bias(self) -> None:
        """Refuse settings that bias the estimate: (name, allowed values, reason)."""
        harmless = HARMLESS | OF_VLLM if self.use_vllm else HARMLESS
        extra = sorted(set(self.generation_kwargs or {}) - harmless)
        for name, allowed, reason in (
            (
                "loss_type",
                ("dr_grpo", "luspo"),
                "others divide by the answers' lengths, which are random and correlate with reward",
            ),
            ("scale_rewards", ("none",), "the weights are final, and dividing them cancels k"),
            (
                "multi_objective_aggregation",
                ("sum_then_normalize",),
                "rewards are summed first and transformed then: max@k of parts is not that of sums",
            ),
            (
                "mask_truncated_completions",
                (False,),
                "it drops attempts from the group by what they are; give truncated ones reward 0",
            ),
            ("top_p", (1.0,), IID),
            ("top_k", (0,), IID),
            ("min_p", (None, 0.0), IID),
            ("repetition_penalty", (1.0,), IID),
            ("vllm_structured_outputs_regex", (None,), IID),
            ("neftune_noise_alpha", (None,), "its noise differs between sampling and training"),
            ("remove_unused_columns", (False,), "it drops the column that tells problems apart"),
            ("top_entropy_quantile", (1.0,), "it drops the gradient of all other tokens"),
            ("off_policy_mask_threshold", (None,), "it drops attempts by the sign of their weight"),
            (
                "restore_callback_states_from_checkpoint",
                (True,),
                "the cumulative solve rate would start from 0 on resume",
            ),
        ):
            value = getattr(self, name)
            if value not in allowed:
                choices = " or ".join(map(repr, allowed))
                raise ValueError(f"{name}={value!r} must be {choices}: {reason}")
        if extra:
            raise ValueError(
                f"generation_kwargs sets {', '.join(extra)}, but may hold only "
                f"{', '.join(sorted(harmless))}: {IID}"
            )

    def _refuse_idle(self) -> None:
        """Refuse settings that would learn little or nothing."""
        bounds = (self.epsilon, self.epsilon_high or 0)
        if min(bounds) < 0 or (self.delta is not None and self.delta < 1):
            raise ValueError(
                f"epsilon={self.epsilon}, epsilon_high={self.epsilon_high} and delta={self.delta} "
                "clip a ratio of 1, that of a fresh answer, whose gradient would be 0: give "
                "epsilons of at least 0 and a delta of at least 1"
            )
        if self.patience is not None and self.patience < 1:
            raise ValueError(
                f"patience={self.patience} must be at least 1, updates without a newly solved "
                "problem, or None to go on"
            )
        if self.max_completion_length is None:
            raise ValueError("max_completion_length=None must be a number: it bounds the answers")
        if self.max_steps == 0:
            raise ValueError("max_steps=0 trains nothing: give at least 1, or -1 to count epochs")
        if self.use_transformers_continuous_batching and (self.bf16 or self.fp16):
            raise ValueError(
                "use_transformers_continuous_batching casts the trained weights to 16 bits to "
                "generate, which rounds small updates away: leave it out, or set bf16=False"
            )
