"""Teachers from specs: open_clip's own weights, a local checkpoint, or one trained here. Never a silent substitute."""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from torch import Tensor, nn

from clipfed_bench.core.errors import DamagedFileError, TeacherError, nearest, shown
from clipfed_bench.core.files import read_text
from clipfed_bench.core.network import hub_reachable, reachable
from clipfed_bench.core.notices import notice
from clipfed_bench.core.paths import cache_root
from clipfed_bench.core.sources import code
from clipfed_bench.core.untrusted import parse_json, reading
from clipfed_bench.teacher.contrastive import Progress
from clipfed_bench.teacher.features import TensorCache, digest, file_sha256, locked
from clipfed_bench.teacher.lit_recipe import LitRecipe
from clipfed_bench.teacher.preprocess import Preprocess
from clipfed_bench.teacher.presence import downloaded
from clipfed_bench.teacher.prompts import load_templates, prompts
from clipfed_bench.teacher.published import config_beside, how_to_convert, trained_on
from clipfed_bench.teacher.recipe import Recipe
from clipfed_bench.teacher.spec import TeacherSpec, parse_teacher_spec
from clipfed_bench.teacher.teacher import Teacher
from clipfed_bench.teacher.train import local_key, train_teacher
from clipfed_bench.teacher.trained import TrainedTeacher, stored_teacher
from clipfed_bench.toolbox.images import ServerData
from clipfed_bench.toolbox.tensor_files import all_finite

WAYS_OUT = """Ways out:
  1. give this machine network access once, or copy the weights into its Hugging Face cache (HF_HOME)
  2. use a checkpoint file: --teacher open_clip:MODEL@/path/to/checkpoint
  3. train one on the server data: --teacher lit (its image tower is pip install 'clipfed-bench[lit]'), or
     --teacher local, a small one from nothing; or clipfed-bench teacher train"""


