"""The layers of a config: each value has its source, and a value that would be lost is named."""

from pkpo_sandbox.runs.sources import Composition, Source

DEFAULT = Source("env=default", explicit=False, group="env")
STEP = Source("schedule=step", explicit=True, typed=True, group="schedule", anywhere=True)


def override(text: str) -> Source:
    key = tuple(text.partition("=")[0].split("."))
    return Source(text, explicit=True, typed=True, key=key)


def test_mappings_are_merged_and_each_value_has_its_source():
    layers = Composition()
    layers.lay(("env",), {"id": "a", "kwargs": {"x": 1, "y": 2}}, DEFAULT)
    layers.lay(("env", "kwargs", "x"), 3, override("env.kwargs.x=3"))
    values = {".".join(key): (leaf.value, leaf.source.text) for key, leaf in layers.leaves.items()}
    assert values == {
        "env.id": ("a", "env=default"),
        "env.kwargs.x": (3, "env.kwargs.x=3"),
        "env.kwargs.y": (2, "env=default"),
    }
    layers.remove(("env", "kwargs"))
    layers.close()
    assert list(layers.leaves) == [("env", "id")]
    assert layers.clashes == []


def test_a_number_in_place_of_a_chosen_schedule_is_a_clash():
    layers = Composition()
    layers.lay(("objective", "k"), {"_target_": "Step", "start": 8}, STEP)
    layers.lay(("objective", "k"), 4, override("objective.k=4"))
    assert layers.clashes == [
        "objective.k=4 would remove what schedule=step sets below objective.k: give "
        "objective.k.start=4 instead, or leave out schedule=step"
    ]


def test_of_two_overrides_of_one_key_the_later_one_counts():
    layers = Composition()
    for text, value in (("a.b=1", {"c": 1}), ("a.b=2", 2)):
        source = Source(text, explicit=True, typed=True, key=("a", "b"))
        layers.lay(("a", "b"), value, source)
    layers.close()
    assert layers.clashes == []
    assert layers.leaves["a", "b"].value == 2


def test_the_arguments_of_a_default_are_unused_by_the_users_function():
    layers = Composition()
    layers.lay(("objective",), {"_target_": "pkpo", "k": 4}, DEFAULT)
    layers.lay(("objective", "_target_"), "mine", override("objective._target_=mine"))
    layers.lay(("objective", "beta"), 2, override("objective.beta=2"))
    assert layers.unused == [("objective", "k")]
    assert layers.clashes == []


def test_two_chosen_files_that_set_one_key_are_a_clash():
    layers = Composition()
    for group, value in (("rival", 1), ("experiment", 2)):
        source = Source(f"{group}=x", explicit=True, typed=True, group=group, anywhere=True)
        layers.lay(("algorithm", "learning_rate"), value, source)
    layers.close()
    assert layers.clashes == [
        "rival=x and experiment=x both set algorithm.learning_rate: say which one you mean, as in "
        "algorithm.learning_rate=1"
    ]
