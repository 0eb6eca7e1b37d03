"""Actors for group policy gradients: Stable-Baselines3's policies without the critic."""

import math
import sys
import warnings
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.distributions import Categorical
from torch.distributions.utils import lazy_property


class NoCritic(nn.Module):
    """Replaces the value network that SB3 expects. Its values are NaN."""

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return latent.new_full((latent.shape[0], 1), math.nan)


class SharedCategorical(Categorical):
    """Categorical distributions (batch,), many of which are equal.

    The slow computations (normalisation, entropy, cumulative probabilities) run once for each
    distinct distribution. Sampling inverts the cumulative probabilities in float64.

    :param logits: (distinct, n_actions)
    :param rows: (batch,) int64, the row of ``logits`` for each member of the batch
    :raises ValueError: if a logit is not finite
    """

    def __init__(self, logits: torch.Tensor, rows: torch.Tensor) -> None:
        if not math.isfinite(logits.sum().item()):
            raise ValueError(
                "the policy's logits are not finite, training has diverged: lower learning_rate"
            )
        self._log_probs = logits.log_softmax(-1)
        self._rows = rows
        self._num_events = logits.shape[-1]
        torch.distributions.Distribution.__init__(self, rows.shape, validate_args=False)

    @lazy_property
    def logits(self) -> torch.Tensor:  # type: ignore[override]
        return self._log_probs[self._rows]

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return self._log_probs[self._rows, value.long()]

    def entropy(self) -> torch.Tensor:
        return -(self._log_probs.exp() * self._log_probs).sum(-1)[self._rows]

    def sample(self, sample_shape: Any = torch.Size()) -> torch.Tensor:  # noqa: B008
        cumulative = self._log_probs.detach().double().exp().cumsum(-1)
        distinct, n_actions = cumulative.shape
        # Distribution j covers [j, j + 1) on one line. A sample is a point on this line.
        starts = torch.arange(distinct, device=cumulative.device)
        line = (cumulative / cumulative[:, -1:] + starts[:, None]).flatten()
        uniform = torch.rand((*sample_shape, len(self._rows)), dtype=line.dtype, device=line.device)
        actions = torch.searchsorted(line, self._rows + uniform, right=True)
        actions -= self._rows * n_actions
        return actions.clamp_(max=n_actions - 1)  # a point may round up to the end of its interval


class ActorPolicy(ActorCriticPolicy):
    """SB3's ``ActorCriticPolicy`` without a critic: the rest of the group is the baseline.

    Overrides ``_build_mlp_extractor`` and ``_build`` (there is no value network),
    ``get_distribution`` (each distinct observation passes through the network once) and
    ``_get_constructor_parameters``. By default, Adam is fused and has SB3's eps of 1e-5; change
    this with ``optimizer_kwargs``. Takes all arguments of ``ActorCriticPolicy``, and this one:

    :param fixed_std: standard deviation of a Gaussian policy in action units, positive and not
        trained; None (the default) trains it, starting at ``log_std_init``
    :raises ValueError: if ``fixed_std`` is not positive, or the actions are not continuous
    """

    def __init__(self, *args: Any, fixed_std: float | None = None, **kwargs: Any) -> None:
        if fixed_std is not None:
            number = isinstance(fixed_std, int | float) and not isinstance(fixed_std, bool)
            if not (number and math.isfinite(fixed_std) and fixed_std > 0):
                raise ValueError(f"fixed_std must be positive and finite, got {fixed_std}")
            kwargs["log_std_init"] = math.log(fixed_std)
        if not kwargs.get("share_features_extractor", True):
            raise ValueError(
                "share_features_extractor=False builds a second extractor for a critic, "
                "and this policy has none: leave it at True"
            )
        if kwargs.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam:
            # SB3's epsilon. The fused Adam takes a third of the time on small networks.
            defaults = {"eps": 1e-5, "fused": True}
            kwargs["optimizer_kwargs"] = {**defaults, **(kwargs.get("optimizer_kwargs") or {})}
        self.fixed_std = fixed_std
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        actor_net = (
            self.net_arch.get("pi", []) if isinstance(self.net_arch, dict) else self.net_arch
        )
        self.net_arch = {"pi": actor_net, "vf": []}
        super()._build_mlp_extractor()

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.value_net = NoCritic()
        if self.fixed_std is not None:
            if not isinstance(self.action_dist, DiagGaussianDistribution):
                raise ValueError(
                    f"fixed_std={self.fixed_std} needs Gaussian actions, "
                    f"but {self.action_space} has none: leave it out"
                )
            self.log_std.requires_grad_(False)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = self.optimizer_class(
            trained,
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Return the action distribution of each observation (batch, ...).

        The attempts of a group start with the same observation. So discrete observations pass
        through the network only once for each distinct one.
        """
        if not isinstance(self.observation_space, spaces.Discrete):
            return super().get_distribution(obs)
        distinct, rows = torch.unique(obs, return_inverse=True)  # type: ignore[arg-type]
        features = BasePolicy.extract_features(self, distinct, self.pi_features_extractor)
        latent, rows = self.mlp_extractor.forward_actor(features), rows.flatten()
        if not isinstance(self.action_dist, CategoricalDistribution):
            return self._get_action_dist_from_latent(latent[rows])
        self.action_dist.distribution = SharedCategorical(self.action_net(latent), rows)
        return self.action_dist

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "fixed_std": self.fixed_std}


class CnnActorPolicy(ActorPolicy):
    """:class:`ActorPolicy` for images, with SB3's ``NatureCNN``."""

    def __init__(self, *args: Any, features_extractor_class=NatureCNN, **kwargs: Any) -> None:
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)


