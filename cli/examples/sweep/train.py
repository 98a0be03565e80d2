#!/usr/bin/env python3
"""Trains and cross-validates one classifier of handwritten digits; QRM_ARRAY_INDEX says which of the 200.

It knows nothing of its siblings: its only output is one line and the file FOLDER/INDEX.json.
"""

from __future__ import annotations

import time

FIRST_LINE_S = time.monotonic()
# The cpu time of the process until here: starting the interpreter.
INTERPRETER_CPU_S = time.process_time()

import json
import os
import sys
from itertools import product
from pathlib import Path

KERNELS = ("rbf", "poly")
# Both in ten steps: C from 0.1 to 1000, gamma from 0.0001 to 1.
CS = [10 ** (-1 + 4 * step / 9) for step in range(10)]
GAMMAS = [10 ** (-4 + 4 * step / 9) for step in range(10)]
GRID = list(product(KERNELS, CS, GAMMAS))


def accuracies(kernel: str, c: float, gamma: float) -> list[float]:
    """The share of the images told right in each of five folds (the 1,797 digits that scikit-learn brings along)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    images, digits = load_digits(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = SVC(kernel=kernel, C=c, gamma=gamma)
    return cross_val_score(model, images / 16, digits, cv=folds).tolist()


def cpu_of_parent() -> float | None:
    """The cpu time of the process that watches this one, in seconds, where the kernel counts it so finely."""
    try:
        return int(Path(f"/proc/{os.getppid()}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return None


def main() -> None:
    index = int(os.environ["QRM_ARRAY_INDEX"])
    kernel, c, gamma = GRID[index]
    # Made before any work, and only if it is not there (O_EXCL): a task that runs a second time fails here, however
    # far the first time got.
    with open(Path(sys.argv[1]) / f"{index:03}.json", "x") as result:
        scores = accuracies(kernel, c, gamma)
        mean = sum(scores) / len(scores)
        outcome = {
            "index": index,
            "job": os.environ["QRM_JOB_ID"],
            "attempt": int(os.environ["QRM_ATTEMPT"]),
            "kernel": kernel,
            "c": c,
            "gamma": gamma,
            "accuracy": mean,
            "spread": (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5,
            "cpu_s": time.process_time(),
            "shim_cpu_s": cpu_of_parent(),
            # Never more than the truth: the start of the interpreter took at least its cpu time.
            "wall_s": INTERPRETER_CPU_S + time.monotonic() - FIRST_LINE_S,
        }
        json.dump(outcome, result)
    print(f"{kernel} C={c:.4g} gamma={gamma:.4g}: accuracy {mean:.4f}", flush=True)
    # The interpreter would tidy up for another tenth of a second, outside of its own measurement.
    os._exit(0)


if __name__ == "__main__":
    main()
