"""docs/extending.md shows the files of tests/plugin as they are, which e2e/test_plugin.py installs and runs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin"


def test_the_page_shows_the_files_of_the_example() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE))
    files = [PLUGIN / "pyproject.toml", *(PLUGIN / "src").rglob("[a-z]*.py")]
    assert shown == {str(path.relative_to(PLUGIN)): path.read_text(encoding="utf-8") for path in files}
    assert len(files) == 8


def test_what_may_be_overridden_is_there() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    package = ROOT / "clipfed_bench"
    core = (f"core/{name}.py" for name in ("data_source", "partition", "metric"))
    more = (*core, "toolbox/classifier.py", "execution/executor.py")
    words = [*(package / "api").glob("*.py"), *(package / name for name in more)]
    api = "\n".join(path.read_text(encoding="utf-8") for path in words)
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)", row)]
    assert len(names) > 12
    for name in names:
        assert re.search(rf"def {name}\(|^    {name}: (ClassVar|bool)", api, re.MULTILINE), name
