"""The figures of finished experiments in a report."""

import json

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from pkpo_sandbox.figures.report import collect, drawing, experiments, page
from pkpo_sandbox.runs import folder as runs
from pkpo_sandbox.runs import train as app
from pkpo_sandbox.runs.naming import run_id


def test_the_figure_of_a_finished_experiment_is_in_the_report(tmp_path):
    overrides = ["experiment=sample_weights", "algorithm.group_size=16"]
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        settings = compose("train", overrides, return_hydra_config=True)
        place = tmp_path / run_id(_root_=settings)
        place.mkdir()
        settings.hydra.runtime.output_dir = str(place)
        HydraConfig.instance().set_config(settings)
        app.run(compose("train", overrides))
    found, problems = collect.read(tmp_path)
    assert problems == []
    plots, undrawn = experiments.experiments(found)
    assert ([plot.title for plot in plots], undrawn) == (["sample_weights"], [])
    assert list(drawing.curves(found)) == []  # it trained nothing
    summary = json.loads((place / "summary.json").read_text())
    runs.write_summary(place, {**summary, "measurements": [{"k": 1}]})
    plots, (line,) = experiments.experiments(collect.read(tmp_path)[0])
    assert plots == []
    assert line.startswith("sample_weights: ")
    assert "Not drawn: sample_weights" in page.render(tmp_path)
