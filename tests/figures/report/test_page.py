"""The page: its text about a folder, escaped data, and its behaviour in a browser."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose

from pkpo_sandbox.figures.gallery import figure_names
from pkpo_sandbox.figures.report import collect, page
from pkpo_sandbox.runs import folder as runs
from pkpo_sandbox.runs import naming
from tests.figures.report.written import VERSIONS, Page, config, finished, log

HOSTILE = [
    "<script>window.planted = 1</script>",
    "</script><script>window.planted = 1</script>",
    '" onload="window.planted = 1',
    "<img src=x onerror=window.planted=1>",
    "<svg/onload=window.planted=1>",
    r"$\frac{1}$ \n 数 & ]]> --!>",
    "a\x00b\x1b[31m\ud800 \N{RIGHT-TO-LEFT OVERRIDE}",
]


def test_the_page_counts_and_tells_what_is_there(folder):
    seen = Page(page.render(folder))
    text = "\n".join(seen.texts)
    assert "4 finished · 1 failed · 1 unfinished · newest of 20" in text
    assert "2 min of training and measuring" in text  # four runs of 30 s
    assert "my <b>runs" in text
    assert "b" not in seen.tags
    assert seen.tags.count("svg") == 1
    for heading in ("exact/max_at_1", "exact/max_at_16", "exact/entropy"):
        assert heading in text  # a panel of the curves
    assert "mean of the seeds (2 a setting)" in text
    assert "ValueError: k = 99" in text
    assert "objective.k=99 seed=0" in text
    assert "Traceback <i>" in text
    assert "differs between runs" not in text
    assert "pkpo-train objective.k=8 seed=1" in text
    assert ("http-equiv", "Content-Security-Policy") in seen.attributes


def test_the_table_holds_what_differs_and_the_results(folder):
    headings, rows = page.table(collect.read(folder)[0], folder)
    assert headings == [
        *["state", "objective.k", "seed", "exact.1.max_at_k", "exact.16.max_at_k"],
        *["exact/entropy", "wall time (s)", "folder"],
    ]
    cells = {row[-1].text: [cell.text for cell in row[:-1]] for row in rows}
    # final = k/16 + seed/32 and, for k = 16, 0.25 more; the entropy ends at 1/3.
    assert cells["k=8-seed=1"] == ["finished", "8", "1", "0.53125", "0.78125", "0.33333", "30"]
    assert cells["failed"] == ["failed", "", "", "", "", "", ""]
    assert cells["begun"] == ["unfinished", "4", "7", "", "", "", ""]
    assert [row[3].number for row in rows if row[-1].text == "k=8-seed=1"] == [0.53125]


def test_what_configs_share_is_told_apart_from_where_they_differ(folder):
    found, _ = collect.read(folder)
    assert page.differences(found) == [
        ("objective.k", [("1", 2), ("4", 1), ("8", 2)]),
        ("seed", [("0", 2), ("1", 2), ("7", 1)]),
    ]
    shared = dict(page.common(found))
    assert shared["env.id"] == "pkpo_envs:pkpo/ProblemSet-v0"
    assert not {"seed", "objective.k"} & set(shared)


def test_a_version_that_differs_is_marked(folder):
    other = {**VERSIONS, "torch": "2.8.0"}
    finished(folder / "z", config("seed=3"), versions=other)
    found = [run for run in collect.read(folder)[0] if run.state == "finished"]
    assert page.versions(found) == [
        ("python", [("3.11.7", 5)]),
        ("torch", [("2.13.0", 4), ("2.8.0", 1)]),
    ]
    assert "differs between runs" in page.render(folder)


@pytest.fixture
def hostile(tmp_path):
    """Names and texts that would run if they were not kept as text."""
    place = tmp_path / "hostile"
    for number, text in enumerate(HOSTILE):
        settings = {**config(f"seed={number}"), "env": {"id": text, "kwargs": {text: text}}}
        versions = {text: text, "torch": text}
        run = finished(place / f"run-{number}", settings, versions=versions)
        table = log(0.5).assign(**{text.replace("\ud800", ""): 1.0})
        table.to_csv(run / "progress.csv", index=False)
        other = {**settings, "env": {"id": "same"}, "objective": {"_target_": text, text: text}}
        finished(place / f"same-{number}", other, exact={"1": {"max_at_k": text}})
        (place / f"<img src=x onerror=planted={number}>").mkdir()
        (place / f"<img src=x onerror=planted={number}>" / "config.yaml").write_text("seed: 1")
        (place / f"failed-{number}").mkdir()
        said = text.replace("\ud800", "")
        failure = {"error": said, "overrides": [said, said], "config": {"name": said}}
        runs.write_failure(place / f"failed-{number}", failure, said)
    return place


def test_hostile_names_and_errors_stay_text(hostile):
    page.write(hostile, hostile / "report.html")
    text = (hostile / "report.html").read_text(encoding="utf-8")
    seen = Page(text)
    assert seen.tags.count("script") == 1
    assert "img" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not {"iframe", "object", "embed", "form", "base"} & set(seen.tags)
    links = [value for name, value in seen.attributes if name in ("href", "src", "xlink:href")]
    assert links
    assert all(link and link.startswith(("#", "data:,")) for link in links)
    words = "\n".join(seen.texts)
    for name in HOSTILE[:6]:
        assert name in words
    svg = text[text.index("<svg") : text.rindex("</svg>")]
    assert "objective=$\\frac{1}$" in svg  # no formula
    assert "&lt;script&gt;" in svg
    assert "\N{REPLACEMENT CHARACTER}b" in svg


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "pkpo-train"),
        (["seed=3", "env=bandit"], "pkpo-train seed=3 env=bandit"),
        (["objective.k={_target_:a.b,x:1}"], "pkpo-train 'objective.k={_target_:a.b,x:1}'"),
        (["name=a b$HOME"], "pkpo-train 'name=a b$HOME'"),
        (None, None),  # started from Python
    ],
)
def test_a_command_is_what_the_run_was_started_with(overrides, expected, tmp_path):
    finished(tmp_path / "a", config(), overrides=overrides)
    assert page.commands_of(collect.read(tmp_path)[0], tmp_path) == [("a", expected)]


def test_a_run_of_an_older_version_has_no_command_and_that_is_said(tmp_path):
    finished(tmp_path / "a", config())
    assert page.commands_of(collect.read(tmp_path)[0], tmp_path) == [("a", None)]
    assert "did not store its overrides" in page.render(tmp_path)


def test_the_language_model_has_its_own_command(tmp_path):
    settings = config("model=gemma2_2b_it", "task=math", name="gemma2")
    finished(tmp_path / "a", settings, overrides=["task=math"])
    ((_, command),) = page.commands_of(collect.read(tmp_path)[0], tmp_path)
    assert command == "pkpo-gemma2 task=math"


def test_no_config_is_composed_for_a_run(tmp_path, monkeypatch):
    """A config takes a tenth of a second to compose: 200 runs took a minute when each had one."""
    for seed in range(20):
        finished(tmp_path / str(seed), config(f"seed={seed}", "name=mine"), overrides=[])
    composed = []

    def compose_and_count(app, overrides, **kwargs):
        composed.append(overrides)
        return compose(app, overrides, **kwargs)

    naming.composed.cache_clear()
    monkeypatch.setattr("hydra.compose", compose_and_count)
    page.render(tmp_path)
    assert sorted(composed) == [[f"experiment={name}"] for name in figure_names()]


@pytest.mark.slow
def test_the_command_of_a_report_trains_the_same_again(tmp_path):
    def train(where: str, *overrides: str) -> dict:
        (tmp_path / where).mkdir()
        command = [sys.executable, "-m", "pkpo_sandbox.runs.train", *overrides]
        subprocess.run(command, cwd=tmp_path / where, check=True, capture_output=True)
        (path,) = (tmp_path / where).rglob("summary.json")
        return json.loads(path.read_text())

    first = train("a", "schedule=step", "env=bandit", "total_timesteps=2560", "name=mine")
    ((_, command),) = page.commands_of(collect.read(tmp_path / "a")[0], tmp_path / "a")
    assert command is not None
    again = train("b", *shlex.split(command)[1:])
    assert again["config"] == first["config"]
    assert again["exact"] == first["exact"]


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that is already on this machine."""
    selenium = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium with its chromedriver: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.chrome.service.Service(driver)
    chrome = selenium.Chrome(options=options, service=service)
    yield chrome
    chrome.quit()


