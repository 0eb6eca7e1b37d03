"""Worlds of problems: physics written once, for a scalar and a vector environment."""

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

    A world sets `observation_space`, `action_space` and `n_problems` (if it is not 1) in
    `__init__`. It overrides `reward` if an episode is one step, else `start`, `observe` and
    `advance`. These methods are the physics. They work on a batch of independent episodes, one per
    row. The scalar environment is a batch of one, and `ProblemVectorEnv` uses the same physics with
    many rows. All randomness comes from `self.np_random`.

    A world with an exact solution also has `exact(k, **policy) -> dict`. Its arguments are the
    parameters of the policy's action distributions on problems 0, 1, ...: `probabilities` of shape
    (n_problems, n_actions), or `mean` and `std`. It returns facts about this policy, as floats and
    lists of floats, and facts about the best such policy for the maximum of k attempts, under keys
    that end in `_star`. A world of several steps also has
    `decision_observations() -> (n_decisions, ...)`: every observation at which the policy chooses
    an action. `exact` then takes one distribution for each of them.

    A world may set `stackable = True` in its class body (a subclass must set it again). Many runs
    then share one call of its physics. This promises two things. The result of a row has the same
    bytes for any other rows in the batch (no matrix products, no sums over the batch). And the
    physics draw one number, or one row, per episode from `np_random` (`size=len(actions)`).

    A world can be rendered if its constructor takes `render_mode` and passes it to
    `super().__init__`: "rgb_array" returns an array, "human" opens a window. The picture shows the
    latest 64 attempts, at all problems. It shows the return of each attempt, unless the world
    overrides `draw`. The vector environment can be rendered without this argument.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": FPS}  # noqa: RUF012
    n_problems: int = 1
    stackable: ClassVar[bool] = False

    _state: NDArray[Any] | None = None
    _problem: int = 0
    _renderer: Renderer | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Declare render modes only for a world whose constructor takes `render_mode`."""
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
        """Return the first states (batch, ...) at problems (batch,). Default: the problems."""
        return problems

    def observe(self, state: NDArray[Any]) -> NDArray[Any]:
        """Return the observations (batch, ...) of these states. Default: the states."""
        return state

    def advance(
        self, state: NDArray[Any], actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
        """Return next states (batch, ...), rewards (batch,) and ends of episodes (batch,).

        By default the state is the problem, and one step earns `reward` and ends the episode.
        """
        return state, self.reward(state, actions), np.ones(len(state), dtype=np.bool_)

    def reward(self, problems: NDArray[np.int64], actions: NDArray[Any]) -> NDArray[np.float64]:
        """Return the rewards (batch,) of one-step attempts: actions (batch, ...) at problems."""
        raise NotImplementedError(f"{type(self).__name__} overrides neither reward nor advance.")

    def draw(self, axes: Axes, attempts: Attempts) -> None:
        """Draw these attempts into empty matplotlib axes. There may be no attempts."""
        draw_returns(axes, self, attempts)

    def draw_problems(self, batch: int) -> NDArray[np.int64]:
        """Draw problems (batch,) uniformly. A world with one problem draws no random number."""
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
        """Return a picture (height, width, 3) if the render mode is "rgb_array", else None."""
        return render_env(self)

    def close(self) -> None:
        """Close the window of "human", if there is one."""
        if self._renderer is not None:
            self._renderer.close()


def render_env(env: Any) -> NDArray[np.uint8] | None:
    """Render an env. Without a render mode, warn as Gymnasium's own envs do."""
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
    """Call `world.advance`. Check that it returns one reward and one end per episode."""
    batch = len(actions)
    state, rewards, ended = world.advance(state, actions)
    if np.shape(rewards) != (batch,) or np.shape(ended) != (batch,):
        raise ValueError(
            f"{world} gave rewards of shape {np.shape(rewards)} and ends of shape "
            f"{np.shape(ended)} to {batch} episodes: return arrays of shape ({batch},)."
        )
    return state, np.array(rewards, dtype=np.float64), np.array(ended, dtype=np.bool_)


def observations_of(world: ProblemEnv, state: NDArray[Any] | None) -> NDArray[Any]:
    """Return a copy of the observations, so that later changes of the state do not affect it."""
    assert state is not None
    return np.array(world.observe(state), dtype=world.observation_space.dtype)
