"""Figures of images (3, 4 and 5) on digits: against slow references, the simulator's own numbers, and what is drawn."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy.fft import dctn

from clipfed_bench.api import AttackContext
from clipfed_bench.clipfed.server_set import Augmentation, build_server_set
from clipfed_bench.components.registry import choose, create_attack
from clipfed_bench.config.grid import expand
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.paper.figures import bands, images, scatter, tsne
from clipfed_bench.paper.figures.server import server_images
from clipfed_bench.report.plots.style import drawing
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.final_model import load_model, save_model
from clipfed_bench.teacher.teacher import Teacher
from clipfed_bench.toolbox.images import Images, Normalizer

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def cells(**values):
    plain = {"dataset": "digits", "model": "cnn", "server_data": "glyphs", "server_per_class": 4}
    return list(expand({**{k: [v] for k, v in plain.items()}, "defense": ["clip-fed"], **values}))


def make(module, planned, env=None, store=None):
    with drawing():
        return module.make(planned, env or Environment(), store)


def title(figure):
    return " ".join(figure.get_suptitle().split())


@pytest.fixture(scope="module")
def glyphs():
    return server_images(cells(), Environment(), "a figure")


# Figure 5


def slow_mse(pixels, triggered, count):
    """Band by band and coefficient by coefficient, with scipy's transform."""
    change = dctn(triggered.numpy(), axes=(2, 3), norm="ortho") - dctn(pixels.numpy(), axes=(2, 3), norm="ortho")
    found = [[] for _ in range(count)]
    for u in range(32):
        for v in range(32):
            place = (u / 31 + v / 31) / 2
            band = next((k for k in range(1, count + 1) if place <= 0.5 ** (count - k)), count)
            found[band - 1].append(float((change[:, :, u, v].astype(np.float64) ** 2).mean()))
    return [(len(values), np.mean(values) if values else None) for values in found]


def test_bands_against_a_slow_reference(glyphs):
    planned = cells(attack=["badnets", "blend", "dba"])
    figure, numbers = make(bands, planned)
    assert list(numbers.columns) == ["bands", "band", "trigger", "coefficients", "empty", "mse", "sensitive"]
    assert len(numbers) == 3 * (12 + 6)
    for cell in planned:
        triggered = glyphs.attack_of(cell).trigger(glyphs.pixels)
        for count in (12, 6):
            part = numbers[(numbers["bands"] == count) & (numbers["trigger"] == str(cell.attack))]
            assert part["band"].tolist() == list(range(1, count + 1))
            expected = slow_mse(glyphs.pixels, triggered, count)
            assert part["coefficients"].tolist() == [size for size, _ in expected]
            assert part["empty"].tolist() == [value is None for _, value in expected]
            known = [(a, b) for a, (_, b) in zip(part["mse"], expected, strict=True) if b is not None]
            assert [a for a, _ in known] == pytest.approx([b for _, b in known], rel=1e-3, abs=1e-9)
            assert part["mse"].isna().tolist() == part["empty"].tolist()
            assert part["sensitive"].sum() == 1
            assert part.loc[part["sensitive"], "mse"].item() == part["mse"].max()
    assert numbers.loc[(numbers["bands"] == 12) & numbers["empty"], "band"].unique().tolist() == [2, 3, 4, 5, 6]
    same = numbers.drop(columns="trigger")
    badnets, dba = (same[numbers["trigger"] == name].reset_index(drop=True) for name in ("badnets", "dba"))
    pd.testing.assert_frame_equal(badnets, dba)  # one trigger at test time

    twelve, six = figure.axes
    assert twelve.get_yscale() == "log"
    assert "K = 12" in twelve.get_title()
    assert "K = 6" in six.get_title()
    assert len(twelve.patches) == 5
    assert [t.get_text() for t in twelve.texts] == ["empty"]
    assert not six.patches
    rings = [line for line in six.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata())]
    best = numbers[(numbers["bands"] == 6) & numbers["sensitive"]]
    assert sorted(round(float(line.get_xdata()[0])) for line in rings) == sorted(best["band"])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["badnets", "blend", "dba"]
    assert "4 server images a class · 40 images" in title(figure)
    probed = best.loc[best["trigger"] == "badnets", "band"].item()
    assert f"CLIP-Fed's probe badnets chooses band {probed} of 6" in title(figure)


