"""Checks whether the run in a folder has a job's config and was made by the current code."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pkpo_sandbox.runs.config import UnusableConfigError, readable, resolved
from pkpo_sandbox.runs.fingerprint import changes
from pkpo_sandbox.runs.folder import CHECKPOINT, STARTED, SUMMARY, read_summary, write_summary
from pkpo_sandbox.runs.locks import is_main_process
from pkpo_sandbox.runs.naming import compared

SHOWN = 3  #: how many differences an error names


@dataclass(frozen=True)
class Wanted:
    """The run that a job asks for.

    :param config: the job's config, in plain containers
    :param text: the same config as YAML
    :param code: from :func:`pkpo_sandbox.runs.fingerprint.fingerprint`
    :param if_code_changed: what to do with a run that the user's code made before it changed:
        "keep" it, "train" again, or None for an error
    """

    config: dict[str, Any]
    text: str
    code: dict[str, Any]
    if_code_changed: str | None = None


def finished(folder: Path, wanted: Wanted, held: bool = False) -> dict[str, Any] | None:
    """The summary of the finished run in a folder. None if there is none that can be used.

    :param held: whether this process has locked the folder and may change it
    :raises UnusableConfigError: if the run has another config, or the user's code has changed since
        and ``if_code_changed`` is None
    """
    with readable(ValueError):
        summary = read_summary(folder)
    if summary is None:
        return None
    if not isinstance(summary, dict) or not isinstance(summary.get("config"), dict):
        raise UnusableConfigError(
            f"{folder / SUMMARY} is damaged: delete it and train the run again"
        )
    refuse_other(folder, "finished", summary["config"], wanted.config)
    changed = changed_code(summary, wanted.code)
    if not changed:
        return summary
    if wanted.if_code_changed is None:
        raise UnusableConfigError(told(folder, "finished", changed))
    if not held:
        return None
    if wanted.if_code_changed == "train":
        if is_main_process():
            (folder / SUMMARY).unlink(missing_ok=True)
            remove_checkpoints(folder)
        return None
    summary = {**summary, "code": wanted.code}
    if is_main_process():
        write_summary(folder, summary)
    return summary


def check_unfinished(folder: Path, wanted: Wanted) -> None:
    """Raise an error if the folder's checkpoint belongs to another job or to changed code.

    This process must hold the lock of the folder.

    :raises UnusableConfigError: in the same cases as :func:`finished`
    """
    if not checkpoints(folder):
        return
    stored = read_config(folder)
    if stored is not None:
        refuse_other(folder, "began", stored, wanted.config)
    changed = changed_code(read_started(folder), wanted.code)
    if changed and wanted.if_code_changed is None:
        raise UnusableConfigError(told(folder, "began", changed))
    if changed and wanted.if_code_changed == "train" and is_main_process():
        remove_checkpoints(folder)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run: a file of ``pkpo-train``, or folders of ``pkpo-gemma2``."""
    folders = sorted((folder / "checkpoints").glob("checkpoint-*"))
    return [path for path in (folder / CHECKPOINT, *folders) if path.exists()]


def remove_checkpoints(folder: Path) -> None:
    for path in checkpoints(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def refuse_other(
    folder: Path, state: str, stored: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Raise an error if a folder's config differs from the job's in a key that changes results."""
    there, here = flat(compared(stored)), flat(compared(config))
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if not keys:
        return
    shown = [f"{key}={here.get(key, 'none')} (there {there.get(key, 'none')})" for key in keys]
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    raise UnusableConfigError(
        f"{folder} holds another run, which {state} there. This job has {', '.join(shown[:SHOWN])}"
        f"{more}: give this job another folder (by default each run has its own; a sweep's "
        "hydra.sweep.subdir must differ from job to job), or move that run away"
    )


def changed_code(stored: Mapping[str, Any], code: Mapping[str, Any]) -> list[str]:
    """The user's modules that have changed. None have if nothing was stored about them."""
    then = stored.get("code")
    return [] if not isinstance(then, Mapping) else changes(then.get("own", {}), code["own"])


def told(folder: Path, state: str, changed: list[str]) -> str:
    verb = "keeps its result" if state == "finished" else "continues from its checkpoint"
    return (
        f"{folder} {state} before {', '.join(changed)} changed: start again with "
        f"if_code_changed=train, which trains it again and replaces it, or with "
        f"if_code_changed=keep, which {verb}"
    )


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested config as a flat one, {"objective.k": "4"}, with values in JSON."""
    values: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = json.dumps(value, sort_keys=True, default=str)
    return values


def read_config(folder: Path) -> dict[str, Any] | None:
    """The config of a run that was started in a folder. None if it is missing or damaged."""
    try:
        config = OmegaConf.load(folder / "config.yaml")
        return resolved(config)  # type: ignore[arg-type]
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, AttributeError):
        return None


def read_started(folder: Path) -> dict[str, Any]:
    """The versions and code hashes that a run stored when it started."""
    try:
        return json.loads((folder / STARTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
