"""Saving and loading: every form of SB3's, and training continues exactly after a load."""

import io
import sys
import zipfile
from types import ModuleType

import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.policies import ActorPolicy

from .conftest import ENVS, parameters, same, small, vec_env

OBSERVATIONS = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 4)).astype(np.float32)


def cartpole(n_envs: int = 2, seed: int = 0):
    return make_vec_env("CartPole-v1", n_envs, seed=seed)


def predictions(model, deterministic: bool) -> list[int]:
    torch.manual_seed(3)
    return model.predict(OBSERVATIONS, deterministic=deterministic)[0].tolist()


def through_memory(model, **kwargs) -> PKPO:
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return type(model).load(file, device="cpu", **kwargs)


# Forms of files


@pytest.mark.parametrize("form", ["string", "string without suffix", "path", "file", "memory"])
def test_a_model_is_saved_to_and_loaded_from(form, tmp_path):
    model = small(cartpole()).learn(100)
    path = tmp_path / "model.zip"
    if form.startswith("string"):
        name = str(path if form == "string" else path.with_suffix(""))
        model.save(name)
        loaded = PKPO.load(name, device="cpu")
    elif form == "path":
        model.save(path)
        loaded = PKPO.load(path, device="cpu")
    elif form == "file":
        with path.open("wb") as file:
            model.save(file)
        with path.open("rb") as file:
            loaded = PKPO.load(file, device="cpu")
    else:
        loaded = through_memory(model)
    assert path.exists() or form == "memory"
    assert same(parameters(loaded.policy), parameters(model.policy))
    for deterministic in (True, False):
        assert predictions(loaded, deterministic) == predictions(model, deterministic)
    assert len(set(predictions(loaded, False))) == 2


def test_a_file_holds_neither_the_env_nor_the_logger(tmp_path):
    model = small(cartpole()).learn(50)
    model.save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert {"data", "policy.pth", "policy.optimizer.pth"} <= set(archive.namelist())
        data = archive.read("data").decode()
    for left_out in ('"env"', '"_logger"', '"_window"', '"policy"', '"device"'):
        assert left_out not in data
    assert '"k"' in data
    assert model.env is not None


@pytest.mark.parametrize("kind", ENVS)
def test_models_of_every_space_are_loaded_with_their_spaces(kind):
    model = small(vec_env(kind, 2), ENVS[kind][0]).learn(30)
    loaded = through_memory(model, env=vec_env(kind, 2))
    assert loaded.observation_space == model.observation_space
    assert loaded.action_space == model.action_space
    assert same(parameters(loaded.policy), parameters(model.policy))
    loaded.learn(30, reset_num_timesteps=False)
    assert loaded.num_timesteps > model.num_timesteps


def test_the_versions_of_saving_and_loading_can_be_shown(tmp_path, capsys):
    small(cartpole()).save(tmp_path / "model.zip")
    PKPO.load(tmp_path / "model.zip", device="cpu", print_system_info=True)
    printed = capsys.readouterr().out
    assert "CURRENT SYSTEM INFO" in printed
    assert "SAVED MODEL SYSTEM INFO" in printed


def test_a_folder_that_is_not_there_is_made_and_another_suffix_is_kept(tmp_path):
    model = small(cartpole())
    with pytest.warns(UserWarning, match="does not exist. Will create it"):
        model.save(tmp_path / "new" / "folder" / "model")
    assert (tmp_path / "new" / "folder" / "model.zip").exists()
    model.save(tmp_path / "model.pkpo")
    assert PKPO.load(tmp_path / "model.pkpo", device="cpu").k == model.k


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        PKPO.load(tmp_path / "nothing")
    (tmp_path / "text.zip").write_text("not a model")
    with pytest.raises(ValueError, match="wasn't a zip-file"):
        PKPO.load(tmp_path / "text.zip")


