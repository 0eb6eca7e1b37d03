"""The settings that a report shows."""

from pkpo_sandbox.figures.report import settings
from tests.figures.report.written import config


def test_an_object_of_a_config_is_one_value():
    flat = settings.flatten(config("schedule=step", "objective.baseline=loo"))
    assert settings.shown(flat["objective.k"]) == "8 then 1"
    assert settings.setting_label(flat, ["objective._target_", "objective.baseline"]) == (
        "objective=pkpo, objective.baseline=loo"
    )
    flats = [{"a": 1, "b": 2}, {"a": 2}, {"a": 3, "b": 2}]
    assert settings.differing(flats) == ["a", "b"]
    assert settings.telling(flats) == ["a"]  # b is 2 wherever it is there
    assert settings.telling([{"a": 1, "b": 2}, {"a": 1}]) == ["b"]
