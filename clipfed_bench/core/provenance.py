"""What a number was measured with: versions, machine, and the state of the source."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("clipfed-bench", "torch", "torchvision", "open-clip-torch", "scikit-learn", "hdbscan", "numpy", "scipy")
"""Distributions whose versions can change a number."""

_ROOT = Path(__file__).resolve().parents[2]
_CPU_ID = (
    *("vendor_id", "cpu family", "model", "stepping"),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision"),  # ARM
)
_SOURCES = ("clipfed_bench", "attacks", "baselines", "partitions", "architectures", "data_sets")


def provenance(device: str = "cpu") -> dict[str, str]:
    """One entry for each column of the results: versions, platform, CPU, ``device`` (cpu or cuda) by name, git SHA.

    A package that is not installed has the version ``none``.
    """
    versions = {f"version_{name.replace('-', '_')}": _version(name) for name in PACKAGES}
    return {
        **versions,
        "version_python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpu_id": cpu_id(),
        "cpu_capability": cpu_capability(),
        "device": device,
        "device_name": _device_name(device),
        "git_sha": git_sha(),
    }


@cache
def git_sha(root: Path = _ROOT) -> str:
    """SHA of the checkout that holds the package, with ``-dirty`` where its sources differ; ``none`` without one.

    A package that is installed in a virtual environment inside some checkout does not belong to that checkout.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    sha = _git(root, "rev-parse", "HEAD")
    if top is None or sha is None or Path(top).resolve() != root.resolve():
        return "none"
    changes = _git(root, "status", "--porcelain", "--", *(name for name in _SOURCES if (root / name).exists()))
    return sha if changes == "" else f"{sha}-dirty"


@cache
def cpu_name() -> str:
    """The processor's model name, or its architecture where the system does not tell."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


@cache
def cpu_id() -> str:
    """What libraries choose their kernels by: the processor's vendor and model as numbers, else its name."""
    found = _cpuinfo()
    return " ".join(found[name] for name in _CPU_ID if name in found) or cpu_name()


def cpu_capability() -> str:
    """The vector instructions that torch uses, e.g. AVX2; ``unknown`` in a process that has not imported torch."""
    torch = sys.modules.get("torch")
    return "unknown" if torch is None else str(torch.backends.cpu.get_cpu_capability())


def _cpuinfo() -> dict[str, str]:
    """What Linux tells of the first processor; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in reversed(text.splitlines()))
    return {name.strip(): value.strip() for name, _, value in pairs}


@cache
def _version(name: str) -> str:
    """Of the package as this process has it; its whole description is read to find out."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return cpu_name()
    import torch

    return torch.cuda.get_device_name(device)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
