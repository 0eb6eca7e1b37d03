"""The episodes of one iteration: credited to their attempts as they are played, then in rows."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from pkpo_sandbox.algorithm.roster import IDLE, Roster


class Rollout(NamedTuple):
    """The whole episodes of one iteration, one row for each step of each attempt."""

    observations: Any  #: tensor (rows, ...), or a dict of such
    actions: torch.Tensor  #: (rows, ...) as sampled, before clipping to the action space
    log_prob: torch.Tensor  #: (rows,) of the actions under the policy that took them
    entropy: torch.Tensor  #: (rows,) of that policy
    attempts: torch.Tensor  #: (rows,) int64, which attempt each step belongs to
    returns: torch.Tensor  #: (n_groups, group_size) float64, discounted sum of an attempt's rewards
    lengths: np.ndarray  #: (n_groups, group_size) int64, steps of an attempt

    def parts(self, n_rows: int) -> Iterator["Rollout"]:
        """The same rows, ``n_rows`` of them at a time; returns and lengths are of all attempts."""
        for start in range(0, len(self.attempts), n_rows):
            rows = slice(start, start + n_rows)
            if isinstance(self.observations, dict):
                observations = {key: values[rows] for key, values in self.observations.items()}
            else:
                observations = self.observations[rows]
            yield self._replace(
                observations=observations,
                actions=self.actions[rows],
                log_prob=self.log_prob[rows],
                entropy=self.entropy[rows],
                attempts=self.attempts[rows],
            )


class Recorder:
    """Keeps the account of an iteration while it is played, one ``add`` a step.

    :param n_columns: parallel envs
    :param gamma: discount of a reward for each step before it in its attempt, in (0, 1]
    """

    def __init__(self, n_groups: int, group_size: int, n_columns: int, gamma: float) -> None:
        self.roster = Roster(n_groups * group_size, n_columns)
        self.gamma = gamma
        #: (n_groups, group_size) float64, sums of rewards
        self.undiscounted = np.zeros((n_groups, group_size))
        self.returns = self.undiscounted if gamma == 1 else np.zeros((n_groups, group_size))
        self.lengths = np.zeros((n_groups, group_size), dtype=np.int64)
        self._steps: list[tuple[Any, ...]] = []

    def add(self, acted: tuple[Any, ...], rewards: np.ndarray, dones: np.ndarray) -> np.ndarray:
        """Credit a step to the attempts that the columns are playing.

        :param acted: observations (n_columns, ...), actions, log_prob and entropy of the step
        :return: (n_columns,) bool, which columns were playing an attempt
        :raises ValueError: if a reward is not finite, or an attempt does not end
        """
        playing = self.roster.attempts != IDLE
        attempts = self.roster.attempts[playing]
        earned = rewards[playing]
        if not np.isfinite(earned).all():
            column = int(np.flatnonzero(playing & ~np.isfinite(rewards))[0])
            raise ValueError(
                f"the env in column {column} gave reward {rewards[column]} at step "
                f"{len(self._steps) + 1} of the iteration: rewards must be finite. The policy has "
                "not been updated on it; mend the env, or wrap it so that this case has a finite "
                "reward"
            )
        self.undiscounted.flat[attempts] += earned
        if self.gamma != 1:
            self.returns.flat[attempts] += self.gamma ** self.lengths.flat[attempts] * earned
        self.lengths.flat[attempts] += 1
        self._steps.append((*acted, playing, attempts))
        self.roster.end(dones)
        return playing

    def detach(self) -> None:
        """Let go of the graphs of the log-probabilities and entropies so far."""
        self._steps = [
            (observations, actions, log_prob.detach(), entropy.detach(), *rest)
            for observations, actions, log_prob, entropy, *rest in self._steps
        ]

    def rollout(self) -> Rollout:
        """Join the steps into rows, leaving out those of idle columns."""
        observations, actions, log_prob, entropy, playing, attempts = zip(*self._steps, strict=True)
        rows = None
        if not all(mask.all() for mask in playing):
            rows = torch.from_numpy(np.flatnonzero(np.concatenate(playing))).to(actions[0].device)

        def join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
            joined = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
            return joined if rows is None else joined[rows]

        if isinstance(observations[0], dict):
            keys = observations[0].keys()
            observations = {key: join([step[key] for step in observations]) for key in keys}
        else:
            observations = join(observations)
        return Rollout(
            observations,
            join(actions),
            join(log_prob),
            join(entropy),
            torch.from_numpy(np.concatenate(attempts)).to(actions[0].device),
            torch.from_numpy(self.returns),
            self.lengths,
        )
