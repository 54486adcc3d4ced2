"""The page: well-formed, self-contained, the same bytes twice, and safe with any names."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_runs import Run, experiment, make_run, numbers

from components.contracts import report, scores
from components.evaluate.core import evaluate
from components.evaluate.report.facts import RunFacts, with_facts

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a & b",
    "{{ 7 * 7 }}",
    "</title></svg>",
    "ünï",
]


class Page(HTMLParser):
    """Reads a page and fails on what does not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(run: Run, output: Path) -> tuple[str, Page]:
    evaluate(*run.arguments(output))
    html = report.open(output).html
    return html, Page(html)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), experiment())


class TestForm:
    def test_structure(self, run: Run, tmp_path: Path) -> None:
        html, page = page_of(run, tmp_path / "r")
        assert html.startswith("<!doctype html>")
        tags = [tag for tag, _ in page.tags]
        for once in ("html", "head", "body", "main", "h1"):
            assert tags.count(once) == 1, once
        assert next(page.all("html"))["lang"] == "en"
        identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(set(identifiers)) == len(identifiers)
        for attributes in page.all("a"):
            assert (attributes["href"] or "").removeprefix("#") in identifiers
        for _, attributes in page.tags:
            if "aria-labelledby" in attributes:
                assert attributes["aria-labelledby"] in identifiers

    def test_every_table_says_what_its_cells_are(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        assert all(attributes.get("scope") in ("col", "row", "rowgroup") for attributes in page.all("th"))

    def test_pictures_have_names_or_are_hidden(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        pictures = list(page.all("svg"))
        assert pictures
        assert all(
            picture.get("aria-hidden") == "true" or (picture.get("role") == "img" and picture.get("aria-label"))
            for picture in pictures
        )

    def test_what_scrolls_can_be_reached_by_keyboard(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        boxes = [attributes for _, attributes in page.tags if "scroll" in (attributes.get("class") or "").split()]
        assert boxes
        for box in boxes:
            assert box.get("tabindex") == "0"
            assert box.get("aria-label") or box.get("aria-labelledby")

    def test_nothing_is_loaded_and_only_our_script_runs(self, run: Run, tmp_path: Path) -> None:
        html, page = page_of(run, tmp_path / "r")
        assert [script.get("type") for script in page.all("script")] == ["application/json", None]
        script = html.rpartition("<script>")[2].partition("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        links = [
            attributes[name] or "" for _, attributes in page.tags for name in ("src", "href") if name in attributes
        ]
        assert all(link.startswith(("#", "data:")) for link in links)
        assert not re.search(r"@import|url\(", html)
        assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
        policy = next(meta for meta in page.all("meta") if meta.get("http-equiv"))
        rules = dict((rule.split(maxsplit=1)) for rule in (policy["content"] or "").split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == f"'sha256-{digest}'"
        assert not re.search(r"fetch|XMLHttp|import\(|eval|https?:(?!//www\.w3\.org/2000/svg)", script)

    def test_same_bytes_twice(self, run: Run, tmp_path: Path) -> None:
        pages = []
        for name in ("one", "elsewhere"):
            evaluate(*run.arguments(tmp_path / name))
            pages.append((tmp_path / name / "report.html").read_bytes())
        assert pages[0] == pages[1]
        assert str(tmp_path).encode() not in pages[0]

    def test_hostile_names_are_text(self, tmp_path: Path) -> None:
        made = experiment(len(HOSTILE), data__classes=HOSTILE, description=HOSTILE[0], data__protocols={
            "cross": {"train": HOSTILE[1], "test": "test", "label": HOSTILE[0]}})  # fmt: skip
        html, page = page_of(make_run(tmp_path / "run", made), tmp_path / "r")
        assert len(list(page.all("script"))) == 2
        assert "<script>alert" not in html
        assert "<img" not in html
        assert not list(page.all("img"))
        for name in HOSTILE:
            assert name in page.words


class TestContent:
    def test_headline(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        headline = numbers(tmp_path / "r")["headline"]
        low, high = (f"{headline['intervals']['top1'][end] * 100:.1f}" for end in ("low", "high"))
        shown = f"{headline['top1'] * 100:.1f} % top-1 by the ensemble of 2 streams after round 2"
        assert f"{shown}: {headline['correct']} of 24 test samples, 95 % interval {low} to {high} %" in page.words
        assert "protocol “cross-subject”" in page.words

    def test_a_gain_is_said_with_its_caveat(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        assert re.search(
            r"From round 1 to round 2 the ensemble gained \+\d+\.\d points \(\d+ samples?; 95 % ", page.words
        )
        assert "A later round has also trained for more epochs" in page.words

    @pytest.mark.parametrize(
        ("skills", "expected"),
        [((1.0, 1.0), "the same number of samples is right"), ((3.0, 0.3), r"it gained nothing: −\d+\.\d points")],
    )
    def test_no_gain_is_called_nothing(self, tmp_path: Path, skills: tuple[float, float], expected: str) -> None:
        made = make_run(tmp_path / "run", experiment(), skills=skills)
        if skills[0] == skills[1]:
            made = _with_equal_rounds(made, tmp_path / "equal")
        _, page = page_of(made, tmp_path / "r")
        assert re.search(expected, page.words)
        assert "gained +" not in page.words

    def test_notices(self, tmp_path: Path) -> None:
        protocols = {"cross": {"train": "train", "test": "test", "label": "published, leaky; synthetic"}}
        made = experiment(streams=["j"], rounds=1, data__protocols=protocols)
        _, page = page_of(make_run(tmp_path / "run", made), tmp_path / "r")
        assert "Synthetic data." in page.words
        assert "Leaking protocol." in page.words
        classes = [attributes.get("class") for attributes in page.all("div")]
        assert (classes.count("notice"), classes.count("notice bad")) == (1, 1)

    def test_joints_are_named(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        assert [attributes.get("class") for attributes in page.all("li")].count("add") == 4
        assert "left hand" in page.words
        assert "left shoulder" in page.words

    def test_every_input_is_named(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        for name, value in report.verify(tmp_path / "r").made_from.items():
            assert name in page.words
            assert value in page.words

    def test_the_matrix_says_its_counts(self, run: Run, tmp_path: Path) -> None:
        _, page = page_of(run, tmp_path / "r")
        counts = numbers(tmp_path / "r")["confusion"]
        assert f"class 0 → class 0: {counts[0][0]} of 6" in page.words
        cells = [
            rect for rect in page.all("rect") if "fill-opacity" in rect and rect.get("class") in ("right", "wrong")
        ]
        assert len(cells) == sum(1 for row in counts for count in row if count)

    def test_one_stream_and_one_round_without_agent(self, tmp_path: Path) -> None:
        made = make_run(tmp_path / "run", experiment(streams=["j"], rounds=1))
        evaluate(made.experiment.stage_evaluate(), list(made.scores.values()), [], [], tmp_path / "r")
        page = Page(report.open(tmp_path / "r").html)
        assert "by the joint stream after round 1" in page.words
        assert "No constraints artifacts were given" in page.words

    @pytest.mark.parametrize("classes", [2, 60, 150])
    def test_any_number_of_classes(self, tmp_path: Path, classes: int) -> None:
        made = experiment(classes, streams=["j"], rounds=1)
        html, page = page_of(make_run(tmp_path / "run", made, samples_per_class=2), tmp_path / "r")
        assert f"class {classes - 1}" in page.words
        assert len(html) < 2_000_000
        matrix = next(picture for picture in page.all("svg") if picture.get("class") == "matrix")
        assert 0 < float(matrix["width"] or 0) < 1200


class TestFactsOfTheRun:
    def test_they_are_added_to_a_copy(self, run: Run, tmp_path: Path) -> None:
        html, _ = page_of(run, tmp_path / "r")
        facts = RunFacts(command="make run DATA='<b>'", machine="2 cores", seconds=3725.4, model="runs/x/model")
        words = Page(with_facts(html, facts)).words
        for said in ("make run DATA='<b>'", "2 cores", "1 h 2 min", "runs/x/model"):
            assert said in words
            assert said not in Page(html).words

    def test_without_any_the_page_stays(self, run: Run, tmp_path: Path) -> None:
        html, _ = page_of(run, tmp_path / "r")
        assert with_facts(html, RunFacts()) == html


def _with_equal_rounds(run: Run, folder: Path) -> Run:
    """Make round 2 predict what round 1 does."""
    changed = dict(run.scores)
    for stream in run.experiment.streams:
        first = scores.open(run.scores[stream, 1])
        changed[stream, 2] = folder / stream
        stage = run.experiment.stage_train(stream)
        scores.write(changed[stream, 2], replace(first, round=2), made_from={}, config=stage)
    return Run(run.experiment, changed, run.confusions, run.constraints)