class MultiInputActorPolicy(ActorPolicy):
    """:class:`ActorPolicy` for Dict observations, with SB3's ``CombinedExtractor``."""

    def __init__(
        self,
        observation_space: spaces.Space,
        *args: Any,
        features_extractor_class=CombinedExtractor,
        **kwargs: Any,
    ) -> None:
        if not isinstance(observation_space, spaces.Dict):
            raise ValueError(
                f"MultiInputPolicy is for Dict observations, but the env has {observation_space}: "
                "use MlpPolicy, or CnnPolicy for images"
            )
        kwargs["features_extractor_class"] = features_extractor_class
        super().__init__(observation_space, *args, **kwargs)


def act(
    policy: ActorCriticPolicy, observations: PyTorchObs, entropy_is_trained: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sample actions (columns, ...), with their log-probabilities and entropies (columns,)."""
    distribution = policy.get_distribution(observations)
    with torch.no_grad():
        actions = distribution.get_actions()
    return actions, *score(distribution, actions, entropy_is_trained)


def score(
    distribution: Distribution, actions: torch.Tensor, entropy_is_trained: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies (rows,) of actions under a distribution.

    If the entropy has no closed form, minus the log-probability is its estimate.

    :param entropy_is_trained: whether a gradient of the entropies is needed
    """
    log_prob = distribution.log_prob(actions)
    with torch.set_grad_enabled(torch.is_grad_enabled() and entropy_is_trained):
        entropy = distribution.entropy()
        return log_prob, -log_prob if entropy is None else entropy


#: layers that behave differently in training mode and in evaluation mode
MODAL_LAYERS = (
    nn.modules.batchnorm._NormBase,
    nn.modules.dropout._DropoutNd,
)


def warn_of_training_mode(policy: nn.Module) -> None:
    """Warn about layers that behave differently in training mode. Policies stay in evaluation mode.

    The gradient must be that of the policy that acts. In training mode, dropout or batch statistics
    would change the policy between acting and updating, and bias the gradient.
    """
    modal = [layer for layer in policy.modules() if isinstance(layer, MODAL_LAYERS)]
    names = {
        type(layer).__name__
        for layer in modal
        if getattr(layer, "p", 1) > 0 and getattr(layer, "track_running_stats", True)
    }
    if names:
        warnings.warn(
            f"the policy has {', '.join(sorted(names))}, and stays in evaluation mode, so that the "
            "policy that is trained is the one that acts: dropout drops nothing, and running "
            "statistics stay as they are (mean 0 and variance 1 in a new network). Use LayerNorm "
            "or GroupNorm, and VecNormalize for observations",
            stacklevel=2,
        )


# A model.zip of version 0.1.0 refers to these classes by the old name of this module.
sys.modules.setdefault("pkpo_sandbox.policies", sys.modules[__name__])
