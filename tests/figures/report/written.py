"""Finished runs in the format of the apps, and a page as a browser renders it."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from pkpo_sandbox.runs import folder as runs
from pkpo_sandbox.runs.config import resolved

VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}


def config(*overrides: str, name: str = "train") -> dict:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return resolved(compose(name, list(overrides)))


def log(final: float, rows: int = 3) -> pd.DataFrame:
    """Three updates of a metric that rises to ``final``."""
    steps = np.arange(1, rows + 1)
    return pd.DataFrame(
        {
            "train/n_updates": 10 * steps,
            "exact/max_at_1": final * steps / rows,
            "exact/max_at_16": [*[np.nan] * (rows - 1), final],
            "exact/entropy": 1.0 / steps,
        }
    )


def finished(folder: Path, settings: dict, final: float = 0.5, **summary) -> Path:
    """A finished run, written as the apps do."""
    folder.mkdir(parents=True)
    log(final).to_csv(folder / "progress.csv", index=False)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(settings), "utf-8", "replace")
    exact = {"1": {"max_at_k": final}, "16": {"max_at_k": final + 0.25}}
    facts = {"exact": exact, "versions": VERSIONS, "wall_time_seconds": 30.0, **summary}
    runs.write_summary(folder, {"config": settings, "seed": settings["seed"], **facts})
    return folder


class Page(HTMLParser):
    """The elements and the text of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)
