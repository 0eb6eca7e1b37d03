"""The report: what it says of a folder, that data stays text, and how it behaves in a browser."""

import json
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from pkpo_sandbox.figures import plotting, report
from pkpo_sandbox.figures.gallery import figure_names
from pkpo_sandbox.figures.report import collect, drawing, experiments, page, settings
from pkpo_sandbox.runs import folder as runs
from pkpo_sandbox.runs import naming
from pkpo_sandbox.runs import train as app
from pkpo_sandbox.runs.config import resolved
from pkpo_sandbox.runs.naming import run_id
from pkpo_sandbox.runs.tables import read_progress

VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}
HOSTILE = [
    "<script>window.planted = 1</script>",
    "</script><script>window.planted = 1</script>",
    '" onload="window.planted = 1',
    "<img src=x onerror=window.planted=1>",
    "<svg/onload=window.planted=1>",
    r"$\frac{1}$ \n 数 & ]]> --!>",
    "a\x00b\x1b[31m\ud800 \N{RIGHT-TO-LEFT OVERRIDE}",
]


def config(*overrides: str, name: str = "train") -> dict:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return resolved(compose(name, list(overrides)))


def log(final: float, rows: int = 3) -> pd.DataFrame:
    """Three updates of a metric that rises to ``final``."""
    steps = np.arange(1, rows + 1)
    return pd.DataFrame(
        {
            "train/n_updates": 10 * steps,
            "exact/max_at_1": final * steps / rows,
            "exact/max_at_16": [*[np.nan] * (rows - 1), final],
            "exact/entropy": 1.0 / steps,
        }
    )


def finished(folder: Path, settings: dict, final: float = 0.5, **summary) -> Path:
    """A finished run, written as the apps do."""
    folder.mkdir(parents=True)
    log(final).to_csv(folder / "progress.csv", index=False)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(settings), "utf-8", "replace")
    exact = {"1": {"max_at_k": final}, "16": {"max_at_k": final + 0.25}}
    facts = {"exact": exact, "versions": VERSIONS, "wall_time_seconds": 30.0, **summary}
    runs.write_summary(folder, {"config": settings, "seed": settings["seed"], **facts})
    return folder


@pytest.fixture
def folder(tmp_path):
    """Two settings of two seeds, a failure, and a run under way."""
    place = tmp_path / "my <b>runs"
    for k in (1, 8):
        for seed in (0, 1):
            given = [f"objective.k={k}", f"seed={seed}"]
            run = place / f"k={k}-seed={seed}"
            finished(run, config(*given), final=k / 16 + seed / 32, overrides=given)
    (place / "failed").mkdir()
    overrides = ["objective.k=99", "seed=0"]
    failure = {"error": "ValueError: k = 99", "overrides": overrides}
    runs.write_failure(place / "failed", failure, "Traceback <i>")
    (place / "begun").mkdir()
    (place / "begun" / "config.yaml").write_text(OmegaConf.to_yaml(config("seed=7")))
    return place


