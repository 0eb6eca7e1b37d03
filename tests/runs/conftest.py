"""A run in a folder of the test."""

import pytest

from tests.runs.training import run_here


@pytest.fixture
def train_here(tmp_path):
    return lambda *overrides: run_here(tmp_path, *overrides)
