"""The share of malicious clients that a defense reckons with."""

from __future__ import annotations

from clipfed_bench.api import ServerContext
from clipfed_bench.core.errors import UserError


def assumed_share(name: str, share: float | None, server: ServerContext) -> float:
    """``share`` of the defense ``name``, or what the server is told to expect where it is None.

    Raises UserError for a share that is not from 0 to below 0.5.
    """
    if share is not None and not 0.0 <= share < 0.5:
        raise UserError(f"{name}: malicious {share} is not a share of clients from 0 to below 0.5.")
    return server.assumed_malicious if share is None else share
