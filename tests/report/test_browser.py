"""The report in a real browser, with the network off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.report.small_report import NAMES, content
from yolo.evaluation.analysis import analyse
from yolo.report.gallery import worst_rows
from yolo.report.write import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no browser: chromium and chromedriver are missing (Debian: apt-get install chromium chromium-driver)",
    ),
]
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")  # fmt: skip
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
FAULTS = (Path(__file__).parent / "structure.js").read_text()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, content())
    return path


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    """The report, freshly opened in a light window of 1200 x 900 without a network."""
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    size(browser, 1200, 900)
    scheme(browser, "light")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(report.as_uri())
    return browser


def size(browser: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def scheme(browser: Any, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def by_id(page: Any, name: str) -> Any:
    return page.find_element("id", name)


def column(page: Any, number: int, *, shown: bool = True) -> list[str]:
    rows = page.find_elements("css selector", "#class-table tbody tr")
    return [row.find_elements("css selector", "th, td")[number].text for row in rows if row.is_displayed() or not shown]


def press(page: Any, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(page: Any) -> None:
    by_id(page, "theme").click()
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith("file:") for url in asked)
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in asked) == 1
    assert page.get_log("browser") == []


def test_the_policy_stops_scripts_that_are_not_ours(page: Any) -> None:
    page.execute_script(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    )
    page.execute_script("new Image().src = 'https://example.org/a.png'")
    assert page.execute_script("return window.ran") is None
    assert sum("Content Security Policy" in entry["message"] for entry in page.get_log("browser")) == 2


def test_names_of_classes_are_text(page: Any) -> None:
    assert page.title.startswith("report of </script>")
    assert column(page, 0) == list(NAMES)
    assert [image for image in page.find_elements("tag name", "img") if image.get_attribute("src").endswith("x")] == []


def test_headings_sort(page: Any) -> None:
    button = page.find_elements("css selector", "#class-table th button")[2]
    head = page.find_elements("css selector", "#class-table thead th")[2]
    shown = column(page, 2)
    assert "–" in shown
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, 2) == [*sorted((s for s in shown if s != "–"), reverse=True), "–"]
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, 2) == [*sorted(s for s in shown if s != "–"), "–"]
    page.find_elements("css selector", "#class-table th button")[0].click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, 0)[1:4] == ['a "quoted" & long name', "cat", "dog"]


def test_the_field_filters(page: Any) -> None:
    by_id(page, "filter").send_keys("O")  # whatever the case
    assert column(page, 0) == ["dog", NAMES[2], NAMES[3]]
    assert by_id(page, "filter-count").text == "3 of 5 classes"
    by_id(page, "filter").send_keys("zzz")
    assert column(page, 0) == []


def test_the_gallery_counts_what_the_evaluation_counts(page: Any) -> None:
    shown = content()
    slider = by_id(page, "confidence")
    for steps, confidence in ((0, 0.25), (350, 0.6), (-500, 0.1)):
        slider.send_keys(*[Keys.ARROW_RIGHT if steps > 0 else Keys.ARROW_LEFT] * abs(steps))
        assert by_id(page, "confidence-shown").text == f"{confidence:.3f}"
        errors = analyse(shown.metrics.evaluation, NAMES, confidence).image_errors[worst_rows(shown)].tolist()
        counts = [
            [int(figure.find_element("css selector", f"figcaption .{name}").text) for name in ("false", "missed")]
            for figure in page.find_elements("css selector", ".picture")
        ]
        assert counts == errors
        boxes = len([b for b in page.find_elements("css selector", ".picture .prediction.false") if b.is_displayed()])
        missed = len(page.find_elements("css selector", ".picture .object.missed"))
        assert [boxes, missed] == np.sum(errors, axis=0).tolist()
        total = by_id(page, "gallery-total").text
        assert f"{boxes} false alarms, {missed} missed" in total


@pytest.mark.parametrize("confidence", [0.255, 0.004, 0.2555])
def test_the_slider_starts_at_the_operating_confidence(page: Any, confidence: float, tmp_path: Path) -> None:
    shown = content(metrics=replace(content().metrics, confidence=confidence))
    write_report(tmp_path / "report.html", shown)
    page.get((tmp_path / "report.html").as_uri())
    slider = by_id(page, "confidence")
    assert float(slider.get_attribute("value")) == confidence
    assert by_id(page, "confidence-shown").text == f"{confidence:.3f}"
    before = by_id(page, "gallery-total").text
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert float(slider.get_attribute("value")) == confidence
    assert by_id(page, "gallery-total").text == before  # the page's script counts as the evaluation does


def test_boxes_can_be_left_out(page: Any) -> None:
    for name, group in (("objects", ".object rect"), ("predictions", ".prediction:not(.off) rect")):
        boxes = page.find_elements("css selector", f".frame {group}")
        assert all(box.is_displayed() for box in boxes)
        by_id(page, f"show-{name}").click()
        assert not any(box.is_displayed() for box in boxes)
        by_id(page, f"show-{name}").click()
    names = page.find_elements("css selector", ".frame .object text")
    assert not names[0].is_displayed()
    by_id(page, "show-names").click()
    assert names[0].is_displayed()


def test_curves_are_read_by_slider_and_pointer(page: Any) -> None:
    curves = content().metrics.analysis.curves
    means = [values.mean(axis=0) for values in (curves.precision, curves.recall, curves.f1)]
    cells = page.find_elements("css selector", "#values tbody tr:first-child td")
    assert [cell.text for cell in cells] == [f"{values[250]:.3f}" for values in means]
    by_id(page, "read-at").send_keys(*[Keys.ARROW_RIGHT] * 5)
    assert [float(cell.text) for cell in cells] == pytest.approx([values[300] for values in means], abs=6e-4)
    chart = page.find_element("css selector", "#chart-f1 > svg")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    ActionChains(page).move_to_element(chart).perform()
    middle = (220 - 54) / (440 - 54 - 12)  # of the drawing, whose margins differ
    assert int(by_id(page, "read-at").get_attribute("value")) == pytest.approx(middle * 100, abs=1)
    line = page.find_element("css selector", "#chart-f1 .cursor")
    assert float(line.get_attribute("x1")) == pytest.approx(220, abs=4)
    assert line.value_of_css_property("visibility") == "visible"


def test_everything_works_by_keyboard(page: Any) -> None:
    press(page, Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the content"
    assert page.switch_to.active_element.rect["x"] >= 0  # it came into view
    visited = []
    for _ in range(80):
        element = page.switch_to.active_element
        if element.tag_name == "body":
            break
        outline = page.execute_script("return getComputedStyle(arguments[0]).outlineStyle", element)
        assert outline != "none", element.get_attribute("outerHTML")[:100]
        visited.append(element)
        name = element.get_attribute("id") or element.text
        if name == "theme":
            press(page, Keys.ENTER)
        elif name == "AP50":
            press(page, Keys.SPACE)
        elif name == "filter":
            press(page, "cat")
        elif name == "confidence":
            press(page, Keys.END)
        elif name == "show-objects":
            press(page, Keys.SPACE)
        press(page, Keys.TAB)
    assert page.execute_script("return document.documentElement.dataset.theme") == "dark"
    assert page.find_elements("css selector", "#class-table thead th")[3].get_attribute("aria-sort") == "descending"
    assert column(page, 0) == ["cat"]
    assert by_id(page, "confidence-shown").text == "1.000"
    assert not page.find_elements("css selector", ".frame .object rect")[0].is_displayed()
    reachable = page.find_elements("css selector", "a, button, input, [role=region]")
    assert {element.id for element in reachable} <= {element.id for element in visited}


def test_a_screen_reader_finds_names_and_an_order(page: Any) -> None:
    assert page.execute_script(FAULTS) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast_in_both_themes(page: Any, theme: str) -> None:
    scheme(page, theme)
    pressed = str(theme == "dark").lower()  # told by an event, a moment later
    WebDriverWait(page, 5).until(lambda _: by_id(page, "theme").get_attribute("aria-pressed") == pressed)
    results = page.execute_script(CONTRAST)
    assert len(results) > 100
    assert [entry for entry in results if entry[0] < 4.5] == []
    by_id(page, "theme").click()  # to the other one, against the system
    assert by_id(page, "theme").get_attribute("aria-pressed") == str(theme != "dark").lower()
    assert [entry for entry in page.execute_script(CONTRAST) if entry[0] < 4.5] == []


def test_a_telephone_shows_it_without_scrolling_sideways(page: Any) -> None:
    size(page, 360, 740)
    assert page.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360]


def test_the_screenshot_shows_pictures_and_themes_differ(page: Any, tmp_path: Path) -> None:
    means = []
    for name in ("light", "dark"):
        scheme(page, name)
        page.execute_script("document.querySelector('.gallery').scrollIntoView()")
        assert page.save_screenshot(str(tmp_path / f"{name}.png"))
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        assert picture.shape == (900, 1200, 3)
        pink = (np.abs(picture.astype(int) - [214, 31, 255]).max(axis=2) < 30).sum()
        assert pink > 200  # outlines of missed objects lie over the pictures
        means.append(picture.mean())
    assert means[0] > means[1] + 50


def test_it_prints(page: Any) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    for element in page.find_elements("css selector", "nav, #theme, .controls"):
        assert not element.is_displayed()
    assert page.find_element("css selector", ".picture").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert len(page.print_page()) > 10_000
