"""The demo's page in a real browser: what a person sees who uploads a file there."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from fastproxy.demo.configuration import Home
from tests.demo.town import town
from tests.service.running import eventually

WATCH_THE_BAR = """
window.seen = [];
new MutationObserver(() => seen.push(bar.value)).observe(bar, { attributeFilter: ["value"] });
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with town() as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    started = Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield started
    finally:
        started.quit()


def choose(browser: Chrome, home: Home, file: Path) -> None:
    """Open the page and press "Upload" for a file."""
    browser.get(f"http://127.0.0.1:{home.port}/")
    browser.execute_script(WATCH_THE_BAR)
    browser.find_element(By.ID, "file").send_keys(str(file))
    browser.find_element(By.ID, "send").click()


def state(browser: Chrome) -> str:
    return browser.find_element(By.ID, "state").text


def bytes_within(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_person_uploads_a_file_and_sees_what_the_backend_was_told(
    browser: Chrome, home: Home, tmp_path: Path
) -> None:
    browser.set_network_conditions(latency=0, download_throughput=-1, upload_throughput=10 << 20)
    content = random.Random(1).randbytes(5_000_000)
    file = tmp_path / "Größe 1.bin"
    file.write_bytes(content)
    choose(browser, home, file)
    eventually(lambda: state(browser).startswith("Stored"), "the whole file")
    told = json.loads(browser.find_element(By.ID, "told").text)["told"]
    assert told["size"] == len(content)
    assert told["hashes"] == {"sha256": hashlib.sha256(content).hexdigest()}
    assert (home.path / "files" / "Gr__e_1.bin").read_bytes() == content
    browser.delete_network_conditions()
    seen = browser.execute_script("return seen")
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert seen[-1] == 1


def test_a_person_who_stops_leaves_nothing(browser: Chrome, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "endless.bin"
    with file.open("wb") as sparse:
        sparse.truncate(8 << 30)
    choose(browser, home, file)
    eventually(lambda: browser.execute_script("return seen.length > 0"), "the first bytes")
    browser.find_element(By.ID, "stop").click()
    eventually(lambda: state(browser).startswith("Stopped"), "the end")
    eventually(lambda: not bytes_within(home.path / "store"), "an empty store")
    assert not (home.path / "files" / "endless.bin").exists()


def test_the_page_says_what_was_refused(browser: Chrome, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "beyond.bin"
    with file.open("wb") as sparse:
        sparse.truncate((10 << 30) + 1)
    choose(browser, home, file)
    eventually(lambda: "Refused: 413" in state(browser), "the refusal")