def load_teacher(
    spec: str,
    classes: Sequence[str],
    *,
    templates: str = "simple",
    server_data: ServerData | None = None,
    device: torch.device | str = "cpu",
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Teacher:
    """The teacher that ``spec`` (see :mod:`.spec`) names, for ``classes``, with text prototypes ready.

    ``templates``: ``simple`` [ours], ``openai-cifar``, or a file. ``server_data`` is what a ``local`` teacher is
    trained on; it is trained once and then found under ``cache_dir`` (default: the project's cache folder), where
    features are stored too. ``progress`` hears of the training.

    Raises TeacherError with the ways out where the teacher cannot be had, UserError for a spec or templates that are
    not valid.
    """
    parsed = parse_teacher_spec(spec)
    sentences = prompts(classes, load_templates(templates))
    root = cache_dir if cache_dir is not None else cache_root()
    provenance = {"name": spec, "templates": templates}
    if parsed.recipe is not None:
        if server_data is None:
            raise TeacherError(f"the teacher '{spec}' is trained on server data, and none was given.")
        trained = trained_teacher(server_data, classes, parsed.recipe, root, progress)
        parsed = TeacherSpec("checkpoint", model=trained.model_name, path=trained.path)
        provenance["held_out_accuracy"] = f"{trained.metadata['held_out_accuracy']:.4f}"
        if tower := trained.metadata.get("tower"):
            provenance["tower"] = f"{tower['origin']}, sha256 {tower['sha256'][:12]}"
        provenance["trained_on"] = f"{server_data.label} {server_data.content_hash[:12]}"
    elif parsed.path is not None and (known := trained_on(parsed.path)):
        provenance["trained_on"] = known
    path, tag_config = _weights(parsed, spec)
    config = open_clip.get_model_config(parsed.model)
    preprocess = _preprocess(config, tag_config)
    checkpoint = file_sha256(path)
    provenance |= {"tag": parsed.tag} if parsed.tag else {}
    provenance["checkpoint"] = checkpoint
    quick_gelu = bool(tag_config.get("quick_gelu", False))
    with _offline_errors(spec):
        tokenizer = open_clip.get_tokenizer(parsed.model)
        tokens = tokenizer(sentences)
        whole = tokenizer(sentences, context_length=8 * tokens.shape[1])
    _check_tokens(tokens, whole, sentences)
    setup = json.dumps([config, asdict(preprocess), quick_gelu], sort_keys=True)
    return Teacher(
        partial(_load_model, parsed.model, path, quick_gelu, spec),
        preprocess,
        tokens,
        len(classes),
        identity=digest("teacher 1", checkpoint, setup),
        provenance=provenance,
        cache=TensorCache(root / "features" / code("clipfed_bench.teacher.teacher")),
        device=device,
    )


def trained_teacher(
    server: ServerData,
    classes: Sequence[str],
    recipe: Recipe | LitRecipe,
    root: Path,
    progress: Progress | None = None,
) -> TrainedTeacher:
    """The teacher that ``recipe`` makes of ``server``, from the cache folder ``root`` or trained into it.

    Of several processes that need it at once one trains and the others wait.
    """
    path = root / "teachers" / _key(server, classes, recipe) / "teacher.safetensors"
    with locked(path):
        return stored_teacher(path) or train_into(path, server, classes, recipe, root, progress)


def train_into(
    path: Path,
    server: ServerData,
    classes: Sequence[str],
    recipe: Recipe | LitRecipe,
    root: Path,
    progress: Progress | None = None,
) -> TrainedTeacher:
    """Train what ``recipe`` says into the checkpoint ``path``; features of an image tower go to the cache ``root``."""
    if isinstance(recipe, Recipe):
        return train_teacher(server, classes, recipe, path, progress)
    from clipfed_bench.teacher.lit import tune_teacher

    return tune_teacher(server, classes, recipe, path, TensorCache(root / "features" / "towers"), progress)


def _key(server: ServerData, classes: Sequence[str], recipe: Recipe | LitRecipe) -> str:
    if isinstance(recipe, Recipe):
        return local_key(server, classes, recipe)
    from clipfed_bench.teacher.lit import lit_key
    from clipfed_bench.teacher.tower_weights import identity

    return lit_key(server, classes, recipe, identity(recipe.where))


def check_weights(spec: str) -> tuple[Literal["there", "fetched"], str]:
    """Whether the weights of an open_clip teacher are here, and where. Raises TeacherError if they cannot be had."""
    parsed = parse_teacher_spec(spec)
    config = _tag(parsed, spec)
    if parsed.path is not None:
        return "there", str(parsed.path)
    source = str(config.get("hf_hub") or config.get("url")).rstrip("/")
    return ("there", f"{source}, in the cache") if downloaded(config) else ("fetched", source)


def _weights(parsed: TeacherSpec, spec: str) -> tuple[Path, dict[str, Any]]:
    """The file with the weights, downloaded if need be, and what open_clip knows about the tag."""
    config = _tag(parsed, spec)
    if parsed.path is not None:
        return parsed.path, config
    with _offline_errors(spec):
        return Path(open_clip.download_pretrained(config)), config


def _tag(parsed: TeacherSpec, spec: str) -> dict[str, Any]:
    """What open_clip knows about the tag, of weights that can be had: they are here, or whoever has them answers."""
    if parsed.path is not None:
        if not parsed.path.is_file():
            raise TeacherError(f"teacher '{spec}': there is no file '{parsed.path}'.\n{WAYS_OUT}")
        _register_beside(parsed.model, parsed.path)
    if parsed.model not in (models := open_clip.list_models()):
        beside = f", and there is no {parsed.model}.json beside the checkpoint" if parsed.path is not None else ""
        hint = nearest(parsed.model, models, 0.6)
        raise TeacherError(
            f"teacher '{spec}': open_clip does not know the model '{parsed.model}'{beside}.{hint}\n{WAYS_OUT}"
        )
    if parsed.path is not None:
        return config_beside(parsed.path, parsed.model)
    config: dict[str, Any] = open_clip.get_pretrained_cfg(parsed.model, parsed.tag)
    if not config:
        tags = open_clip.list_pretrained_tags_by_model(parsed.model)
        raise TeacherError(
            f"teacher '{spec}': open_clip has no weights '{parsed.tag}' for {parsed.model}."
            f"{nearest(parsed.tag, tags, 0.6)} It has: {', '.join(tags) or 'none'}.\n{WAYS_OUT}"
        )
    if not downloaded(config) and not _answered(config):
        raise TeacherError(f"teacher '{spec}': its weights are not here, and nobody answers who has them.\n{WAYS_OUT}")
    return config


def _answered(config: dict[str, Any]) -> bool:
    """Whether those answer who have the weights of a tag."""
    if config.get("hf_hub"):
        return hub_reachable()
    return reachable(config["url"]) if config.get("url") else True


def _register_beside(model: str, checkpoint: Path) -> None:
    """Tell open_clip of the configuration that lies beside a checkpoint of ours, unless it knows the name."""
    config = checkpoint.with_name(f"{model}.json")
    if model not in open_clip.list_models() and config.is_file():
        # Checked first: open_clip reads its list of such files again and again, and would fail ever after.
        _check_config(config)
        open_clip.add_model_config(config)


def _check_config(path: Path) -> None:
    try:
        with reading():
            config = parse_json(read_text(path, 1_000_000, shown(path)))
            sizes = config["vision_cfg"].get("image_size", 224)
            sizes = sizes if type(sizes) is list else [sizes]
            good = isinstance(config["embed_dim"], int) and isinstance(config["text_cfg"], dict)
            good &= all(isinstance(size, int) and 1 <= size <= 4096 for size in sizes)
    except DamagedFileError:
        good = False
    if not good:
        raise TeacherError(
            f"{shown(path)}: not open_clip's configuration of a model; it is JSON with embed_dim, vision_cfg (with "
            "image_size up to 4096) and text_cfg."
        )


def _preprocess(config: dict[str, Any], tag_config: dict[str, Any]) -> Preprocess:
    """As open_clip composes it: its defaults, then the tag's, then the image size of the architecture."""
    merged = open_clip.transform.merge_preprocess_dict(asdict(open_clip.transform.PreprocessCfg()), tag_config)
    merged["size"] = config["vision_cfg"].get("image_size", 224)
    return Preprocess.of(merged)


def _load_model(model: str, path: Path, quick_gelu: bool, spec: str) -> nn.Module:
    try:
        with reading(), torch.random.fork_rng(devices=[]):  # open_clip initializes before it loads
            loaded: nn.Module = open_clip.create_model(
                model, pretrained=str(path), force_quick_gelu=quick_gelu, weights_only=True, pretrained_text=False
            )
        if not all_finite(loaded.state_dict().values()):
            raise DamagedFileError("it holds numbers that are not finite")
    except DamagedFileError as error:
        if convert := how_to_convert(path):
            raise TeacherError(f"teacher '{spec}': the checkpoint '{path}' is not read.\n{convert}") from error
        raise TeacherError(
            f"teacher '{spec}': the checkpoint '{path}' does not load as {model}: {_first_line(error)}.\n"
            f"It must be a state dict of that architecture, as .safetensors or readable with weights_only.\n{WAYS_OUT}"
        ) from error
    return loaded


def _check_tokens(tokens: Tensor, whole: Tensor, sentences: Sequence[str]) -> None:
    """Prompts are cut where the model's context ends, without a word; classes must not become one by it.

    ``whole``: the same with room for more, filled up at the end.
    """
    beyond = whole[:, tokens.shape[1] :]
    cut = [sentences[row] for row in (beyond != whole[:, -1:]).any(dim=1).nonzero()]
    if len(torch.unique(tokens, dim=0)) < len(set(sentences)):
        longest = shown(max(sentences, key=len))
        raise TeacherError(
            f"templates: prompts are longer than the {tokens.shape[1]} tokens that the teacher reads, and come out "
            f"alike for several classes, such as '{longest}'. Write shorter ones, with the {{}} near their beginning."
        )
    if cut:
        notice(
            f"templates: {len(cut)} of {len(sentences)} prompts are longer than the {tokens.shape[1]} tokens that the "
            f"teacher reads, and their end is cut off, as of '{shown(max(cut, key=len))}'. Write shorter ones."
        )


@contextmanager
def _offline_errors(spec: str) -> Iterator[None]:
    """Failed downloads (of many kinds, by library) as TeacherError."""
    try:
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        yield
    except Exception as error:
        raise TeacherError(
            f"teacher '{spec}': its files could not be downloaded: {_first_line(error)}.\n{WAYS_OUT}"
        ) from error


def _first_line(error: Exception) -> str:
    """What the error says, without what its library adds below; and what comes below a heading."""
    line, *below = str(error).strip().splitlines() or [type(error).__name__]
    text = f"{line} {below[0]}" if below and line.endswith(":") else line
    return shown(textwrap.shorten(text, 240, placeholder=" …"), 240).rstrip(".:")