def test_bands_that_a_trigger_leaves_alone_are_marked_below_the_axis():
    figure, numbers = make(bands, cells(attack=["badnets", "blend[ratio=0.0]"]))
    nothing = numbers[(numbers["trigger"] == "blend[ratio=0]") & (numbers["bands"] == 6)]
    assert nothing["mse"].tolist() == [0] * 6
    assert not nothing["sensitive"].any()
    marks = [line for line in figure.axes[1].lines if line.get_marker() == 7]
    assert [len(line.get_xdata()) for line in marks] == [0, 6]
    assert "Pointing down: below the axis" in title(figure)
    assert "Pointing down" not in title(make(bands, cells(attack=["badnets"]))[0])


def test_options_of_clip_fed_set_the_bands():
    numbers = make(bands, cells(defense=["clip-fed[bands=4]", "fedavg"]))[1]
    assert numbers["bands"].drop_duplicates().tolist() == [12, 4]
    assert len(make(bands, cells(defense=["clip-fed[bands=12]"]))[1]) == 12


@pytest.mark.parametrize("module", [bands, images])
def test_server_data_need_a_clip_fed_cell(module):
    with pytest.raises(UserError, match="add a cell with the defense clip-fed"):
        make(module, cells(defense=["fedavg"]))
    with pytest.raises(UserError, match="server per class 4, 5"):
        make(module, cells(server_per_class=[4, 5]))


# Figure 4


class NoTeacher(Teacher):
    """Says the same of every image."""

    def __init__(self):
        self.text_prototypes, self.logit_scale = torch.eye(10), 1.0

    def image_features(self, images, *, cached=True):
        return torch.ones(len(images), 10)


def test_perturbed_images_are_those_that_clip_fed_trains_on(glyphs):
    cell, env = cells(server_per_class=[4])[0], Environment()
    setup = CellSetup(cell, env)
    context = replace(setup.server_context(), teacher=NoTeacher)
    trained = build_server_set(context, Augmentation("replace", 6, 1.0, "badnets"))
    figure, numbers = make(images, [cell])
    assert f"(band {trained.band + 1} of 6)" in figure.axes[2].get_title()

    index = images.first_images(glyphs.labels, images.CLASSES)
    assert glyphs.labels[index].tolist() == [0, 3, 6, 9]
    assert all(int(glyphs.labels[:i].eq(glyphs.labels[i]).sum()) == 0 for i in index.tolist())
    normalize = Normalizer(setup.data.mean, setup.data.std)
    shown = {name: restore(numbers, name) for name in ("original", "triggered", "perturbed")}
    torch.testing.assert_close(normalize(shown["perturbed"]), trained.images[index])
    assert torch.equal(shown["original"], glyphs.pixels[index])
    assert torch.equal(shown["triggered"], glyphs.attack(choose("attack", "badnets")).trigger(glyphs.pixels[index]))
    assert numbers["class"].drop_duplicates().tolist() == ["zero", "three", "six", "nine"]
    assert len(numbers) == 3 * 4 * 32 * 32


def restore(numbers, version):
    """(4, 3, 32, 32) images from the tidy numbers."""
    part = numbers[numbers["version"] == version].sort_values(["label", "row", "col"])
    return torch.from_numpy(part[["red", "green", "blue"]].to_numpy(copy=True).reshape(4, 32, 32, 3)).permute(
        0, 3, 1, 2
    )


def test_images_are_drawn_pixel_by_pixel_with_differences_to_scale():
    figure, numbers = make(images, cells(attack=["blend"]))
    grid = np.array(figure.axes).reshape(4, 5)
    drawn = [[axes.images[0] for axes in row] for row in grid]
    assert {image.get_interpolation() for row in drawn for image in row} == {"nearest"}
    original, triggered = (restore(numbers, name)[1].permute(1, 2, 0).numpy() for name in ("original", "triggered"))
    assert np.array_equal(drawn[1][0].get_array(), original)
    factor = int(grid[0, 3].get_title().rpartition("× ")[2])
    assert factor > 1
    expected = np.clip(0.5 + factor * (triggered - original), 0, 1)
    np.testing.assert_allclose(drawn[1][3].get_array(), expected, atol=1e-6)
    rms = 100 * np.sqrt(((triggered - original) ** 2).mean())
    assert grid[1, 3].get_xlabel() == f"RMS {rms:.1f} %"
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["zero", "three", "six", "nine"]
    assert "trigger blend" in title(figure)
    assert "model" not in title(figure)


