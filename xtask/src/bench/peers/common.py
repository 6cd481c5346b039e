"""What the scripts of all libraries share: rows, cuts, order, time, and what they print.

DATA is what `bench-data` wrote. SETTINGS is JSON: the hyperparameters by their documented names, `threads`, `seed`, and `batches` to
stop after so many instead. A script prints one JSON document of what was measured, and writes the scores of whole trainings as
little-endian floats into OUT: `normal`, `attack`, `validation`, and `random` of the validation's entities at random addresses.
"""
import json
import os
import resource
import time

import numpy as np

RANGE_WIDTH = 32
LABEL = 0.8
GROUP = 40
PREFIXES = (8, 12, 16, 20, 24)
PREFIX_ROWS = 1 << 17
# Mini-batches that are not timed: the first ones find out how much memory they need.
WARM_UP = 50


def settings(text):
    given = json.loads(text)
    found = {name: given[name] for name in ("threads", "seed")}
    found["dim"] = int(given["vector_dim"])
    found["r"] = int(given["random_negative_sampling_rate"])
    found["s"] = int(given["shuffled_negative_sampling_rate"])
    found["size"] = int(given["mini_batch_size"]) // (1 + found["r"] + found["s"])
    found["rate"] = float(given["learning_rate"])
    found["epochs"] = int(given["epochs"])
    found["batches"] = given.get("batches")
    return found


def read(data, file, entities, known_only):
    """Rows as numbers: entities in the order of their first row, and addresses."""
    rows = []
    with open(os.path.join(data, file + ".csv")) as text:
        for line in text:
            entity, address = line.rstrip("\n").rsplit(",", 1)
            a, b, c, d = address.split(".")
            number = entities.get(entity)
            if number is None:
                # Nobody has trained the last entity's vector.
                number = -1 if known_only else entities.setdefault(entity, len(entities))
            rows.append((number, int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)))
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def quantiles(addresses, count, shifted):
    """First addresses of ranges that hold as many of the ascending addresses each, or begin in the middle of these."""
    twice = 2 * np.arange(count) + int(shifted)
    starts = addresses[twice * len(addresses) // (2 * count)]
    starts = np.concatenate([[0], starts if shifted else starts[1:]])
    return np.unique(starts).astype(np.int64)


def cuts(addresses, seed):
    """Cuts of the address space: the prefixes of 8 bits, and quantiles of a sample of the distinct addresses."""
    distinct = np.unique(addresses)
    if len(distinct) > 1 << 18:
        distinct = np.sort(np.random.default_rng(seed).choice(distinct, 1 << 18, replace=False))
    found = [np.arange(256, dtype=np.int64) << 24]
    for count in (1 << 8, 1 << 10, 1 << 12, 1 << 14):
        found += [quantiles(distinct, count, shifted) for shifted in (False, True)]
    return found


def hashed_prefixes(addresses):
    """For each prefix length the row of its table; of NumPy's arrays and PyTorch's tensors."""
    hashed = [(addresses >> (32 - length)) * 0x9E3779B1 for length in PREFIXES]
    return [(h >> 12) % PREFIX_ROWS for h in hashed]


def groups(rows):
    """Groups of a mini-batch that share negatives, and the rows of each."""
    count = (rows // GROUP + 2) // 2 * 2
    return count, rows // count


def train(step, wait, rows, settings):
    """Takes the steps; `wait` returns when all of them are done."""
    size = settings["size"]
    batches = rows // size
    warm_up = WARM_UP if settings["batches"] else 0
    steps = warm_up + (settings["batches"] or settings["epochs"] * batches)
    rng = np.random.default_rng(settings["seed"])
    for number in range(steps):
        if number % batches == 0:
            order = rng.permutation(rows)
        if number == warm_up:
            wait()
            began = time.perf_counter(), time.process_time()
        # The rate falls in a straight line.
        step(order[number % batches * size :][:size], (steps - number) / steps)
    wait()
    return {
        "rows": (steps - warm_up) * size,
        "seconds": time.perf_counter() - began[0],
        "processor_seconds": time.process_time() - began[1],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def finish(measured, data, out, entities, settings, score):
    """Scores the test after a whole training, and prints what was measured."""
    if not settings["batches"]:
        tests = {file: read(data, file, entities, True) for file in ("normal", "attack", "validation")}
        validation = tests["validation"]
        random = np.random.default_rng(settings["seed"] + 1).integers(0, 1 << 32, len(validation))
        tests["random"] = np.stack([validation[:, 0], random], 1)
        began, pairs = time.perf_counter(), 0
        for file, rows in tests.items():
            score(rows).astype("<f4").tofile(os.path.join(out, file))
            pairs += len(rows)
        measured["pairs_per_second"] = pairs / (time.perf_counter() - began)
    print(json.dumps(measured))
