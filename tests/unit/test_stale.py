"""Cells that are done, but from something else than there is now: seen, said, and computed anew or kept."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from watching import fake_session, run

from clipfed_bench import report
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult
from clipfed_bench.data.catalog import info, originals
from clipfed_bench.runs.digests import OF, PREFIX
from clipfed_bench.simulator.digests import Digests, _place, ask_pixels

FIRST = 20
"""Of the seeds that say nothing to the fake simulator."""


def cell(seed=FIRST, **settings):
    return CellSpec(**{"dataset": "digits", "model": "cnn", "warmup_rounds": 0, "seed": seed, **settings})


def grid(folder, cells, **more):
    session = fake_session(cells, folder, **more)
    return session, run(session)


def computed(folder, cells, data_dir=None):
    """Store what of ``cells`` is to do as a worker would that is this process; the session."""
    session = fake_session(cells, folder, data_dir=data_dir)
    for one in session.todo:
        facts = {PREFIX + name: value for name, value in Digests(data_dir).of(one).items()}
        session.store.put(one, CellResult([{"round": 0, "mta": 0.1}], {"mta": 0.5, "asr": 0.25}, facts))
    return session


def stale(folder, cells, **more):
    """What is said of ``cells`` that are done."""
    session = fake_session(cells, folder, **more)
    assert session.done or session.stale
    return session.stale


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Server data that are found, and never decoded."""
    monkeypatch.chdir(tmp_path)
    for name in ("zero", "one"):
        write(tmp_path / "server" / name / "0.png", name)
    return tmp_path / "server"


def test_what_a_cell_is_computed_from_is_what_it_uses():
    plain = set(Digests(None).of(cell()))
    assert plain == {"simulator", "model", "partition", "attack", "defense", "data"}
    assert set(Digests(None).of(cell(warmup_rounds=1))) - plain == {"warmup"}
    assert set(Digests(None).of(cell(defense="fltrust"))) - plain == {"server_data"}
    assert set(Digests(None).of(cell(defense="clip-fed", warmup_rounds=1))) == set(OF)


def test_an_attack_is_also_what_its_options_name(tmp_path):
    def digest(**settings):
        return Digests(None).of(cell(**settings))["attack"]

    borrowed = {digest(attack=f"layer[trigger={name}]") for name in ("badnets", "dba", "blend")}
    assert len(borrowed) == 3
    assert digest(attack="badnets[size=3]") == digest(attack="badnets")


