"""The page in a real browser, fed by a real Redis: it follows, it fits, it works without a mouse, and the console stays silent."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from browser.page_bus import Bus, get_json, wait_for

Screen = Callable[..., Any]


def text(browser: Any, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def rows(browser: Any, body: str) -> list[list[str]]:
    script = "return [...document.querySelectorAll(arguments[0])].map((row) => [...row.cells].map((cell) => cell.textContent))"
    found: list[list[str]] = browser.execute_script(script, f"#{body} tr")
    return found


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def complaints(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def page(bus: Bus, page_url: str, screen: Screen) -> Callable[..., Any]:
    """Open the page at a size, after some of a run; ready when the first book is drawn."""

    def opened(width: int = 1440, height: int = 900, **options: Any) -> Any:
        bus.play(30)
        browser = screen(page_url, width, height, **options)
        wait_for("the first book", lambda: len(rows(browser, "bids")) == 10)
        wait_for("the charts", lambda: browser.execute_script("return document.querySelectorAll('.chart .main-svg').length") >= 2)
        return browser

    return opened


def test_the_book_follows_the_bus(page: Callable[..., Any], bus: Bus) -> None:
    """Prices on the tick grid, sizes, and a side that is empty is no price."""
    browser = page()
    bus.publish(bus.book("ES", bid_ticks=[27_003 - i for i in range(10)], bid_qty=[77] * 10, ask_ticks=[27_005 + i for i in range(10)]))
    wait_for("the new book", lambda: rows(browser, "bids")[0][1:3] == ["6750.75", "77"])
    assert rows(browser, "asks")[-1][1] == "6751.25"
    assert "spread 0.50" in text(browser, "#spread")
    bus.publish(bus.book("ES", ask_ticks=[-(2**63)] * 10, ask_qty=[0] * 10))
    wait_for("the empty side", lambda: rows(browser, "asks")[-1][1:3] == ["–", "–"])


def test_positions_money_and_limits_follow_the_bus(page: Callable[..., Any], bus: Bus) -> None:
    """With sign and word, not with colour alone."""
    browser = page()
    position = {"symbol": "ZN", "qty": -3, "avg_price": "110.5", "unrealised_micros": -1_250_000_000, "realised_micros": 7_000_000}
    limit = {"rule": "DAY_LOSS", "figure": 2_900_000_000, "limit": 3_000_000_000, "unit": "micros"}
    bus.publish(bus.account(positions=[position], pnl_micros=-1_243_000_000, limits=[limit], state="HALTED", orders={"UNKNOWN": 2}))
    wait_for("the position", lambda: rows(browser, "positions") == [["ZN", "−3 short", "110.5", "−$1,250.00", "+$7.00"]])
    assert text(browser, "#pnl") == "−$1,243.00"
    assert "$2,900.00 of $3,000.00 (97 %, near)" in text(browser, "#limits")
    assert text(browser, "#engine") == "engine: HALTED"
    assert text(browser, "#orders") == "unknown2"


def test_a_refusal_appears_once_with_its_figures_and_as_text(page: Callable[..., Any], bus: Bus) -> None:
    """Newest first; heard twice it counts once; markup in a name stays text."""
    browser = page()
    refusal = {
        "type": "refusal",
        "code": "BOOK_AGE",
        "symbol": "<b>x</b>",
        "figure": 612_000_000,
        "limit": 500_000_000,
        "ts_ns": bus.now_ns(),
    }
    bus.publish(refusal)
    bus.publish(refusal)
    wait_for("the refusal", lambda: rows(browser, "refusals")[0][1:] == ["BOOK_AGE", "<b>x</b>", "612 ms", "500 ms"])
    assert sum(row[1] == "BOOK_AGE" for row in rows(browser, "refusals")) == 1
    assert not browser.execute_script("return document.querySelector('#refusals b')")


def test_latency_feed_and_processes_are_judged_in_words(page: Callable[..., Any], bus: Bus) -> None:
    """Over budget, stale, failed: readable without colours. A leg without a budget is not judged."""
    browser = page()
    bus.publish(bus.latency() | {"signal.duration": {"p50": 1, "p99": 2, "max": 3, "n": 4, "budget": None}})
    bus.publish(
        {
            **bus.health(),
            "children": [{"name": "execution", "state": "failed", "pid": 7}, {"name": "poller", "state": "starting", "pid": 8}],
        }
    )
    wait_for("the state", lambda: "✕ failed" in text(browser, "#children") and "… starting" in text(browser, "#children"))
    legs = {row[0]: row for row in rows(browser, "latency")}
    assert legs["end to end"][3] == "✕ over"
    assert legs["feed"][3] == "✓ within"
    assert (legs["signal: duration"][2], legs["signal: duration"][3]) == ("none", "–")
    assert rows(browser, "feed")[2][4] == "▲ stale"


def test_the_console_stays_silent_and_only_this_server_is_asked(page: Callable[..., Any], bus: Bus, page_url: str) -> None:
    """No error, no warning, no breach of the content security policy, no foreign address."""
    browser = page()
    bus.play(10)
    wait_for("progress", lambda: text(browser, "#progress-text") != "no data")
    assert complaints(browser) == []
    asked = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    foreign = {url for url in asked if not url.startswith((page_url, "data:", "about:", "chrome:"))}
    assert foreign == set()


def test_nothing_is_wider_than_the_screen(page: Callable[..., Any]) -> None:
    """Tables scroll inside their panels; the page does not scroll sideways, and follows when the screen is turned."""
    browser = page(390, 844)
    for width in (390, 320, 768, 1440):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        )
        wait_for(f"{width} pixels", lambda width=width: browser.execute_script("return document.documentElement.scrollWidth") == width)
        assert browser.execute_script(TOO_WIDE) == [], width


TOO_WIDE = """return [...document.querySelectorAll('main .panel, header > *')]
  .filter((node) => node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.className)"""


def test_the_page_can_be_used_with_the_keyboard_alone(page: Callable[..., Any]) -> None:
    """Skip link, symbol tabs with arrows, single keys, the dialog and out of it again."""
    from selenium.webdriver import Keys

    browser = page()
    focus = "return document.activeElement"
    press(browser, Keys.TAB)
    assert browser.execute_script(f"{focus}.className") == "skip"
    browser.execute_script("document.querySelector('#tabs button').focus()")
    press(browser, Keys.ARROW_RIGHT)
    wait_for("the second symbol", lambda: text(browser, "#book-title") == "Book NQ")
    assert browser.execute_script(f"{focus}.getAttribute('aria-selected')") == "true"
    press(browser, Keys.END)
    wait_for("the last symbol", lambda: text(browser, "#book-title") == "Book ZN")
    press(browser, "1")
    wait_for("the first symbol", lambda: text(browser, "#book-title") == "Book ES")
    press(browser, "b")
    assert browser.execute_script(f"{focus}.id") == "book"
    outline = browser.execute_script(f"return getComputedStyle(({focus.removeprefix('return ')})).outlineStyle")
    assert outline != "none", "focus is visible"
    press(browser, "?")
    assert browser.execute_script("return document.getElementById('keys').open")
    press(browser, Keys.ESCAPE)
    assert not browser.execute_script("return document.getElementById('keys').open")


def test_a_frozen_page_stands_still_and_catches_up(page: Callable[..., Any], bus: Bus) -> None:
    """To read a fast book; nothing is lost meanwhile."""
    browser = page()
    press(browser, "f")
    before = rows(browser, "bids")
    bus.publish(bus.book("ES", bid_ticks=[20_000 - i for i in range(10)], bid_qty=[11] * 10))
    wait_for("the state", lambda: b"20000" in raw_state(browser))
    assert rows(browser, "bids") == before
    press(browser, "f")
    wait_for("the newest book", lambda: rows(browser, "bids")[0][1:3] == ["5000.00", "11"])


def raw_state(browser: Any) -> bytes:
    return str(get_json(browser.current_url.rstrip("/") + "/api/state")).encode()


def test_every_control_has_a_name_and_every_table_has_heads(page: Callable[..., Any]) -> None:
    """What a screen reader would say."""
    browser = page()
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('button, input, [tabindex=\"0\"], [role]')].filter((node) => !node.textContent.trim()"
        " && !node.getAttribute('aria-label') && !node.getAttribute('aria-labelledby') && !node.labels?.length)"
        ".map((node) => node.outerHTML)"
    )
    assert unnamed == []
    assert browser.execute_script("return [...document.querySelectorAll('table')].every((table) => table.querySelector('th[scope]'))")


def test_text_can_be_told_from_its_ground(page: Callable[..., Any]) -> None:
    """At least 4.5 to 1 for the words and figures of every panel, in both colour schemes. Source: WCAG 2.2, 1.4.3."""
    browser = page()
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        found = browser.execute_script(CONTRAST)
        assert found["words"] > 100
        assert found["low"] == [], scheme


CONTRAST = """
const shown = (text) => text.match(/[0-9.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => { for (let at = node; at; at = at.parentElement) { const c = shown(getComputedStyle(at).backgroundColor);
  if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
const kinds = 'main td, main th, main p, main dt, main dd, main h2, main li span, header dd, header dt, header p, button span';
const words = [...document.querySelectorAll(kinds)];
const low = words.filter((node) => node.textContent.trim() && node.offsetParent).map((node) => {
  const [a, b] = [light(shown(getComputedStyle(node).color)), light(ground(node))];
  return [node.textContent.slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
}).filter(([, ratio]) => ratio < 4.5);
return { words: words.length, low };
"""


def test_a_page_that_was_left_holds_no_connection(screen: Screen, bus: Bus, page_url: str) -> None:
    """A browser opens six to a server; pages kept for the way back would use them up, and the seventh visit would hang.

    Without plotly's script, which makes the visits short; the page does without it and says so.
    """
    bus.play(1)
    browser = screen("about:blank")
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*plotly*"]})
    try:
        for _ in range(8):
            screen(page_url)
        wait_for("the last page", lambda: text(browser, "#link") == "live" and len(rows(browser, "bids")) == 10)
        assert "Charts need the plotly package" in text(browser, "#price-chart")
    finally:
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def test_a_lost_bus_is_said_and_the_page_recovers_by_itself(page: Callable[..., Any], bus: Bus) -> None:
    """The last test of the file: Redis is stopped and started again."""
    browser = page()
    bus.stop()
    wait_for("the bad news", lambda: text(browser, "#link") == "bus down: waiting")
    bus.start()
    wait_for("the dashboard on the new bus", lambda: bus.listeners() > 0)
    bus.play(3)
    wait_for("the good news", lambda: text(browser, "#link") == "live")
    wait_for("a new book", lambda: len(rows(browser, "bids")) == 10)
