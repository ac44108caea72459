"""Making a data set with a stand-in for the pipeline: content, resuming, redrawing, refusing."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from PIL import Image, ImageOps

from clipfed_bench.core.errors import UserError
from clipfed_bench.data.formats import server_images as generated
from clipfed_bench.generate import files
from clipfed_bench.generate.files import read_metadata
from clipfed_bench.generate.pipeline import Generator, find, is_blank
from clipfed_bench.generate.prompts import built_in
from clipfed_bench.generate.run import make
from clipfed_bench.generate.settings import Settings

SETTINGS = Settings(("cat", "oak_tree", "dog"), per_class=4, model="someone/something", image_size=16)


def picture(prompt, seed):
    """Noise that depends on prompt and seed; not square, to see the crop."""
    random = np.random.default_rng([seed, *prompt.encode()])
    return Image.fromarray(random.integers(0, 256, (24, 40, 3), dtype=np.uint8))


class Fake:
    """Loads a generator that records what is asked of it; ``trouble(call, prompts, seeds)`` may raise."""

    def __init__(self, trouble=None, blank=lambda prompt, seed: False, commit="abc"):
        self.trouble, self.blank, self.commit = trouble, blank, commit
        self.loaded, self.calls = [], []

    def __call__(self, settings, device):
        self.loaded.append(settings)
        settings = replace(settings, commit=settings.commit or self.commit, steps=settings.steps or 9)
        return Generator(settings, {"pipeline": "Fake", "device": device}, self.draw)

    def draw(self, prompts, seeds):
        self.calls.append(list(zip(prompts, seeds, strict=True)))
        if self.trouble:
            self.trouble(len(self.calls), prompts, seeds)
        return [None if self.blank(p, s) else picture(p, s) for p, s in self.calls[-1]]


def rows(out):
    return pq.read_table(out).to_pylist()


def failing(at, error=None):
    def trouble(call, prompts, seeds):
        if call == at:
            raise error or RuntimeError("lightning")

    return trouble


def test_content(tmp_path):
    out = tmp_path / "new" / "set.parquet"
    made = make(SETTINGS, out, batch_size=5, load=Fake())
    assert (made.images, made.redraws, made.drawn) == (12, 0, 12)
    assert [path.name for path in out.parent.iterdir()] == ["set.parquet"]
    table = rows(out)
    assert [row["label"] for row in table] == [0, 1, 2] * 4
    assert len({row["seed"] for row in table}) == 12
    for number, row in enumerate(table):
        index, label = divmod(number, 3)
        assert row["caption"] == built_in(SETTINGS.classes[label], 0)[index]
        stored = Image.open(io.BytesIO(row["img"]["bytes"]))
        assert stored.format == "PNG"
        drawn = ImageOps.fit(picture(row["caption"], row["seed"]), (16, 16), Image.Resampling.LANCZOS)
        assert np.array_equal(np.asarray(stored), np.asarray(drawn))
    assert table[4]["img"]["path"] == "oak_tree-00001.png"
    schema = pq.read_schema(out).metadata
    assert json.loads(schema[b"huggingface"])["info"]["features"]["label"]["names"] == list(SETTINGS.classes)
    metadata = read_metadata(out)
    assert metadata["facts"] == {"pipeline": "Fake", "device": "cpu", "redraws": 0}
    assert metadata["settings"]["commit"] == "abc"
    assert (metadata["settings"]["steps"], metadata["settings"]["prompts"]) == (9, "built-in 1")


def test_the_reader_of_server_data_takes_it_with_captions(tmp_path):
    make(SETTINGS, tmp_path / "set.parquet", load=Fake())
    split = generated.by_path(tmp_path / "set.parquet").read(("dog", "cat", "oak_tree"), 16)
    table = rows(tmp_path / "set.parquet")
    assert split.labels.tolist() == [1, 2, 0] * 4
    assert split.captions == tuple(row["caption"] for row in table)
    first = np.asarray(Image.open(io.BytesIO(table[0]["img"]["bytes"])))
    assert np.array_equal(split.images[0], first.transpose(2, 0, 1))


def test_images_depend_on_seed_class_and_index_alone(tmp_path):
    def by_image(name, settings, batch_size=1):
        make(settings, tmp_path / name, batch_size=batch_size, load=Fake())
        return {row["img"]["path"]: (row["img"]["bytes"], row["caption"], row["seed"]) for row in rows(tmp_path / name)}

    whole = by_image("a.parquet", SETTINGS)
    assert (tmp_path / "a.parquet").read_bytes() != b""
    by_image("b.parquet", SETTINGS, batch_size=7)
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    few = by_image("c.parquet", replace(SETTINGS, classes=("dog", "cat"), per_class=2))
    assert len(few) == 4
    assert few.items() <= whole.items()
    other = by_image("d.parquet", replace(SETTINGS, seed=1))
    assert not {seed for *_, seed in other.values()} & {seed for *_, seed in whole.values()}


@pytest.mark.parametrize("error", [RuntimeError("lightning"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [2, 4])
def test_an_interrupted_call_leaves_no_file_and_the_next_goes_on(at, error, tmp_path):
    out, whole = tmp_path / "set.parquet", tmp_path / "whole.parquet"
    make(SETTINGS, whole, batch_size=3, load=Fake())
    with pytest.raises(type(error)):
        make(SETTINGS, out, batch_size=3, load=Fake(failing(at, error)))
    assert not out.exists()
    second, seen = Fake(), []
    made = make(SETTINGS, out, batch_size=3, load=second, progress=lambda *step: seen.append(step))
    assert made.drawn == 12 - 3 * (at - 1)
    assert seen == [(n, 12) for n in range(3 * (at - 1), 13, 3)]
    first = rows(whole)[3 * (at - 1)]
    assert second.calls[0][0] == (first["caption"], first["seed"])
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.parquet", "whole.parquet"]


def test_it_goes_on_with_another_batch_size_and_the_same_commit(tmp_path):
    out, whole = tmp_path / "set.parquet", tmp_path / "whole.parquet"
    make(SETTINGS, whole, load=Fake())
    with pytest.raises(RuntimeError):
        make(SETTINGS, out, batch_size=4, load=Fake(failing(2)))
    second = Fake(commit="newer")
    make(SETTINGS, out, batch_size=3, load=second)
    assert second.loaded[0].commit == "abc"
    assert [len(call) for call in second.calls] == [2, 3, 3]  # the first four are there: batches keep their places
    assert out.read_bytes() == whole.read_bytes()


def test_a_damaged_part_is_drawn_again(tmp_path):
    out, whole = tmp_path / "set.parquet", tmp_path / "whole.parquet"
    make(SETTINGS, whole, batch_size=2, load=Fake())
    with pytest.raises(RuntimeError):
        make(SETTINGS, out, batch_size=2, load=Fake(failing(5)))
    part = sorted((tmp_path / "set.parquet.parts").glob("*.arrow"))[1]
    part.write_bytes(part.read_bytes()[:100])
    assert make(SETTINGS, out, batch_size=2, load=Fake()).drawn == 6
    assert out.read_bytes() == whole.read_bytes()


def test_if_the_file_cannot_be_written_in_the_end_nothing_is_lost(tmp_path, monkeypatch):
    def full(path, content):
        raise UserError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", full)
        with pytest.raises(UserError, match="no space"):
            make(SETTINGS, tmp_path / "set.parquet", load=Fake())
    second = Fake()
    assert make(SETTINGS, tmp_path / "set.parquet", load=second).drawn == 0
    assert second.calls == []
    assert len(rows(tmp_path / "set.parquet")) == 12


def test_a_call_that_draws_nothing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        make(SETTINGS, tmp_path / "set.parquet", load=Fake(failing(1)))

    def no_model(settings, device):
        raise UserError("no such model")

    with pytest.raises(UserError, match="no such model"):
        make(SETTINGS, tmp_path / "set.parquet", load=no_model)
    assert list(tmp_path.iterdir()) == []


def test_parts_of_other_settings_are_refused(tmp_path):
    out = tmp_path / "set.parquet"
    with pytest.raises(RuntimeError):
        make(SETTINGS, out, load=Fake(failing(3)))
    other, fake = replace(SETTINGS, seed=1, steps=4, dtype="float16"), Fake()
    with pytest.raises(UserError) as caught:
        make(other, out, load=fake)
    text = str(caught.value)
    assert "set.parquet.parts" in text
    for line in ("seed: 0 there, 1 here", "steps: 9 there, 4 here", "dtype: float32 there, float16 here"):
        assert line in text
    assert fake.loaded == []  # refused before minutes of loading
    assert len(list((tmp_path / "set.parquet.parts").glob("*.arrow"))) == 2


def test_parts_of_another_version_of_a_local_model_are_refused(tmp_path):
    out = tmp_path / "set.parquet"
    with pytest.raises(RuntimeError):
        make(SETTINGS, out, load=Fake(failing(3)))

    class Local(Fake):
        def __call__(self, settings, device):
            return super().__call__(replace(settings, commit="files:2"), device)

    with pytest.raises(UserError, match="commit: abc there, files:2 here"):
        make(SETTINGS, out, load=Local())


def test_two_processes_do_not_work_on_one_file(tmp_path):
    (tmp_path / "set.parquet.parts").mkdir()
    with (
        FileLock(tmp_path / "set.parquet.parts" / ".lock"),
        pytest.raises(UserError, match=r"another process is at work on .*set\.parquet\.parts"),
    ):
        make(SETTINGS, tmp_path / "set.parquet", load=Fake())
    assert (tmp_path / "set.parquet.parts").is_dir()


def test_a_finished_file_is_left_alone(tmp_path):
    out = tmp_path / "set.parquet"
    make(SETTINGS, out, load=Fake())
    before, fake = out.read_bytes(), Fake()
    assert make(SETTINGS, out, load=fake).drawn == 0
    assert fake.loaded == []
    with pytest.raises(UserError, match=r"exists and was made with other settings:\n  - per_class: 4 there, 5 here"):
        make(replace(SETTINGS, per_class=5), out, load=fake)
    assert out.read_bytes() == before
    out.write_bytes(b"something of the user's")
    with pytest.raises(UserError, match="exists and was not made by this command"):
        make(SETTINGS, out, load=fake)
    assert out.read_bytes() == b"something of the user's"


def test_blank_results_are_drawn_again_with_another_seed_and_then_another_prompt(tmp_path):
    plain, out = tmp_path / "plain.parquet", tmp_path / "set.parquet"
    make(SETTINGS, plain, load=Fake())
    tried = []

    def blank(prompt, seed):
        if prompt == target["caption"]:
            tried.append(seed)
            return True
        return False

    target = rows(plain)[4]
    fake = Fake(blank=blank)
    made = make(SETTINGS, out, batch_size=6, load=fake)
    assert made.redraws == len(tried) == len(set(tried)) == 4
    assert [len(call) for call in fake.calls] == [6, 1, 1, 1, 1, 6]
    changed = rows(out)
    assert changed[4]["caption"] == built_in("oak_tree", 0)[-2]
    assert changed[4]["seed"] not in {target["seed"], *tried}
    assert [row for n, row in enumerate(changed) if n != 4] == [row for n, row in enumerate(rows(plain)) if n != 4]
    assert read_metadata(out)["facts"]["redraws"] == 4


def test_nothing_but_blank_results_is_an_error_that_keeps_the_others(tmp_path):
    fake = Fake(blank=lambda prompt, seed: "dog" in prompt)
    with pytest.raises(UserError, match=r"(?s)8 blank or filtered images in a row for '.*dog.*--dtype float32"):
        make(SETTINGS, tmp_path / "set.parquet", load=fake)
    assert len(fake.calls) == 2 + 8
    assert not (tmp_path / "set.parquet").exists()
    assert make(SETTINGS, tmp_path / "set.parquet", load=Fake()).drawn == 10


def test_out_of_memory(tmp_path):
    fake = Fake(failing(2, torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(UserError, match=r"does not hold a batch of 5.*smaller --batch-size"):
        make(SETTINGS, tmp_path / "set.parquet", batch_size=5, load=fake)


def test_impossible_places(tmp_path):
    with pytest.raises(UserError, match=r"NAME\.parquet"):
        make(SETTINGS, tmp_path / "set.zip", load=Fake())
    with pytest.raises(UserError, match="--batch-size 0"):
        make(SETTINGS, tmp_path / "set.parquet", batch_size=0, load=Fake())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        make(SETTINGS, tmp_path / "file" / "set.parquet", load=Fake())


class Hub:
    """Stands for the module diffusers; records what is downloaded. ``answer(variant)`` gives a folder or raises."""

    def __init__(self, answer):
        self.DiffusionPipeline, self.answer, self.asked = self, answer, []

    def download(self, model, **given):
        self.asked.append(given)
        return self.answer(given.get("variant"))


def test_half_precision_files_are_fetched_where_there_are_such():
    def has_half(variant):
        return "/cache/snapshots/c0ffee"

    def has_not(variant):
        if variant:
            raise ValueError("no such modeling files are available")
        return "/cache/snapshots/c0ffee"

    half, settings = Hub(has_half), replace(SETTINGS, revision="v2", dtype="float16")
    assert find(settings, half) == ("/cache/snapshots/c0ffee", "c0ffee")
    assert half.asked == [{"revision": "v2", "variant": "fp16"}]
    whole = Hub(has_not)
    assert find(replace(settings, commit="c0ffee"), whole) == ("/cache/snapshots/c0ffee", "c0ffee")
    assert whole.asked == [{"revision": "c0ffee", "variant": "fp16"}, {"revision": "c0ffee"}]


def test_a_gated_model():
    def gated(variant):
        raise OSError("403 Client Error: access to model someone/something is restricted")

    with pytest.raises(UserError) as caught:
        find(SETTINGS, Hub(gated))
    assert "accept its license at huggingface.co/someone/something, then log in with: hf auth login" in str(
        caught.value
    )


def test_the_fingerprint_of_a_folder_sees_names_and_both_ends(tmp_path):
    def fingerprint(name, content, hidden="x"):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / name).write_bytes(content)
        (folder / ".cache").write_text(hidden)
        return find(replace(SETTINGS, model=str(folder)), None)[1]

    content = bytes(200_000)
    first = fingerprint("a", content)
    assert first.startswith("files:")
    assert first == fingerprint("a", content, hidden="y")
    others = [("b", content), ("a", content + b"1"), ("a", b"1" + content[1:]), ("a", content[:-1] + b"1")]
    assert len({first, *(fingerprint(*other) for other in others)}) == 5


def test_blank_means_one_color():
    image = np.full((8, 8, 3), (10, 200, 30), dtype=np.uint8)
    assert is_blank(Image.fromarray(image))
    assert is_blank(Image.new("RGB", (8, 8)))
    image[3, 3, 1] = 190
    assert not is_blank(Image.fromarray(image))
