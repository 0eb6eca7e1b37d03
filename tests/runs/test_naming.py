"""The name of a run, and the runs of a sweep."""

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from pkpo_sandbox.runs import naming
from pkpo_sandbox.runs.folder import config_hash
from tests.runs.training import SHORT

STEP = {"_target_": "pkpo_sandbox.schedules.Step", "start": 8, "end": 1, "at": 0.5}


def named(**objective) -> str:
    return naming.run_name({"objective": objective, "seed": 3})


def test_what_does_not_change_results_does_not_rename_a_run(train_here):
    assert train_here(SHORT, "name=other") == train_here(SHORT)


def test_a_name_has_the_objective_its_coefficients_the_seed_and_a_hash():
    objective = {"_target_": "a.b.pkpo", "k": 4, "baseline": "loo", "scale": True}
    digest = config_hash({"objective": objective, "seed": 3})
    assert named(**objective) == f"pkpo-k=4-seed=3-{digest}"
    assert named(_target_="pkpo", k=STEP).startswith("pkpo-k=step-8-1-0.5-seed=3-")
    for path in ("a/b", "x./../y", "a\\b", "a\0b"):  # a name is that of one folder
        assert not {"/", "\\", "\0"} & set(named(_target_=path))


def test_a_long_name_is_cut_and_its_hash_tells_it_apart():
    many = {f"coefficient_{i}": i for i in range(20)}
    names = [named(_target_="mine", **many, last=last) for last in (1, 2)]
    for name in (*names, named(_target_="ü" * 200), named(_target_="mine", k=10**400)):
        assert len(name.encode()) <= naming.LONGEST
        assert "-etc-seed=3-" in name
    assert names[0].startswith("mine-coefficient_0=0-coefficient_1=1-")
    assert names[0] != names[1]


def test_a_key_that_came_later_renames_no_older_run():
    older = {"env": {"id": "pkpo_envs:pkpo/ProblemSet-v0", "kwargs": {}}, "seed": 0}
    now = naming.completed(older)
    assert now["env"]["kwargs"] == {"n_problems": 128, "n_answers": 128, "hard_fraction": 0.75}
    assert now["env"]["wrappers"] == []
    assert naming.compared(now) == naming.compared(older) == older
    now["env"]["kwargs"]["n_answers"] = 64
    assert naming.compared(now)["env"]["kwargs"] == {"n_answers": 64}


def test_the_jobs_of_a_grid_are_all_its_combinations():
    assert naming.combinations(["k=1,2", "seed=range(2)", "x=[3,4]"]) == [
        [f"k={k}", f"seed={seed}", "x=[3,4]"] for k in (1, 2) for seed in (0, 1)
    ]


def test_the_folders_of_a_sweep_are_those_that_its_jobs_write_to():
    name, jobs = naming.sweep_jobs("anneal", overrides=["seed=0,5"])
    assert {job[0] for job in jobs} == {"experiment=anneal"}
    expected = []
    for job in jobs:
        with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
            config = compose("train", job, return_hydra_config=True)
            expected.append(f"{name}/{naming.run_id(_root_=config)}")
    found = [path.as_posix() for path in naming.sweep_folders("anneal", ["seed=0,5"])]
    assert found == expected
    assert len(set(found)) == len(jobs)


@pytest.mark.parametrize("override", ["env=bandit", "+objective.x=1", "~objective.k", "hydra.x=1"])
def test_only_an_override_that_replaces_a_value_is_laid_on_a_config(override):
    parser = OverridesParser.create()
    (other,) = parser.parse_overrides([override])
    assert not naming.sets_a_value(other)
    assert all(map(naming.sets_a_value, parser.parse_overrides(["objective.k=8", "seed=2"])))
