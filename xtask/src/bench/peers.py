"""Trains an encoder in PyTorch on the rows of `bench-data`. Usage: peers.py DATA OUT ENCODER SETTINGS

ENCODER is `same` (the encoder of the crate `ipinsights` with its loss and its negatives), `prefixes` (embeddings of hashed prefixes,
tanh, one layer) or `bits` (the 32 bits of an address, two ReLU layers); the last two with R and S negatives drawn for each row.
SETTINGS is JSON: the hyperparameters by their documented names, `threads`, `seed`, and `batches` to stop after so many instead.

Prints one JSON document of what was measured, and writes the scores of whole trainings as little-endian floats into OUT:
`normal`, `attack`, `validation`, and `random` of the validation's entities at random addresses.
"""
import json
import os
import resource
import sys
import time

import numpy as np
import torch
from torch.nn import functional as F

RANGE_WIDTH = 32
LABEL = 0.8
GROUP = 40
# Mini-batches that are not timed: the first ones find out how much memory they need.
WARM_UP = 50


def read(path, entities, known_only):
    """Rows as numbers: entities in the order of their first row, and addresses."""
    rows = []
    with open(path) as text:
        for line in text:
            entity, address = line.rstrip("\n").rsplit(",", 1)
            a, b, c, d = address.split(".")
            number = entities.get(entity)
            if number is None:
                # Nobody has trained the last entity's vector.
                number = -1 if known_only else entities.setdefault(entity, len(entities))
            rows.append((number, int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)))
    return torch.from_numpy(np.array(rows, dtype=np.int64).reshape(-1, 2))


def quantiles(addresses, count, shifted):
    """First addresses of ranges that hold as many of the ascending addresses each, or begin in the middle of these."""
    twice = 2 * np.arange(count) + int(shifted)
    starts = addresses[twice * len(addresses) // (2 * count)]
    starts = np.concatenate([[0], starts if shifted else starts[1:]])
    return np.unique(starts)


def cuts(addresses, seed):
    """Cuts of the address space: the prefixes of 8 bits, and quantiles of a sample of the distinct addresses."""
    distinct = np.unique(addresses.numpy())
    if len(distinct) > 1 << 18:
        distinct = np.sort(np.random.default_rng(seed).choice(distinct, 1 << 18, replace=False))
    found = [np.arange(256) << 24]
    for count in (1 << 8, 1 << 10, 1 << 12, 1 << 14):
        found += [quantiles(distinct, count, shifted) for shifted in (False, True)]
    return [torch.from_numpy(starts.astype(np.int64)) for starts in found]


class Ranges(torch.nn.Module):
    """Rows of the ranges of an address side by side, through tanh and one layer."""

    def __init__(self, dim, starts):
        super().__init__()
        self.starts = starts
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

    LENGTHS = (8, 12, 16, 20, 24)
    ROWS = 1 << 17

    def __init__(self, dim):
        super().__init__(dim, [range(self.ROWS)] * len(self.LENGTHS))

    def slots(self, addresses):
        hashed = [(addresses >> (32 - length)) * 0x9E3779B1 for length in self.LENGTHS]
        return torch.stack([(h >> 12) % self.ROWS for h in hashed])


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
    groups = (len(rows) // GROUP + 2) // 2 * 2
    size = len(rows) // groups
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
    return ((weights * F.softplus(scores)).sum() - LABEL * own.sum()) / (groups * size * (1 + r + s))


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


def train(model, rows, loss, settings):
    """Trains, and returns rows, seconds by the clock and of processors."""
    r, s = int(settings["random_negative_sampling_rate"]), int(settings["shuffled_negative_sampling_rate"])
    size = int(settings["mini_batch_size"]) // (1 + r + s)
    rate, epochs = float(settings["learning_rate"]), int(settings["epochs"])
    sparse = [table.weight for table in model.modules() if isinstance(table, torch.nn.Embedding)]
    dense = [weights for weights in model.parameters() if all(weights is not table for table in sparse)]
    optimizers = [torch.optim.SparseAdam(sparse, lr=rate), torch.optim.Adam(dense, lr=rate)]
    activity = torch.bincount(rows[:, 0]).float()
    batches = len(rows) // size
    steps = settings.get("batches", epochs * batches)
    began, taken = None, 0
    for step in range(steps + WARM_UP if "batches" in settings else steps):
        if step % batches == 0:
            order = torch.randperm(len(rows))
        if step == (WARM_UP if "batches" in settings else 0):
            began = time.perf_counter(), time.process_time()
            taken = 0
        batch = rows[order[step % batches * size :][:size]]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            if loss is shared_negatives:
                # The rate falls in a straight line.
                optimizer.param_groups[0]["lr"] = rate * max(steps - step, 1) / steps
        loss(model, batch, activity, r, s).backward()
        for optimizer in optimizers:
            optimizer.step()
        taken += len(batch)
    return taken, time.perf_counter() - began[0], time.process_time() - began[1]


def main(data, out, name, settings):
    settings = json.loads(settings)
    torch.manual_seed(settings["seed"])
    torch.set_num_threads(settings["threads"])
    entities = {}
    rows = read(os.path.join(data, "train.csv"), entities, False)
    dim = int(settings["vector_dim"])
    if name == "same":
        encoder, loss = Ranges(dim, cuts(rows[:, 1], settings["seed"])), shared_negatives
    else:
        encoder, loss = {"prefixes": Prefixes, "bits": Bits}[name](dim), own_negatives
    model = Model(encoder, len(entities), dim)
    taken, seconds, processor_seconds = train(model, rows, loss, settings)
    measured = {
        "torch": torch.__version__,
        "rows": taken,
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "weights": sum(weights.numel() for weights in model.parameters()),
    }
    if "batches" not in settings:
        tests = {f: read(os.path.join(data, f + ".csv"), entities, True) for f in ("normal", "attack", "validation")}
        validation = tests["validation"]
        tests["random"] = torch.stack([validation[:, 0], random_addresses(len(validation))], 1)
        began, pairs = time.perf_counter(), 0
        for file, rows in tests.items():
            model.score(rows).numpy().astype("<f4").tofile(os.path.join(out, file))
            pairs += len(rows)
        measured["pairs_per_second"] = pairs / (time.perf_counter() - began)
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
