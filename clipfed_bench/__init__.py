"""clipfed-bench: backdoor attacks and defenses in federated learning on one shared simulator.

From Python: :func:`~clipfed_bench.execution.scripting.grid`, :func:`~clipfed_bench.execution.scripting.run_grid` and
:func:`~clipfed_bench.execution.scripting.load_run` (docs/python.md). They are imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipfed_bench.core import version

if TYPE_CHECKING:
    from clipfed_bench.core.errors import UserError
    from clipfed_bench.execution.scripting import grid, load_run, run_grid

__version__ = version.VERSION
__all__ = ["UserError", "__version__", "grid", "load_run", "run_grid"]


def __getattr__(name: str) -> Any:
    if name in ("grid", "run_grid", "load_run"):
        from clipfed_bench.execution import scripting

        return getattr(scripting, name)
    if name == "UserError":
        from clipfed_bench.core.errors import UserError

        return UserError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