def test_amplification():
    assert images.amplification(torch.full((3, 3), 0.09)) == 5
    assert images.amplification(torch.tensor([0.9, 0.0])) == 1
    assert images.amplification(torch.zeros(4)) == 1


def test_images_refuse_what_they_cannot_show():
    with pytest.raises(UserError, match=r"clip-fed\[augment=none\] has none"):
        make(images, cells(defense=["clip-fed[augment=none]"]))
    with pytest.raises(UserError, match="attack badnets, dba"):
        make(images, cells(attack=["badnets", "dba"]))


# Figure 3


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure-3")
    return Environment(cache_dir=folder / "cache", model_dir=folder / "models")


@pytest.fixture(scope="module")
def trained(env):
    """Cells without and with CLIP-Fed after 2 and 3 rounds, with seeded models in place of trained ones."""
    folder = env.model_dir.parent
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(open_clip.CLIP(**TINY).state_dict(), folder / "tiny.safetensors")
    (folder / "figure-3-teacher.json").write_text(json.dumps(TINY))
    teacher = f"open_clip:figure-3-teacher@{folder / 'tiny.safetensors'}"
    planned = cells(defense=["clip-fed", "fedavg"], rounds=[3, 2], teacher=[teacher])
    keep = replace(env, keep_models=frozenset(cell.key for cell in planned))
    for seed, cell in enumerate(planned):
        save_model(cell, keep, FlatModel(build_model("cnn", 10, seed)))
    return planned


def test_panels_share_their_images_and_count_what_models_say(env, trained, monkeypatch):
    monkeypatch.setattr(tsne, "IMAGES", 100)
    figure, numbers = make(tsne, trained, env)
    assert list(numbers.columns) == ["panel", "image", "x", "y", "label", "triggered", "predicted"]
    names = ["teacher (figure-3-teacher)", "no defense (fedavg), 3 rounds", "clip-fed, 2 rounds", "clip-fed, 3 rounds"]
    assert numbers["panel"].drop_duplicates().tolist() == names
    panels = [part.reset_index(drop=True) for _, part in numbers.groupby("panel", sort=False)]
    for part in panels:
        assert part["label"].value_counts().tolist() == [10] * 10
        assert part["triggered"].sum() == 5
        assert not (part["triggered"] & (part["label"] == 5)).any()
        assert part["image"].is_unique
        pd.testing.assert_frame_equal(part[["image", "label", "triggered"]], panels[0][["image", "label", "triggered"]])

    data = CellSetup(trained[0], env).data
    part = panels[2]
    index = torch.tensor(part["image"].tolist())
    pixels = data.test.images[index].float() / 255
    assert data.test.labels[index].tolist() == part["label"].tolist()
    attack = create_attack(choose("attack", "badnets"), AttackContext(5, 10, (3, 32, 32)))
    marked = torch.tensor(part["triggered"].tolist())
    pixels[marked] = attack.trigger(pixels[marked])
    cell = next(c for c in trained if c.defense.name == "clip-fed" and c.rounds == 2)
    with torch.no_grad():
        expected = load_model(cell, env)(Normalizer(data.mean, data.std)(pixels)).argmax(dim=1)
    assert part["predicted"].tolist() == expected.tolist()

    assert len(figure.axes) == 4
    for axes, part in zip(figure.axes, panels, strict=True):
        black = [c for c in axes.collections if c.get_linewidth()[0] > 0]
        assert sum(len(c.get_offsets()) for c in black) == 5
        assert all(np.array_equal(c.get_edgecolor()[0], (0, 0, 0, 1)) for c in black)
        assert sum(len(c.get_offsets()) for c in axes.collections) == 100
        clean = part[~part["triggered"]]
        share = 100 * (clean["predicted"] == clean["label"]).mean()
        taken = (part["triggered"] & (part["predicted"] == 5)).sum()
        assert f"clean: {share:.1f} % right\ntriggered: {taken} of 5 taken for five" in axes.get_title()
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend[5] == "five (target)"
    assert legend[-1] == "outlined: triggered"
    assert "100 test images (10 a class), 5 of them triggered" in title(figure)
    assert "2/3 rounds" in title(figure)


