"""Grids in TOML that are no grids."""

from __future__ import annotations

import os
from pathlib import Path

from bad import Case, cases, refused, run

CONFIGS = cases(
    # what is no TOML
    ("value missing", "alpha = ", ("g.toml: not valid TOML: Invalid value",)),
    ("two equal signs", "rounds = 3\nalpha == 1", ("not valid TOML", "line 2, column 8")),
    ("list not closed", "alpha = [0.1", ("not valid TOML: Unclosed array",)),
    ("key twice", "alpha = 0.1\nalpha = 0.2", ("not valid TOML: Cannot overwrite a value",)),
    ("key twice, written in two ways", "local-epochs = 1\nlocal_epochs = 2", ("local_epochs: given twice",)),
    ("no equal sign", "x" * 100_000, ("not valid TOML",)),
    ("null byte", "alpha = 0.1\0", ("not valid TOML",)),
    ("binary", b"\x7fELF\x02\x01\xff\xfe", ("g.toml: cannot be read as text", "UTF-8")),
    ("UTF-16", "alpha = 0.1".encode("utf-16"), ("cannot be read as text",)),
    ("nested 20,000 times", "alpha = " + "[" * 20_000, ("nested too deeply",)),
    ("tables nested 3,000 times", "alpha = " + "{a=" * 3_000, ("nested too deeply",)),
    ("5,000 digits", "seed = " + "9" * 5_000, ("a number of thousands of digits",)),
    ("megabytes", "# " + "x" * 1_000_000, ("g.toml: larger than 1,000,000 bytes",)),
    # values
    ("6,000 hexadecimal digits", "seed = 0x" + "f" * 6_000, ("seed: 'a number of thousands of digits' is too large",)),
    ("beyond 64 bits", "rounds = 99999999999999999999", ("rounds: '99999999999999999999' is too large",)),
    ("infinite", "alpha = inf", ("alpha: 'inf' is not a number",)),
    ("nan", "lr = nan", ("lr: 'nan' is not a number",)),
    ("fraction", "rounds = 2.5", ("rounds: '2.5' is not a whole number",)),
    ("true", "clients = true", ("clients: 'True' is not a whole number",)),
    ("text", "lr = [0.1, 'x']", ("lr: 'x' is not a number",)),
    ("number as a name", "attack = ['badnets', 3]", ("attack: '3' is not text",)),
    ("list in one text", "attack = 'badnets,dba'", ("unknown attack 'badnets,dba'",)),
    ("date", "alpha = 2026-01-01", ("alpha: '2026-01-01' is not one value",)),
    ("list of lists", "alpha = [[0.1]]", ("alpha: '[0.1]' is not one value", "alpha = [value, value]")),
    ("empty list", "alpha = []", ("alpha: the list is empty",)),
    ("table as a value", "defense = {name = 'krum'}", ("defense: '{'name': 'krum'}' is not one value",)),
    ("no text", "attack = ''", ("unknown attack ''",)),
    ("null byte in a text", 'server_data = "a\\u0000b"', ("server_data: 'a\\x00b' holds '\\x00'",)),
    ("terminal codes in a text", 'teacher = "\\u001b[2J"', ("teacher: '\\x1b[2J' holds '\\x1b'",)),
    ("5,000 characters", f"templates = '{'x' * 5000}'", ("templates: 'xxxx", "5,000 characters")),
    ("stars with options", "attack = '*[size=3]'", ("unknown attack '*'",)),
    ("seeds and seed", "seed = [1]\nseeds = 2", ("seed and seeds are both given",)),
    ("seeds without number", "seeds = 'x'", ("seeds: 'x' is not a whole number",)),
    ("seeds without end", "seeds = 100000000000", ("seeds: 100000000000 is not a number of seeds", "100,000")),
    ("cells without end", "seeds = 400\nclients = " + str([*range(20, 420)]), ("160,000 cells", "100,000")),
    # keys and tables
    ("unknown key", "alpah = 1", ("g.toml: unknown key 'alpah'", "Did you mean 'alpha'?")),
    ("empty key", "'' = 1", ("unknown key ''",)),
    ("key with a null byte", '"al\\u0000pha" = 1', ("unknown key 'al\\x00pha'",)),
    ("dotted key", "alpha.low = 1", ("alpha: '{'low': 1}' is not one value",)),
    ("unknown table", "[cell]\nalpha = 1", ("unknown key 'cell'",)),
    ("grid that is a table", "[grid]\nalpha = 1", ("grid: not a list of tables", "[[grid]]")),
    ("grid that is a text", "grid = 'x'", ("grid: not a list of tables",)),
    ("name in a grid", "[[grid]]\nname = 'a'", ("unknown key 'name'",)),
    ("base in a grid", "[[grid]]\nbase = 'demo'", ("unknown key 'base'",)),
    ("grid in a grid", "[[grid]]\n[[grid.grid]]\nalpha = 1", ("unknown key 'grid'",)),
    ("above and in a grid", "alpha = 1\n[[grid]]\nalpha = 2", ("alpha: given above the tables [[grid]]",)),
    ("scale that is no table", "scale = 3", ("scale: write a table for each scale, [scale.NAME]",)),
    ("scale without a name", "[scale]\nrounds = 1", ("[scale.NAME]",)),
    ("scale that is a list", "[[scale]]\nrounds = 1", ("[scale.NAME]",)),
    ("table in a scale", "[scale.x.y]\nrounds = 1", ("unknown key 'y'",)),
    ("unknown base", "base = 'papre'", ("unknown preset 'papre'", "Did you mean 'paper'?")),
    ("base as a path", "base = '../../g'", ("unknown preset '../../g'",)),
    ("base of itself", "name = 'g'\nbase = 'g'", ("unknown preset 'g'",)),
    ("bases", "base = ['paper', 'demo']", ("base: '['paper', 'demo']' is not text",)),
    # names become folders
    ("name above", "name = '../up'", ("name: '../up' cannot name a run folder", "letters, digits")),
    ("absolute name", "name = '/etc/x'", ("name: '/etc/x' cannot name a run folder",)),
    ("two points", "name = '..'", ("name: '..' cannot name a run folder",)),
    ("hidden name", "name = '.git'", ("name: '.git' cannot name a run folder",)),
    ("name like an option", "name = '-rf'", ("name: '-rf' cannot name a run folder",)),
    ("name with a null byte", 'name = "a\\u0000b"', ("name: 'a\\x00b'",)),
    ("name with a line's end", 'name = "a\\n"', ("name: 'a\\n'",)),
    ("name of 300 characters", f"name = '{'x' * 300}'", ("name: 'xxxx", "up to 100 letters")),
    ("name of no letters", "name = ''", ("name: '' cannot name a run folder",)),
    ("name that is a number", "name = 3", ("name: '3' is not text",)),
    ("scale above", "[scale.'../up']\nrounds = 1", ("'../up' cannot name a run folder",)),
    ("scale of no letters", "[scale.'']\nrounds = 1", ("'' cannot name a run folder",)),
    ("description", "description = 3", ("description: '3' is not text",)),
)


@CONFIGS
def test_file(case: Case, place: Path) -> None:
    content = case.given if isinstance(case.given, bytes) else str(case.given).encode()
    (place / "g.toml").write_bytes(content)
    refused(("grid", "--dry-run", "--config", "g.toml"), case.words, place)


def test_what_is_no_file(place: Path) -> None:
    os.symlink("loop.toml", place / "loop.toml")
    refused(("grid", "--config", "loop.toml"), ("loop.toml: cannot be read", "symbolic links"), place)
    refused(("grid", "--config", "data"), ("data: cannot be read", "Is a directory"), place)


def test_what_editors_and_people_write_is_read(place: Path) -> None:
    """A byte order mark; a name of a file that cannot name a folder."""
    (place / "_My größter Versuch!.toml").write_bytes(b"\xef\xbb\xbfdataset = 'digits'\nmodel = 'cnn'")
    done = run("grid", "--dry-run", "--device", "cpu", "--config", "_My größter Versuch!.toml")
    assert done.code == 0, done.err
    assert "results/runs/My-gr-ter-Versuch" in done.out
