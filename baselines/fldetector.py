"""FLDetector: predict each client's update from its last one, and leave out those who are hard to predict.

Zhang et al., "FLDetector: Defending Federated Learning Against Model Poisoning Attacks via Detecting Malicious
Clients", KDD 2022, and the authors' published code (github.com/zaixizhang/FLDetector), read line by line; the paper's
text was not available. With g_t the aggregate of round t and w_t the global model:

1. L-BFGS approximates the Hessian H from the last N pairs w_{t+1} - w_t and g_{t+1} - g_t
   (:mod:`clipfed_bench.toolbox.lbfgs`); a client's update is predicted by the mean value theorem, as the one that it
   sent last plus H (w_t - w_s), where s is the round of that one.
2. The distance of prediction and update is divided by the mean over the round's clients; a client's suspicious score
   is the mean of its last N distances.
3. Where the gap statistic (:mod:`clipfed_bench.toolbox.gap`) finds more than one cluster of scores, those in the upper
   of two clusters are malicious, and left out; the rest is averaged as in FedAvg, by data size.

Nobody is predicted before there are N pairs, and nobody left out before N rounds were scored: with N = 10 not before
round 21. In fewer rounds choose a smaller ``window``.

Deviations: in the paper all clients take part in every round, s is t - 1, and the distances are divided by their sum.
Here a client that did not take part keeps its last update, the model that this is of, and its scores; one that takes
part for the first time is kept. The paper removes who was found for good and trains anew without them; here training
goes on, and they are judged again when they next take part. BatchNorm running statistics are the mean over the kept.
State: the last N + 1 aggregates; the last update of every client that was ever sampled and the global models that these
are of. That takes as much memory as one model for each client, and a round several times as long as a mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import row_norms
from clipfed_bench.toolbox.gap import upper_cluster
from clipfed_bench.toolbox.lbfgs import hessian_products


@dataclass(frozen=True)
class Config:
    window: int = 10
    """N >= 1: pairs that the Hessian is approximated from, and distances that a score is the mean of [paper]."""


class FLDetector(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.window < 1:
            raise UserError(f"fldetector: window {config.window} is too small; it must be at least 1.")
        self._moves: list[Tensor] = []  # the last N + 1 aggregates, (P,) each
        self._sent: dict[int, Tensor] = {}  # client -> its last update (P,)
        self._round: dict[int, int] = {}  # client -> the round of that
        self._models: dict[int, Tensor] = {}  # round -> the global model (P,) that it started from
        self._distances: dict[int, list[float]] = {}  # client -> its last N distances
        self._scored = 0

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        malicious = torch.zeros(len(updates), dtype=torch.bool)
        known = [row for row, client in enumerate(updates.clients) if client in self._sent]
        if known and len(self._moves) > self.config.window:
            self._score(updates, known)
            if self._scored >= self.config.window:
                malicious[known] = upper_cluster(self.scores(updates, known), context.generator("fldetector-gap"))
        kept = ~malicious
        result = updates.mean(updates.num_samples * kept.to(updates.num_samples.device))
        self._remember(updates, result.delta, context.round)
        info = {"fldetector_malicious": float(malicious.sum())}
        return Aggregate(result.delta, result.buffers, to_device(kept, updates.deltas.device), info)

    def scores(self, updates: ClientUpdates, rows: list[int]) -> Tensor:
        """Suspicious scores (R,) float64 of the clients of these rows, which have been scored."""
        found = [self._distances[updates.clients[row]] for row in rows]
        return torch.tensor([sum(distances) / len(distances) for distances in found], dtype=torch.float64)

    def _score(self, updates: ClientUpdates, rows: list[int]) -> None:
        """Steps 1 and 2, of clients that have sent something before."""
        rounds = sorted({self._round[updates.clients[row]] for row in rows})
        ways = torch.stack([updates.global_params - self._models[number] for number in rounds])
        turns = dict(zip(rounds, hessian_products(torch.stack(self._moves), ways), strict=True))
        found = []
        for row in rows:
            client = updates.clients[row]
            missed = updates.deltas[row] - self._sent[client] - turns[self._round[client]]
            found.append(row_norms(missed[None]))
        distances = to_host(torch.cat(found))
        mean = distances.mean()
        shares = (distances / mean if mean > 0 else distances).tolist()
        for row, share in zip(rows, shares, strict=True):
            history = self._distances.setdefault(updates.clients[row], [])
            history.append(share)
            del history[: -self.config.window]
        self._scored += 1

    def _remember(self, updates: ClientUpdates, move: Tensor, number: int) -> None:
        self._moves = [*self._moves, move.clone()][-self.config.window - 1 :]
        for client, row in zip(updates.clients, updates.deltas, strict=True):
            self._sent[client], self._round[client] = row.clone(), number
        self._models[number] = updates.global_params.clone()  # the simulator moves the global model in place
        self._models = {number: self._models[number] for number in sorted(set(self._round.values()))}

    def state(self) -> dict[str, Tensor]:
        found = {f"move-{i}": move for i, move in enumerate(self._moves)}
        found |= {f"model-{number}": model for number, model in self._models.items()}
        found |= {f"sent-{client}": update for client, update in self._sent.items()}
        found |= {f"round-{client}": torch.tensor(number) for client, number in self._round.items()}
        distances = {f"distances-{c}": torch.tensor(d, dtype=torch.float64) for c, d in self._distances.items()}
        return found | distances | {"scored": torch.tensor(self._scored)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        def numbered(kind: str) -> dict[int, Tensor]:
            return {int(name[len(kind) + 1 :]): state[name] for name in state if name.startswith(f"{kind}-")}

        self._moves = [move for _, move in sorted(numbered("move").items())]
        self._models, self._sent = numbered("model"), numbered("sent")
        self._round = {client: int(number) for client, number in numbered("round").items()}
        self._distances = {client: found.tolist() for client, found in numbered("distances").items()}
        self._scored = int(state.get("scored", torch.tensor(0)))
