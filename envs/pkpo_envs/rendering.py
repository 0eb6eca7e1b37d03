"""Pictures of what a policy does in a world: its latest attempts, drawn with matplotlib.

matplotlib is imported when the first picture is drawn. A world that is not drawn does not need it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


RENDER_MODES = ("human", "rgb_array")
FPS = 10
GAINED, LOST, BEST, GROUND = "#0072B2", "#D55E00", "#000000", "#D9D9D9"
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (6.4, 4.0),
    "font.size": 10,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Attempts:
    """Attempts at problems, one per row. There may be no rows."""

    problems: NDArray[np.int64]  #: (n,)
    states: NDArray[Any]  #: (n, ...) after the latest step
    actions: NDArray[Any]  #: (n, ...) of the latest step
    returns: NDArray[np.float64]  #: (n,) sums of the rewards so far
    ended: NDArray[np.bool_]  #: (n,)

    def __len__(self) -> int:
        return len(self.problems)

    def copy(self) -> Attempts:
        """Return a copy that shares no arrays."""
        return Attempts(*(np.array(values) for values in self._columns()))

    def update(self, newer: Attempts, rows: NDArray[np.bool_]) -> None:
        """Overwrite the rows marked in ``rows`` (n,) with those of ``newer``."""
        for ours, theirs in zip(self._columns(), newer._columns(), strict=True):
            ours[rows] = theirs[rows]

    @staticmethod
    def joined(parts: Iterable[Attempts]) -> Attempts:
        """Concatenate attempts."""
        columns = zip(*(part._columns() for part in parts), strict=True)
        return Attempts(*(np.concatenate(column) for column in columns))

    @staticmethod
    def none(world: World) -> Attempts:
        """Return zero attempts, in arrays with the shapes and dtypes of this world."""
        problems = np.zeros(0, dtype=np.int64)
        states = world.start(np.zeros(1, dtype=np.int64))[:0]
        actions = np.zeros((0, *(world.action_space.shape or ())), world.action_space.dtype)
        return Attempts(problems, states, actions, np.zeros(0), np.zeros(0, dtype=np.bool_))

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.problems, self.states, self.actions, self.returns, self.ended

    def greatest(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the greatest return of each attempted problem, and an index (n,) into it."""
        attempted, rows = np.unique(self.problems, return_inverse=True)
        greatest = np.full(len(attempted), -np.inf)
        np.maximum.at(greatest, rows, self.returns)
        return greatest, rows

    def best(self) -> NDArray[np.bool_]:
        """Mark the attempts (n,) that have the greatest return at their problem."""
        greatest, rows = self.greatest()
        return self.returns == greatest[rows]

    def mean_returns(self, n_problems: int) -> NDArray[np.float64]:
        """Return the mean return (n_problems,) at each problem, NaN where there is no attempt."""
        counts = np.bincount(self.problems, minlength=n_problems)
        totals = np.bincount(self.problems, self.returns, n_problems)
        return np.divide(totals, counts, out=np.full(n_problems, np.nan), where=counts > 0)


class World(Protocol):
    """The part of a world that a picture uses. `pkpo_envs.ProblemEnv` implements it."""

    action_space: Any
    metadata: dict[str, Any]
    n_problems: int

    def start(self, problems: NDArray[np.int64]) -> NDArray[Any]: ...

    def draw(self, axes: Axes, attempts: Attempts) -> None: ...


class Renderer:
    """Keeps the latest attempts of an env, and draws them in its world.

    A round is one attempt in each column. A column that has ended shows its attempt until all
    columns have ended. The next step then begins a new round. The latest `history` rounds are
    drawn.
    """

    def __init__(self, world: World, mode: str, history: int = 1) -> None:
        if mode not in RENDER_MODES:
            raise ValueError(
                f"render_mode={mode!r} must be one of {list(RENDER_MODES)}, or None for no picture."
            )
        self._world, self._mode = world, mode
        self._rounds: deque[Attempts] = deque(maxlen=history)
        self._fresh: NDArray[np.bool_] | None = None  # columns that have not acted since a restart
        self._returns: NDArray[np.float64] | float = 0.0
        self._window: Window | None = None

    def restart(self, columns: NDArray[np.bool_]) -> None:
        """Record that new attempts start in these columns (num_envs,)."""
        self._fresh = columns | (False if self._fresh is None else self._fresh)
        if self._mode == "human" and not self._rounds:
            self.render()  # later restarts do not change the picture

    def step(
        self,
        problems: NDArray[np.int64],
        states: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        ended: NDArray[np.bool_],
    ) -> None:
        """Record the action and the outcome of every column."""
        assert self._fresh is not None
        self._returns = rewards + np.where(self._fresh, 0.0, self._returns)
        self._fresh = ended.copy()
        now = Attempts(problems, states, actions, self._returns, ended)
        if not self._rounds or self._rounds[-1].ended.all():
            self._rounds.append(now.copy())
        else:
            self._rounds[-1].update(now, ~self._rounds[-1].ended)
        if self._mode == "human":
            self.render()

    def render(self) -> NDArray[np.uint8] | None:
        """Return the picture (height, width, 3), or None in mode "human", which shows it."""
        if self._fresh is None:
            raise ResetNeeded("There is nothing to draw before the first reset(): call it first.")
        attempts = Attempts.joined(self._rounds) if self._rounds else Attempts.none(self._world)
        if self._mode == "rgb_array":
            return picture(self._world, attempts)
        if self._window is None:
            self._window = Window()
        self._window.show(self._world, attempts)
        return None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None


