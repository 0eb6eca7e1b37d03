"""A folder of runs, shared by the tests of several modules."""

import pytest
from omegaconf import OmegaConf

from pkpo_sandbox.runs import folder as runs
from tests.figures.report.written import config, finished


@pytest.fixture
def folder(tmp_path):
    """Two settings of two seeds, a failure, and a run under way."""
    place = tmp_path / "my <b>runs"
    for k in (1, 8):
        for seed in (0, 1):
            given = [f"objective.k={k}", f"seed={seed}"]
            run = place / f"k={k}-seed={seed}"
            finished(run, config(*given), final=k / 16 + seed / 32, overrides=given)
    (place / "failed").mkdir()
    overrides = ["objective.k=99", "seed=0"]
    failure = {"error": "ValueError: k = 99", "overrides": overrides}
    runs.write_failure(place / "failed", failure, "Traceback <i>")
    (place / "begun").mkdir()
    (place / "begun" / "config.yaml").write_text(OmegaConf.to_yaml(config("seed=7")))
    return place