def test_attributes_are_left_out_and_taken_in_by_name(tmp_path):
    model = small(cartpole(), learning_rate=7e-3, gamma=0.9).learn(50)
    model.save(tmp_path / "model", exclude=["gamma", "ep_info_buffer"], include=["ep_info_buffer"])
    loaded = PKPO.load(tmp_path / "model", device="cpu")
    assert loaded.gamma == 1.0  # the default
    assert loaded.learning_rate == 7e-3
    assert list(loaded.ep_info_buffer) == list(model.ep_info_buffer) != []
    kept = {"policy", "policy.optimizer"}
    assert loaded.get_parameters().keys() == kept


def test_a_model_is_loaded_as_rl_zoo_loads_it(tmp_path):
    """Without the schedules, which it needs for training only: a rate and a clip range of 0."""
    for number, settings in enumerate(({}, {"clip_range": 0.2, "n_epochs": 2})):
        model = small(cartpole(), learning_rate=LinearSchedule(1e-2, 1e-3, 1.0), **settings)
        model.learn(100).save(tmp_path / str(number))
        replaced = {"learning_rate": 0.0, "lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0}
        for env in (None, cartpole(1, seed=5)):
            loaded = PKPO.load(
                tmp_path / str(number), env=env, custom_objects=replaced, device="cpu", seed=3
            )
            assert same(parameters(loaded.policy), parameters(model.policy))
            assert predictions(loaded, True) == predictions(model, True)


# Going on


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("clip", [{}, {"clip_range": 0.2, "n_epochs": 3}])
def test_a_loaded_model_takes_the_very_same_next_updates(n_envs, clip):
    settings = {"learning_rate": LinearSchedule(1e-2, 1e-4, 1.0), "ent_coef": 0.01, **clip}
    model = small(cartpole(n_envs), **settings).learn(200)
    loaded = through_memory(model, env=cartpole(n_envs))
    before = parameters(model.policy)
    for each in (model, loaded):
        each.set_random_seed(7)
        each.learn(200, reset_num_timesteps=False)
    assert not same(parameters(model.policy), before)
    assert same(parameters(model.policy), parameters(loaded.policy))
    assert (model.num_timesteps, model._n_updates) == (loaded.num_timesteps, loaded._n_updates)


def test_without_the_optimizers_state_the_next_update_is_another():
    # So the test above would notice were it lost.
    model = small(cartpole()).learn(200)
    fresh = small(cartpole())
    fresh.policy.load_state_dict(model.policy.state_dict())
    for each in (model, fresh):
        each.set_random_seed(7)
        each.learn(1)
    assert not same(parameters(model.policy), parameters(fresh.policy))


def test_counters_and_schedules_go_on_or_start_anew(rows):
    # One-step episodes, four an iteration; the rate is that of the progress after them.
    env = vec_env("discrete", 4)
    for each in env.envs:
        each.unwrapped.ep_length = 1
    model = small(env, learning_rate=LinearSchedule(1.0, 0.0, 1.0)).learn(8)
    assert (model.num_timesteps, model._n_updates) == (8, 2)
    for loaded, reset, timesteps, rates in (
        (through_memory(model, env=env), False, [12, 16], [1 - 12 / 16, 0]),
        (through_memory(model, env=env), True, [4, 8], [1 / 2, 0]),
        (model, False, [12, 16], [1 - 12 / 16, 0]),
    ):
        rows.rows.clear()
        loaded.set_logger(Logger(None, [rows]))
        loaded.learn(8, reset_num_timesteps=reset, log_interval=1)
        assert rows.column("time/total_timesteps") == timesteps
        assert rows.column("train/learning_rate") == pytest.approx(rates)
        assert rows.column("train/n_updates") == [3, 4]


def test_lambdas_are_saved_as_schedules():
    model = small(
        cartpole(),
        k=lambda remaining: 4 if remaining > 0.5 else 1,
        learning_rate=lambda remaining: 1e-3 * remaining,
        clip_range=lambda remaining: 0.1 + 0.1 * remaining,
        ent_coef=lambda remaining: 0.02 * remaining,
    )
    loaded = through_memory(model, env=cartpole())
    assert (loaded.k(1.0), loaded.k(0.0)) == (4, 1)
    assert loaded.lr_schedule(0.5) == 5e-4
    assert loaded.clip_range(0.5) == pytest.approx(0.15)
    assert loaded.ent_coef(0.5) == 0.01
    loaded.learn(100)
    assert loaded.policy.optimizer.param_groups[0]["lr"] == 0


@pytest.mark.parametrize(("saved", "loaded"), [(1, 4), (4, 1), (3, 2)])
def test_the_number_of_envs_may_change_when_loading_but_not_later(saved, loaded):
    model = through_memory(small(cartpole(saved)).learn(50), env=cartpole(loaded))
    assert model.n_envs == model.get_env().num_envs == loaded
    model.learn(50, reset_num_timesteps=False)
    assert model._last_obs.shape == (loaded, 4)
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(cartpole(saved))


def test_a_model_loaded_without_an_env_predicts_and_trains_once_it_has_one():
    model = through_memory(small(cartpole()).learn(50))
    assert model.get_env() is None
    assert model.predict(OBSERVATIONS[0])[0].shape == ()
    model.set_env(cartpole())
    before = model.num_timesteps
    assert model.learn(50, reset_num_timesteps=False).num_timesteps > before


def test_an_env_of_other_spaces_is_refused(tmp_path):
    model = small(cartpole())
    model.save(tmp_path / "model.zip")
    for other, message in (
        (vec_env("box", 2), "Observation spaces do not match"),
        (make_vec_env("Acrobot-v1", 2), "Observation spaces do not match"),
    ):
        with pytest.raises(ValueError, match=message):
            PKPO.load(tmp_path / "model.zip", env=other)
        with pytest.raises(ValueError, match=message):
            model.set_env(other)


def test_setting_an_env_starts_it_afresh():
    model = small(cartpole(2)).learn(50)
    other = VecNormalize(cartpole(2), norm_reward=False)
    model.set_env(other)
    assert model._last_obs is None
    assert model.get_env() is other
    assert model.get_vec_normalize_env() is other
    model.learn(50, reset_num_timesteps=False)
    assert other.obs_rms.count > 50
    model.set_env(cartpole(2))
    assert model.get_vec_normalize_env() is None


def test_an_env_may_be_gone_on_with_or_reset(tmp_path):
    """``force_reset=False`` leaves the env's reset to training, and is no error."""
    env = cartpole()
    model = small(env).learn(50)
    model.save(tmp_path / "model")
    saved_at = model.num_timesteps
    for force in (True, False):
        loaded = PKPO.load(tmp_path / "model", env=env, force_reset=force, device="cpu")
        loaded.learn(50, reset_num_timesteps=False)
        assert loaded.num_timesteps >= saved_at + 50
        model.set_env(cartpole(seed=4), force_reset=force)
        model.learn(50)


# Changing what is loaded


def test_objects_can_be_replaced_when_loading():
    model = small(cartpole(), learning_rate=LinearSchedule(1e-2, 0.0, 1.0))
    replaced = through_memory(model, custom_objects={"learning_rate": 2e-3, "k": 3})
    assert replaced.lr_schedule(0.1) == 2e-3
    assert replaced.k == 3


def test_an_object_that_cannot_be_read_any_more_can_be_replaced(tmp_path):
    module = ModuleType("module_of_yesterday")
    exec("class Rate:\n def __call__(self, remaining):\n  return 1e-3", module.__dict__)
    sys.modules[module.__name__] = module
    path = tmp_path / "model.zip"
    try:
        small(cartpole(), learning_rate=module.Rate()).save(path)
        assert PKPO.load(path, device="cpu").learning_rate(1.0) == 1e-3
        del module.Rate
        with pytest.warns(UserWarning, match="Could not deserialize object l"):
            PKPO.load(path, device="cpu")
        custom = {"learning_rate": 5e-3, "lr_schedule": None}  # made from the learning rate
        loaded = PKPO.load(path, device="cpu", custom_objects=custom)
    finally:
        del sys.modules[module.__name__]
    assert loaded.lr_schedule(1.0) == 5e-3


def test_settings_change_by_keyword_but_not_the_network():
    model = small(cartpole())
    loaded = through_memory(model, learning_rate=7e-3, policy_kwargs={"net_arch": [8]}, verbose=0)
    assert loaded.lr_schedule(1.0) == 7e-3
    with pytest.raises(ValueError, match="policy kwargs do not equal the stored"):
        through_memory(model, policy_kwargs={"net_arch": [16]})


@pytest.mark.parametrize("exact_match", [True, False])
def test_parameters_are_set_from_a_file_as_well(exact_match, tmp_path):
    model, other = small(cartpole()).learn(100), small(cartpole(), seed=9)
    model.save(tmp_path / "model.zip")
    assert not same(parameters(model.policy), parameters(other.policy))
    other.set_parameters(str(tmp_path / "model.zip"), exact_match=exact_match, device="cpu")
    assert same(parameters(model.policy), parameters(other.policy))
    counts = [set_of["step"].item() for set_of in other.policy.optimizer.state.values()]
    assert set(counts) == {model._n_updates}


def test_parameters_must_be_complete_where_they_are_to_match_exactly():
    model = small(cartpole()).learn(50)
    given = model.get_parameters()
    assert given.keys() == {"policy", "policy.optimizer"}
    other = small(cartpole(), seed=9)
    with pytest.raises(ValueError, match="do not match agents' parameters"):
        other.set_parameters({"policy": given["policy"]})
    with pytest.raises(ValueError, match="Key critic is an invalid object name"):
        other.set_parameters({**given, "critic": {}})
    part = {"action_net.bias": given["policy"]["action_net.bias"] + 1}
    with pytest.raises(RuntimeError, match="Missing key"):
        other.set_parameters({**given, "policy": part})
    kept = parameters(other.policy)["action_net.weight"]
    other.set_parameters({"policy": part}, exact_match=False)
    assert parameters(other.policy)["action_net.bias"].equal(part["action_net.bias"])
    assert parameters(other.policy)["action_net.weight"].equal(kept)


class Wide(ActorPolicy):
    """A policy class of one's own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "net_arch": [5], "activation_fn": nn.ELU})


@pytest.mark.parametrize(
    ("policy", "policy_kwargs"),
    [
        (Wide, {}),
        ("MlpPolicy", {"net_arch": None}),
        ("MlpPolicy", {"net_arch": []}),
        ("MlpPolicy", {"net_arch": {"pi": [3], "vf": [7]}, "ortho_init": False}),
        ("MlpPolicy", {"optimizer_class": torch.optim.RMSprop, "optimizer_kwargs": {"alpha": 0.9}}),
    ],
)
def test_policies_of_any_shape_come_back(policy, policy_kwargs):
    given = dict(policy_kwargs)
    model = small(cartpole(), policy, policy_kwargs=policy_kwargs).learn(50)
    assert policy_kwargs == given
    loaded = through_memory(model, env=cartpole())
    assert type(loaded.policy) is type(model.policy)
    assert str(loaded.policy) == str(model.policy)
    assert type(loaded.policy.optimizer) is type(model.policy.optimizer)
    assert predictions(loaded, True) == predictions(model, True)
    loaded.learn(50)


def test_a_general_algorithms_transform_is_saved_even_if_it_is_local():
    def best(returns: torch.Tensor) -> torch.Tensor:
        return (returns == returns.amax(-1, keepdim=True)).to(returns)

    model = GroupPolicyGradient("MlpPolicy", cartpole(), best, group_size=2, n_groups=1)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = GroupPolicyGradient.load(file, device="cpu")
    assert loaded.transform(torch.tensor([[1.0, 3.0]])).tolist() == [[0.0, 1.0]]


def test_a_model_of_many_attempts_is_loaded_onto_an_id(tmp_path):
    model = PKPO("MlpPolicy", "CartPole-v1", n_groups=20, group_size=16, device="cpu")
    model.save(tmp_path / "model")
    loaded = PKPO.load(tmp_path / "model", env="CartPole-v1", device="cpu")
    assert loaded.learn(1).num_timesteps >= 20 * 16 * 8  # each pole stands for 8 steps at least