class Window:
    """A matplotlib window. After the user closes it, it stays closed.

    With the environment variable MPLBACKEND=agg everything is drawn and nothing is shown.

    Raises:
        ValueError: if there is no display, or no toolkit to open a window.
    """

    def __init__(self) -> None:
        import matplotlib as mpl
        from matplotlib import pyplot, style

        with style.context(["default", STYLE]):
            self._figure = pyplot.figure()
        toolkit = getattr(self._figure.canvas, "required_interactive_framework", None)
        if toolkit is None and "MPLBACKEND" not in os.environ:
            self.close()
            raise ValueError(
                "render_mode='human' opens a window, but matplotlib finds no display or no toolkit "
                f"to do so (its backend is {mpl.get_backend()}): use render_mode='rgb_array', or "
                "install a toolkit such as PyQt6 where there is a display."
            )
        if toolkit is not None and self._figure.canvas.manager is not None:
            self._figure.canvas.manager.show()

    def show(self, world: World, attempts: Attempts) -> None:
        """Draw these attempts, and wait for the duration of one frame."""
        from matplotlib import pyplot, style

        if not pyplot.fignum_exists(self._figure.number):
            return
        self._figure.clear()
        with style.context(["default", STYLE]):
            compose(self._figure, world, attempts)
            self._figure.canvas.draw()
        self._figure.canvas.start_event_loop(1 / world.metadata["render_fps"])

    def close(self) -> None:
        from matplotlib import pyplot

        pyplot.close(self._figure)


def picture(world: World, attempts: Attempts) -> NDArray[np.uint8]:
    """Draw attempts in their world. -> (height, width, 3)."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", STYLE]):
        figure = Figure()
        canvas = FigureCanvasAgg(figure)
        compose(figure, world, attempts)
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def compose(figure: Figure, world: World, attempts: Attempts) -> None:
    """Let a world draw attempts into a figure, and add a line of summary as its title."""
    axes = figure.add_subplot()
    world.draw(axes, attempts)
    figure.suptitle(summary(attempts), fontsize="medium")


def summary(attempts: Attempts) -> str:
    """Return one line: the number of attempts, and their returns."""
    if not len(attempts):
        return "no attempts yet"
    greatest, _ = attempts.greatest()
    n, mean, best = len(attempts), attempts.returns.mean(), greatest.mean()
    if len(greatest) == 1:
        return f"{n} attempts: mean return {mean:.2f}, best {best:.2f}"
    return f"{n} attempts at {len(greatest)} problems: mean return {mean:.2f}, mean best {best:.2f}"


def draw_returns(axes: Axes, world: World, attempts: Attempts) -> None:
    """Plot each attempt's return over its problem. This works for every world."""
    from matplotlib.ticker import MaxNLocator

    best = attempts.best()
    x = attempts.problems + 0.7 * spread(len(attempts))
    axes.plot(x[~best], attempts.returns[~best], "o", color=GAINED, alpha=0.4, label="attempt")
    axes.plot(x[best], attempts.returns[best], "D", color=BEST, markersize=5, label="best")
    axes.set(xlabel="problem", ylabel="return so far", xlim=(-0.6, world.n_problems - 0.4))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    axes.margins(y=0.1)
    legend(axes)


def legend(axes: Axes) -> None:
    """Put the legend above the axes, where it hides no data."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, columnspacing=1.2)


def spread(n: int) -> NDArray[np.float64]:
    """Return n numbers that fill (-0.5, 0.5) evenly for any n. They separate points."""
    return (np.arange(n) * (np.sqrt(5) - 1) / 2 + 0.5) % 1 - 0.5
