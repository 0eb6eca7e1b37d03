"""Configs as flat settings: their text, the keys in which they differ, and their order."""

from typing import Any

from pkpo_sandbox import schedules


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten to dotted keys. Below the first level, nodes with ``_target_`` stay whole."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        whole = bool(prefix) and isinstance(value, dict) and "_target_" in value
        if isinstance(value, dict) and value and not whole:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def shown(value: Any) -> str:
    """A value of a config as readable text: 0.003, "8 then 1", Adam(lr=0.1)."""
    if isinstance(value, dict) and "_target_" in value:
        return schedules.label(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return str(value)


def differing(settings: list[dict[str, Any]]) -> list[str]:
    """The keys in which flat configs differ, including keys that only some of them have."""
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    return [
        key
        for key in keys
        if len({shown(setting[key]) if key in setting else None for setting in settings}) > 1
    ]


def telling(settings: list[dict[str, Any]]) -> list[str]:
    """The differing keys that are needed to distinguish settings.

    A key that has the same value wherever it is present follows from the others. An example is the
    baseline, which only one of the objectives has.
    """
    keys = differing(settings)
    several = [key for key in keys if len({shown(s[key]) for s in settings if key in s}) > 1]
    distinct = {identity(setting, keys) for setting in settings}
    return several if len({identity(s, several) for s in settings}) == len(distinct) else keys


def identity(setting: dict[str, Any], keys: list[str]) -> tuple[str | None, ...]:
    return tuple(shown(setting[key]) if key in setting else None for key in keys)


def ordered(setting: dict[str, Any], keys: list[str]) -> list[tuple[int, float, str]]:
    """The sort key of a setting: numbers first, then texts, missing values last."""
    return [natural(setting.get(key)) if key in setting else (2, 0.0, "") for key in keys]


def natural(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, shown(value))


def setting_label(setting: dict[str, Any], keys: list[str]) -> str:
    """The label of a setting: "objective.k=4, algorithm.learning_rate=0.003"."""
    named = [short_name(key, setting[key]) for key in keys if key in setting]
    return ", ".join(f"{key}={value}" for key, value in named)


def short_name(key: str, value: Any) -> tuple[str, str]:
    """A key and its value, a target by its last name: ("objective", "grpo")."""
    if key.endswith("._target_"):
        return key.removesuffix("._target_"), shown(value).rpartition(".")[2]
    return key, shown(value)
