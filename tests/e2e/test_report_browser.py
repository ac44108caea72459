"""The report in a real browser, on light and on dark ground; skipped where there is no Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from makers.frames import grid
from PIL import Image

from clipfed_bench.report.page.html import render

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
DARK, LIGHT = 0, 1
"""Chromium's numbers for ``prefers-color-scheme``."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium")


def browse(folder, *options):
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    ]
    command += [f"--user-data-dir={folder / 'profile'}", *options, (folder / "report.html").as_uri()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(render("my-run", *grid()), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("scheme", "paper", "series"), [(LIGHT, "#ffffff", "#0072b2"), (DARK, "#14171b", "#3f9fd9")])
def test_the_page_is_drawn_in_the_colors_of_its_scheme(folder, scheme, paper, series):
    picture = folder / f"{scheme}.png"
    size = "--window-size=1000,9000"
    done = browse(folder, f"--blink-settings=preferredColorScheme={scheme}", size, f"--screenshot={picture}")
    assert picture.exists(), done.stderr
    shown = Image.open(picture).convert("RGB")
    counts = {f"#{r:02x}{g:02x}{b:02x}": n for n, (r, g, b) in shown.getcolors(maxcolors=1 << 24)}
    assert max(counts, key=counts.get) == paper
    assert counts.get(series, 0) > 100, "lines and points of a defense"
    refused = re.findall(r"CONSOLE.*", done.stderr)
    assert not refused, "the page's own security policy forbids something that it needs"
