"""Nothing opens a window: what ``render_mode="human"`` draws is not shown."""

import pytest


@pytest.fixture(autouse=True)
def unseen_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
