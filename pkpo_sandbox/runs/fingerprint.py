"""What a result depends on besides its config: the user's code, this package, and versions.

This module never imports a module that a config names.
"""

import ast
import hashlib
import importlib
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from pkpo_sandbox.runs.config import NOT_IN_HASH

PACKAGE = ("pkpo_sandbox", "pkpo_envs")
PATH = re.compile(r"[A-Za-z_]\w*(\.\w+)+")  #: "my_module.MyCallback"
ENTRY = re.compile(r"([A-Za-z_][\w.]*):\S+")  #: "my_module:MyEnv-v0", a Gymnasium id or entry point
_loaded: dict[str, tuple[Any, str]] = {}  # modules of this process: spec, hash when it was loaded


def fingerprint(config: Mapping[str, Any]) -> dict[str, Any]:
    """Hashes of the code that a run uses, for its summary.

    :param config: in plain containers
    :return: "own": the names of the user's modules with a hash of each source, see
        :func:`own_modules`; "package": a hash of this package's source
    """
    return {"own": own_modules(config), "package": package()}


def own_modules(config: Mapping[str, Any]) -> dict[str, str]:
    """The user's modules that a config names, and those that they import, with source hashes.

    Imports are found in the source, also inside functions. The same holds for the entry points of
    envs that a module registers. The standard library, installed packages and this package do not
    count as the user's.
    """
    importlib.invalidate_caches()  # finds files that were written after the last import
    found: dict[str, str] = {}
    waiting = list(named(config))
    seen = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for module, file in own_files(name):
            if module not in found:
                source = file.read_bytes()
                found[module] = loaded(module) or digest(source)
                waiting += imported(source, module, is_package=file.stem == "__init__")
    return dict(sorted(found.items()))


def note_loaded(own: Mapping[str, str]) -> None:
    """Remember which source the modules have that this process has loaded.

    A file may be edited while a sweep runs. Jobs that come later run what was loaded before, so
    this is what their fingerprints tell.

    :param own: as from :func:`own_modules`, called before the modules were loaded
    """
    for name, source in own.items():
        if name in sys.modules and loaded(name) is None:
            _loaded[name] = getattr(sys.modules[name], "__spec__", None), source


def loaded(name: str) -> str | None:
    """The hash of the source that a module was loaded from, None if that was not noted."""
    spec, source = _loaded.get(name, (None, None))
    # Reloading gives a module another spec.
    is_same = name in sys.modules and getattr(sys.modules[name], "__spec__", None) is spec
    return source if is_same else None


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The modules that were changed, added or removed."""
    return [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]


def named(config: Mapping[str, Any]) -> Iterator[str]:
    """Values of a config that may be the path of a module, or of an object in it."""
    for key, value in config.items():
        if key not in NOT_IN_HASH:
            yield from paths(value)


def paths(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for entry in value:
            yield from paths(entry)
    elif isinstance(value, str):
        if PATH.fullmatch(value):
            yield value
        elif entry := ENTRY.fullmatch(value):
            yield entry[1]


def own_files(path: str) -> Iterator[tuple[str, Path]]:
    """The user's modules along a dotted path, each with its file."""
    name, *inner = path.split(".")
    spec = find_spec(name)
    if spec is None or name in PACKAGE:
        return
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    origins = [Path(spec.origin)] if spec.has_location and spec.origin else places
    if not origins or any(is_installed(origin) for origin in origins):
        return
    if spec.has_location and origins[0].suffix == ".py":
        yield name, origins[0]
    for part in inner:
        name = f"{name}.{part}"
        candidates = [place / part for place in places]
        places = [folder for folder in candidates if folder.is_dir()]
        files = [folder / "__init__.py" for folder in places]
        files += [folder.with_name(f"{part}.py") for folder in candidates]
        yield from ((name, file) for file in files if file.is_file())


def find_spec(name: str) -> ModuleSpec | None:
    """Find a top-level module without importing it."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, None)
        except (ImportError, AttributeError, ValueError):
            continue
        if spec is not None:
            return spec
    return None


def is_installed(file: Path) -> bool:
    """Whether a module belongs to Python or to an installed package, and is not the user's."""
    return any(file.is_relative_to(folder) for folder in installed())


@cache
def installed() -> tuple[Path, ...]:
    """The folders of the standard library and of installed packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {Path(sysconfig.get_path(name)) for name in names}
    folders |= {Path(place) for place in sys.path if place.endswith(("-packages", "-packages/"))}
    return tuple(folders)


def imported(source: bytes, module: str, is_package: bool) -> Iterator[str]:
    """The names that a module imports, and the modules of the entry points that it names."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # the job itself will report it
        return
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            try:
                origin = resolve_name(origin, package)
            except ImportError:  # the relative import leaves the top-level package
                continue
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and (entry := ENTRY.fullmatch(str(node.value))):
            yield entry[1]


@cache
def package() -> str:
    """A hash of the source of this package."""
    total = hashlib.sha256()
    for name in PACKAGE:
        spec = find_spec(name)
        for place in (spec and spec.submodule_search_locations) or ():
            for file in sorted(Path(place).rglob("*.py")):
                total.update(file.relative_to(place).as_posix().encode())
                total.update(file.read_bytes())
    return total.hexdigest()[:10]


def digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:10]


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of these packages."""
    found = {name: torch() if name == "torch" else version(name) for name in packages}
    return {"python": sys.version.split()[0], **found}


def torch() -> str:
    """``torch.__version__`` with its build, such as "2.13.0+cu130", without importing torch."""
    spec = find_spec("torch")
    if spec is not None and spec.origin is not None:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
        if found := re.search(r"^__version__ = '([^']+)'", text, flags=re.MULTILINE):
            return found[1]
    return version("torch")


def other_versions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Versions that differ: ["torch 2.12.0+cpu -> 2.13.0+cpu"].

    Older summaries have versions without a build. Such a version equals the same one of any build.
    """
    return [
        f"{name} {then[name]} -> {now[name]}"
        for name in now
        if name in then and then[name] not in (now[name], now[name].partition("+")[0])
    ]
