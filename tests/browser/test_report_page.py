"""The report as somebody opens it: a file, in a browser, without a network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from browser.page_bus import wait_for
from engine_market import AA, config, random_block, random_signals
from tidemark.adapters.report_file import write_report
from tidemark.adapters.runfolder import write_run_folder
from tidemark.engine.hours import ALWAYS, FixedHours
from tidemark.reporting.targets import kpi_targets
from tidemark.research.backtest import run_backtest
from tidemark.research.kpis import targets_of
from tidemark.research.summary import build_summary

Screen = Callable[..., Any]
LEGS = {"feed": (4, 21, 30, 100), "end_to_end": (190, 512, 700, 500)}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the report of a backtest, with the latency of a run."""
    block = random_block(6, 600, ("AA",))
    done = run_backtest([block], (AA,), config(), signals=random_signals(6, block, 20), hours=FixedHours({"AA": [ALWAYS]}))
    names = ("p50", "p99", "max", "budget")
    latency = {leg: {**dict(zip(names, (ms * 10**6 for ms in values), strict=True)), "n": 812} for leg, values in LEGS.items()}
    summary = build_summary(done.result, stage="local", mode="run", seed=7, latency=latency, targets=targets_of(kpi_targets()))
    out = tmp_path_factory.mktemp("runs") / "first"
    write_run_folder(out, summary=summary, config={"seed": 7}, records=done.records, result=done.result)
    return write_report(out).resolve().as_uri()


def drawn(browser: Any) -> int:
    return int(browser.execute_script("return document.querySelectorAll('.chart .main-svg').length"))


def test_every_chart_is_drawn_from_the_file_alone(screen: Screen, report: str) -> None:
    """No request but for the file itself, no complaint in the console, all charts there."""
    browser = screen(report)
    places = browser.execute_script("return document.querySelectorAll('.chart').length")
    assert places >= 4
    wait_for("the charts", lambda: drawn(browser) >= places)
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {message["params"]["request"]["url"] for message in asked if message["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith(("data:", "blob:", "about:"))} == {report}


def test_the_report_is_never_wider_than_the_screen(screen: Screen, report: str) -> None:
    """Tables scroll inside their parts, with their folds open too."""
    browser = screen(report, 390, 844)
    wait_for("the charts", lambda: drawn(browser) >= 4)
    browser.execute_script("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    for width in (390, 320, 1440):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        )
        wait_for(f"{width} pixels", lambda width=width: browser.execute_script("return document.documentElement.scrollWidth") == width)


def test_the_report_is_dark_where_the_reader_is_and_light_on_paper(screen: Screen, report: str) -> None:
    """Charts are repainted in the colours of the page."""
    browser = screen(report, scheme="dark")
    wait_for("the charts", lambda: drawn(browser) >= 4)
    ground = "return getComputedStyle(document.querySelector('.chart .bg, .chart .main-svg')).backgroundColor"
    panel = "return getComputedStyle(document.querySelector('section')).backgroundColor"
    assert browser.execute_script(panel) == "rgb(20, 29, 35)"
    painted = "return document.querySelector('.chart').layout.paper_bgcolor"
    assert browser.execute_script(painted) == "#141d23", browser.execute_script(ground)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(painted) in ("#fff", "#ffffff")
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(painted) == "#141d23"
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(printed["data"]) > 20_000


def test_the_links_of_the_report_lead_to_its_parts_by_keyboard(screen: Screen, report: str) -> None:
    """Tab to the first link, Enter, and the part is in sight."""
    from selenium.webdriver import ActionChains, Keys

    browser = screen(report)
    ActionChains(browser).send_keys(Keys.TAB, Keys.ENTER).perform()
    target = browser.execute_script("return location.hash")
    assert target.startswith("#")
    script = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0"
    wait_for("the part in sight", lambda: bool(browser.execute_script(script, target)))
    assert Path(browser.current_url.split("#")[0].removeprefix("file://")).name == "report.html"
