"""Write pages from the code: the gallery, and a page for each world and each module.

The pages come from the registry and the packages, so new worlds and modules appear by themselves.
"""

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium

import pkpo_envs
import pkpo_sandbox
from pkpo_sandbox.figures.gallery import figure_module, figure_names, primary_config

FIELD = re.compile(r"\s*(:\w+[^:]*:|#\.|[-*] |\d+\. )")  # a field or an item of a list
TABLE = re.compile(r"=+( +=+)+$")  # the border of a table; its rows may continue indented
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Note|Notes|Example|Examples):\s*$")


def write_pages(docs: Path) -> None:
    """Write all pages below ``docs/generated``. Unchanged pages are not written again."""
    pages = dict(
        [
            *gallery(),
            *worlds(),
            *modules(pkpo_sandbox),
            *modules(pkpo_envs, without=world_modules()),
        ]
    )
    folder = docs / "generated"
    for path in folder.rglob("*.md"):
        if str(path.relative_to(folder)) not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def gallery() -> Iterator[tuple[str, str]]:
    """Every figure of ``figures/``, with the first paragraph of its module."""
    text = "# Gallery\n\nThe numbers behind each figure are beside it, in `figures/*.csv`.\n"
    root = Path(pkpo_sandbox.__file__).parents[1] / "figures"
    for name in figure_names():
        if (root / f"{name}.png").exists():
            module = figure_module(name)
            command = f"pkpo-{primary_config(name)} experiment={name}"
            text += f"\n## {name}\n\n{first_paragraph(module.__name__)}\n\n"
            text += f"![{name}](../../figures/{name}.png)\n\n"
            text += f"```bash\n{command} && pkpo-figures {name}\n```\n"
    yield "gallery.md", text


def world_ids() -> list[str]:
    """The registered worlds of this project."""
    return sorted(name for name in gymnasium.registry if name.startswith("pkpo/"))


def world_class(world_id: str) -> type:
    """The class of the world's scalar environment."""
    module, _, name = str(gymnasium.spec(world_id).entry_point).partition(":")
    return getattr(import_module(module), name)


def world_modules() -> set[str]:
    """The modules of the worlds. They have their page among the worlds."""
    return {world_class(world_id).__module__ for world_id in world_ids()}


def worlds() -> Iterator[tuple[str, str]]:
    """A page for each world (its id, its docstring, its methods), and the list of worlds."""
    rows, toctree = "", ""
    for world_id in world_ids():
        cls, page = world_class(world_id), world_id.removeprefix("pkpo/")
        env = gymnasium.make(world_id)
        n_problems = getattr(env.unwrapped, "n_problems", 1)
        title = page.partition("-v")[0]
        spaces = f"`{env.observation_space}` | `{env.action_space}` | {n_problems}"
        rows += f"| [{title}]({page}.md) | `pkpo_envs:{world_id}` | {spaces} |\n"
        toctree += f"{page}\n"
        heading = "| id | observation | action | problems |\n|---|---|---|---|\n"
        yield (
            f"worlds/{page}.md",
            f"# {title}\n\n{heading}| `pkpo_envs:{world_id}` | {spaces} |\n\n"
            f"{inspect.getdoc(cls)}\n\n## Methods\n\n"
            + directive("autoclass", f"{cls.__module__}.{cls.__qualname__}"),
        )
    table = f"| world | id | observation | action | problems |\n|---|---|---|---|---|\n{rows}"
    yield "worlds/index.md", f"# Worlds\n\n{table}\n```{{toctree}}\n:hidden:\n\n{toctree}```\n"


def modules(package: Any, without: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """A page for each public module of a package, and the list of modules."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    public = [item.name for item in found if not re.search(r"\._|\.conf\b", item.name)]
    rows, toctree = "", ""
    for name in sorted({*public} - (without or set())):
        page = name.removeprefix(f"{package.__name__}.")
        rows += f"| [{page}]({page}.md) | {first_paragraph(name)} |\n"
        toctree += f"{page}\n"
        yield f"{package.__name__}/{page}.md", f"# {page}\n\n{directive('automodule', name)}"
    yield (
        f"{package.__name__}/index.md",
        f"# {package.__name__}\n\n{inspect.getdoc(package)}\n\n"
        f"| module | |\n|---|---|\n{rows}\n```{{toctree}}\n:hidden:\n\n{toctree}```\n",
    )


def directive(kind: str, name: str) -> str:
    return f"```{{eval-rst}}\n.. {kind}:: {name}\n   :members:\n   :show-inheritance:\n```\n"


def first_paragraph(module: str) -> str:
    """The first paragraph of a module's docstring, on one line of Markdown.

    It is read from the source, because the import of the module may need an extra.
    """
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    source = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    paragraph = (ast.get_docstring(source) or "").partition("\n\n")[0]
    return " ".join(re.sub(r":\w+:`", "`", paragraph).replace("``", "`").split())


def to_rest(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText. Indented blocks are formulas and stay as they are.

    The docstring of a world is Markdown and is on its page already, so it is left out.
    """
    if obj in [world_class(world_id) for world_id in world_ids()]:
        lines[:] = []
        return
    lines[:] = [re.sub(r"^## (.*)", r".. rubric:: \1", line) for line in lines]
    result: list[str] = []
    keep = False  # inside a field, a list or a section, where an indent continues it
    formula = False
    table = False  # up to the next empty line
    for line in lines:
        table = bool(line.strip()) and (table or bool(TABLE.match(line)))
        if line.strip() and not table:
            indented = line.startswith((" ", "\t"))
            if not indented:
                if formula:
                    result.append("")
                keep = bool(FIELD.match(line) or SECTION.match(line) or line.startswith(".."))
                formula = False
            elif not keep and not formula:
                result += ["", "::", ""]
                formula = True
        result.append(line)
    lines[:] = result
