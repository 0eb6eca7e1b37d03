"""The layers of a config: the files that Hydra merged, who chose them, and the overrides.

Hydra does not keep this information, so its defaults list is computed again. That uses internal
functions of Hydra, so pyproject.toml limits Hydra's version.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import Overrides, _create_defaults_list
from hydra.core.default_element import (
    DefaultsTreeNode,
    GroupDefault,
    InputDefault,
    ResultDefault,
)
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pkpo_sandbox.runs.config import NOT_IN_HASH, UnusableConfigError
from pkpo_sandbox.runs.console import say
from pkpo_sandbox.runs.sources import AMENDED, Composition, Key, Source, dotted

APPS = ("train", "gemma2")  #: the primary configs of the commands; their choices are defaults

_last: tuple[Any, tuple[str, ...], Composition] | None = (
    None  # a cache: each job needs its composition twice
)


def composition(hydra: DictConfig) -> Composition | None:
    """How a config was composed. None if Hydra did not compose it in this process.

    :param hydra: Hydra's own part of the config
    """
    global _last
    if not GlobalHydra.instance().is_initialized():
        return None
    loader = GlobalHydra.instance().config_loader()
    name = hydra.job.config_name
    overrides = written(hydra, "hydra") + written(hydra, "task")
    asked = name, *overrides
    if _last is None or _last[0] is not loader or _last[1] != asked:
        assert isinstance(loader, ConfigLoaderImpl)
        _last = loader, asked, Layers.read(loader, name, overrides).composed()
    return _last[2]


def written(hydra: DictConfig, kind: Literal["hydra", "task"] = "task") -> list[str]:
    """The overrides as on the command line, with interpolations unresolved."""
    entries: Any = OmegaConf.to_container(hydra.overrides[kind], resolve=False)
    return [str(entry) for entry in entries]


def refuse_losses(config: DictConfig, hydra: DictConfig) -> None:
    """Raise an error if a value or a choice that the user gave would have no effect.

    :raises UnusableConfigError: it names both sources of the value, and a correction
    """
    composed = composition(hydra)
    if composed is None:
        return
    if composed.clashes:
        raise UnusableConfigError(". ".join(dict.fromkeys(composed.clashes)))
    if config.get("measure") is not None:
        refuse_idle(config, composed)


def settled(config: DictConfig, hydra: DictConfig) -> DictConfig:
    """The config of a job, without the arguments of a default function that the user replaced.

    Example: ``objective._target_=my_module.my_function`` replaces ``pkpo``. Then the defaults ``k``
    and ``baseline`` of ``pkpo`` are dropped: they are not arguments of that function.
    """
    composed = composition(hydra)
    if composed is None or not composed.unused:
        return config
    config = copy.deepcopy(config)
    with open_dict(config):
        for key in composed.unused:
            node = OmegaConf.select(config, dotted(key[:-1]))
            if node is not None and key[-1] in node:
                del node[key[-1]]
    return config


def refuse_idle(config: DictConfig, composed: Composition) -> None:
    """Raise an error for settings that a run with ``measure`` does not use.

    ``seed`` and ``total_timesteps`` are no error, because a script may set both for all
    experiments. A message is printed that they change nothing.
    """
    idle: dict[str, Key] = {}
    for key, leaf in composed.leaves.items():
        given = leaf.source.explicit and (leaf.source.key or leaf.source.group)
        if given and key[0] not in ("measure", *NOT_IN_HASH) and not feeds(config, key):
            idle[leaf.source.text] = key
    what = "this run measures, and trains nothing"
    for text in [text for text, key in idle.items() if key in (("seed",), ("total_timesteps",))]:
        say(f"{text} changes nothing: {what}")
        del idle[text]
    if idle:
        raise UnusableConfigError(f"{', '.join(idle)} would change nothing: {what}. Leave it out")


def feeds(config: DictConfig, key: Key) -> bool:
    """Whether ``measure`` depends on a key through interpolations."""
    without = config.copy()
    with open_dict(without):
        OmegaConf.update(without, dotted(key), "???", merge=False)
    try:
        OmegaConf.to_container(without.measure, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:
        return True
    return False


def given_keys() -> list[str]:
    """The keys that the command line of this job sets. Empty without Hydra."""
    hydra: Any = HydraConfig.get() if HydraConfig.initialized() else None
    composed = None if hydra is None else composition(hydra)
    leaves = {} if composed is None else composed.leaves
    return [dotted(key) for key, leaf in leaves.items() if leaf.source.key]


class Choices(Overrides):
    """Hydra's choices of groups. It also records choices in files that were overridden."""

    def __init__(self, repo: Any, overrides_list: list[Override]) -> None:
        self.by_files: list[tuple[str, str, Any]] = []  #: path of the file, group, choice
        super().__init__(repo, overrides_list)

    def add_override(self, parent_config_path: str, default: GroupDefault) -> None:
        self.by_files.append((parent_config_path, default.get_override_key(), default.value))
        super().add_override(parent_config_path, default)


