"""Pages in a real browser, opened from disk."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from tests.reports.conftest import DRAWN, make_record
from tests.reports.test_group import add_run
from tests.reports.test_participant import EVIL
from unimo_bids.reports.crashes import CrashReport
from unimo_bids.reports.drawing import draw_run
from unimo_bids.reports.group import write_group_report
from unimo_bids.reports.participant import write_participant_report

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    record = make_record(root / "data", "sub-01_task-rest", facts={EVIL: EVIL}, warnings=[EVIL])
    draw_run(record, root / "sub-01" / "figures")
    crash = CrashReport(root / "crash.txt", f"sub_01_wf.task_other_wf.{EVIL}", EVIL, EVIL)
    about, methods = {EVIL: EVIL}, f"Text {EVIL}"
    return write_participant_report(root, "sub-01", about=about, methods=methods, errors=[crash])


def opened(browser, path):
    """Open a page afresh; what it says on the console, what it asks for."""
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    return browser


def complaints(browser):
    return browser.get_log("browser")


def requests(browser):
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def pixels(element):
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("L"), dtype=float)


def canvas(browser):
    script = "return document.querySelector('.screen').toDataURL().split(',')[1]"
    image = Image.open(io.BytesIO(base64.b64decode(browser.execute_script(script))))
    return np.asarray(image.convert("L"), dtype=float)


def frame(browser):
    return int(browser.find_element(By.CLASS_NAME, "movie").get_attribute("data-frame"))


def test_report_opens_complete_and_asks_for_nothing(browser, report):
    opened(browser, report)
    for section in DRAWN:
        assert browser.find_elements(By.ID, f"sub-01_task-rest-{section.what}"), section.title
    sizes = browser.execute_script(
        "return [...document.images].map((image) => image.complete && image.naturalWidth)"
    )
    assert len(sizes) == len(DRAWN) and all(size > 100 for size in sizes)
    assert "sans-serif" in browser.find_element(By.TAG_NAME, "body").value_of_css_property(
        "font-family"
    )
    assert complaints(browser) == []
    asked = requests(browser)
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


def test_the_browser_would_tell(browser, report, tmp_path):
    """The two checks above see a script error, and a request that leaves."""
    page = tmp_path / "page.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>throw Error("x")</script>')
    opened(browser, page)
    assert len(complaints(browser)) >= 2
    assert any(url.startswith("http:") for url in requests(browser))


def test_what_is_injected_does_not_run(browser, report, tmp_path):
    text = report.read_text().replace("</main>", "<script>document.title = 'run'</script></main>")
    (tmp_path / "page.html").write_text(text)
    opened(browser, tmp_path / "page.html")
    assert browser.title != "run"
    assert any("Content Security Policy" in entry["message"] for entry in complaints(browser))


def test_the_movie_plays_and_pauses(browser, report):
    opened(browser, report)
    play = browser.find_element(By.CLASS_NAME, "play")
    assert (frame(browser), play.text) == (0, "Play")
    play.click()
    WebDriverWait(browser, 5, 0.05).until(lambda _: frame(browser) >= 2)
    assert play.text == "Pause"
    play.send_keys(Keys.SPACE)
    stopped = frame(browser)
    time.sleep(0.4)
    assert (frame(browser), play.text) == (stopped, "Play")
    assert complaints(browser) == []


def test_the_movie_goes_step_by_step(browser, report):
    opened(browser, report)
    slider = browser.find_element(By.CSS_SELECTOR, ".movie .frame")
    first = canvas(browser)
    half = len(first) // 2
    slider.send_keys(Keys.ARROW_RIGHT * 3)
    assert frame(browser) == 3
    jumped = canvas(browser)
    assert abs(jumped - first)[:half].mean() > 10  # the ball is elsewhere
    assert abs(jumped - first)[half + 20 :].mean() < 5  # and is not, once corrected
    spoken = slider.get_attribute("aria-valuetext")
    assert "Frame 3 of 11" in spoken and "9.00 mm" in spoken and "searched" in spoken
    slider.send_keys(Keys.ARROW_LEFT)
    assert frame(browser) == 2
    slider.send_keys(Keys.END)
    assert frame(browser) == 11
    slider.send_keys(Keys.ARROW_RIGHT)
    assert frame(browser) == 11
    slider.send_keys(Keys.SPACE)
    WebDriverWait(browser, 5, 0.05).until(lambda _: frame(browser) < 11)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_figures_stand_out_in_both_schemes(browser, report, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    opened(browser, report)
    figure = browser.find_element(By.CSS_SELECTOR, "[data-what='motion'] img")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
    grey = pixels(figure)
    paper = np.median(grey)
    assert paper > 240 if scheme == "light" else paper < 40
    title = grey[: len(grey) // 25, : grey.shape[1] // 2]
    ink = title.min() if scheme == "light" else title.max()
    assert abs(ink - paper) > 150
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_no_wider_than_the_screen(browser, report, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened(browser, report)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    root = tmp_path_factory.mktemp("group")
    for number, gain in enumerate((1.5, None, 3.0, 2.0), start=8):
        entities = f"sub-{number}_task-rest"
        add_run(root, entities, fd_mean=number / 10, tsnr_gain=gain, uncorrected_percent=0)
    write_participant_report(root, "sub-10", about={}, methods="", runs=["sub-10_task-rest"])
    return write_group_report(root)[1]


def column(browser, number):
    rows = browser.find_elements(By.CSS_SELECTOR, f".sortable tbody tr > :nth-child({number})")
    return [row.text for row in rows if row.is_displayed()]


def test_the_group_table_sorts_and_filters(browser, group):
    opened(browser, group)
    heads = browser.find_elements(By.CSS_SELECTOR, ".sortable thead th")
    number = next(i for i, head in enumerate(heads) if "gain" in head.text)
    button = heads[number].find_element(By.TAG_NAME, "button")
    browser.execute_script("arguments[0].click()", button)
    assert column(browser, number + 1) == ["1.50", "2.00", "3.00", "n/a"]
    assert heads[number].get_attribute("aria-sort") == "ascending"
    assert heads[0].get_attribute("aria-sort") is None
    browser.execute_script("arguments[0].click()", button)
    assert column(browser, number + 1) == ["3.00", "2.00", "1.50", "n/a"]
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert column(browser, 1) == [f"sub-{i}_task-rest" for i in (8, 9, 10, 11)]
    browser.find_element(By.ID, "filter").send_keys("SUB-1")
    assert column(browser, 1) == ["sub-10_task-rest", "sub-11_task-rest"]
    assert browser.find_element(By.ID, "count").text == "2 of 4"
    assert complaints(browser) == []
    assert all(url.startswith(("file:", "data:")) for url in requests(browser))


def test_points_lead_to_their_reports(browser, group):
    opened(browser, group)
    strips = browser.find_elements(By.CLASS_NAME, "strip")
    counts = [len(strip.find_elements(By.CSS_SELECTOR, "svg a")) for strip in strips]
    assert counts == [4, 3, 4]
    # by keyboard: one stop for each plot, arrows inside it
    first = strips[0].find_element(By.CSS_SELECTOR, "svg a")
    browser.execute_script("arguments[0].focus()", first)
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.find_element(By.ID, "said").text == "sub-10_task-rest: FD mean, mm 1.00"
    assert len(strips[0].find_elements(By.CSS_SELECTOR, "svg a[tabindex='0']")) == 1
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    WebDriverWait(browser, 5).until(lambda _: "sub-10.html" in browser.current_url)
    assert browser.current_url.endswith("sub-10.html#sub-10_task-rest")
    assert browser.find_elements(By.ID, "sub-10_task-rest")
