"""No test opens a window, and the noisy env ``drift`` is registered."""

import gymnasium
import pytest

from tests.envs.drift import Drift


@pytest.fixture(autouse=True)
def unseen_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.fixture
def drift():
    """Registers ``Drift`` in this process, with a vector entry point or without."""
    ids = []

    def register(**kwargs) -> str:
        ids.append(f"test/Drift{len(ids)}-v0")
        gymnasium.register(ids[-1], entry_point=Drift, **kwargs)
        return ids[-1]

    yield register
    for env_id in ids:
        del gymnasium.registry[env_id]
