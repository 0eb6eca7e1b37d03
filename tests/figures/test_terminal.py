"""Shared parts of the three commands that draw."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "arguments", "status", "said"),
    [
        ("command", ["my.figure", "--output", "ü"], 0, r"\xfc/figure.png"),
        ("report", ["runs", "--output", "ü.html"], 0, r"\xfc.html"),
        ("watch", ["elsewhere/ü"], 1, r"elsewhere/\xfc/config.yaml is missing or damaged"),
    ],
)
def test_neither_a_notebooks_backend_nor_an_old_terminal_fails_a_command(
    module, arguments, status, said, own
):
    code = f"from pkpo_sandbox.figures.{module} import main; main()"
    environment = {
        **os.environ,
        "MPLBACKEND": "module://not_installed.backend_inline",
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": str(own),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=own,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in result.stderr
    assert said in result.stdout + result.stderr
    assert result.returncode == status
