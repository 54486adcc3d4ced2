"""Takes the README's pictures of a report, its first screen in light and dark. Those that are kept were taken with::

python -m pipelines run --data nw_ucla.pkl --config pipelines/configs/nw_ucla_quick.yaml
python tests/evaluate/report/take_picture.py runs/nw_ucla_quick/report.html tests/evaluate/report/pictures/report
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1180, 925


def main(report: Path, stem: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            page = context.new_page()
            page.goto(report.resolve().as_uri())
            page.screenshot(path=f"{stem}-{scheme}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
