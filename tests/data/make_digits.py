"""Make python/snncore/data/digits.npz anew. Run it by hand; the tests check that the file still follows its rule.

    python tests/data/make_digits.py SOURCE python/snncore/data/digits.npz

SOURCE is optdigits.tes of the UCI set, or sklearn/datasets/data/digits.csv.gz, which has the same 1,797 rows: 64
pixels 0..16 and the class. The order of the rows is kept. The split is the rule of `snncore.data.split` with 360
samples and seed 0. Prints the sha256 that belongs into python/snncore/data/digits.py.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from snncore.data._order import stratified

TEST_SAMPLES, SEED = 360, 0


def main(source: str, target: str) -> None:
    rows = np.loadtxt(source, delimiter=",").astype(np.uint8)
    if rows.shape != (1797, 65) or rows[:, :64].max() != 16 or rows[:, 64].max() != 9:
        sys.exit(f"{source}: must hold 1,797 rows of 64 pixels 0..16 and a class, got {rows.shape}")
    labels = rows[:, 64]
    test = stratified(labels, TEST_SAMPLES, SEED)
    train = np.setdiff1d(np.arange(len(rows)), test)
    np.savez_compressed(
        target,
        images=rows[:, :64].reshape(-1, 8, 8),
        labels=labels,
        train=train.astype(np.int16),
        test=test.astype(np.int16),
    )
    with open(target, "rb") as file:
        print(hashlib.sha256(file.read()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
