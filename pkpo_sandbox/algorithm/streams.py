"""Random streams: one function derives all other seeds of a run from the run's seed."""

from typing import Literal

import numpy as np

Purpose = Literal["columns", "problems", "evaluation", "checkpoint", "continuation", "outcome"]


def stream(seed: int, purpose: Purpose, number: int = 0) -> np.random.SeedSequence:
    """A random stream of a run, for one purpose.

    Equal arguments give equal streams. Different arguments give independent ones.

    ==================  ======================================  ==================
    purpose             what the stream determines              number
    ==================  ======================================  ==================
    ``columns``         the seed of each column of an env       not used
    ``problems``        the problem of each group               not used
    ``evaluation``      one evaluation on separate groups       timesteps so far
    ``checkpoint``      everything after a checkpoint           timesteps so far
    ``continuation``    everything that a trained model does    updates so far
                        after it was loaded or reseeded
    ``outcome``         the evaluation of the final policy      evaluations so far
    ==================  ======================================  ==================

    :param seed: at least 0
    :param number: at least 0
    """
    entropy = {
        "columns": [seed],
        "problems": [seed, 1],
        "evaluation": [seed, number],
        "checkpoint": [seed, number, 1],
        "continuation": [seed, number, 2],
        "outcome": [seed, number, 3],
    }
    return np.random.SeedSequence(entropy[purpose])


def stream_seed(seed: int, purpose: Purpose, number: int = 0) -> int:
    """The first number of :func:`stream`, 0 to 2**32 - 1, where an integer seed is needed."""
    return int(stream(seed, purpose, number).generate_state(1)[0])


def continued_seed(seed: int | None, n_updates: int, fresh: bool = False) -> int | None:
    """The seed of a model after ``n_updates`` updates.

    With its first seed, the model would repeat the problems and the noise that it was trained on.
    The number is that of updates, because ``learn`` may reset the number of timesteps.

    :param seed: of the model, or None
    :param fresh: if ``seed`` is None, return a random seed instead of None
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0]) if fresh else None
    return stream_seed(seed, "continuation", n_updates) if n_updates > 0 else seed
