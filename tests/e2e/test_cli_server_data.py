"""``clipfed-bench server-data`` through the command line, with a tiny pipeline that diffusers saves and loads."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clipfed_bench.cli.main import main
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.server_set.load import load_server_data
from clipfed_bench.generate.parts import Parts
from clipfed_bench.generate.pipeline import load_generator
from clipfed_bench.generate.prompts import built_in
from clipfed_bench.generate.settings import Settings
from clipfed_bench.simulator.cell import run_cell

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def tiny_pipeline(folder: Path, checker: bool = False) -> Path:
    """A Stable Diffusion of random weights that draws 16×16 pixels; its safety checker objects to every image."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz-"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "words").mkdir(parents=True)
    (folder / "words" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    torch.manual_seed(0)
    text = CLIPTextConfig(
        **sizes,
        vocab_size=len(words),
        max_position_embeddings=77,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    safety = features = None
    if checker:
        vision = {**sizes, "image_size": 16, "patch_size": 8}
        safety = StableDiffusionSafetyChecker(CLIPConfig(text_config=sizes, vision_config=vision, projection_dim=8))
        safety.concept_embeds_weights.data.fill_(-2.0)  # a threshold below every cosine
        features = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "words", model_max_length=77),
        unet=unet,
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=safety,
        feature_extractor=features,
        requires_safety_checker=checker,
    )
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def hub(model, tmp_path_factory):
    """A hub cache that holds the pipeline as ``tiny/pipeline``."""
    repository = tmp_path_factory.mktemp("hub") / "models--tiny--pipeline"
    shutil.copytree(model, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository.parent


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path, hub):
    """Runs a command line in this process; gives status, output and errors (all white space as single spaces)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clipfed-bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code, out, " ".join(err.split())

    return run


def rows(path):
    return pq.read_table(path).to_pylist()


def pixels(row):
    return np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB")).astype(int)


def test_images_captions_and_provenance(cli, model):
    options = ("--classes", "airplane,cat", "--per-class", 3, "--steps", 2, "--size", 16)
    code, out, err = cli("server-data", "generate", "--out", "a.parquet", "--model", model, *options)
    steps = "1 of 6 images, about T left 2 of 6 images, about T left 3 of 6 images, about T left"
    steps += " 4 of 6 images, about T left 5 of 6 images, about T left 6 of 6 images"
    assert (code, re.sub(r"\d+:\d\d", "T", err)) == (0, f"Loading {model} ... 0 of 6 images {steps}")
    assert out.splitlines() == ["wrote a.parquet: 6 images of 2 classes", "Use it with: --server-data a.parquet"]
    table = rows("a.parquet")
    assert [row["caption"] for row in table[::2]] == built_in("airplane", 0)[:3]
    assert [row["caption"] for row in table[1::2]] == built_in("cat", 0)[:3]
    assert [row["label"] for row in table] == [0, 1] * 3
    assert {pixels(row).shape for row in table} == {(32, 32, 3)}
    assert min(pixels(row).std() for row in table) > 5
    assert min(abs(pixels(a) - pixels(b)).max() for i, a in enumerate(table) for b in table[:i]) > 20
    own = json.loads(pq.read_schema("a.parquet").metadata[b"clipfed_bench"])
    assert own["facts"]["pipeline"] == "StableDiffusionPipeline"
    assert (own["facts"]["scheduler"], own["facts"]["safety_checker"]) == ("PNDMScheduler", False)
    assert own["settings"]["commit"].startswith("files:")
    assert (own["settings"]["steps"], own["settings"]["guidance"], own["settings"]["dtype"]) == (2, 7.5, "float32")

    content = Path("a.parquet").read_bytes()
    assert cli("server-data", "generate", "--out", "b.parquet", "--model", model, *options)[0] == 0
    assert Path("b.parquet").read_bytes() == content
    code, out, _ = cli("server-data", "generate", "--out", "a.parquet", "--model", model, *options)
    assert (code, out.splitlines()[0]) == (0, "complete already: a.parquet: 6 images of 2 classes")

    batched = ("--batch-size", 4, "--out", "c.parquet")
    assert cli("server-data", "generate", "--model", model, *options, *batched)[0] == 0
    for one, other in zip(table, rows("c.parquet"), strict=True):
        assert one["seed"] == other["seed"]
        assert abs(pixels(one) - pixels(other)).max() <= 1  # rounding of batched arithmetic


def test_an_interrupted_command_goes_on(cli, monkeypatch, tmp_path):
    """Ctrl-C after the third image, with a model from the hub's cache; then the same again, and all at once."""
    options = ("--model", "tiny/pipeline", "--classes", "ship", "--per-class", 7, "--steps", 1, "--size", 16)
    start = ("server-data", "generate", "--out", "set.parquet", *options)
    add = Parts.add

    def interrupted(parts, images):
        add(parts, images)
        if images[-1].position == 2:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Parts, "add", interrupted)
            code, _, err = cli(*start)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    again = "clipfed-bench server-data generate --out set.parquet --model tiny/pipeline"
    assert f"Finished images are kept in set.parquet.parts; to go on: {again}" in err
    assert len(list(Path("set.parquet.parts").glob("*.arrow"))) == 3
    assert not Path("set.parquet").exists()

    code, _, err = cli(*start)
    assert code == 0
    assert err.startswith("Loading tiny/pipeline ... 3 of 7 images 4 of 7 images")
    assert not Path("set.parquet.parts").exists()
    assert cli("server-data", "generate", "--out", "whole.parquet", *options)[0] == 0
    assert Path("set.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    own = json.loads(pq.read_schema("set.parquet").metadata[b"clipfed_bench"])
    assert (own["settings"]["model"], own["settings"]["commit"]) == ("tiny/pipeline", COMMIT)


def test_a_teacher_and_a_grid_take_the_file(cli, model):
    """Digits, since they need no download; the pictures are noise, so only that everything runs is looked at."""
    size = ("--per-class", 4, "--steps", 1, "--size", 16)
    file = ("--out", "set.parquet", "--batch-size", 8)
    assert cli("server-data", "generate", "--dataset", "digits-lt", "--model", model, *size, *file)[0] == 0
    assert len(rows("set.parquet")) == 40

    server = load_server_data("set.parquet", load_dataset("digits"))
    assert server.label == "generated"
    captions = {row["caption"]: DIGITS[row["label"]] for row in rows("set.parquet")}
    assert {c: DIGITS[i] for c, i in zip(server.captions, server.data.labels.tolist(), strict=True)} == captions

    recipe = [text for name in ("width=4", "depth=1", "epochs=1") for text in ("-o", name)]
    train = ("teacher", "train", "--data", "set.parquet", "--dataset", "digits", "--out", "t.safetensors", *recipe)
    code, out, err = cli(*train)
    assert code == 0, err
    assert json.loads(Path("t.train.json").read_text())["server_data_hash"] == server.content_hash
    teacher = out.splitlines()[-1].removeprefix("Use it with: --teacher ")

    small = {"dataset": "digits", "model": "cnn", "clients": 4, "clients_per_round": 4, "rounds": 1, "warmup_rounds": 0}
    cell = CellSpec(**small, defense="clip-fed", server_data="set.parquet", teacher=teacher)
    assert run_cell(cell, Environment()).provenance["server_hash"] == server.content_hash


def test_files_in_half_precision_are_taken_where_there_are_such(model, tmp_path):
    from diffusers import DiffusionPipeline

    DiffusionPipeline.from_pretrained(model).to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    assert {path.name for path in (tmp_path / "half" / "unet").iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.fp16.safetensors",
    }
    settings = Settings(("cat",), model=str(tmp_path / "half"), dtype="float16", steps=1, size=16)
    (image,) = load_generator(settings, "cpu").draw(["a cat"], [0])
    (whole,) = load_generator(replace(settings, model=str(model), dtype="float32"), "cpu").draw(["a cat"], [0])
    assert image.size == (16, 16)
    assert abs(np.asarray(image).astype(int) - np.asarray(whole)).mean() < 2


def test_a_safety_checker_that_objects_to_everything(cli, tmp_path):
    model = tiny_pipeline(tmp_path / "careful", checker=True)
    code, _, err = cli(
        "server-data",
        "generate",
        "--out",
        "x.parquet",
        "--model",
        model,
        "--classes",
        "cat",
        "--steps",
        1,
        "--size",
        16,
    )
    assert code == 2
    assert "8 blank or filtered images in a row for" in err
    assert not Path("x.parquet").exists()
    assert not Path("x.parquet.parts").exists()


def test_pipelines_that_draw_without_text_are_refused(cli, tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "blind")
    code, _, err = cli("server-data", "generate", "--out", "x.parquet", "--model", tmp_path / "blind")
    assert code == 2
    assert "DDPMPipeline is not a text-to-image pipeline: it takes no prompt" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "no/such-model"], "the model cannot be loaded: it is not in the local cache, and the hub does"),
        (["--model", "no/such-model"], "hf download no/such-model --local-dir FOLDER and name the folder with --model"),
        (["--model", "tiny/pipeline", "--revision", "v2"], "the model at revision v2 cannot be loaded"),
        (["--model", "./nowhere"], "--model ./nowhere: there is no such folder. A folder saved by diffusers"),
        (["--model", "EMPTY"], "no file named model_index.json"),
        (["--dataset", "cifar11"], "unknown dataset 'cifar11'. Did you mean 'cifar10'"),
        (["--dataset", "cifar10", "--classes", "cat"], "--dataset and --classes are both given"),
        (["--classes", "cat,,dog"], "none may be empty"),
        (["--templates", "no.txt"], "there is no file 'no.txt'"),
        (["--steps", "0"], "--steps 0: at least 1"),
        (["--size", "20"], "--size 20: a multiple of 8"),
        (["--batch-size", "0"], "--batch-size 0: at least 1"),
        (["--out", "set.csv"], "a file called NAME.parquet is needed"),
        (["--device", "cuda"], "torch sees no GPU here"),
    ],
)
def test_mistakes_exit_with_2_without_traceback_or_file(cli, options, words, tmp_path, monkeypatch):
    monkeypatch.setattr("clipfed_bench.execution.machine._torch_sees_gpu", lambda: False)
    (tmp_path / "empty").mkdir()
    options = [str(tmp_path / "empty") if option == "EMPTY" else option for option in options]
    code, _, err = cli("server-data", "generate", "--out", "x.parquet", *options)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_without_diffusers_it_says_what_to_install(cli, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    code, _, err = cli("server-data", "generate", "--out", "x.parquet")
    assert code == 2
    assert "pip install 'clipfed-bench[generate]'" in err
    assert list(tmp_path.iterdir()) == []


def test_prompts_own_and_built_in(cli, tmp_path):
    (tmp_path / "own.txt").write_text("a watercolor of a {}\n\nthe {} at home\n")
    code, out, _ = cli("server-data", "prompts", "--classes", "cat, oak_tree", "--templates", "own.txt")
    assert code == 0
    assert out.splitlines() == [
        "cat: a watercolor of a cat",
        "cat: the cat at home",
        "cat: a watercolor of a cat",
        "oak_tree: a watercolor of a oak tree",
        "oak_tree: the oak tree at home",
        "oak_tree: a watercolor of a oak tree",
    ]
    code, out, _ = cli("server-data", "prompts", "--dataset", "cifar10", "--per-class", 2, "--seed", 5)
    assert len(set(out.splitlines())) == 20
    assert out.splitlines()[0] == f"airplane: {built_in('airplane', 5)[0]}"


def test_own_templates_make_the_captions(cli, model, tmp_path):
    (tmp_path / "own.txt").write_text("a {} in a tree\n")
    options = ("--classes", "cat", "--per-class", 2, "--templates", "own.txt", "--steps", 1, "--size", 16)
    code, _, err = cli("server-data", "generate", "--out", "x.parquet", "--model", model, *options)
    assert code == 0
    assert "Note: 1 prompts for 2 images of each class: images share prompts." in err
    first, second = rows("x.parquet")
    assert first["caption"] == second["caption"] == "a cat in a tree"
    assert abs(pixels(first) - pixels(second)).max() > 20


def test_help_is_quick():
    heavy = {"torch", "pandas", "diffusers", "transformers"}
    ask = f"import sys, clipfed_bench.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
