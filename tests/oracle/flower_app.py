"""Six clients train a small network on digits, one of them with wrong labels; Multi-Krum aggregates."""

import torch
import torch.nn.functional as F
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from sklearn.datasets import load_digits
from torch import nn

from clipfed_bench.api import ServerContext
from clipfed_bench.flower import DefenseStrategy

CLIENTS = 6
SERVER = ServerContext(10, tuple("0123456789"), mean=(0.0,), std=(1.0,), seed=0)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


def images_of(client):
    digits = load_digits()
    images = torch.tensor(digits.images[client::CLIENTS] / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target[client::CLIENTS])
    return images, 9 - labels if client == 5 else labels


def train(model, client):
    images, labels = images_of(client)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for part in torch.arange(len(images)).split(30) * 3:
        optimizer.zero_grad()
        F.cross_entropy(model(images[part]), labels[part]).backward()
        optimizer.step()
    return len(images)


client_app = ClientApp()


@client_app.train()
def reply(message: Message, context: Context) -> Message:
    client, model = context.node_config["partition-id"], network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    metrics = {"num-examples": train(model, client), "client-id": client}
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


def serve(defense, rounds, found):
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = DefenseStrategy(defense, SERVER, fraction_evaluate=0.0, min_available_nodes=CLIENTS)
        found.append(strategy.start(grid, ArrayRecord(network().state_dict()), num_rounds=rounds))

    return server_app


def simulate(defense, rounds=3):
    found = []
    run_simulation(serve(defense, rounds, found), client_app, num_supernodes=CLIENTS)
    return found[0]


if __name__ == "__main__":
    result, model = simulate("multi-krum[malicious=0.16]"), network()
    model.load_state_dict(result.arrays.to_torch_state_dict())
    images, labels = images_of(0)
    print((model.eval()(images).argmax(dim=1) == labels).float().mean().item())
    print(result.train_metrics_clientapp[3])
