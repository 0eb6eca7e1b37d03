"""Importing ``pkpo_envs`` registers the worlds, and loads no heavy package."""

import subprocess
import sys

import pytest

from tests.envs.countdown import IDS

pytestmark = pytest.mark.filterwarnings("error")


def test_the_worlds_are_registered():
    worlds = {"Bandit", "Cliff1D", "ProblemSet", "DigitSum"}
    assert {f"pkpo/{name}-v0" for name in worlds} <= set(IDS)


def test_importing_the_worlds_loads_neither_torch_nor_the_sandbox():
    code = (
        "import sys, pkpo_envs.bandit, pkpo_envs.cliff_1d, pkpo_envs.problem_set\n"
        "assert not {'torch', 'stable_baselines3', 'pkpo_sandbox'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
