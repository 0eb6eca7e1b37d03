"""What a command line means that Hydra alone would not take, and hints where it cannot be meant."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

#: Hydra's options that take a value
VALUED = {
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--package", "-p", "--cfg", "-c", "--experimental-rerun"),
}

#: what conf/train.yaml and conf/gemma2.yaml say of folders, for a config that has been saved
OF_A_COMMAND = (
    "hydra.run.dir=runs/${name}/${run_id:}",
    "hydra.sweep.dir=runs/${name}",
    "hydra.sweep.subdir=${run_id:}",
    "hydra.output_subdir=null",
    "hydra/job_logging=stdout",
    "+hydra.callbacks.journal._target_=pkpo_sandbox.runs.journal.Journal",
    "++if_code_changed=null",
)


def prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command as Hydra takes them.

    Options may stand anywhere: Hydra's parser wants all overrides in one row. A saved config, as
    ``--config-dir RUN --config-name config`` names one, gets the folders of the command.
    """
    options, overrides = apart(arguments)
    added = OF_A_COMMAND if is_saved(options) else ()
    return [*options, *added, *overrides]


def apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's options with their values, and the overrides."""
    options: list[str] = []
    overrides: list[str] = []
    before = ""
    for argument in arguments:
        is_value = before in VALUED or (before in ("--info", "-i") and "=" not in argument)
        is_option = argument.startswith("-") and not is_value
        (options if is_option or is_value else overrides).append(argument)
        before = argument if is_option else ""
    return options, overrides


def is_saved(options: Sequence[str]) -> bool:
    """Whether the config that the options name is one that a run has left."""
    folder, name = (
        value_of(options, "--config-dir", "-cd"),
        value_of(options, "--config-name", "-cn"),
    )
    if folder is None or name is None:
        return False
    try:
        config = OmegaConf.load(Path(folder, name).with_suffix(".yaml"))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException):
        return False  # Hydra says what is wrong with it
    return "objective" in config and "seed" in config and not {"defaults", "hydra"} & set(config)


def value_of(options: Sequence[str], *names: str) -> str | None:
    """The value of an option, given as ``--name value`` or ``--name=value``."""
    for place, option in enumerate(options):
        name, equals, value = option.partition("=")
        if name in names:
            return value if equals else next(iter(options[place + 1 :]), None)
    return None


def hint(error: Any) -> str | None:
    """What to do about an error of Hydra's, where it would send the user the wrong way."""
    found = re.match(r"Could not override 'objective\.(\w+)'", str(error))
    if found is None:
        return None
    key = found[1]
    return (
        f"The objective has no {key}. Where several objectives are swept, give {key} to those that "
        f"have it in a command of their own, such as: pkpo-train -m objective=pkpo "
        f"objective.k=2,4 and then: pkpo-train objective=rloo. Their runs lie in one folder."
    )
