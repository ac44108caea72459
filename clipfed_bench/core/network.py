"""Whether a host can be reached, found out before a library tries for a minute."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request

PATIENCE = 4.0
"""Seconds in which a host has to answer [ours]."""


def reachable(url: str, patience: float = PATIENCE) -> bool:
    """Whether anybody answers at ``url``, whatever the answer is; through the proxy of the environment, if any."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=patience):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass

    # In a thread, since looking up a name takes as long as the system wants.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience)
    return answered.is_set()


def hub_reachable() -> bool:
    """Whether the Hugging Face hub, or the mirror that the environment names, can be asked for files."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    return reachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