def opened(browser, place: Path):
    page.write(place, place / "report.html")
    browser.get((place / "report.html").as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    return browser


def column(browser, name: str) -> list[str]:
    """The texts of a column of the rows that are shown."""
    script = """
        const headings = [...table.tHead.rows[0].cells];
        const index = headings.findIndex(c => c.innerText.trim() === arguments[0]);
        return [...table.tBodies[0].rows].filter(r => r.checkVisibility())
            .map(r => r.cells[index].innerText);"""
    return browser.execute_script(script, name)


@pytest.mark.slow
def test_in_a_browser_it_opens_without_errors_shows_plots_and_sorts(folder, browser):
    finished(folder / "k=16-seed=0", config("objective.k=16"), final=0.75)
    seen = opened(browser, folder)
    for svg in seen.find_elements("css selector", "svg"):
        assert svg.size["width"] > 500
        assert svg.size["height"] > 200
    # A line of every setting: paths of the curves that have a length.
    long = "return [...document.querySelectorAll('svg path')].filter(p => p.getTotalLength() > 50)"
    assert len(seen.execute_script(long)) > 12
    (heading,) = [
        button
        for button in seen.find_elements("css selector", "#table th button")
        if button.text.strip() == "objective.k"
    ]
    state = "return arguments[0].parentElement.ariaSort"
    assert seen.execute_script(state, heading) == "none"
    seen.execute_script("arguments[0].scrollIntoView({block: 'center'})", heading)
    heading.click()
    assert column(seen, "objective.k") == ["1", "1", "4", "8", "8", "16", ""]  # not as texts
    assert seen.execute_script(state, heading) == "ascending"
    heading.send_keys("\ue007")  # Enter
    assert column(seen, "objective.k") == ["16", "8", "8", "4", "1", "1", ""]
    assert seen.execute_script(state, heading) == "descending"
    seen.find_element("id", "filter").send_keys("K=8-SEED")
    assert column(seen, "folder") == ["k=8-seed=0", "k=8-seed=1"]
    assert seen.find_element("id", "count").text == "2 of 7 runs"
    assert seen.get_log("browser") == []


@pytest.mark.slow
def test_in_a_browser_nothing_that_was_planted_runs(hostile, browser):
    seen = opened(browser, hostile)
    assert seen.execute_script("return typeof window.planted") == "undefined"
    assert seen.execute_script("return document.scripts.length") == 1
    for heading in seen.find_elements("css selector", "#table th button"):
        seen.execute_script("arguments[0].click()", heading)
    assert seen.execute_script("return typeof window.planted") == "undefined"
    assert seen.get_log("browser") == []
    assert HOSTILE[0] in seen.find_element("tag name", "body").text


@pytest.mark.slow
def test_the_policy_of_the_page_stops_a_script_even_if_one_were_there(folder, browser):
    seen = page.render(folder).replace("</main>", "<script>window.planted = 1</script></main>")
    (folder / "tampered.html").write_text(seen)
    browser.get((folder / "tampered.html").as_uri())
    assert browser.execute_script("return typeof window.planted") == "undefined"
    (entry,) = browser.get_log("browser")
    assert "Content Security Policy" in entry["message"]
