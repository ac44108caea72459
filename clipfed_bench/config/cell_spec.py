"""What a cell is: every setting that affects a number, and nothing else (no device, executor or worker count).

The key of a cell is the sha256 of its canonical JSON, in which components stand with all their options, so a changed
default changes the key; a model stands with those that differ. A setting that comes later leaves the keys of cells that
do without it as they were: see :func:`setting`. Each field below is a command-line option, a TOML key and a column of
the results.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from typing import Any

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.described import OF_CELL, Kind
from clipfed_bench.components.registry import choose
from clipfed_bench.components.scheme import SHARED, own_options, settled, whole
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.core.shares import nearest
from clipfed_bench.core.values import convert
from clipfed_bench.data import catalog
from clipfed_bench.data.feasible import check_clients, check_server_data
from clipfed_bench.models.catalog import OF_MODEL, origins, recipe
from clipfed_bench.teacher.prompts import check_templates
from clipfed_bench.teacher.spec import parse_teacher_spec

LATER = (
    *("attack", "target", "poison_ratio", "poison_rounding", "attack_start", "attack_stop", "attack_scale"),
    "rounds",
)
"""Settings without effect on the rounds before the attack, but for how many these are."""


def setting(
    default: Any, origin: str, help: str, *, low: float | None = None, high: float | None = None, neutral: Any = ...
) -> Any:
    """A field of :class:`CellSpec`: its default, where that comes from (paper, lineage, ours), and its closed range.

    A setting that comes later has a ``neutral`` value, at which a cell is what it was without the setting: there it is
    left out of the keys, so that they stay what they were, and a cell stored before has that value.
    """
    metadata = {"origin": origin, "help": help, "low": low, "high": high}
    return field(default=default, metadata=metadata if neutral is ... else {**metadata, "neutral": neutral})


@dataclass(frozen=True)
class CellSpec:
    """One cell of a grid. Settings without effect on it are set to None, so that equal cells have equal keys.

    Those of :data:`~clipfed_bench.models.catalog.OF_MODEL` are the model's where None is given. Components
    may be given as text, which is parsed here and nowhere later. Raises UserError for any
    value that is out of range, unknown, or impossible together with another.
    """

    dataset: str = setting("cifar10-lt", "paper", "data set")
    imbalance_factor: float | None = setting(
        None, "ours", "largest / smallest class of a long tail; 10 if not given, -lt data sets only", low=1
    )
    partition: Choice = setting("dirichlet", "ours", "how clients differ, with options as name[option=value]")  # noqa: RUF009
    alpha: float | None = setting(0.5, "ours", "Dirichlet concentration, smaller is more non-IID", low=1e-3, high=1e9)
    degree: float | None = setting(0.4, "paper", "degree of non-IID, 1/classes is IID", low=0, high=1)
    min_samples: int = setting(10, "ours", "images that every client holds at least", low=1)
    clients: int = setting(100, "paper", "clients in all", low=1)
    clients_per_round: int = setting(10, "lineage", "clients sampled in each round", low=1)
    malicious: float = setting(
        0.2, "paper", "share of malicious clients, of all and (if fixed) of those in a round", low=0, high=1
    )
    malicious_sampling: str = setting(
        "fixed", "lineage", "malicious share of a round: fixed (over rounds, where it is no whole number), or random"
    )
    attack: Choice = setting("badnets", "paper", "attack, with options as name[option=value]")  # noqa: RUF009
    target: int = setting(5, "lineage", "class that triggered images are to be taken for", low=0)
    poison_ratio: float = setting(
        1.0, "lineage", "share of malicious batches that is poisoned; 1 appends a copy", low=0, high=1
    )
    poison_rounding: str = setting(
        *(
            "stochastic",
            "ours",
            "of a batch: stochastic, right on average, or down, int(ratio * batch) [lineage]",
        ),
        neutral="stochastic",
    )
    attack_start: int = setting(1, "paper", "first attacked round, after the warm-up", low=1)
    attack_stop: int | None = setting(None, "paper", "last attacked round; none: the last", low=1)
    attack_scale: float = setting(1.0, "paper", "factor on malicious updates (model replacement)", low=0)
    defense: Choice = setting("fedavg", "paper", "defense, with options as name[option=value]")  # noqa: RUF009
    model: Choice = setting("resnet18", "paper", "model that is trained, with options as name[option=value]")  # noqa: RUF009
    warmup_rounds: int = setting(
        None, "ours", "clean FedAvg rounds before round 1, shared by all cells alike in them", low=0
    )
    rounds: int = setting(300, "paper", "federated rounds, after the warm-up", low=1)
    local_epochs: int = setting(2, "lineage", "epochs a client trains in a round", low=1)
    batch_size: int = setting(None, "lineage", "images of a local batch", low=1)
    lr: float = setting(None, "lineage", "learning rate of local SGD", low=0)
    momentum: float = setting(0.9, "lineage", "momentum of local SGD", low=0, high=1)
    weight_decay: float = setting(0.0, "lineage", "weight decay of local SGD", low=0)
    update_dtype: str | None = setting(
        None, "ours", "bfloat16: updates are rounded to it, for half of the memory; float32 if not given", neutral=None
    )
    teacher: str | None = setting(
        None,
        "paper",
        "teacher; open_clip:ViT-L-14/openai for photographs, local for gray images and digits if not given",
    )
    templates: str | None = setting("simple", "ours", "prompts: simple, openai-cifar, or a file with a {} in each line")
    server_data: str | None = setting(
        None, "ours", "server data set; a generated one if not given, or holdout:N, or a path"
    )
    server_per_class: int | None = setting(300, "ours", "server images per class; none: all there are", low=1)
    eval_every: int = setting(10, "ours", "rounds between evaluations; the last is always evaluated", low=1)
    evaluate: str = setting(
        "test",
        "ours",
        "what models are evaluated on: test, or validation, images kept from training, to choose settings by",
        neutral="test",
    )
    seed: int = setting(0, "ours", "seed of partition, model, sampling, batches and every other draw", low=0)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in OF_MODEL and value is None:
                continue
            if f.name not in OF_CELL or not isinstance(value, Choice):
                self._set(f.name, _in_range(f, convert(value, value_type(f), f.name)))
        catalog.base_name(self.dataset)
        self._set("model", _chosen("model", self.model))
        for name, usual in recipe(self.model).items():
            if getattr(self, name) is None:
                self._set(name, usual)
        _one_of("malicious_sampling", self.malicious_sampling, ("fixed", "random"))
        _one_of("poison_rounding", self.poison_rounding, ("stochastic", "down"))
        _one_of("evaluate", self.evaluate, ("test", "validation"))
        self._set("update_dtype", None if self.update_dtype == "float32" else self.update_dtype)
        if self.update_dtype is not None:
            _one_of("update_dtype", self.update_dtype, ("float32", "bfloat16"))
        self._resolve_data()
        self._resolve_components()
        if self.clients_per_round > self.clients:
            raise UserError(
                f"clients_per_round: {self.clients_per_round} is more than the {self.clients} clients there are."
            )
        if self.attack_stop is not None and self.attack_stop < self.attack_start:
            raise UserError(f"attack_stop: {self.attack_stop} is before attack_start {self.attack_start}.")
        if self.attacked:
            self._refuse_nothing()

    def _refuse_nothing(self) -> None:
        """Raise UserError where the attack cannot take place; what depends on data is known when the cell begins."""
        clean, ratio = "for a clean run there is attack none.", self.poison_ratio
        if self.attackers == 0:
            least = f"{0.5 / self.clients:g} makes one"
            raise UserError(
                f"malicious: {self.malicious:g} of {self.clients} clients is nobody, and attack {self.attack.name} "
                f"needs an attacker; {least}, and {clean}"
            )
        if ratio == 0:
            raise UserError(f"poison_ratio: 0 poisons nothing; it must be above 0, and {clean}")
        if self.attack_scale == 0:
            raise UserError(f"attack_scale: 0 leaves nothing of malicious updates; it must be above 0, and {clean}")
        if self.poison_rounding == "down" and int(ratio * self.batch_size) == 0:
            raise UserError(
                f"poison_ratio: {ratio:g} of a batch of {self.batch_size}, rounded down, poisons nothing; at least "
                f"{1 / self.batch_size:g} is needed, or poison_rounding stochastic, which is right on average."
            )
        if self.attack_start > self.rounds:
            raise UserError(
                f"attack_start: {self.attack_start} is after the last of {self.rounds} rounds, and attack "
                f"{self.attack.name} would not take place; it must be at most {self.rounds}, and {clean}"
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _resolve_data(self) -> None:
        factor = catalog.resolve_imbalance(self.dataset, self.imbalance_factor)
        self._set("imbalance_factor", factor if self.dataset != catalog.base_name(self.dataset) else None)
        usual: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in SHARED}
        partition, shared = settled(self.partition, self._shared, usual)
        self._set("partition", partition)
        for f in fields(self):
            if f.name in shared:
                self._set(f.name, _in_range(f, shared[f.name]))
        classes = len(catalog.info(self.dataset).classes)
        if self.target >= classes:
            raise UserError(f"target: {self.target} is not a class of {self.dataset}; it goes from 0 to {classes - 1}.")
        check_clients(self.dataset, factor, self.scheme, self.clients, self.min_samples)

    def _resolve_components(self) -> None:
        self._set("attack", _chosen("attack", self.attack))
        self._set("defense", _chosen("defense", self.defense))
        defense = self.defense.component
        if not defense.needs_teacher:
            self._set("teacher", None)
            self._set("templates", None)
        else:
            teacher = self.teacher or catalog.info(self.dataset).teacher
            parse_teacher_spec(teacher)
            self._set("teacher", teacher)
            check_templates(self.templates or "simple")
        # Held-out server images are taken from the clients' data, so they matter to every defense of a comparison.
        held_out = self.server_data is not None and self.server_data.startswith("holdout:")
        if defense.needs_server_data:
            self._set("server_data", self.server_data or catalog.server_data(self.dataset))
        else:
            self._set("server_per_class", None)
            self._set("server_data", self.server_data if held_out else None)
        if self.server_data is not None:
            check_server_data(self.server_data, self.dataset)

    @property
    def scheme(self) -> Choice:
        """The partition with all of its options, also those that are settings of the cell."""
        return whole(self.partition, self._shared)

    @property
    def _shared(self) -> dict[str, float | None]:
        return {name: getattr(self, name) for name in SHARED}

    @property
    def attacked(self) -> bool:
        """Whether there is an attack at all."""
        return self.attack.name != "none"

    @property
    def attackers(self) -> int:
        """Malicious clients of all: the whole number that is nearest to their share."""
        return nearest(self.malicious, self.clients)

    @property
    def warmup(self) -> dict[str, Any]:
        """The settings that the clean warm-up depends on; cells alike in them share its checkpoint."""
        names = "dataset imbalance_factor partition alpha degree min_samples clients clients_per_round malicious "
        names += "malicious_sampling model warmup_rounds local_epochs batch_size lr momentum weight_decay seed"
        values = {name: getattr(self, name) for name in names.split()}
        held_out = self.server_data if self.server_data and self.server_data.startswith("holdout:") else None
        values |= {"partition": _partition_in_full(self.partition), "model": str(self.model)}
        return {**values, "server_data": held_out, "update_dtype": self.update_dtype, "evaluate": self.evaluate}

    @cached_property
    def warmup_key(self) -> str:
        """Name of the warm-up's checkpoint."""
        return self._digest(self.warmup)

    @property
    def prefix_rounds(self) -> int:
        """Rounds before the attack; the last round of a cell is never one of them."""
        return min(self.attack_start, self.rounds) - 1

    @property
    def prefix(self) -> dict[str, Any]:
        """The settings that the rounds before the attack depend on; cells alike in them share these rounds."""
        values = {name: value for name, value in self.as_dict().items() if name not in LATER}
        values["partition"] = _partition_in_full(self.partition)
        return {**values, "prefix_rounds": self.prefix_rounds, "defense": _in_full(self.defense)}

    @cached_property
    def prefix_key(self) -> str:
        """Name of the checkpoint of the rounds before the attack."""
        return self._digest(self.prefix)

    @cached_property
    def key(self) -> str:
        """sha256 of the canonical JSON, its first 16 hexadecimal digits."""
        whole = {"attack": _in_full(self.attack), "defense": _in_full(self.defense)}
        return self._digest(self.as_dict() | whole | {"partition": _partition_in_full(self.partition)})

    def as_dict(self) -> dict[str, Any]:
        """Its settings as they are stored: plain values, components by their labels."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {name: str(values[name]) for name in OF_CELL}

    def _digest(self, values: dict[str, Any]) -> str:
        neutral = [f.name for f in fields(self) if getattr(self, f.name) == f.metadata.get("neutral", ...)]
        told = {name: value for name, value in values.items() if name not in neutral}
        text = json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def defaults(self) -> dict[str, str]:
        """For provenance: where each setting left at its default comes from (paper, lineage, ours)."""
        values, usual, of_model = self.as_dict(), recipe(self.model), origins(self.model)
        found = {f.name: f.metadata["origin"] for f in fields(self) if values[f.name] == f.default}
        return found | {name: of_model[name] for name in OF_MODEL if values[name] == usual[name]}


def value_type(f: Field[Any]) -> str:
    """The type of a setting's values as users and files have them, for :func:`clipfed_bench.core.values.convert`."""
    return "str" if f.type == "Choice" else str(f.type)


def _in_range(f: Field[Any], value: Any) -> Any:
    low, high = f.metadata["low"], f.metadata["high"]
    if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
        bounds = f"from {low:g} to {high:g}" if low is not None and high is not None else f"at least {low:g}"
        raise UserError(f"{f.name}: {value:g} is out of range; it must be {bounds}.")
    return value


def _one_of(name: str, value: str, known: Any) -> None:
    if value not in known:
        raise unknown(name.replace("_", " "), value, known)


def _chosen(kind: Kind, given: Choice | str) -> Choice:
    return choose(kind, given) if isinstance(given, str) else given


def _in_full(choice: Choice) -> dict[str, Any]:
    """With all options, also those at their defaults."""
    return {"name": choice.name, "options": choice.options}


def _partition_in_full(choice: Choice) -> str | dict[str, Any]:
    """The same without options that are settings; a partition without others stands with its name alone."""
    options = own_options(choice)
    return {"name": choice.name, "options": options} if options else choice.name
