"""Trains an encoder in PyTorch on the rows of `bench-data`. Usage: in_torch.py DATA OUT ENCODER SETTINGS

ENCODER is `same` (the encoder of the crate `ipinsights` with its loss and its negatives), `prefixes` (embeddings of hashed prefixes,
tanh, one layer) or `bits` (the 32 bits of an address, two ReLU layers); the last two with R and S negatives drawn for each row.
The rest is said in common.py.
"""
import sys

import torch
from torch.nn import functional as F

import common
from common import RANGE_WIDTH


class Ranges(torch.nn.Module):
    """Rows of the ranges of an address side by side, through tanh and one layer."""

    def __init__(self, dim, starts):
        super().__init__()
        self.starts = [torch.tensor(starts) for starts in starts]
        sizes = [len(starts) for starts in starts]
        self.register_buffer("offsets", torch.tensor([0] + sizes[:-1]).cumsum(0)[:, None])
        self.table = torch.nn.Embedding(sum(sizes), RANGE_WIDTH, sparse=True)
        torch.nn.init.uniform_(self.table.weight, -0.01, 0.01)
        self.layer = torch.nn.Linear(len(sizes) * RANGE_WIDTH, dim)
        torch.nn.init.xavier_uniform_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)

    def slots(self, addresses):
        return torch.stack([torch.searchsorted(starts, addresses, right=True) - 1 for starts in self.starts])

    def forward(self, addresses):
        rows = self.table((self.slots(addresses) + self.offsets).t())
        return self.layer(torch.tanh(rows.reshape(len(addresses), -1)))


class Prefixes(Ranges):
    """The same with the rows of hashed prefixes."""

    def __init__(self, dim):
        super().__init__(dim, [range(common.PREFIX_ROWS)] * len(common.PREFIXES))

    def slots(self, addresses):
        return torch.stack(common.hashed_prefixes(addresses))


class Bits(torch.nn.Module):
    """The bits of an address, through two ReLU layers and a linear one."""

    def __init__(self, dim):
        super().__init__()
        self.register_buffer("places", torch.arange(32))
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(32, dim),
            torch.nn.ReLU(),
            torch.nn.Linear(dim, dim),
            torch.nn.ReLU(),
            torch.nn.Linear(dim, dim),
        )

    def forward(self, addresses):
        bits = (addresses[:, None] >> self.places) & 1
        return self.layers(bits.float() * 2 - 1)


class Model(torch.nn.Module):
    def __init__(self, encoder, entities, dim):
        super().__init__()
        self.encoder = encoder
        # One more for those not seen in training.
        self.entities = torch.nn.Embedding(entities + 1, dim, sparse=True)
        torch.nn.init.uniform_(self.entities.weight, -0.01, 0.01)
        self.common = torch.nn.Parameter(torch.zeros(dim))

    def entity(self, numbers):
        return self.entities(numbers % self.entities.num_embeddings) + self.common

    def forward(self, rows):
        return (self.entity(rows[:, 0]) * self.encoder(rows[:, 1])).sum(1)

    def score(self, rows):
        with torch.no_grad():
            return torch.cat([self(part) for part in rows.split(10_000)])


def random_addresses(count):
    return torch.randint(1 << 32, (count,))


def shared_negatives(model, rows, activity, r, s):
    """The loss with negatives that groups of rows share, as in the crate `ipinsights`."""
    groups, size = common.groups(len(rows))
    rows = rows[: groups * size]
    observed = rows[:, 1].view(groups, size)
    addresses = torch.cat([observed, random_addresses(groups * size).view(groups, size)], 1)
    vectors = model.encoder(addresses.view(-1)).view(groups, 2 * size, -1)
    entities = model.entity(rows[:, 0]).view(groups, size, -1)
    scores = torch.bmm(entities, vectors.transpose(1, 2))
    # Entities count alike among the addresses of others, however busy they are.
    alike = 1 / activity[rows[:, 0]].view(groups, 1, size)
    others = alike.sum(2, keepdim=True) - alike.transpose(1, 2)
    weights = torch.cat([s * alike / others, torch.full((groups, size, size), r / size)], 2)
    weights.diagonal(dim1=1, dim2=2).fill_(1)
    own = scores.diagonal(dim1=1, dim2=2)
    # A label of y costs softplus(z) - y z.
    return ((weights * F.softplus(scores)).sum() - common.LABEL * own.sum()) / (groups * size * (1 + r + s))


def own_negatives(model, rows, activity, r, s):
    """The loss with R random and S shuffled negatives for each row."""
    n = len(rows)
    entities = model.entity(rows[:, 0])
    vectors = model.encoder(torch.cat([rows[:, 1], random_addresses(n * r)]))
    shuffled = [vectors[:n].roll(shift + 1, 0) for shift in range(s)]
    vectors = torch.cat([vectors, *shuffled]).view(1 + r + s, n, -1)
    scores = (entities * vectors).sum(2)
    labels = torch.zeros_like(scores)
    labels[0] = 1
    return F.binary_cross_entropy_with_logits(scores, labels)


def trainer(model, rows, loss, settings):
    """What takes one step on the rows of the given numbers, at a share of the learning rate."""
    r, s = settings["r"], settings["s"]
    sparse = [table.weight for table in model.modules() if isinstance(table, torch.nn.Embedding)]
    dense = [weights for weights in model.parameters() if all(weights is not table for table in sparse)]
    optimizers = [kind(w, lr=settings["rate"]) for kind, w in ((torch.optim.SparseAdam, sparse), (torch.optim.Adam, dense))]
    activity = torch.bincount(rows[:, 0]).float()

    def step(numbers, share):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            if loss is shared_negatives:
                optimizer.param_groups[0]["lr"] = settings["rate"] * share
        loss(model, rows[torch.from_numpy(numbers)], activity, r, s).backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def main(data, out, name, settings):
    settings = common.settings(settings)
    torch.manual_seed(settings["seed"])
    torch.set_num_threads(settings["threads"])
    entities = {}
    rows = common.read(data, "train", entities, False)
    if name == "same":
        encoder, loss = Ranges(settings["dim"], common.cuts(rows[:, 1], settings["seed"])), shared_negatives
    else:
        encoder, loss = {"prefixes": Prefixes, "bits": Bits}[name](settings["dim"]), own_negatives
    model = Model(encoder, len(entities), settings["dim"])
    step = trainer(model, torch.from_numpy(rows), loss, settings)
    measured = common.train(step, lambda: None, len(rows), settings)
    measured["version"] = torch.__version__
    measured["weights"] = sum(weights.numel() for weights in model.parameters())
    common.finish(measured, data, out, entities, settings, lambda rows: model.score(torch.from_numpy(rows)).numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