@dataclass
class Layers:
    """The files and the overrides of a config, in the order in which Hydra merges them."""

    loader: ConfigLoaderImpl
    repo: Any
    primary: str
    choices: Choices
    files: list[ResultDefault]
    tree: DefaultsTreeNode

    @classmethod
    def read(cls, loader: ConfigLoaderImpl, name: str, overrides: list[str]) -> "Layers":
        parsed, repo = loader._parse_overrides_and_create_caching_repo(name, overrides)
        own = [override for override in parsed if not override.is_hydra_override()]
        choices = Choices(repo, own)
        files, tree = _create_defaults_list(repo, name, choices, False, False)
        return cls(loader, repo, name, choices, files, tree)

    def composed(self) -> Composition:
        """Merge the layers in order."""
        result = Composition()
        result.clashes += self.lost_choices()
        for file in self.files:
            if str(file.override_key).startswith("hydra/"):
                continue
            content = self.loader._load_single_config(file, self.repo).config
            values: Any = OmegaConf.to_container(content, resolve=False)
            assert file.config_path is not None
            source = self.source(file.config_path, anywhere=not file.package)
            for key, value in values.items():
                if key not in ("hydra", "defaults"):
                    result.lay((str(key),), value, source)
        for override in self.choices.config_overrides:
            key: Key = tuple(override.key_or_group.split("."))
            if override.is_delete():
                result.remove(key)
                continue
            text = str(override.input_line)
            result.lay(key, override.value(), Source(text, explicit=True, typed=True, key=key))
        result.close()
        return result

    def lost_choices(self) -> Iterator[str]:
        """Sentences about group choices that have no effect."""
        for group in self.choices.deletions:
            by = self.choices.override_metadata.get(group)
            if by is not None and by.external_override:
                chosen = self.choices.override_choices[group]
                yield f"{group}={chosen} and ~{group} contradict each other: leave one of them out"
        for path, group, choice in self.choices.by_files:
            chosen = self.choices.override_choices[group]
            if choice == chosen or group.startswith("hydra/") or not self.explicit(path):
                continue
            by = self.choices.override_metadata[group]
            amended = path == self.primary or self.group(path) == AMENDED
            if by.external_override and amended:
                continue
            loser, winner = self.text(path), f"{group}={chosen}"
            if by.containing_config_path is not None:
                winner = f"{self.text(by.containing_config_path)}, which chooses {winner},"
            yield (
                f"{loser} chooses {group}={choice}, and {winner} would replace it: leave one of "
                "them out"
            )

    def source(self, path: str, anywhere: bool) -> Source:
        """A file as a source of values."""
        chooses = {group for file, group, _ in self.choices.by_files if file == path}
        return Source(
            self.text(path),
            self.explicit(path),
            self.typed(path),
            group=self.group(path),
            chooses=frozenset(chooses),
            anywhere=anywhere,
        )

    @cached_property
    def nodes(self) -> dict[str, tuple[InputDefault, str]]:
        """All entries of defaults lists by file path. Each comes with the file that lists it."""
        found: dict[str, tuple[InputDefault, str]] = {}
        waiting = [self.tree]
        while waiting:
            tree = waiting.pop()
            for child in tree.children or []:
                node = child.node if isinstance(child, DefaultsTreeNode) else child
                if isinstance(child, DefaultsTreeNode):
                    waiting.append(child)
                if not node.is_self() and node.get_name() is not None:
                    found[node.get_config_path()] = node, tree.node.get_config_path()
        return found

    @cached_property
    def listed(self) -> dict[str, str]:
        """The group of each file that was chosen in a list: ``experiment=[one,other]``."""
        return {
            f"{group.partition('@')[0]}/{name}": group
            for group, choice in self.choices.override_choices.items()
            if isinstance(choice, list)
            for name in choice
        }

    def choice(self, path: str) -> str:
        """The file chosen from a group that leads to this file. Usually it is this file itself."""
        while path in self.nodes and self.own_group(path) is None:
            path = self.nodes[path][1]
        return path

    def own_group(self, path: str) -> str | None:
        """The group that this very file was chosen from."""
        node, _ = self.nodes.get(path, (None, None))
        return node.get_override_key() if isinstance(node, GroupDefault) else self.listed.get(path)

    def group(self, path: str) -> str | None:
        """The group that a file was chosen from: "schedule" for "schedule/step"."""
        return self.own_group(self.choice(path))

    def typed(self, path: str) -> bool:
        """Whether the command line chose a file."""
        path = self.choice(path)
        by = self.choices.override_metadata.get(self.group(path) or "")
        return self.appended(path) or (by is not None and by.external_override)

    def appended(self, path: str) -> bool:
        """Whether ``+group@package=choice`` added a file."""
        node, _ = self.nodes.get(path, (None, None))
        return isinstance(node, GroupDefault) and node.is_external_append()

    def chooser(self, path: str) -> str | None:
        """The file that chose a file. None for the command line and the primary config."""
        path = self.choice(path)
        if self.typed(path) or path not in self.nodes:
            return None
        by = self.choices.override_metadata.get(self.group(path) or "")
        return self.nodes[path][1] if by is None else by.containing_config_path

    def explicit(self, path: str) -> bool:
        """Whether the user chose or wrote a file. False for the commands' own defaults."""
        path = self.choice(path)
        if path in APPS:
            return False
        if path == self.primary or self.typed(path):
            return True
        chooser = self.chooser(path)
        return chooser is not None and self.explicit(chooser)

    def text(self, path: str) -> str:
        """The user's name for a file: "schedule=step", "schedule=step of experiment=anneal"."""
        path = self.choice(path)
        group = self.group(path)
        if group is None:
            return path if path in APPS else f"--config-name {path}"
        choice = f"{group}={path.rpartition('/')[2]}"
        if self.appended(path):
            return f"+{choice}"
        chooser = self.chooser(path)
        return choice if chooser is None or chooser in APPS else f"{choice} of {self.text(chooser)}"
