"""SB3's callbacks on its own vector envs, with attempts of many steps."""

import io
from functools import partial

import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from pkpo_sandbox.algorithm.pkpo import PKPO

from .conftest import LENGTH, parameters, same, small, vec_env

SIZES = pytest.mark.parametrize("n_envs", [1, 3])


def iterations(n_envs: int) -> int:
    """Timesteps of an iteration of four attempts, idle columns included."""
    return -(-4 // n_envs) * LENGTH * n_envs


class Note(BaseCallback):
    """Writes down what it is told, and stops at a number of calls."""

    def __init__(self, stop_at: int = -1) -> None:
        super().__init__()
        self.events: list[str] = []
        self.timesteps: list[int] = []
        self.stop_at = stop_at

    def _on_training_start(self):
        self.events.append("training start")

    def _on_rollout_start(self):
        self.events.append("rollout start")

    def _on_step(self):
        self.timesteps.append(self.num_timesteps)
        return self.n_calls != self.stop_at

    def _on_rollout_end(self):
        self.events.append("rollout end")

    def _on_training_end(self):
        self.events.append("training end")


@SIZES
def test_a_callback_is_called_at_every_step_of_the_envs(n_envs):
    note = Note()
    model = small(vec_env("discrete", n_envs)).learn(1, callback=note)
    assert note.timesteps == list(range(n_envs, iterations(n_envs) + 1, n_envs))
    assert model.num_timesteps == iterations(n_envs)
    assert note.events == ["training start", "rollout start", "rollout end", "training end"]


@SIZES
def test_a_callback_sees_what_the_envs_answered(n_envs):
    class Look(BaseCallback):
        def _on_step(self):
            self.seen = {name: np.asarray(self.locals[name]) for name in ("rewards", "dones")}
            infos, ended = self.locals["infos"], self.seen["dones"]
            assert self.locals["new_obs"].shape == (n_envs,)
            assert self.locals["actions"].shape == (n_envs,)
            assert len(infos) == n_envs
            for info, done in zip(infos, ended, strict=True):
                assert ("episode" in info) == ("terminal_observation" in info) == done
            assert ended.all() == (self.n_calls % LENGTH == 0)
            return True

    look = Look()
    small(vec_env("discrete", n_envs)).learn(30, callback=look)
    assert look.seen["rewards"].shape == look.seen["dones"].shape == (n_envs,)


@pytest.mark.parametrize("form", ["function", "object", "list"])
def test_training_stops_at_the_step_at_which_a_callback_says_so(form):
    calls = []

    def stop(variables, _):
        calls.append(variables["self"].num_timesteps)
        return len(calls) < 7

    callback = {"function": stop, "object": Note(stop_at=7), "list": [Note(), Note(stop_at=7)]}
    model = small(vec_env("discrete", 2)).learn(1000, callback=callback[form])
    assert model.num_timesteps == 14
    assert model._n_updates == 0  # an iteration of 20 timesteps was not complete


def test_callbacks_know_the_model_and_nest():
    """A list in a list, and a callback of a callback, which knows whose it is."""
    inner, other = Note(), Note()
    event = EveryNTimesteps(n_steps=4, callback=inner)
    nested = CallbackList([CallbackList([event]), other])
    model = small(vec_env("discrete", 2)).learn(20, callback=nested)
    for each in (nested, event, inner, other):
        assert each.model is model
        assert each.training_env is model.get_env()
        assert each.logger is model.logger
    assert inner.parent is event
    assert (other.n_calls, inner.n_calls) == (10, 5)
    assert inner.events == ["training start"]  # an event tells of no more
    assert other.events[0] == "training start"


def test_an_error_in_a_callback_comes_out_and_the_model_can_be_trained_on(tmp_path):
    def interrupt(local, _):
        if local["self"].num_timesteps == 26:
            raise KeyboardInterrupt
        return True

    model = small(vec_env("discrete", 2))
    with pytest.raises(KeyboardInterrupt):
        model.learn(100, callback=interrupt)
    assert (model.num_timesteps, model._n_updates) == (26, 1)
    model.save(tmp_path / "interrupted")
    loaded = PKPO.load(tmp_path / "interrupted", env=vec_env("discrete", 2), device="cpu")
    for each in (model, loaded):
        each.learn(20, reset_num_timesteps=False)
        assert (each.num_timesteps, each._n_updates) == (46, 2)


@SIZES
def test_a_checkpoint_of_an_unfinished_iteration_can_be_trained_on(n_envs, tmp_path):
    env = VecNormalize(vec_env("box", n_envs))
    callback = CheckpointCallback(3, str(tmp_path), name_prefix="at", save_vecnormalize=True)
    model = small(env).learn(1, callback=callback)
    steps = [3 * n_envs * i for i in range(1, iterations(n_envs) // n_envs // 3 + 1)]
    models = {f"at_{step}_steps.zip" for step in steps}
    statistics = {f"at_vecnormalize_{step}_steps.pkl" for step in steps}
    assert {path.name for path in tmp_path.iterdir()} == models | statistics
    env = VecNormalize.load(str(tmp_path / f"at_vecnormalize_{steps[-1]}_steps.pkl"), env.venv)
    assert env.obs_rms.count == pytest.approx(steps[-1] + n_envs, abs=1e-3)  # and the first reset
    loaded = PKPO.load(tmp_path / f"at_{steps[-1]}_steps.zip", env=env, device="cpu")
    assert loaded.num_timesteps == steps[-1] < model.num_timesteps
    loaded.learn(1, reset_num_timesteps=False)
    assert loaded.num_timesteps == steps[-1] + iterations(n_envs)


@SIZES
def test_evaluation_writes_its_results_and_logs_them_at_their_timestep(
    n_envs, tmp_path, logger, rows
):
    evaluate = EvalCallback(
        vec_env("discrete", n_envs),
        n_eval_episodes=6,
        eval_freq=4,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        deterministic=True,
        verbose=0,
    )
    model = small(vec_env("discrete", n_envs))
    model.set_logger(logger)
    model.learn(3 * iterations(n_envs), callback=evaluate, log_interval=1)
    at = list(range(4 * n_envs, model.num_timesteps + 1, 4 * n_envs))
    written = np.load(tmp_path / "evaluations.npz")
    assert written["timesteps"].tolist() == at
    assert written["results"].shape == written["ep_lengths"].shape == (len(at), 6)
    assert (written["ep_lengths"] == LENGTH).all()
    means = written["results"].mean(axis=1).tolist()
    logged = {
        step: row["eval/mean_reward"]
        for step, row in zip(rows.steps, rows.rows, strict=True)
        if "eval/mean_reward" in row
    }
    assert logged == pytest.approx(dict(zip(at, means, strict=True)))
    assert evaluate.best_mean_reward == max(means)
    best = PKPO.load(tmp_path / "best_model.zip", device="cpu")
    assert best.num_timesteps == at[int(np.argmax(means))]


def test_successes_are_logged_in_training_and_evaluation(logger, rows):
    flipping = partial(BitFlippingEnv, n_bits=2, max_steps=3)
    env = make_vec_env(flipping, 2, seed=0)
    model = small(env, "MultiInputPolicy", group_size=8)
    model.set_logger(logger)
    callback = EvalCallback(make_vec_env(flipping, 1), n_eval_episodes=4, eval_freq=20, verbose=0)
    model.learn(60, callback=callback, log_interval=1)
    for key in ("rollout/success_rate", "eval/success_rate"):
        assert rows.column(key), key
        assert all(0 <= rate <= 1 for rate in rows.column(key))
    assert max(rows.column("rollout/success_rate")) > 0


def test_training_stops_when_evaluations_improve_no_more_or_are_good_enough():
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=2, min_evals=1)
    evaluate = EvalCallback(
        vec_env("discrete", 1), callback_after_eval=stop, eval_freq=5, n_eval_episodes=1, verbose=0
    )
    evaluate.best_mean_reward = 100.0  # which no evaluation reaches
    model = small(vec_env("discrete", 1)).learn(1000, callback=evaluate)
    assert model.num_timesteps == 5 * 4  # one does not count, two may be in vain, the next is not
    evaluate = EvalCallback(
        vec_env("discrete", 2),
        callback_on_new_best=StopTrainingOnRewardThreshold(-1.0),  # which every one reaches
        eval_freq=6,
        verbose=0,
    )
    assert small(vec_env("discrete", 2)).learn(1000, callback=evaluate).num_timesteps == 12


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
def test_an_evaluation_needs_the_wrappers_of_training():
    """SB3's ``sync_envs_normalization`` asks for them at the first evaluation."""
    plain = EvalCallback(vec_env("box", 1), eval_freq=3, verbose=0)
    with pytest.raises(AssertionError, match="not being wrapped the same way"):
        small(VecNormalize(vec_env("box", 1))).learn(10, callback=plain)
    with pytest.raises(AssertionError, match="must be used with an"):
        # It compares the evaluations of the EvalCallback that it belongs to.
        small(vec_env("box", 1)).learn(10, callback=StopTrainingOnNoModelImprovement(2))


def test_what_follows_an_evaluation_may_stop_training():
    calls: list[int] = []

    class Once(BaseCallback):
        def _on_step(self):
            calls.append(self.num_timesteps)
            assert self.parent is evaluate
            assert self.locals["self"] is self.model
            return False

    evaluate = EvalCallback(
        vec_env("discrete", 2), eval_freq=4, callback_after_eval=Once(), verbose=0
    )
    model = small(vec_env("discrete", 2)).learn(100, callback=evaluate)
    assert calls == [8] == [model.num_timesteps]


@SIZES
def test_training_stops_at_a_number_of_episodes_of_all_envs(n_envs):
    model = small(vec_env("discrete", n_envs))
    model.learn(10_000, callback=StopTrainingOnMaxEpisodes(max_episodes=6))
    assert model.num_timesteps == 6 * LENGTH * n_envs


@SIZES
def test_every_so_many_timesteps_is_counted_over_iterations(n_envs):
    note = Note()
    model = small(vec_env("discrete", n_envs))
    model.learn(150, callback=EveryNTimesteps(n_steps=33, callback=note))
    gaps = np.diff([0, *note.timesteps])
    assert len(note.timesteps) == model.num_timesteps // gaps.max()
    assert set(gaps) == {-(-33 // n_envs) * n_envs}


@SIZES
def test_the_log_may_be_written_before_an_iteration_has_ended(n_envs, logger, rows):
    model = small(vec_env("discrete", n_envs))
    model.set_logger(logger)
    every = 2 * n_envs
    model.learn(40, callback=LogEveryNTimesteps(every), log_interval=None)
    assert rows.steps == list(range(every, model.num_timesteps + 1, every))
    assert not any(key.startswith("rollout/") for key in rows.rows[0])
    assert {"rollout/ep_rew_mean", "rollout/max_at_4"} <= rows.rows[-1].keys()


def test_a_loaded_model_may_stop_before_its_first_iteration_has_ended(logger, rows):
    env = vec_env("discrete", 2)
    file = io.BytesIO()
    small(env).learn(40).save(file)
    for total, callback, timesteps in ((0, None, 40), (40, lambda *_: False, 42)):
        file.seek(0)
        loaded = PKPO.load(file, env=env, device="cpu")
        loaded.set_logger(logger)
        loaded.learn(total, callback=callback, reset_num_timesteps=False)
        assert loaded.num_timesteps == timesteps


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")  # SB3's bar is tqdm.rich
def test_the_progress_bar_counts_timesteps(capsys):
    bar = ProgressBarCallback()
    model = small(vec_env("discrete", 3)).learn(60, callback=bar)
    assert (bar.pbar.n, bar.pbar.total) == (60, 60)
    assert model.num_timesteps == 60
    capsys.readouterr()
    model.learn(60, progress_bar=True)
    assert "60/60" in capsys.readouterr().out


def test_a_second_training_tells_the_callbacks_from_where_it_goes_on():
    note = Note()
    model = small(vec_env("discrete", 2)).learn(20)
    model.learn(20, callback=CallbackList([note]), reset_num_timesteps=False)
    assert note.timesteps == list(range(22, 41, 2))


@pytest.mark.slow
@SIZES
@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")  # on purpose
def test_subprocesses_train_as_envs_of_this_process_do(n_envs, tmp_path):
    env = make_vec_env("CartPole-v1", n_envs, seed=0, vec_env_cls=SubprocVecEnv)
    try:
        evaluate = EvalCallback(
            make_vec_env("CartPole-v1", 2, seed=9), eval_freq=20, deterministic=True, verbose=0
        )
        model = small(env).learn(100, callback=evaluate)
        twin = small(make_vec_env("CartPole-v1", n_envs, seed=0)).learn(100)
        assert evaluate.last_mean_reward > 1
        assert model.num_timesteps == twin.num_timesteps >= 100
        assert same(parameters(model.policy), parameters(twin.policy))
        model.save(tmp_path / "model.zip")
        loaded = PKPO.load(tmp_path / "model.zip", env=env, device="cpu")
        loaded.learn(50, reset_num_timesteps=False)
        assert loaded.num_timesteps >= model.num_timesteps + 50
        assert not same(parameters(loaded.policy), parameters(model.policy))
    finally:
        env.close()
