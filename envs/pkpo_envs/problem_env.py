"""Worlds of problems: physics written once, a scalar and a vector environment derived from it."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from pkpo_envs.checks import check_actions, check_options, check_problems
from pkpo_envs.rendering import FPS, RENDER_MODES, Attempts, Renderer, draw_returns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY = 64  # attempts of a scalar env that a picture shows


class ProblemEnv(gym.Env[Any, Any]):
    """A world of problems, as a scalar Gymnasium environment.

    A problem is what the attempts of one group share, and an episode is one attempt at a problem.
    `reset` draws the problem uniformly, `reset(options={"problem": i})` starts problem i, and
    `info["problem"]` names it.

    A world sets `observation_space`, `action_space` and (unless it is 1) `n_problems` in `__init__`
    and overrides `reward` if an episode is one step, else `start`, `observe` and `advance`. These
    are the physics. They work on a batch of independent episodes, one a row: the scalar environment
    is the batch of one, and `ProblemVectorEnv` is the same physics with many rows. Their randomness
    comes from `self.np_random` only.

    A world with an exact solution also has `exact(k, **policy) -> dict`: facts, as floats and lists
    of floats, about the policy whose action distributions on problems 0, 1, ... have these
    parameters (`probabilities` of shape (n_problems, n_actions), or `mean` and `std`), and about
    the best such policy for the maximum of k attempts (keys that end in `_star`).
    A world of several steps also has `decision_observations() -> (n_decisions, ...)`, every
    observation at which it asks for an action; `exact` then gets one distribution for each of them.

    A world may set `stackable = True` in its class body (a subclass says it anew): its physics then
    give each row the same bytes whatever other rows there are (no matrix products, no sums over the
    batch), and ask `np_random` for one number, or row, an episode (`size=len(actions)`). Many runs
    then share one call of them.

    A world with an argument `render_mode` that it hands to `super().__init__` can be seen, as
    "rgb_array" or in the window of "human": its latest 64 attempts, at whatever problems. The
    picture has the return of each, unless the world overrides `draw`. The vector environment can
    be seen without this argument.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": FPS}  # noqa: RUF012
    n_problems: int = 1
    stackable: ClassVar[bool] = False

    _state: NDArray[Any] | None = None
    _problem: int = 0
    _renderer: Renderer | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Promise render modes for a world only if its constructor takes one."""
        super().__init_subclass__(**kwargs)
        if "metadata" not in vars(cls):
            takes = signature(cls.__init__).parameters.values()
            seen = any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in takes)
            cls.metadata = {**cls.metadata, "render_modes": list(RENDER_MODES) if seen else []}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        if render_mode is not None:
            self._renderer = Renderer(self, render_mode, history=HISTORY)

    def start(self, problems: NDArray[np.int64]) -> NDArray[Any]:
        """First states (batch, ...) of episodes at problems (batch,); by default the problems."""
        return problems

    def observe(self, state: NDArray[Any]) -> NDArray[Any]:
        """Observations (batch, ...) of these states; by default the states themselves."""
        return state

    def advance(
        self, state: NDArray[Any], actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
        """Next states (batch, ...), rewards (batch,) and whether each episode ended (batch,).

        By default one step ends the episode and earns `reward`; the state is then the problem.
        """
        return state, self.reward(state, actions), np.ones(len(state), dtype=np.bool_)

    def reward(self, problems: NDArray[np.int64], actions: NDArray[Any]) -> NDArray[np.float64]:
        """Rewards (batch,) of one-step attempts at problems (batch,) by actions (batch, ...)."""
        raise NotImplementedError(f"{type(self).__name__} overrides neither reward nor advance.")

    def draw(self, axes: Axes, attempts: Attempts) -> None:
        """Draw these attempts, of which there may be none, into empty matplotlib axes."""
        draw_returns(axes, self, attempts)

    def draw_problems(self, batch: int) -> NDArray[np.int64]:
        """Problems (batch,) drawn uniformly; a world of one problem uses no randomness for it."""
        if self.n_problems == 1:
            return np.zeros(batch, dtype=np.int64)
        return self.np_random.integers(self.n_problems, size=batch)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an attempt at `options["problem"]`, or at a problem drawn at random."""
        options = check_options(options, {"problem"})
        problems = None
        if "problem" in options:
            problems = check_problems(options["problem"], self.n_problems, 1)
        super().reset(seed=seed)
        if problems is None:
            problems = self.draw_problems(1)
        self._problem = int(problems[0])
        self._state = self.start(problems)
        if self._renderer is not None:
            self._renderer.restart(np.ones(1, dtype=np.bool_))
        return observations_of(self, self._state)[0], {"problem": self._problem}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step of the attempt."""
        if self._state is None:
            raise ResetNeeded(
                f"{type(self).__name__}.step() was called with no episode under way: call reset() "
                "first, and again after the end of each episode."
            )
        actions = check_actions(np.asarray(action)[np.newaxis], self.action_space, 1)
        state, rewards, ended = advance_checked(self, self._state, actions)
        observation = observations_of(self, state)[0]
        self._state = None if ended[0] else state
        if self._renderer is not None:
            self._renderer.step(np.array([self._problem]), state, actions, rewards, ended)
        return observation, float(rewards[0]), bool(ended[0]), False, {"problem": self._problem}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """A picture (height, width, 3) if the render mode is "rgb_array", else None."""
        return render_env(self)

    def close(self) -> None:
        """Close the window of "human", if there is one."""
        if self._renderer is not None:
            self._renderer.close()


def render_env(env: Any) -> NDArray[np.uint8] | None:
    """What an env's renderer draws; a warning, as Gymnasium's own envs give, if it has none."""
    if env._renderer is None:
        gym.logger.warn(
            f"{type(env).__name__}.render() draws nothing without a render mode: choose one when "
            'making the env, as in gymnasium.make(..., render_mode="rgb_array").'
        )
        return None
    return env._renderer.render()


def advance_checked(
    world: ProblemEnv, state: NDArray[Any], actions: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
    """`world.advance`, its rewards and ends checked to be one per episode."""
    batch = len(actions)
    state, rewards, ended = world.advance(state, actions)
    if np.shape(rewards) != (batch,) or np.shape(ended) != (batch,):
        raise ValueError(
            f"{world} gave rewards of shape {np.shape(rewards)} and ends of shape "
            f"{np.shape(ended)} to {batch} episodes: return arrays of shape ({batch},)."
        )
    return state, np.array(rewards, dtype=np.float64), np.array(ended, dtype=np.bool_)


def observations_of(world: ProblemEnv, state: NDArray[Any] | None) -> NDArray[Any]:
    """A copy of what the world observes: what a caller keeps must not change with the state."""
    assert state is not None
    return np.array(world.observe(state), dtype=world.observation_space.dtype)
