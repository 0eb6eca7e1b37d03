"""Whether the run in a folder is a job's own, and made by the code that is here now."""

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
from pkpo_sandbox.runs.naming import compared

SHOWN = 3  #: differences that an error names


@dataclass(frozen=True)
class Wanted:
    """The run that a job asks for.

    :param config: of the job, in plain containers
    :param text: the same as YAML
    :param code: as from :func:`pkpo_sandbox.runs.fingerprint.fingerprint`
    :param if_code_changed: what to do with what other code of the user's made: "keep" it, "train"
        in its place, or None to refuse
    """

    config: dict[str, Any]
    text: str
    code: dict[str, Any]
    if_code_changed: str | None = None


def finished(folder: Path, wanted: Wanted, held: bool = False) -> dict[str, Any] | None:
    """The summary of the finished run in a folder, None if there is none to be had as it is.

    :param held: whether this process holds the folder, and so may change it
    :raises UnusableConfigError: if the run has another config, or was made by other code of the
        user's and nothing says what to do about that
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
    if wanted.if_code_changed == "train":
        if held:
            (folder / SUMMARY).unlink()
            remove_checkpoints(folder)
        return None
    summary = {**summary, "code": wanted.code}
    if held:
        write_summary(folder, summary)
    return summary if held else None


def check_unfinished(folder: Path, wanted: Wanted) -> None:
    """Refuse to go on from the checkpoint of another job, or of other code.

    The process holds the folder.

    :raises UnusableConfigError: as :func:`finished` does
    """
    if not checkpoints(folder):
        return
    stored = read_config(folder)
    if stored is not None:
        refuse_other(folder, "began", stored, wanted.config)
    changed = changed_code(read_started(folder), wanted.code)
    if changed and wanted.if_code_changed is None:
        raise UnusableConfigError(told(folder, "began", changed))
    if changed and wanted.if_code_changed == "train":
        remove_checkpoints(folder)


def checkpoints(folder: Path) -> list[Path]:
    """What a run can go on from: the file of ``pkpo-train``, the folders of ``pkpo-gemma2``."""
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
    """Raise an error unless a folder's config is the job's, but for what changes no result."""
    there, here = flat(compared(stored)), flat(compared(config))
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if not keys:
        return
    shown = [f"{key}={here.get(key, 'none')} (there {there.get(key, 'none')})" for key in keys]
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    raise UnusableConfigError(
        f"{folder} holds another run, which {state} there. This job has {', '.join(shown[:SHOWN])}"
        f"{more}: give it a folder of its own (by default each run has one; a sweep's "
        "hydra.sweep.subdir must differ from job to job), or move that run away"
    )


def changed_code(stored: Mapping[str, Any], code: Mapping[str, Any]) -> list[str]:
    """The user's modules that are not what they were; none if nothing was noted of them."""
    then = stored.get("code")
    return [] if not isinstance(then, Mapping) else changes(then.get("own", {}), code["own"])


def told(folder: Path, state: str, changed: list[str]) -> str:
    verb = "keeps its result" if state == "finished" else "goes on from its checkpoint"
    return (
        f"{folder} {state} before {', '.join(changed)} changed: start again with "
        f"if_code_changed=train, which trains it anew and replaces it, or with "
        f"if_code_changed=keep, which {verb}"
    )


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested config as {"objective.k": "4"}; the values are JSON."""
    values: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = json.dumps(value, sort_keys=True, default=str)
    return values


def read_config(folder: Path) -> dict[str, Any] | None:
    """The config of a run that began in a folder, None if it is not there or damaged."""
    try:
        config = OmegaConf.load(folder / "config.yaml")
        return resolved(config)  # type: ignore[arg-type]
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, AttributeError):
        return None


def read_started(folder: Path) -> dict[str, Any]:
    """What a run noted of itself when it began."""
    try:
        return json.loads((folder / STARTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
