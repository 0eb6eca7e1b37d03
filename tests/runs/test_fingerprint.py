"""What a run notes of the code that made it."""

import sys

import pytest
import torch

from pkpo_sandbox.runs import fingerprint


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's modules: one.py imports two.py in a function, and a package of three files."""
    (tmp_path / "one.py").write_text(
        "import json, torch, pkpo_sandbox\ndef f():\n    from two import g\n    return g\n"
    )
    (tmp_path / "two.py").write_text('import kit.part\nENV = "four:Mine-v0"\n')
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "__init__.py").write_text("")
    (tmp_path / "kit" / "part.py").write_text("from . import other\n")
    (tmp_path / "kit" / "other.py").write_text("")
    (tmp_path / "four.py").write_text("this is no Python\n")
    (tmp_path / "five.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


CONFIG = {"objective": {"_target_": "one.f"}, "env": {"id": "CartPole-v1"}, "name": "five.x"}


def test_the_users_modules_are_found_with_all_that_they_import(home):
    found = fingerprint.own_modules(CONFIG)
    assert list(found) == ["four", "kit", "kit.other", "kit.part", "one", "two"]
    assert found["kit"] == found["kit.other"]  # both are empty
    assert not {"one", "two", "four"} & set(sys.modules)  # nothing is imported
    assert set(fingerprint.own_modules({"env": {"id": "five:X-v0"}})) == {"five"}
    assert (
        fingerprint.own_modules({"objective": {"_target_": "pkpo_sandbox.transforms.pkpo"}}) == {}
    )


def test_a_changed_a_new_and_a_lost_module_are_named(home):
    before = fingerprint.fingerprint(CONFIG)
    assert fingerprint.fingerprint(CONFIG) == before
    (home / "kit" / "part.py").write_text("# no more imports\n")
    (home / "two.py").write_text('import kit.part, five\nENV = "four:Mine-v0"\n')
    after = fingerprint.fingerprint(CONFIG)
    assert after["package"] == before["package"]
    assert fingerprint.changes(before["own"], after["own"]) == [
        "five",
        "kit.other",
        "kit.part",
        "two",
    ]


def test_versions_tell_the_build_of_torch():
    found = fingerprint.versions("torch", "numpy")
    assert list(found) == ["python", "torch", "numpy"]
    assert found["torch"] == torch.__version__


def test_a_version_without_a_build_is_that_of_any_build():
    now = {"torch": "2.13.0+cpu", "numpy": "2.3.0"}
    assert fingerprint.other_versions({"torch": "2.13.0"}, now) == []
    then = {"torch": "2.13.0+cu130", "numpy": "2.2.0", "gone": "1"}
    assert fingerprint.other_versions(then, now) == [
        "torch 2.13.0+cu130 -> 2.13.0+cpu",
        "numpy 2.2.0 -> 2.3.0",
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"env": {"id": "five:Mine-v0"}},
        {"env": {"wrappers": [{"_target_": "five.Wrapper"}]}},
        {"algorithm": {"policy_kwargs": {"activation_fn": "five.Act"}}},
        {"callbacks": {"mine": {"inner": {"_target_": "five.Mine"}}}},
        {"measure": {"_target_": "five.measure"}},
    ],
)
def test_a_module_may_be_named_anywhere_in_a_config(home, config):
    assert list(fingerprint.own_modules(config)) == ["five"]


@pytest.mark.parametrize(
    "path", ["torch.nn.ReLU", "json.loads", "sys.exit", "pkpo_envs.bandit.x", "nowhere.x", "3.5"]
)
def test_what_is_installed_or_is_nowhere_is_not_the_users(home, path):
    assert fingerprint.own_modules({"objective": {"_target_": path, "k": 1, "x": None}}) == {}


def test_the_modules_of_a_package_without_an_init_file_are_found(home):
    (home / "space" / "deep").mkdir(parents=True)
    (home / "space" / "deep" / "one.py").write_text("from .. import other\n")
    (home / "space" / "other.py").write_text("def (:\n")
    found = fingerprint.own_modules({"env": {"id": "space.deep.one:X-v0"}})
    assert list(found) == ["space.deep.one", "space.other"]