INPUTS = {
    "server data": ({"defense": "fltrust", "server_data": "server"}, "server/zero/0.png", "server data server"),
    "a class": ({"defense": "fltrust", "server_data": "server"}, "server/two/0.png", "server data server"),
    "templates": ({"defense": "clip-fed", "templates": "mine.txt"}, "mine.txt", "templates mine.txt"),
    "teacher": ({"defense": "clip-fed", "teacher": "open_clip:RN50@t.pt"}, "t.pt", "teacher open_clip:RN50@t.pt"),
    "its shape": ({"defense": "clip-fed", "teacher": "open_clip:A@t.pt"}, "A.json", "teacher open_clip:A@t.pt"),
    "data set": ({"dataset": "cifar10"}, "data/train/cat/0.png", "data set cifar10"),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_an_input_made_anew_is_seen_by_its_content(server, kind, monkeypatch):
    settings, name, words = INPUTS[kind]
    folder, path = server.parent, server.parent / name
    for split in ("train", "test"):
        for label in info("cifar10").classes:
            write(folder / "data" / split / label / "0.png", f"{split} {label}")
    write(folder / "t.pt", "weights")
    write(folder / "mine.txt", "a {}\n")
    cells, others, data = [cell(seed, **settings) for seed in (0, 1)], [cell()], {"data_dir": folder / "data"}
    one = replace(info("cifar10"), train=(1,) * 10, test=(1,) * 10)  # so that the folders are a whole copy
    monkeypatch.setitem(originals(), "cifar10", one)
    session = computed(folder / "run", [*cells, *others], **data)
    assert len(session.store.digests(cells[0].key)) >= 5
    assert stale(folder / "run", cells, **data) == ""
    if path.exists():
        before = path.stat()
        os.utime(path, (1, 1))
        assert stale(folder / "run", cells, **data) == "", "times do not count"
        changed = write(path, "x" * before.st_size)
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        write(path, "new")
    said = stale(folder / "run", [*cells, *others], **data)
    assert said == f"2 of 3 cells are stale: {words} changed (2). They are computed anew, unless with --keep-stale."
    assert computed(folder / "run", [*cells, *others], **data).todo == cells
    assert stale(folder / "run", [*cells, *others], **data) == ""


def test_another_copy_of_the_data_set_is_the_same_and_one_that_is_gone_is_not_compared(server):
    data = server.parent / "data"
    for split in ("train", "test"):
        for label in info("cifar10").classes:
            write(data / split / label / "0.png", f"{split} {label}")
    computed(server.parent / "run", [cell(dataset="cifar10")], data)
    data.rename(server.parent / "copy")
    assert stale(server.parent / "run", [cell(dataset="cifar10")], data_dir=server.parent / "copy") == ""
    assert stale(server.parent / "run", [cell(dataset="cifar10")], data_dir=server) == ""


def fltrust(count=3):
    return [cell(FIRST + n, defense="fltrust", server_data="server") for n in range(count)]


def test_an_interrupted_renewal_goes_on_where_it_stopped_and_old_results_stay_until_then(server):
    computed(server.parent / "run", fltrust())
    write(server / "zero" / "0.png", "new")

    def stop(event):
        if event.kind == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(fake_session(fltrust(), server.parent / "run"), stop)
    session = fake_session(fltrust(), server.parent / "run")
    assert session.stale.startswith("2 of 3 cells are stale")
    assert len(session.store.frames()[0]) == 3
    assert len([event for event in run(session).events if event.kind == "done"]) == 2
    assert stale(server.parent / "run", fltrust()) == ""


def test_stale_cells_are_kept_where_asked_and_a_table_says_so(server):
    folder = server.parent / "run"
    computed(folder, fltrust(1))
    write(server / "zero" / "0.png", "new")
    session, heard = grid(folder, fltrust(3), keep_stale=True)
    why = "server data server changed (1)"
    assert heard.stock.stale == f"1 of 3 cells are stale: {why}. They are kept as they are."
    assert (heard.stock.done, len(heard.events)) == (1, 6)
    notes = report.sheet(session.store.export()[0]).notes
    assert "Two versions of server data server: cells of seed 20 and of seeds 21, 22." in notes


def test_cells_of_before_digests_are_stale_for_that_reason(server):
    session = computed(server.parent / "run", fltrust(2))
    for path in session.store.cells.glob("*.json"):
        content = json.loads(path.read_text())
        content["provenance"] = {k: v for k, v in content["provenance"].items() if not k.startswith("digest_")}
        path.write_text(json.dumps(content))
    why = "made before it was recorded what cells are computed from (2)"
    assert stale(server.parent / "run", fltrust(2)).startswith(f"2 of 2 cells are stale: {why}.")
    facts = {PREFIX + name: value for name, value in Digests(None).of(fltrust(3)[2]).items()}
    session.store.put(fltrust(3)[2], CellResult([{"round": 0, "mta": 0.1}], {"mta": 0.5, "asr": 0.25}, facts))
    notes = report.sheet(session.store.frames()[0]).notes
    assert "Cells made before it was recorded what cells are computed from: seeds 20, 21." in notes


def test_a_cell_that_fails_now_keeps_its_result_and_is_said_to_fail(server):
    folder = server.parent / "run"
    computed(folder, fltrust(1))
    write(server / "zero" / "0.png", "new")
    write(server.parent / "broken", "")
    session, _ = grid(folder, fltrust(1), warmups=server.parent)
    assert list(session.failures().values()) == ["it is broken by now (its result from before stays)"]
    assert session.store.status(fltrust(1)[0].key) == "done"
    assert "it is broken by now" in (folder / "events.jsonl").read_text()
    assert "UserError" in (folder / "events.jsonl").read_text(), "the traceback"
    assert stale(folder, fltrust(1))


def test_a_plug_in_is_seen_to_change(tmp_path, monkeypatch):
    """A package that is installed, without git: one file of it, and one that it imports."""
    from clipfed_bench.components import registry

    shutil.copytree(Path(__file__).parents[1] / "plugin" / "src" / "clipfed_example", tmp_path / "clipfed_example")
    write(tmp_path / "clipfed_example-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
    entry = "[clipfed_bench.attacks]\nexample = clipfed_example.attacks\n"
    write(tmp_path / "clipfed_example-1.0.dist-info" / "entry_points.txt", entry)
    attack = tmp_path / "clipfed_example" / "attacks" / "checkerboard.py"
    attack.write_text(attack.read_text() + "\nfrom clipfed_example import _more\n")
    more = write(tmp_path / "clipfed_example" / "_more.py", "ONE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._registered.cache_clear()
    try:
        cells = [cell(attack="checkerboard"), cell(attack="badnets")]
        computed(tmp_path / "run", cells)
        for path in (more, attack):
            write(path, "# Only a comment.\n" + path.read_text())
            assert stale(tmp_path / "run", cells) == ""
            write(path, path.read_text().replace("ONE = 1", "ONE = 22").replace("% 2)", "% 13)"))
            said = "1 of 2 cells are stale: attack checkerboard changed (1). They are computed anew"
            assert stale(tmp_path / "run", cells).startswith(said)
            computed(tmp_path / "run", cells)
    finally:
        registry._registered.cache_clear()


def test_files_that_an_option_names_count_and_signs_that_are_folders_do_not(tmp_path, monkeypatch):
    write(tmp_path / "folder" / "one.txt", "1")
    write(tmp_path / "layer", "a file that is called like an attack")
    monkeypatch.chdir(tmp_path)
    found = ["folder/one.txt", str(tmp_path / "folder")]
    assert [[str(path) for path in _place(text)] for text in found] == [[text] for text in found]
    signs = [".", "..", "/", "./", "", "layer", "0.5", "a/b.txt", "x" * 300 + ".png", "nul\0.png"]
    assert [text for text in signs if list(_place(text))] == []


def test_images_of_a_plug_in_count_by_what_it_gives(monkeypatch):
    """Which files they are made of it alone knows; another process is asked."""
    monkeypatch.setattr("clipfed_bench.simulator.digests.of_dataset", lambda *given: None)
    first, again, other = (Digests(None, pixels=lambda spec, folder, v=v: {"data": v}).of(cell()) for v in "aab")
    assert first == again
    assert {name for name in first if first[name] != other[name]} == {"data"}
    assert "data" not in Digests(None, pixels=lambda spec, folder: {}).of(cell()), "it raises: nothing is known"
    assert "sha256" in ask_pixels(cell(), None)["data"]
