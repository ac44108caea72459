"""Teacher specs, recipes and prompt templates: text, checked without torch."""

import subprocess
import sys

import pytest

from clipfed_bench.core.errors import TeacherError, UserError
from clipfed_bench.teacher.prompts import TEMPLATES, load_templates, prompts
from clipfed_bench.teacher.recipe import Recipe, recipe
from clipfed_bench.teacher.spec import parse_teacher_spec


def test_spec_needs_no_torch() -> None:
    code = "import sys, clipfed_bench.teacher.spec, clipfed_bench.cli.teacher; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_pretrained() -> None:
    spec = parse_teacher_spec("open_clip:ViT-L-14/openai")
    assert (spec.kind, spec.model, spec.tag, spec.path) == ("pretrained", "ViT-L-14", "openai", None)


def test_checkpoint_path_may_hold_at_signs_and_slashes() -> None:
    spec = parse_teacher_spec("open_clip:ViT-B-32@/a/b@c/d.pt")
    assert (spec.kind, spec.model, str(spec.path)) == ("checkpoint", "ViT-B-32", "/a/b@c/d.pt")


def test_local_with_options() -> None:
    spec = parse_teacher_spec("local[epochs=3,seed=7,flip=false]")
    assert spec.recipe == Recipe(epochs=3, seed=7, flip=False)
    assert parse_teacher_spec("local").recipe == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("locl", "'locl' is not a teacher.*lit or local, or either"),
        ("open_clip:ViT-L-14", "lacks a tag, as in open_clip:ViT-L-14/openai"),
        ("open_clip:@/x.pt", "lacks its model"),
        ("open_clip:ViT-L-14@", "lacks its path"),
        ("local[epoch=3]", "Did you mean 'epochs'"),
        ("local[epochs=0]", "epochs 0 is out of range; it must be from 1 to"),
        ("local[width=3]", "width 3 .* multiple of 2"),
        ("local[lr=high]", "lr: 'high' is not a number"),
        ("local[epochs=3", "name\\[option=value"),
    ],
)
def test_mistakes_say_what_is_right(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_teacher_spec(text)


def test_what_a_recipe_leaves_open() -> None:
    digits = recipe({}).resolved(("zero", "one"), 900)
    photos = recipe({}).resolved(("cat", "dog"), 9000)
    assert (digits.flip, photos.flip) == (False, True)
    assert (digits.image_size, photos.image_size) == (32, 64)
    assert (digits.batch_size, photos.batch_size) == (112, 128)
    assert digits.epochs is not None
    assert photos.epochs is not None
    assert digits.epochs > photos.epochs
    assert recipe({"epochs": "5", "flip": "true"}).resolved(("7", "8"), 900) == Recipe(
        epochs=5, flip=True, image_size=32, batch_size=112
    )


def test_named_templates() -> None:
    assert load_templates("simple") == ("a photo of a {}.",)
    assert len(set(TEMPLATES["openai-cifar"])) == 18
    assert prompts(["aquarium_fish", "maple tree"], ["a {}.", "the {}."]) == [
        "a aquarium fish.",
        "a maple tree.",
        "the aquarium fish.",
        "the maple tree.",
    ]


def test_templates_from_a_file(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a sketch of a {}.\n\n  the {}, enlarged \n", encoding="utf-8")
    assert load_templates(str(path)) == ("a sketch of a {}.", "the {}, enlarged")


@pytest.mark.parametrize("text", ["a photo.", "a {} and a {}", "a {name}", "", "a {} {name}"])
def test_bad_template_files(tmp_path, text: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(TeacherError, match=r"\{\}"):
        load_templates(str(path))


def test_unknown_templates() -> None:
    with pytest.raises(UserError, match="Did you mean 'simple'"):
        load_templates("simpel")
    with pytest.raises(TeacherError, match=r"there is no file '\./none\.txt'"):
        load_templates("./none.txt")
