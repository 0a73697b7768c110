"""A real Redis, the real dashboard process and a real Chromium; messages as the programs of a run publish them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.page_bus import Bus, free_port, wait_for
from real_data import skip_or_fail

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


@pytest.fixture(scope="session")
def bus() -> Iterator[Bus]:
    """A Redis of its own, empty at the start."""
    own = Bus(free_port())
    own.start()
    yield own
    if own.process is not None and own.process.poll() is None:
        own.stop()


@pytest.fixture(scope="session")
def page_url(bus: Bus) -> Iterator[str]:
    """The dashboard as its own process, as `tidemark run` starts it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    command = [sys.executable, "-m", "tidemark.dashboard", "--redis-port", str(bus.port), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().removeprefix("dashboard on ")
        assert url.startswith("http://127.0.0.1:")
        wait_for("the dashboard on the bus", lambda: bus.listeners() > 0)
        yield url
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a profile of its own, driven by the distribution's driver."""
    if not (shutil.which(CHROMIUM) and shutil.which(DRIVER)):
        skip_or_fail(f"{CHROMIUM} and {DRIVER} are not installed (apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture
def screen(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open an address in a window of a given size; colour scheme and reduced motion as asked for. Logs start empty."""

    def open_at(url: str, width: int = 1440, height: int = 900, *, scheme: str = "light", reduced_motion: bool = False) -> Any:
        browser.get("about:blank")
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        )
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced_motion else "no-preference"},
        ]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(url)
        return browser

    yield open_at
    browser.get("about:blank")


@pytest.fixture
def shots() -> Path:
    """Where screenshots go: a folder that survives the run, to be looked at (TIDEMARK_SHOTS, or a temporary one)."""
    folder = Path(os.environ.get("TIDEMARK_SHOTS", Path(os.environ.get("TMPDIR", "/tmp")) / "tidemark-shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
