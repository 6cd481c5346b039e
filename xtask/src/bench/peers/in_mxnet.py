"""Trains an encoder in MXNet on the rows of `bench-data`. Usage: in_mxnet.py DATA OUT ENCODER SETTINGS

ENCODER is `same` (the encoder of the crate `ipinsights` with its loss and its negatives) or `prefixes` (embeddings of hashed prefixes,
tanh, one layer, with R and S negatives drawn for each row). The rest is said in common.py.
"""
import os
import sys

import numpy as np

import common
from common import RANGE_WIDTH


class Encoder:
    """Rows of the ranges of an address side by side, through tanh and one layer."""

    def __init__(self, name, dim, addresses, seed):
        self.starts = common.cuts(addresses, seed) if name == "same" else None
        sizes = [len(s) for s in self.starts] if self.starts else [common.PREFIX_ROWS] * len(common.PREFIXES)
        self.offsets = np.cumsum([0] + sizes[:-1])[:, None]
        self.table = mx.gluon.nn.Embedding(sum(sizes), RANGE_WIDTH, sparse_grad=True)
        self.table.initialize(mx.init.Uniform(0.01))
        self.layer = mx.gluon.nn.Dense(dim, in_units=len(sizes) * RANGE_WIDTH)
        self.layer.initialize(mx.init.Xavier())

    def slots(self, addresses):
        if self.starts:
            found = [np.searchsorted(starts, addresses, side="right") - 1 for starts in self.starts]
        else:
            found = common.hashed_prefixes(addresses)
        return (np.stack(found) + self.offsets).T

    def __call__(self, addresses):
        rows = self.table(mx.nd.array(self.slots(addresses), dtype="int32"))
        return self.layer(mx.nd.tanh(rows.reshape((len(addresses), -1))))


class Model:
    def __init__(self, encoder, entities, dim):
        self.encoder = encoder
        # One more for those not seen in training.
        self.rows = entities + 1
        self.entities = mx.gluon.nn.Embedding(self.rows, dim, sparse_grad=True)
        self.entities.initialize(mx.init.Uniform(0.01))
        self.common = mx.gluon.Parameter("common", shape=(dim,), init="zeros")
        self.common.initialize()

    def parameters(self):
        layers = (self.encoder.table, self.encoder.layer, self.entities)
        found = [p for layer in layers for p in layer.collect_params().values()]
        return found + [self.common]

    def entity(self, numbers):
        own = self.entities(mx.nd.array(numbers % self.rows, dtype="int32"))
        return mx.nd.broadcast_add(own, self.common.data())

    def score(self, rows):
        parts = np.array_split(rows, len(rows) // 10_000 + 1)
        return np.concatenate([(self.entity(p[:, 0]) * self.encoder(p[:, 1])).sum(1).asnumpy() for p in parts])


def shared_negatives(model, rows, activity, rng, r, s):
    """The loss with negatives that groups of rows share, as in the crate `ipinsights`."""
    groups, size = common.groups(len(rows))
    rows = rows[: groups * size]
    observed = rows[:, 1].reshape(groups, size)
    random = rng.integers(0, 1 << 32, (groups, size))
    vectors = model.encoder(np.concatenate([observed, random], 1).ravel()).reshape((groups, 2 * size, -1))
    entities = model.entity(rows[:, 0]).reshape((groups, size, -1))
    scores = mx.nd.batch_dot(entities, vectors, transpose_b=True)
    # Entities count alike among the addresses of others, however busy they are.
    alike = (1 / activity[rows[:, 0]]).reshape(groups, 1, size)
    others = alike.sum(2, keepdims=True) - alike.transpose(0, 2, 1)
    weights = np.concatenate([s * alike / others, np.full((groups, size, size), r / size)], 2)
    own = np.broadcast_to(np.eye(size, 2 * size), weights.shape)
    weights = np.where(own == 1, 1, weights)
    # A label of y costs softplus(z) - y z.
    weights, own = mx.nd.array(weights), mx.nd.array(common.LABEL * own)
    costs = weights * mx.nd.Activation(scores, "softrelu") - own * scores
    return costs.sum() / (groups * size * (1 + r + s))


def own_negatives(model, rows, activity, rng, r, s):
    """The loss with R random and S shuffled negatives for each row."""
    n = len(rows)
    entities = model.entity(rows[:, 0]).expand_dims(0)
    vectors = model.encoder(np.concatenate([rows[:, 1], rng.integers(0, 1 << 32, n * r)]))
    observed = vectors[:n]
    shuffled = [mx.nd.concat(observed[i + 1 :], observed[: i + 1], dim=0) for i in range(s)]
    vectors = mx.nd.concat(vectors, *shuffled, dim=0).reshape((1 + r + s, n, -1))
    scores = mx.nd.broadcast_mul(vectors, entities).sum(2)
    return (mx.nd.Activation(scores, "softrelu").sum() - scores[0].sum()) / scores.size


def trainer(model, rows, loss, settings):
    """What takes one step on the rows of the given numbers, at a share of the learning rate."""
    optimizer = mx.gluon.Trainer(model.parameters(), "adam", {"learning_rate": settings["rate"]})
    activity = np.bincount(rows[:, 0])
    rng = np.random.default_rng(settings["seed"])

    def step(numbers, share):
        if loss is shared_negatives:
            optimizer.set_learning_rate(settings["rate"] * share)
        with mx.autograd.record():
            cost = loss(model, rows[numbers], activity, rng, settings["r"], settings["s"])
        cost.backward()
        optimizer.step(1)

    return step


def main(data, out, name, settings):
    settings = common.settings(settings)
    mx.random.seed(settings["seed"])
    entities = {}
    rows = common.read(data, "train", entities, False)
    encoder = Encoder(name, settings["dim"], rows[:, 1], settings["seed"])
    model = Model(encoder, len(entities), settings["dim"])
    step = trainer(model, rows, shared_negatives if name == "same" else own_negatives, settings)
    measured = common.train(step, mx.nd.waitall, len(rows), settings)
    measured["version"] = mx.__version__
    measured["weights"] = sum(int(np.prod(p.shape)) for p in model.parameters())
    common.finish(measured, data, out, entities, settings, model.score)


if __name__ == "__main__":
    # MXNet reads them when it is loaded.
    threads = str(common.settings(sys.argv[4])["threads"])
    os.environ["OMP_NUM_THREADS"] = threads
    os.environ["MXNET_CPU_WORKER_NTHREADS"] = threads
    import mxnet as mx

    main(*sys.argv[1:])