def test_the_map_keeps_neighbors_and_repeats_itself():
    stream = np.random.default_rng(0)
    features = np.concatenate([stream.normal(size=(20, 8)), stream.normal(size=(20, 8)) + 50]).astype(np.float32)
    places = tsne.embed(features)
    assert np.array_equal(places, tsne.embed(features))
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert ((distance.argmin(axis=1) < 20) == (np.arange(40) < 20)).all()


def test_the_sample_depends_on_the_seed_alone(monkeypatch):
    monkeypatch.setattr(tsne, "IMAGES", 40)
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (90, 3, 32, 32), generator=stream, dtype=torch.uint8)
    test = Images(pixels, torch.arange(90) % 4)
    attack = create_attack(choose("attack", "badnets"), AttackContext(1, 4, (3, 32, 32)))
    first, again, other = (tsne.draw_sample(test, 4, attack, seed) for seed in (0, 0, 1))
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.index, other.index)
    assert first.labels.bincount().tolist() == [10] * 4
    assert first.triggered.sum() == 2
    changed = (first.pixels != pixels[first.index].float() / 255).flatten(1).any(dim=1)
    assert torch.equal(changed, first.triggered)


def test_of_several_seeds_the_lowest_is_shown(env, trained, monkeypatch):
    monkeypatch.setattr(tsne, "IMAGES", 20)
    planned = [cell for cell in trained if cell.rounds == 3]
    figure, numbers = make(tsne, [*(replace(cell, seed=1) for cell in planned), *planned], env)
    pd.testing.assert_frame_equal(numbers, make(tsne, planned, env)[1])
    assert "seed 0" in title(figure)


def test_figure_3_says_what_it_lacks(env, trained, tmp_path):
    with pytest.raises(UserError, match=r"no final model of cell .*fedavg, 3 rounds"):
        make(tsne, trained, replace(env, model_dir=tmp_path))
    with pytest.raises(UserError, match="no cell's defense has one; add clip-fed"):
        make(tsne, [cell for cell in trained if cell.defense.name == "fedavg"], env)
    with pytest.raises(UserError, match="attack badnets, dba"):
        make(tsne, cells(attack=["badnets", "dba"]), env)
    with pytest.raises(UserError, match="needs cells"):
        make(tsne, [], env)


def test_a_model_of_another_architecture_or_a_damaged_one(trained, env, tmp_path):
    here, cell = replace(env, model_dir=tmp_path), trained[0]
    path = tmp_path / f"{cell.key}.safetensors"
    save_file({"params": torch.zeros(5), "buffers": torch.zeros(0)}, path)
    with pytest.raises(UserError, match="holds 5 parameters and 0 running statistics; cnn on digits has"):
        load_model(cell, here)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not the final model of a cell, or damaged"):
        load_model(cell, here)


def test_every_class_has_a_look_of_its_own():
    for classes, target in ((10, 5), (10, 0), (100, 99)):
        looks = scatter.class_looks(classes, target)
        assert len(looks) == classes
        assert len(set(looks)) == classes
        assert [look for look in looks if look[1] == "*"] == [looks[target]]


def test_a_hundred_classes_are_drawn_and_two_are_named():
    points = {"x": range(200), "y": range(200), "label": [*range(100)] * 2, "predicted": [99] * 200}
    numbers = pd.DataFrame({"panel": "one", **points, "triggered": [False] * 190 + [True] * 10})
    with drawing():
        figure = scatter.draw(numbers, [f"class {i}" for i in range(100)], 7)
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["class 7 (target)", "the 99 other classes", "outlined: triggered"]
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 200
    assert figure.axes[0].get_title() == "one\nclean: 0.5 % right\ntriggered: 0 of 10 taken for class 7"
