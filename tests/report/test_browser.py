"""The page in a real browser: FEATX_BROWSER names one, else Chromium or Chrome is looked for."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_blocks import add_networks, add_wrong_run

from featx.report import write_report

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")
BROWSER = os.environ.get("FEATX_BROWSER") or next(filter(None, map(shutil.which, NAMES)), "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not BROWSER:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (FEATX_BROWSER)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("browser") / "home"
    shutil.copytree(made, home)
    add_networks(home)
    add_wrong_run(home)
    out = home / "page.html"
    write_report("shapes", out=out, runs_dir=home / "runs", cache_dir=home / "features")
    return out


@pytest.fixture
def visit(browser: Any, file: Path) -> Iterator[Any]:
    """Open the page: visit(width=1280, **options); what it asks for and says is checked after."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def visit(width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: said.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: said.append(f"error: {e}"))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(file.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert said == []
    asked = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert set(asked) == {file.as_uri()}


def draw_all(page: Any) -> None:
    for plot in page.query_selector_all(".plot"):
        plot.scroll_into_view_if_needed()
    wait_until(page, "() => !document.querySelector('.plot:not([data-drawn])')")


def wait_until(page: Any, script: str, argument: Any = None) -> None:
    """Wait for a function to be true. Playwright's own way runs text, which the page forbids."""
    deadline = time.monotonic() + 60
    while not page.evaluate(script, argument):
        assert time.monotonic() < deadline, script
        page.wait_for_timeout(50)


def column(page: Any, name: str) -> list[str]:
    """The values of a column of the main table, from top to bottom."""
    return page.evaluate(
        """(name) => {
          const table = document.querySelector('#table-models ~ .scroll table');
          const heads = [...table.tHead.rows[0].cells].map((c) => c.textContent.trim());
          return [...table.tBodies[0].rows].map((r) => r.cells[heads.indexOf(name)].dataset.sort);
        }""",
        name,
    )


def test_charts_are_drawn_and_photos_are_there(visit: Any) -> None:
    page = visit()
    draw_all(page)
    charts = page.evaluate("document.querySelectorAll('.plot').length")
    assert charts >= 11
    assert page.evaluate("document.querySelectorAll('.plot .main-svg').length") >= charts
    for image in page.query_selector_all(".photos img"):
        image.scroll_into_view_if_needed()
        wait_until(page, "(i) => i.complete && i.naturalWidth > 20", image)
    assert page.query_selector_all(".photos img")


def test_a_table_is_sorted_by_mouse_and_keyboard(visit: Any) -> None:
    page = visit()
    head = page.locator("#table-models ~ .scroll th", has_text="Macro F1").first
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(v) for v in column(page, "Macro F1")]
    assert values == sorted(values, reverse=True)
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(v) for v in column(page, "Macro F1")] == sorted(values)
    page.locator("#table-models ~ .scroll th button", has_text="Head").first.click()
    names = column(page, "Head")
    assert names == sorted(names, key=str.lower)
    assert page.locator("#table-models ~ .scroll th[aria-sort]").count() == 1
    page.locator("#table-models ~ .scroll th button", has_text="Draws").first.click()
    spreads = column(page, "Draws")
    known = [s for s in spreads if s]
    assert spreads == known + [""] * (len(spreads) - len(known))
    assert known
    assert len(known) < len(spreads)


def test_pointing_at_the_map_shows_the_photo(visit: Any) -> None:
    page = visit()
    page.locator("#map").scroll_into_view_if_needed()
    page.wait_for_selector('[data-chart="map"][data-drawn] .point')
    page.locator('[data-chart="map"] .plot, [data-chart="map"]').first.scroll_into_view_if_needed()
    box = page.locator('[data-chart="map"] .point').nth(3).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#pointed:not([hidden]) img[src^='data:image/webp']")
    told = page.locator("#pointed p").inner_text()
    assert re.match(r"class\d|<b>a & b<i>", told)
    wait_until(page, "() => document.querySelector('#pointed img').naturalWidth > 20")


def test_a_legend_hides_and_shows(visit: Any) -> None:
    page = visit()
    draw_all(page)
    chart = page.locator("#chart-learning-curves")
    lines = ".scatterlayer .trace"
    before = chart.locator(lines).count()
    entry = chart.locator(".legend button").first
    entry.press("Enter")
    assert entry.get_attribute("aria-pressed") == "false"
    assert chart.locator(lines).count() == before - 2  # the line and its band
    entry.press("Enter")
    assert chart.locator(lines).count() == before


def test_dark_and_light(visit: Any) -> None:
    page = visit(color_scheme="dark")
    draw_all(page)

    def look() -> tuple[str, str, str]:
        return tuple(
            page.evaluate(
                """() => [
                  getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.body).color,
                  getComputedStyle(document.querySelector('.xtick text')).fill,
                ]"""
            )
        )

    dark = look()
    assert dark[0] == "rgb(19, 21, 24)"
    page.locator("#theme").click()
    light = look()
    assert light[0] == "rgb(252, 252, 251)"
    assert all(a != b for a, b in zip(dark, light, strict=True))
    page.emulate_media(color_scheme="light")
    assert look() == light
    for page_theme in ("light", "dark"):
        cells = page.evaluate(CELLS)
        assert len(cells) > 3
        for written, under in cells:
            assert contrast(written, under) > 2.5, page_theme
        page.locator("#theme").click()
    for theme in (dark, light):
        assert contrast(theme[0], theme[1]) > 12
        assert contrast(theme[0], theme[2]) > 4.5


CELLS = """() => {
  const plot = document.querySelector('[data-chart="confusion"]');
  const texts = [...plot.querySelectorAll('.heatmap-label text')];
  const image = plot.querySelector('.hm image');
  const canvas = document.createElement('canvas');
  const box = image.getBoundingClientRect();
  canvas.width = image.width.baseVal.value; canvas.height = image.height.baseVal.value;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return texts.filter((t) => t.textContent).map((t) => {
    const at = t.getBoundingClientRect();
    const x = (at.left - box.left - 6) * canvas.width / box.width;
    const y = (at.top + at.height / 2 - box.top) * canvas.height / box.height;
    const [r, g, b] = context.getImageData(x, y, 1, 1).data;
    return [getComputedStyle(t).fill, `rgb(${r}, ${g}, ${b})`];
  });
}"""
"""The colours of the writing in the confusion matrix, and of the cells under it."""


def contrast(a: str, b: str) -> float:
    """Contrast of two colours (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_a_phone(visit: Any) -> None:
    page = visit(width=400, is_mobile=True, has_touch=True)
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    wide = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter((e) =>
          !e.closest('.scroll, svg, .js-plotly-plot') && e.getBoundingClientRect().right > 401
        ).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


def test_paper(visit: Any) -> None:
    page = visit(color_scheme="dark")
    wait_until(page, "() => !document.querySelector('.plot:not([data-drawn])')")  # not scrolled to
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.locator(".findings details").first.get_attribute("open") is not None
    widths = page.evaluate(
        "() => [...document.querySelectorAll('.plot .main-svg')].map((s) => s.clientWidth)"
    )
    assert max(widths) == 650
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert len(page.pdf()) > 20_000


def test_without_scripts_words_and_tables_are_there(visit: Any) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("#table-models").is_visible()
    assert page.locator(".plot").first.is_hidden()
    page.locator("details.numbers summary").first.click()
    assert page.locator("details.numbers table").first.is_visible()


def test_every_control_can_be_reached_and_has_a_name(visit: Any) -> None:
    page = visit()
    draw_all(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, a, summary, [role=img], [role=region]')]
          .filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label')))
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "theme"
