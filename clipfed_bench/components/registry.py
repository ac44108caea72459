"""Find attacks, defenses, partitions, models and executors by name, also other people's, and import what is made.

They come by entry points (:mod:`clipfed_bench.components.entry_points`) in the groups ``clipfed_bench.attacks``,
``clipfed_bench.defenses``, ``.partitions``, ``.models`` and ``.executors``. Summaries, options and defaults are read
from the source (:mod:`clipfed_bench.components.described`), so that listing them and checking a grid needs no torch.

A plug-in that cannot be used keeps no other from being used: it is among :func:`broken`, and who asks for it is told
why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.described import Component, Kind, Option, describe
from clipfed_bench.components.entry_points import Found, discover, load
from clipfed_bench.components.families import member
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.core.library import Member
from clipfed_bench.core.values import parse_choice

if TYPE_CHECKING:
    from clipfed_bench.api import Attack, AttackContext, Defense, ServerContext
    from clipfed_bench.core.partition import Partition
    from clipfed_bench.toolbox.classifier import Classifier

__all__ = [
    "Component",
    "Kind",
    "Option",
    "attacks",
    "broken",
    "choose",
    "create",
    "create_attack",
    "create_defense",
    "create_model",
    "create_partition",
    "defenses",
    "executors",
    "families",
    "models",
    "partitions",
]


def attacks() -> dict[str, Component]:
    """Every registered attack by name."""
    return _components("attack")


def defenses() -> dict[str, Component]:
    """Every registered defense by name."""
    return _components("defense")


def partitions() -> dict[str, Component]:
    """Every registered partition by name."""
    return _components("partition")


def executors() -> dict[str, Component]:
    """Every registered executor by name."""
    return _components("executor")


def models() -> dict[str, Component]:
    """Every registered model by name."""
    return _components("model")


def families(kind: Kind) -> dict[str, Component]:
    """Those of ``kind`` that stand for others, ``name:MEMBER``, by name; they are none of the above."""
    return {name: component for name, component in _registered(kind).usable.items() if component.family}


def broken(kind: Kind) -> Mapping[str, str]:
    """What cannot be used: the name of a component or of a plug-in -> why, in a sentence that names it."""
    return _registered(kind).broken


def choose(kind: Kind, text: str, /, **options: Any) -> Choice:
    """What ``text``, e.g. ``"badnets[size=3]"``, names; ``options`` are more of them, as text or values.

    Raises UserError for a bad name, option or value.
    """
    name, given = parse_choice(text)
    component = _named(kind, name)
    return Choice(component, component.resolve({**given, **options}))


def _named(kind: Kind, name: str) -> Component:
    known, groups = _components(kind), families(kind)
    family, colon, rest = name.partition(":")
    if colon and family in groups:
        return member(groups[family], rest)
    if name not in known:
        raise unknown(kind, name, [*known, *(f"{group}:NAME" for group in groups)], broken(kind))
    return known[name]


def create_attack(choice: Choice, context: AttackContext) -> Attack:
    """The attack that was chosen. Raises UserError where its module, or a value of an option, cannot be used."""
    from clipfed_bench.api import Attack

    made: Attack = create(choice, Attack, context)
    return made


def create_defense(choice: Choice, server: ServerContext) -> Defense:
    """The defense that was chosen. Raises UserError where its module, or a value of an option, cannot be used."""
    from clipfed_bench.api import Defense

    made: Defense = create(choice, Defense, server)
    return made


def create_partition(choice: Choice) -> Partition:
    """The partition that was chosen. Raises UserError where its module, or a value of an option, cannot be used."""
    from clipfed_bench.core.partition import Partition

    made: Partition = create(choice, Partition)
    return made


def create_model(choice: Choice, image_shape: tuple[int, int, int], num_classes: int) -> Classifier:
    """The model that was chosen, with random weights. Raises UserError where it cannot be used for such images."""
    from clipfed_bench.toolbox.classifier import Classifier

    made: Classifier = create(choice, Classifier, image_shape, num_classes)
    return made


def create(choice: Choice, base: type[Any], *context: Any) -> Any:
    """What was chosen, an instance of ``base``. Raises UserError where its module, or an option, cannot be used."""
    module, cls = load(choice.component.kind, choice.name, choice.component.module, base)
    return cls(_config(module.Config, choice), *context)


def _config(config: type[Any], choice: Choice) -> Any:
    """The options; of a member of a family those that are no fields of ``config`` are the member's."""
    _, colon, name = choice.name.partition(":")
    if not colon:
        return config(**choice.options)
    own = {field.name for field in fields(config)}
    theirs = {option: value for option, value in choice.options.items() if option not in own}
    mine = {option: value for option, value in choice.options.items() if option in own}
    return config(Member(name, theirs), **mine)


def _components(kind: Kind) -> dict[str, Component]:
    found = {name: component for name, component in _registered(kind).usable.items() if not component.family}
    if not found:
        reasons = " ".join(broken(kind).values())
        raise UserError(
            f"no {kind}s are registered; install the package with pip so that its entry points exist. {reasons}".strip()
        )
    return found


@cache
def _registered(kind: Kind) -> Found[Component]:
    return discover(kind, partial(describe, kind))