class Page(HTMLParser):
    """The elements and the text of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


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


def test_an_object_of_a_config_is_one_value():
    flat = settings.flatten(config("schedule=step", "objective.baseline=loo"))
    assert settings.shown(flat["objective.k"]) == "8 then 1"
    assert settings.setting_label(flat, ["objective._target_", "objective.baseline"]) == (
        "objective=pkpo, objective.baseline=loo"
    )
    flats = [{"a": 1, "b": 2}, {"a": 2}, {"a": 3, "b": 2}]
    assert settings.differing(flats) == ["a", "b"]
    assert settings.telling(flats) == ["a"]  # b is 2 wherever it is there
    assert settings.telling([{"a": 1, "b": 2}, {"a": 1}]) == ["b"]


def drawn(folder: Path, metric: str) -> np.ndarray:
    _, axes = plotting.subplots()
    group = [run for run in collect.read(folder)[0] if run.state == "finished"]
    drawing.draw_line(axes, group, metric, color="k")
    return np.array(axes.lines[0].get_xydata())


def test_a_line_is_the_mean_of_the_seeds_where_all_of_them_logged(tmp_path):
    finished(tmp_path / "a", config("seed=0"), final=0.3)
    finished(tmp_path / "b", config("seed=1"), final=0.9)
    # 0.3 and 0.9 times 1/3, 2/3, 1 at updates 10, 20, 30
    expected = [[10, 0.2], [20, 0.4], [30, 0.6]]
    np.testing.assert_allclose(drawn(tmp_path, "exact/max_at_1"), expected)
    np.testing.assert_allclose(drawn(tmp_path, "exact/max_at_16"), [[30, 0.6]])
    log(0.9, rows=2).to_csv(tmp_path / "b" / "progress.csv", index=False)
    # its second row is now 0.9 at update 20, its first 0.45; the mean with 0.1 and 0.2
    expected = [[10, 0.275], [20, 0.55]]
    np.testing.assert_allclose(drawn(tmp_path, "exact/max_at_1"), expected)


def test_one_update_is_drawn_as_a_dot(tmp_path):
    finished(tmp_path / "a", config())
    group = collect.read(tmp_path)[0]
    _, axes = plotting.subplots()
    for metric in ("exact/max_at_1", "exact/max_at_16"):  # three rows, and one
        drawing.draw_line(axes, group, metric, color="k")
    assert [line.get_marker() for line in axes.lines] == ["", "o"]


def test_of_the_values_of_k_the_one_trained_for_is_shown(tmp_path):
    finished(tmp_path / "a", config("objective.k=8"))
    trained = collect.read(tmp_path)[0]
    assert drawing.spread([1, 2, 4, 8, 16], trained) == [1, 8, 16]
    assert drawing.spread([1, 2, 4, 16], trained) == [1, 4, 16]
    assert drawing.spread([8], trained) == [8]
    assert drawing.spread([], trained) == []


def test_of_many_settings_the_best_are_drawn_and_that_is_said(tmp_path):
    for k in range(1, 11):
        finished(tmp_path / f"k={k}", config(f"objective.k={k}"), final=k / 10)
    finished(tmp_path / "again", config("objective.k=10"), final=1.0)
    (plot,) = drawing.curves(collect.read(tmp_path)[0])
    for k in range(1, 11):
        assert (f">objective.k={k}<" in plot.svg) == (k > 3)
    assert "7 of 10 settings are drawn, those with the highest last exact/max_at_1" in plot.caption
    assert "1 runs of the same config and seed as another one are not drawn" in plot.caption


def test_each_world_has_its_own_curves(tmp_path):
    finished(tmp_path / "a", config("env=bandit"))
    finished(tmp_path / "b", config("env=cliff_1d"))
    plots = list(drawing.curves(collect.read(tmp_path)[0]))
    assert [plot.title for plot in plots] == [
        "pkpo_envs:pkpo/Bandit-v0",
        "pkpo_envs:pkpo/Cliff1D-v0",
    ]
    assert "One seed a setting" in plots[0].caption
    ids = [value for name, value in Page(page.render(tmp_path)).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def damage(place: Path, name: str, content: str) -> str:
    (place / name).write_text(content)
    return str(place / name)


def test_what_is_logged_beside_numbers_spoils_no_curve(tmp_path):
    log = "a,b,c,d,train/n_updates\nwon,True,1,inf,1\n0.5,False,1"
    (tmp_path / "progress.csv").write_text(f"{log}{'0' * 400},2,2\n")
    table = collect.numbers(read_progress(tmp_path))
    expected = {"a": [None, 0.5], "b": [1, 0], "c": [1, None], "d": [None, 2]}
    for name, values in {**expected, "train/n_updates": [1, 2]}.items():
        np.testing.assert_array_equal(table[name], np.array(values, dtype=float))


def test_what_is_damaged_is_named_and_the_rest_is_reported(folder):
    broken = [
        damage(finished(folder / "d1", config("seed=4")), "summary.json", '{"config": '),
        damage(finished(folder / "d2", config("seed=4")), "summary.json", '{"config": 3}'),
        damage(finished(folder / "d3", config("seed=4")), "progress.csv", ""),
        damage(finished(folder / "d4", config("seed=4")), "progress.csv", "train/n_updates\nab\n"),
        damage(finished(folder / "d5", config("seed=4")), "progress.csv", "a,b\n1,2\n1,2,3\n"),
        damage(folder / "failed", "failure.json", '{"overrides": 3}'),
    ]
    (finished(folder / "d6", config("seed=4")) / "progress.csv").unlink()
    damage(finished(folder / "d7", config("seed=4")), "summary.json", "[" * 100_000)
    damage(folder / "begun", "config.yaml", "a: [")
    broken += [str(folder / name) for name in ("d6/progress.csv", "d7", "begun/config.yaml")]
    text = "\n".join(Page(page.render(folder)).texts)
    assert "8 finished · 0 failed · 0 unfinished · 9 could not be read" in text
    listed = text[text.rindex("Could not be read") : text.rindex("Versions")]
    for path in broken:
        assert path in listed


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


def test_the_figure_of_a_finished_experiment_is_in_the_report(tmp_path):
    overrides = ["experiment=sample_weights", "algorithm.group_size=16"]
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        settings = compose("train", overrides, return_hydra_config=True)
        place = tmp_path / run_id(_root_=settings)
        place.mkdir()
        settings.hydra.runtime.output_dir = str(place)
        HydraConfig.instance().set_config(settings)
        app.run(compose("train", overrides))
    found, problems = collect.read(tmp_path)
    assert problems == []
    plots, undrawn = experiments.experiments(found)
    assert ([plot.title for plot in plots], undrawn) == (["sample_weights"], [])
    assert list(drawing.curves(found)) == []  # it trained nothing
    summary = json.loads((place / "summary.json").read_text())
    runs.write_summary(place, {**summary, "measurements": [{"k": 1}]})
    plots, (line,) = experiments.experiments(collect.read(tmp_path)[0])
    assert plots == []
    assert line.startswith("sample_weights: ")
    assert "Not drawn: sample_weights" in page.render(tmp_path)


def call(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pkpo-report", *arguments])
    report.main()


def test_the_command_writes_beside_the_runs_or_where_it_is_told(folder, monkeypatch, capsys):
    call(monkeypatch, str(folder))
    first = (folder / "report.html").read_bytes()
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    call(monkeypatch, str(folder), "--output", str(folder / "new" / "other.html"))
    assert (folder / "new" / "other.html").read_bytes() == first  # and it is not a run
    assert not list(folder.rglob("*.part"))


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"pkpo-report: no run below .* pkpo-train first"):
        call(monkeypatch, str(tmp_path))
    with pytest.raises(SystemExit, match=r"pkpo-report: .*none is not a folder"):
        call(monkeypatch, str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


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
