#!/usr/bin/env python3
"""Makes the table of the sweep: collect.py FOLDER COUNT. Fails unless the results 0 to COUNT-1 are there, complete,
each from the first and only run of its training.
"""

import json
import sys
from pathlib import Path
from statistics import median

BEST = 10


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    results, wrong = read(folder, count)
    if wrong:
        sys.exit("\n".join(wrong))

    results.sort(key=lambda r: (-r["accuracy"], r["index"]))
    print(f"{'':4}{'training':>8}  {'kernel':6}  {'C':>8}  {'gamma':>9}  {'accuracy':>8}  {'+-':>6}")
    for rank, r in enumerate(results[:BEST], 1):
        print(
            f"{rank:>3} {r['index']:>8}  {r['kernel']:6}  {r['c']:>8.4g}  {r['gamma']:>9.4g}"
            f"  {r['accuracy']:>8.4f}  {r['spread']:>6.4f}"
        )
    accuracies = [r["accuracy"] for r in results]
    print(
        f"\n{len(results)} of {count} results, each written once, all by first attempts; "
        f"accuracy {min(accuracies):.4f} to {max(accuracies):.4f}, median {median(accuracies):.4f}"
    )


def read(folder: Path, count: int) -> tuple[list[dict], list[str]]:
    """The results, and what is wrong with them."""
    expected = {f"{index:03}.json" for index in range(count)}
    there = {path.name for path in folder.iterdir()}
    wrong = [f"{name}: missing" for name in sorted(expected - there)]
    wrong += [f"{name}: unexpected" for name in sorted(there - expected)]
    results = []
    for name in sorted(there & expected):
        text = (folder / name).read_text()
        try:
            result = json.loads(text)
        except ValueError as error:
            wrong.append(f"{name}: its training did not get to its end ({error})")
            continue
        if result["index"] != int(Path(name).stem):
            wrong.append(f"{name}: is the result of training {result['index']}")
        if result["attempt"] != 1:
            wrong.append(f"{name}: comes from attempt {result['attempt']}")
        results.append(result)
    return results, wrong


if __name__ == "__main__":
    main()
