"""The source of each value of a config, and the values that would be lost without a message.

Hydra composes a config in layers: files, then the command line. A later layer wins. Users want this
if both layers set the same key. Otherwise it is a trap. Example: ``schedule=step`` makes
``objective.k`` a schedule. Then ``objective.k=8`` replaces it by a number, and the schedule is lost
without a message. A :class:`Composition` merges the layers again and keeps the source of each
value. So such losses become errors.

The usual overrides of Hydra stay allowed: an override of a single value of a file, a later override
of the same key, and a choice on the command line that replaces an experiment's choice of a group.
:mod:`pkpo_sandbox.runs.layers` reads the layers from Hydra.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, ...]

AMENDED = "experiment"  #: the group whose choices the command line may replace
TARGET = "_target_"


@dataclass(frozen=True)
class Source:
    """The source of a value: a file or an override.

    :param text: as the user writes it: "schedule=step", "objective.k=8"
    :param explicit: whether the user chose or wrote it; if not, it is a default
    :param typed: whether it is on the command line or in a sweep's parameters
    :param key: of an override: its key
    :param group: of a file: its group, such as "schedule"
    :param chooses: of a file: the groups that it chooses
    :param anywhere: of a file: whether it sets keys outside of its own group
    """

    text: str
    explicit: bool
    typed: bool = False
    key: Key | None = None
    group: str | None = None
    chooses: frozenset[str] = frozenset()
    anywhere: bool = False


@dataclass(frozen=True)
class Leaf:
    """A value of the config and its source."""

    value: Any
    source: Source


@dataclass
class Composition:
    """The values of a config by key, with their sources.

    :param clashes: sentences about values that would be lost
    :param unused: keys of default arguments whose function the user replaced
    """

    leaves: dict[Key, Leaf] = field(default_factory=dict)
    clashes: list[str] = field(default_factory=list)
    replaced: dict[Key, Source] = field(default_factory=dict)
    covered: dict[Key, tuple[Leaf, Leaf]] = field(default_factory=dict)

    @property
    def unused(self) -> list[Key]:
        """Keys of default arguments whose function the user replaced."""
        return [
            key
            for key, leaf in self.leaves.items()
            for node, source in self.replaced.items()
            if leaf.source == source and key[: len(node)] == node
        ]

    def lay(self, key: Key, value: Any, source: Source) -> None:
        """Set a value over the existing ones, as Hydra does: mappings are merged."""
        if isinstance(value, Mapping):
            self._merge(key, value, source)
            return
        below = {other: self.leaves.pop(other) for other in list(self.leaves) if inside(other, key)}
        self._refuse_loss(key, value, source, below)
        before = self.leaves.get(key)
        if before is not None and before.value != value and source.explicit:
            if key[-1] == TARGET:
                self._replace_target(key, before, Leaf(value, source))
            else:
                self._cover(key, before, Leaf(value, source))
        self.leaves[key] = Leaf(value, source)

    def remove(self, key: Key) -> None:
        """Remove a node, for an override such as ``~schedule``."""
        for other in [other for other in self.leaves if is_below(other, key)]:
            del self.leaves[other]

    def _merge(self, key: Key, value: Mapping[Any, Any], source: Source) -> None:
        there = self.leaves.get(key)
        if there is not None and value:
            del self.leaves[key]  # for example, a schedule replaces a number
            if there.source.typed and there.source.key and not same_key(there.source, source):
                self.clashes.append(both(there.source, source, key))
            self._cover(key, there, Leaf(value, source))
        if not value and source.key == key and (below := self._first_below(key)):
            self.clashes.append(
                f"{source.text} changes nothing, because Hydra merges mappings: take out what you "
                f"do not want, as in '~{dotted(below)}'"
            )
        for name, entry in value.items():
            self.lay((*key, str(name)), entry, source)

    def _cover(self, key: Key, before: Leaf, after: Leaf) -> None:
        """Record that two chosen files set the same key."""
        if before.source.explicit and before.source.group and after.source.group:
            self.covered[key] = before, after

    def _first_below(self, key: Key) -> Key | None:
        return next((other for other in self.leaves if inside(other, key)), None)

    def _refuse_loss(self, key: Key, value: Any, source: Source, lost: Mapping[Key, Leaf]) -> None:
        """Record a clash if a value other than a mapping replaces explicit values below its key."""
        losers = [leaf.source for leaf in lost.values() if leaf.source.explicit]
        for loser in dict.fromkeys(losers):
            if loser == source or same_key(loser, source):
                continue
            parts = [other for other, leaf in lost.items() if leaf.source == loser]
            self.clashes.append(replaced_whole(key, value, loser, source, parts))

    def _replace_target(self, key: Key, before: Leaf, after: Leaf) -> None:
        """Record that a node gets another function.

        It is a clash if the user chose the first function, unless this override names the key.
        """
        if not before.source.explicit:
            self.replaced[key[:-1]] = before.source
        elif after.source.key != key and not same_key(before.source, after.source):
            self.clashes.append(both(before.source, after.source, key[:-1]))

    def close(self) -> None:
        """Record clashes of files: two unrelated files set the same key."""
        for key, (before, after) in self.covered.items():
            loser, winner = before.source, after.source
            related = (
                not (loser.anywhere and winner.anywhere)
                or loser.group in (key[0], winner.group)
                or loser.group in winner.chooses
            )
            holds = any(is_below(k, key) and x.source == winner for k, x in self.leaves.items())
            if holds and not related and before.value != after.value:
                self.clashes.append(
                    f"{loser.text} and {winner.text} both set {dotted(key)}: say which one you "
                    f"mean, as in {dotted(key)}={before.value}"
                )


def is_below(key: Key, node: Key) -> bool:
    """Whether a key is this node or inside it."""
    return key[: len(node)] == node


def inside(key: Key, node: Key) -> bool:
    """Whether a key is inside this node, and not the node itself."""
    return len(key) > len(node) and is_below(key, node)


def dotted(key: Key) -> str:
    return ".".join(key)


def same_key(one: Source, other: Source) -> bool:
    """Whether both are overrides of the same key. Then the later one is meant."""
    return one.key is not None and one.key == other.key


def both(loser: Source, winner: Source, node: Key) -> str:
    return (
        f"{loser.text} and {winner.text} both set {dotted(node)}, and only the second would take "
        "effect: leave one of them out"
    )


def replaced_whole(key: Key, value: Any, loser: Source, winner: Source, parts: list[Key]) -> str:
    """The message for a node that a single value would replace."""
    if loser.key is not None:
        return both(loser, winner, key)
    part = next((dotted(other) for other in parts if other[-1] != TARGET), None)
    cures = []
    if part is not None:
        cures.append(f"give {part}={value} instead" if winner.key else f"set {part} instead")
    if loser.typed and loser.group != AMENDED:
        cures.append(f"leave out {loser.text}")
    elif loser.group not in (None, AMENDED):
        cures.append(f"take it out, '~{loser.group}'")
    return (
        f"{winner.text} would remove what {loser.text} sets below {dotted(key)}: "
        f"{', or '.join(cures) or 'leave one of them out'}"
    )
