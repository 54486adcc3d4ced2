"""What preprocess found doubtful about the data is said again where the numbers stand."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from made_runs import Run, experiment, make_run, numbers, typed, write_dataset
from rich.console import Console

from components.contracts import report
from components.contracts.errors import DamagedError, InputError
from components.contracts.skeleton import inline_layout, load_layout
from components.evaluate.core import evaluate
from components.evaluate.report.comparison import compare, open_run
from components.evaluate.report.story import story
from components.evaluate.report.terminal import print_report

ORDER = "the joints do not stand in the order of layout ntu25"
ACCEPTED = {"code": "joint-order", "severity": "accepted", "text": ORDER, "remedy": "set data.layout: kinect25"}
WARNING = {"code": "empty-frames", "severity": "warning", "text": "7 of 96 frames show <nobody>", "remedy": ""}
NOTE = {"code": "gaps-filled", "severity": "note", "text": "5 positions of joints were interpolated", "remedy": ""}
LOST = {
    "frames": 96,
    "empty": 7,
    "dropped": 2,
    "filled": 5,
    "samples": 3,
    "classes": {"class 1": {"samples": 3, "empty": 7, "dropped": 2, "filled": 5}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), experiment(streams=["j"]))


def evaluated(run: Run, folder: Path, **about: Any) -> Path:
    evaluate(*run.arguments(folder / "r"), dataset=write_dataset(folder / "d", run, **about))
    return folder / "r"


def notices(html: str) -> list[str]:
    """The lines above everything else."""
    return [line for line in html.split('<section id="result"')[0].splitlines() if 'class="notice' in line]


def printed(output: Path) -> str:
    console = Console(file=StringIO(), width=400)
    print_report(typed(numbers(output)), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_an_accepted_doubt_is_on_the_first_screen(run: Run, tmp_path: Path) -> None:
    output = evaluated(run, tmp_path, doubts=[ACCEPTED, WARNING, NOTE], lost=LOST)
    html = report.open(output).html
    line = f"Doubtful data, accepted by data.accept: {ORDER}. Also: empty-frames."
    assert any("notice bad" in notice and line in notice for notice in notices(html))
    answer = story(typed(numbers(output)))[-1]
    assert (answer.status, line in answer.text) == ("bad", True)
    for text in ("7 of 96 frames show &lt;nobody&gt;", NOTE["text"], "Set data.layout: kinect25"):
        assert text in html
    assert "Of 96 frames: 7 frames (7.3\u202f%) show nobody, 2 frames" in html
    for text in (line, "accepted joint-order:", "warning empty-frames: 7 of 96", "note gaps-filled"):
        assert text in printed(output)


def test_a_note_is_only_listed(run: Run, tmp_path: Path) -> None:
    output = evaluated(run, tmp_path, doubts=[NOTE], lost={**LOST, "empty": 0, "dropped": 0, "filled": 0})
    html = report.open(output).html
    assert not any(NOTE["text"] in notice for notice in notices(html))
    assert NOTE["text"] in html
    assert "Nothing was lost of 96 frames" in html
    assert NOTE["text"] not in story(typed(numbers(output)))[-1].text


def test_a_leak_of_another_protocol_is_none_of_this_run(run: Run, tmp_path: Path) -> None:
    """Preprocess looks at every protocol; whether that of the run leaks is one of the checks."""
    leak = {"code": "leak", "severity": "warning", "text": "protocol published: 95 of 464 test samples leak"}
    output = evaluated(run, tmp_path, doubts=[leak])
    html = report.open(output).html
    assert not any("95 of 464" in notice for notice in notices(html))
    assert "95 of 464" in html.split('id="doubts"')[1]


def test_metrics_hold_them_typed(run: Run, tmp_path: Path) -> None:
    found = typed(numbers(evaluated(run, tmp_path, doubts=[ACCEPTED, WARNING], lost=LOST))).data
    assert [(doubt.code, doubt.severity) for doubt in found.doubts or []] == [
        ("joint-order", "accepted"),
        ("empty-frames", "warning"),
    ]
    assert found.lost is not None
    assert found.lost.classes["class 1"].empty == 7


def test_a_dataset_that_does_not_say_is_not_called_clean(run: Run, tmp_path: Path) -> None:
    output = evaluated(run, tmp_path)
    assert numbers(output)["data"]["doubts"] is None
    assert 'id="doubts"' not in report.open(output).html


def test_another_form_is_damage(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"/d: damaged.*severity"):
        evaluated(run, tmp_path, doubts=[{**NOTE, "severity": "grim"}])


def test_a_comparison_warns_of_it(run: Run, tmp_path: Path) -> None:
    opened = open_run(evaluated(run, tmp_path, doubts=[ACCEPTED]))
    assert any("A has red flags: " in text and "joint-order" in text for text in compare(opened, opened).cautions)


def test_an_own_layout_is_called_by_its_name(tmp_path: Path) -> None:
    whole = load_layout("ntu25").model_dump(mode="json") | {"name": "my_camera"}
    made = make_run(tmp_path / "run", experiment(streams=["j"], rounds=1, data__layout=inline_layout(whole)))
    output = evaluated(made, tmp_path)
    assert numbers(output)["data"]["layout"] == "my_camera"
    html = report.open(output).html
    assert "layout my_camera." in html
    assert "\\&#34;" not in html  # the configuration shows the layout as the mapping that it is, not as JSON in JSON


def test_two_layouts_of_one_name_are_told_apart_in_one_line(tmp_path: Path) -> None:
    whole = load_layout("ntu25").model_dump(mode="json") | {"name": "my_camera"}
    mine, other = (inline_layout(whole | {"centre": centre}) for centre in ("spine", "neck"))
    made = make_run(tmp_path / "run", experiment(streams=["j"], rounds=1, data__layout=mine))
    stage = experiment(streams=["j"], rounds=1, data__layout=other).stage_evaluate()
    with pytest.raises(InputError) as error:
        evaluate(stage, list(made.scores.values()), [], [], tmp_path / "r")
    assert "layout 'my_camera' found, 'my_camera' (one of this name with other joints) expected" in str(error.value)
