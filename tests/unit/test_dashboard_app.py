"""The page's server: local, read only, and nothing loads that is not its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from starlette.testclient import TestClient

from tidemark.dashboard.__main__ import bind, main
from tidemark.dashboard.app import STATIC, build_app, page_html
from tidemark.dashboard.guard import hosts_for
from tidemark.dashboard.hub import Hub
from tidemark.errors import InputError
from tidemark.local.processes import free_port, wait_until
from tidemark.local.redis import prepare

BASE = "http://127.0.0.1:8080"


@pytest.fixture
def client() -> TestClient:
    """The application without its bus: the lifespan is not entered."""
    hub = Hub()
    hub.on_snapshot({"health": b'{"type": "health", "children": []}'})
    return TestClient(build_app("127.0.0.1", 1, hosts_for("127.0.0.1", 8080), hub=hub), base_url=BASE)


def test_the_page_its_files_and_its_state_are_served(client: TestClient) -> None:
    """Every file that the page names exists, and the state is the hub's."""
    page = client.get("/")
    assert page.status_code == 200
    for address in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
        assert client.get(address).status_code == 200, address
    assert client.get("/api/state").json()["last"]["health"]["children"] == []


def test_modules_import_only_files_that_exist() -> None:
    """There is no bundler that would notice."""
    for script in STATIC.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', script.read_text("utf-8")):
            assert (STATIC / name).is_file(), f"{script.name} imports {name}"


def test_every_element_that_the_scripts_look_up_is_in_the_page() -> None:
    """byId of a missing id would fail only when its panel is drawn."""
    page = page_html()
    for script in STATIC.glob("*.js"):
        for name in re.findall(r'byId\("([^"]+)"\)', script.read_text("utf-8")):
            assert f'id="{name}"' in page, f"{script.name} looks for {name}"


def test_no_script_writes_markup_and_the_page_has_none_inline() -> None:
    """Text from the bus must stay text."""
    for script in STATIC.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script.read_text("utf-8")), script.name
    page = page_html()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=|<style", page)


@pytest.mark.parametrize("path", ["/", "/api/state", "/static/app.js", "/none"])
def test_every_answer_forbids_foreign_content_and_framing(client: TestClient, path: str) -> None:
    """Refusals too."""
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1:9999", "localhost.evil.example:8080", ""])
def test_another_host_name_gets_no_answer(client: TestClient, host: str) -> None:
    """A web page that points its own name at 127.0.0.1 reads nothing."""
    assert client.get("/api/state", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading_is_possible(client: TestClient, method: str) -> None:
    """Nothing here can be changed by anybody."""
    assert client.request(method, "/api/state").status_code == 405


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd"])
def test_files_outside_the_pages_folder_are_not_served(client: TestClient, path: str) -> None:
    """Whatever way they are asked for."""
    assert client.get(path).status_code in (404, 405)


def test_a_full_server_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch, client: TestClient) -> None:
    """And does not hold one stream more."""
    monkeypatch.setattr(Hub, "is_full", property(lambda _: True))
    answer = client.get("/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_only_addresses_of_this_machine_are_listened_on() -> None:
    """The page has no login."""
    with pytest.raises(InputError, match=r"host: got 0\.0\.0\.0"):
        bind("0.0.0.0", 0)


def test_a_taken_port_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a traceback."""
    with bind("127.0.0.1", 0) as taken:
        assert main(["--redis-port", "1", "--port", str(taken.getsockname()[1])]) == 2
    assert capsys.readouterr().err.startswith("error: dashboard: port: ")


def test_whoever_waits_for_the_page_is_told_its_port_and_a_bus_that_is_down_does_not_matter() -> None:
    """The program serves at once; the bus may come later."""
    read_end, write_end = os.pipe()
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "TIDEMARK_READY_FD": str(write_end)}
    command = [sys.executable, "-m", "tidemark.dashboard", "--redis-port", "1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, pass_fds=(write_end,)) as process:
        os.close(write_end)
        with os.fdopen(read_end) as told:
            port = json.load(told)["port"]
        assert process.stdout is not None
        assert process.stdout.readline() == f"dashboard on http://127.0.0.1:{port}\n"
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize(("token", "is_connected"), [("right", True), ("wrong", False)])
def test_a_bus_that_asks_for_a_password_is_read_with_the_one_from_the_environment(tmp_path: Path, token: str, is_connected: bool) -> None:
    """Never from an argument, which every user of the machine could read; a wrong one leaves the page up, saying that the bus is down."""
    server = prepare(tmp_path, free_port().number, "right")
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "CACHE_AUTH_TOKEN": token}
    command = [sys.executable, "-m", "tidemark.dashboard", "--redis-port", str(server.port), "--port", "0"]
    with subprocess.Popen(server.argv, stdout=subprocess.DEVNULL) as bus:
        assert wait_until(server.ready, timeout_s=10)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip().removeprefix("dashboard on ")

            def state() -> dict[str, object]:
                with urlopen(f"{url}/api/state", timeout=5) as answer:
                    found: dict[str, object] = json.load(answer)["bus"]
                    return found

            assert wait_until(lambda: state()["connected"] is True or state()["error"] == "AuthenticationError", timeout_s=10)
            assert state()["connected"] is is_connected
            process.terminate()
            assert process.wait(10) == 0
        bus.terminate()
