"""Components are found and described without being imported, and broken ones are explained."""

from __future__ import annotations

import pickle
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from clipfed_bench.api import AttackContext, ServerContext
from clipfed_bench.components import entry_points as plugins
from clipfed_bench.components import registry
from clipfed_bench.components.choice import Choice, stored
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.library import Member

GOOD = '''"""Nothing: an attack that does nothing.

More about it.
"""
raise_if_imported = 1 / {divisor}
from dataclasses import dataclass
from clipfed_bench.api import Attack

@dataclass(frozen=True)
class Config:
    size: int = 3
    """How large
    it is [ours]."""
    mode: str | None = None
    """Not marked."""

class Nothing(Attack):
    config: Config
    def trigger(self, images):
        return images
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Installs modules as somebody's attack package; returns a function that takes them."""
    monkeypatch.syspath_prepend(tmp_path)
    own = plugins.entry_points(group="clipfed_bench.attacks")

    def install(**modules: str) -> None:
        package = tmp_path / "strangers"
        package.mkdir()
        (package / "__init__.py").touch()
        for name, source in modules.items():
            (package / f"{name}.py").write_text(source)
        theirs = EntryPoint("strangers", "strangers", "clipfed_bench.attacks")
        monkeypatch.setattr(plugins, "entry_points", lambda group: [*own, theirs] if group == theirs.group else [])
        registry._registered.cache_clear()

    yield install
    registry._registered.cache_clear()
    for name in [m for m in sys.modules if m.startswith("strangers")]:
        del sys.modules[name]


CONTEXT = AttackContext(0, 10, (3, 32, 32))


def test_described_without_import(plugin) -> None:  # type: ignore[no-untyped-def]
    plugin(does_nothing=GOOD.format(divisor=0), _private="broken (")
    found = registry.attacks()["does-nothing"]
    assert found.summary == "Nothing: an attack that does nothing."
    size, mode = found.options
    assert (size.name, size.annotation, size.default, size.doc) == ("size", "int", 3, "How large it is [ours].")
    assert (size.origin, mode.origin) == ("ours", "unmarked")
    assert str(Choice(found, (4, None))) == "does-nothing[size=4]"
    with pytest.raises(
        UserError, match=r"'does-nothing' .* importing strangers\.does_nothing raises ZeroDivisionError"
    ):
        registry.create_attack(registry.choose("attack", "does-nothing"), CONTEXT)


def test_made_with_checked_options(plugin) -> None:  # type: ignore[no-untyped-def]
    plugin(does_nothing=GOOD.format(divisor=1))
    attack = registry.create_attack(registry.choose("attack", "does-nothing", size="7", mode="x"), CONTEXT)
    assert (attack.config.size, attack.config.mode) == (7, "x")
    with pytest.raises(UserError, match=r"does-nothing\[size\]: 'x' is not a whole number"):
        registry.create_attack(registry.choose("attack", "does-nothing", size="x"), CONTEXT)


def test_one_class_a_module(plugin) -> None:  # type: ignore[no-untyped-def]
    """What inherits from an imported class is seen when it is made."""
    inherited = (
        GOOD.format(divisor=1).replace("api import Attack", "api import Attack as Base").replace("(Attack)", "(Base)")
    )
    plugin(both=inherited + "\nclass Other(Nothing):\n    pass\n", one=inherited)
    with pytest.raises(UserError, match="must define exactly one Attack; it has 2"):
        registry.create_attack(registry.choose("attack", "both"), CONTEXT)
    registry.create_attack(registry.choose("attack", "one"), CONTEXT)


FAMILY = GOOD.replace("size: int = 3", "member: Member\n    size: int = 3").replace(
    "import Attack", "import Attack, Member"
)


def test_a_family_without_a_library_takes_every_name(plugin) -> None:  # type: ignore[no-untyped-def]
    plugin(all_of=FAMILY.format(divisor=1))
    assert "all-of" not in registry.attacks()
    choice = registry.choose("attack", "all-of:resnet_10.b[size=4]")
    assert (str(choice), choice.options) == ("all-of:resnet_10.b[size=4]", {"size": 4, "mode": None})
    config = registry.create_attack(choice, CONTEXT).config
    assert (config.member, config.size, config.mode) == (Member("resnet_10.b", {}), 4, None)
    assert choice == pickle.loads(pickle.dumps(choice))
    with pytest.raises(UserError, match=r"unknown attack 'all-of'\. Did you mean 'all-of:NAME'"):
        registry.choose("attack", "all-of")


def test_where_members_are_is_a_literal(plugin) -> None:  # type: ignore[no-untyped-def]
    plugin(all_of=FAMILY.format(divisor=1) + "\nLIBRARY = Library(module='x' * 3, extra='x')\n")
    with pytest.raises(UserError, match=r"LIBRARY must be one call, Library\(.*\), with literals"):
        registry.choose("attack", "all-of")


def test_needs_are_read_from_the_class() -> None:
    found = registry.defenses()
    assert found["clip-fed"].needs_teacher
    assert found["clip-fed"].needs_server_data
    assert not found["krum"].needs_teacher
    assert {name for name, c in found.items() if any(o.origin == "unmarked" for o in c.options)} == set()
    assert {name for name, c in registry.attacks().items() if any(o.origin == "unmarked" for o in c.options)} == set()


def test_what_a_file_names_is_a_choice_whether_or_not_it_is_installed() -> None:
    for label in ("gone", "gone[size=5,probe=dba[parts=4]]", "badnets[size=5]"):  # 5 is what badnets has by default
        assert str(stored("attack", label)) == label
    gone = stored("attack", "gone[size=5]")
    assert (gone.name, gone.options) == ("gone", {"size": "5"})
    assert gone == pickle.loads(pickle.dumps(gone))
    with pytest.raises(UserError, match="is not a name with options"):
        stored("defense", "gone[size")


def test_impossible_option_values_are_user_errors() -> None:
    server = ServerContext(10, (), (0, 0, 0), (1, 1, 1))
    for name, options in (("clip-fed", {"tau": 0.0}), ("clip-fed", {"components": 0}), ("flame", {"noise": -1.0})):
        with pytest.raises(UserError, match=next(iter(options))):
            registry.create_defense(registry.choose("defense", name, **options), server)
    with pytest.raises(UserError, match="leaves the image"):
        registry.create_attack(registry.choose("attack", "badnets", size=6), CONTEXT)
