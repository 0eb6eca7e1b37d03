"""The site builds without a warning and has a page for everything; what its guides say to do works.

A page is done in a folder of its own, fence by fence. A python or yaml fence that starts with the
name of a file (``# my_env.py``) is that file; other python and bash fences are run. A comment above
a fence says that it is not run and why, or what it needs to be run (``<!-- needs: trl -->``).
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import gymnasium
import pytest

import pkpo_envs  # noqa: F401, registers the worlds
from pkpo_sandbox.runs.tables import load_runs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "guides").glob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- (?P<remark>[^>]*) -->\n)?^```(?P<language>python|bash|yaml)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FILE = re.compile(r"(?:# @package \w+\n)?# ([\w/]+\.(?:py|yaml))\n")  # Hydra wants @package first
#: verl is not installed: a module that has the one name which a guide imports, and does nothing.
VERL = "def register_adv_est(name):\n    return lambda function: function\n"


class Fence(NamedTuple):
    language: str
    code: str
    remark: str

    @property
    def file(self) -> str | None:
        """The name of the file that this is, None if it is to be run."""
        named = FILE.match(self.code)
        return named.group(1) if named else None


def fences(text: str) -> list[Fence]:
    return [
        Fence(found["language"], found["code"], found["remark"] or "")
        for found in FENCE.finditer(text)
    ]


def own_sections(readme: str) -> dict[str, str]:
    """The sections of the README about what is the reader's own, by their titles."""
    sections = re.split(r"^#{2,3} (.*)\n", readme, flags=re.MULTILINE)[1:]
    titled = zip(sections[::2], sections[1::2], strict=True)
    return {title: text for title, text in titled if re.search(r"\b(your own|Your own)\b", title)}


def texts() -> dict[str, str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
    return pages | {f"README: {title}": text for title, text in own_sections(readme).items()}


def do(fence: Fence, folder: Path) -> None:
    """Write or run one fence in the folder."""
    needed = fence.remark.removeprefix("needs: ") if fence.remark.startswith("needs: ") else None
    if fence.remark.startswith("not run: ") or (needed and find_spec(needed) is None):
        return
    if fence.file:
        path = folder / fence.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(fence.code, encoding="utf-8")
        return
    assert fence.language in ("python", "bash"), f"neither a file nor a program: {fence.code}"
    command = [sys.executable, "-c"] if fence.language == "python" else ["bash", "-ec"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [*command, fence.code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{fence.code}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in texts() if page != "two_peaks"])
def test_what_a_page_says_to_do_works(page, tmp_path):
    stub = tmp_path / "verl" / "trainer" / "ppo"
    stub.mkdir(parents=True)
    (stub / "core_algos.py").write_text(VERL)
    for fence in fences(texts()[page]):
        do(fence, tmp_path)


@pytest.mark.slow
def test_the_two_peaks_come_out_as_the_guide_says(tmp_path):
    """Its commands on the first of its five seeds; the table gives the range over all of them."""
    shutil.copytree(DOCS / "examples" / "two_peaks", tmp_path, dirs_exist_ok=True)
    guide = texts()["two_peaks"]
    for fence in fences(guide):
        do(fence._replace(code=fence.code.replace("seed=0,1,2,3,4", "seed=0")), tmp_path)
    assert (tmp_path / "two_peaks.png").exists()
    rows = re.findall(r"^\| (\d) \| ([\d.]+) to ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", guide, re.M)
    told = {int(k): [float(bound) for bound in bounds] for k, *bounds in rows}
    runs = load_runs(tmp_path / "runs" / "two_peaks").to_dict("records")
    assert sorted(told) == [run["config.objective.k"] for run in runs]
    for run in runs:
        near = sum(run["exact.1.probability"][30:51])
        bounds = told[run["config.objective.k"]]
        for value, low, high in ((near, *bounds[:2]), (run["exact.1.max_at_k"], *bounds[2:])):
            assert low - 0.02 <= value <= high + 0.02
    (step,) = load_runs(tmp_path / "runs" / "two_peaks_step")["exact.1.max_at_k"]
    assert 0.97 <= step <= 1.0


def test_every_fence_is_read():
    """A fence that the pattern misses would never be run."""
    for page, text in texts().items():
        opened = re.findall(r"^```(?:python|bash|yaml)$", text, flags=re.MULTILINE)
        assert len(opened) == len(fences(text)), page


def test_what_is_not_run_says_why():
    remarks = [fence.remark for text in texts().values() for fence in fences(text)]
    given = [remark for remark in remarks if remark]
    assert all(re.match(r"not run: \w+|needs: \w+$", remark) for remark in given)
    assert sum(remark.startswith("not run") for remark in given) < len(remarks) / 5


def test_a_page_that_fails_is_noticed(tmp_path):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        do(Fence("python", "1 / 0\n", ""), tmp_path)
    with pytest.raises(AssertionError):
        do(Fence("bash", "false\ntrue\n", ""), tmp_path)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_a_page_for_everything(tmp_path):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    result = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    reference = tmp_path / "generated"
    for world_id in (name for name in gymnasium.registry if name.startswith("pkpo/")):
        page = reference / "worlds" / f"{world_id.removeprefix('pkpo/')}.html"
        assert "<h2>Reward" in page.read_text(encoding="utf-8")
    for package, folder in (("pkpo_sandbox", ROOT), ("pkpo_envs", ROOT / "envs")):
        for path in (folder / package).rglob("*.py"):
            name = ".".join(path.relative_to(folder / package).with_suffix("").parts)
            if path.stem.startswith("_") or page_of_world(package, name):
                continue
            assert (reference / package / f"{name}.html").exists(), name


def page_of_world(package: str, name: str) -> bool:
    """Whether a module holds a registered world, which has a page among the worlds."""
    entries = [str(spec.entry_point) for spec in gymnasium.registry.values()]
    return any(entry.startswith(f"{package}.{name}:") for entry in entries)
