"""Final global models of cells, as files beside which nothing else is needed but the cell's spec."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import keyed
from clipfed_bench.core.errors import DamagedFileError, UserError, shown
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.messages import Environment
from clipfed_bench.data.catalog import info
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.tensor_files import read_model


def model_path(spec: CellSpec, env: Environment) -> Path:
    """Where the cell's final model is, or will be. Raises UserError where the environment keeps no models."""
    if env.model_dir is None:
        raise UserError(
            f"the final model of {keyed(spec)} is needed, and no folder of models is set; "
            "run the cell with a folder in which models are kept, and name that folder here."
        )
    return env.model_dir / f"{spec.key}.safetensors"


def save_model(spec: CellSpec, env: Environment, flat: FlatModel) -> None:
    """Store the model of ``flat`` as the cell's final one, if it is to be kept."""
    if spec.key in env.keep_models:
        content = save({"params": flat.params, "buffers": flat.buffers}, metadata={"spec": json.dumps(spec.as_dict())})
        write_atomically(model_path(spec, env), content)


def load_model(spec: CellSpec, env: Environment) -> Classifier:
    """The cell's final global model, on the device and in evaluation mode.

    Raises UserError where its file is absent, damaged, or of another model.
    """
    path = model_path(spec, env)
    again = "Run its cell again; 'clipfed-bench paper fig3' does so where a model is missing."
    if not path.is_file():
        raise UserError(f"there is no final model of {keyed(spec)}: no file {path}. {again}")
    known = info(spec.dataset)
    model = build_model(spec.model, len(known.classes), spec.seed, image_shape=known.image_shape)
    flat = FlatModel(model.to(env.device))
    try:
        (params, buffers), _ = read_model(path, env.device)
    except DamagedFileError as error:
        raise UserError(
            f"{path} is not the final model of a cell, or damaged ({shown(error, 300)}). {again}"
        ) from error
    if params.shape != flat.params.shape or buffers.shape != flat.buffers.shape:
        raise UserError(
            f"{path} holds {params.numel():,} parameters and {buffers.numel():,} running statistics; {spec.model} on "
            f"{spec.dataset} has {flat.num_params:,} and {flat.num_buffers:,}. {again}"
        )
    flat.bind(params, buffers)
    return flat.model.eval()
