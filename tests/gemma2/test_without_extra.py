"""With and without the extra: fast imports, the help, and a message with the cure."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "datasets", "peft", "stable_baselines3")


def python(code: str, *arguments: str, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_importing_the_app_loads_nothing_heavy():
    code = f"import sys, pkpo_sandbox.gemma2.app; print([m for m in {HEAVY} if m in sys.modules])"
    assert python(code).stdout.strip() == "[]"


def test_the_toys_load_neither_trl_nor_transformers():
    code = "import sys, pkpo_sandbox as p, pkpo_sandbox.runs.train; p.PKPO; "
    code += "print([m for m in ('trl', 'transformers', 'datasets', 'peft') if m in sys.modules])"
    assert python(code).stdout.strip() == "[]"


def test_help_lists_the_groups(tmp_path):
    code = "from pkpo_sandbox.gemma2.app import main; main()"
    usage = python(code, "--help", cwd=tmp_path).stdout
    assert "gemma2_factor, " in usage
    assert "gemma2_2b_it, " in usage
    assert "arc, factor, hidden_answer, math" in usage
    assert "gemma2/" in usage  # their own folder; the objectives are those of the toys
    assert "max_rl, passk_training, pkpo" in usage


@pytest.mark.parametrize(
    ("missing", "extra", "overrides"),
    [("trl", "gemma2", []), ("vllm", "vllm", ["+training.use_vllm=true"])],
)
def test_a_missing_package_is_said_in_one_line(missing, extra, overrides, tmp_path):
    if extra == "vllm":
        pytest.importorskip("trl", reason="without the extra gemma2 that one is asked for first")
    code = f"import sys; sys.modules[{missing!r}] = None; "
    code += "from pkpo_sandbox.gemma2.app import main; main()"
    result = python(code, *overrides, cwd=tmp_path)
    assert result.returncode == 1
    pins = "" if extra == "vllm" else "-c constraints.txt "  # vLLM would clash with them
    message = f"not installed: this needs the extra {extra}, pip install {pins}-e '.[{extra}]'"
    assert message in result.stderr
    assert missing in result.stderr
    assert "Traceback" not in result.stderr
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files <= {".lock", "failure.json", "failure.log"}


def test_a_name_that_needs_the_extra_says_so():
    code = "import sys; sys.modules['trl'] = None; from pkpo_sandbox.gemma2 import PKPOTrainer"
    assert "needs the extra gemma2" in python(code).stderr
