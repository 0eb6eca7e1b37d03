"""The script of `make gpu` without a GPU: a part that fails or hangs does not stop the others."""

import json
import sys

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

from tests.gemma2 import measure_gpu
from tests.gemma2.measure_gpu import BENCH, Part


def python(code: str, seconds: float = 30.0, needs: str | None = None) -> Part:
    return Part("a stand-in", (sys.executable, "-c", code), seconds, needs)


def test_each_part_is_kept_whatever_becomes_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_gpu, "LEAST", 1.0)
    first = 'print(\'{"ratio": 1.01, "seconds_an_update": {"PKPO": 2.5}}\', flush=True); '
    parts = {
        "fails": python("raise SystemExit('no luck')"),
        "hangs": python(first + "import time; time.sleep(60)", seconds=1.0),
        "absent": python("print(1)", needs="no_such_package"),
        "passes": python(first),
    }
    assert not measure_gpu.measure(tmp_path / "out", parts, limit=60.0)
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert {"device", "torch", "transformers", "trl"} <= set(report["hardware"])
    found = report["parts"]
    assert found["fails"]["status"] == "failed: exit status 1"
    assert found["fails"]["said"] == "no luck"
    assert found["hangs"]["status"] == "stopped after 1 s"
    assert found["hangs"]["result"]["ratio"] == 1.01  # what was known when it was stopped
    assert found["absent"]["status"] == "skipped: no_such_package is not installed"
    assert found["passes"]["status"] == "ok"
    table = (tmp_path / "out" / "gpu.md").read_text()
    assert "| passes |  | ok |" in table
    assert "no luck" in (tmp_path / "out" / "gpu.log").read_text()
    assert measure_gpu.measure(tmp_path / "out", {"passes": parts["passes"]}, limit=60.0)


def test_no_part_begins_without_time(tmp_path):
    assert measure_gpu.measure(tmp_path, {"late": python("print(1)")}, limit=0.0)
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["parts"]["late"] == {"status": "skipped: no time left"}


@pytest.mark.slow
def test_the_benchmark_runs_on_a_cpu(tmp_path):
    tiny = ("--tiny", "--cpu", "--rounds", "1", "--updates", "1", "--tokens", "4", "--prompts", "1")
    parts = {
        "both": Part("both sides", (*BENCH, *tiny), 120.0),
        "in turn": Part("every other update", (*BENCH, *tiny, "--alternate"), 120.0),
        "lora": Part("adapters", (*BENCH, *tiny, "--lora", "--sides", "PKPO"), 120.0),
    }
    assert measure_gpu.measure(tmp_path, parts, limit=240.0)
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    for name in ("both", "in turn"):
        result = found[name]["result"]
        assert result["updates_timed"] == {"GRPO": 1, "PKPO": 1}
        assert result["ratio"] > 0
        assert 0 < result["share_of_override"] < 0.5
    assert set(found["lora"]["result"]["seconds_an_update"]) == {"PKPO"}
