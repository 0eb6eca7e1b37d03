"""Names in CONTRIBUTING.md and the glossary exist in the code."""

import re
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
STEP = re.compile(r"^\d+\. `([\w/]+\.py)`: `([\w.]+)`", re.MULTILINE)
WORDS = ("problem", "attempt", "group", "column", "lane", "iteration", "update", "solve rate")


def ways() -> dict[str, list[tuple[str, str]]]:
    """The four ways: their titles, and for each the files and functions in order."""
    sections = re.split(r"^### (.*)\n", GUIDE, flags=re.MULTILINE)[1:]
    titled = zip(sections[::2], sections[1::2], strict=True)
    return {title: STEP.findall(text) for title, text in titled if STEP.search(text)}


def found(path: str, name: str) -> object:
    """What a file of a package has by a dotted name."""
    module = ".".join(Path(path.removeprefix("envs/")).with_suffix("").parts)
    return reduce(getattr, name.split("."), import_module(module))


def test_there_are_four_ways():
    assert len(ways()) == 4
    assert all(4 <= len(steps) <= 14 for steps in ways().values())


@pytest.mark.parametrize("way", ways())
def test_every_function_on_a_way_is_there_and_is_used_on_it(way):
    steps = ways()[way]
    source = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in dict(steps))
    for path, name in steps:
        thing = found(path, name)
        assert callable(thing) or isinstance(thing, property), f"{path}: {name}"
        owner, _, last = name.rpartition(".")
        of_a_library = owner and any(hasattr(base, last) for base in found(path, owner).__bases__)
        used = len(re.findall(rf"\b{last}\b", source)) >= 2
        assert used or of_a_library or (path, name) == steps[0], f"{path}: {name} is not used"


def test_what_the_guide_names_in_the_tree_is_there():
    named = set(re.findall(r"`([\w.]+/[\w./]*)`", GUIDE))
    assert len(named) > 10
    made = ("runs/",)  # by what one runs
    missing = [name for name in named if not (ROOT / name).exists() and not name.startswith(made)]
    assert missing == []


def test_what_the_guide_says_to_make_is_a_target():
    targets = set(re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {word for target in targets for word in target.split()}
    said = re.findall(r"(?:`|^)make (\w+)", GUIDE, re.MULTILINE)
    assert len(said) > 3
    assert set(said) <= targets


def test_the_glossary_has_every_word_and_what_it_names_is_there():
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| (.+?) \|$", GLOSSARY, re.MULTILINE)
    assert set(WORDS) <= {word for word, _, _ in rows}
    assert len({word for word, _, _ in rows}) == len(rows)
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("pkpo_sandbox", "envs")
        for path in (ROOT / folder).rglob("*.py")
    )
    for _, _, places in rows:
        for name in re.findall(r"`([^`]+)`", places):
            last = re.findall(r"\w+", name)[-1]
            assert (ROOT / name).exists() or re.search(rf"\b{last}\b", source), name
    for page in ("README.md", "docs/index.md", "CONTRIBUTING.md"):
        assert "glossary.md" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))
def test_the_forms_for_issues_can_be_read(form):
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert fields == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= fields.keys()
    assert len({part["id"] for part in fields["body"]}) == len(fields["body"])
    assert any(part.get("validations", {}).get("required") for part in fields["body"])
