#!/usr/bin/env python3
"""Says what qrm itself cost: cost.py RUN, where RUN is the folder that run.sh filled.

The trainings, back to back and two at a time, would have taken a certain time without any queue; what the sweep took
beyond that is qrm's: starting the daemon twice, queueing, starting, recording, collecting, telling.
"""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from statistics import median

WIDTH = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    run = Path(sys.argv[1])
    tasks = json.loads((run / "tasks.json").read_text())
    collecting = json.loads((run / "collect.json").read_text())
    results = [json.loads(path.read_text()) for path in (run / "results").iterdir()]
    wall = json.loads((run / "wall.json").read_text())
    assert len(tasks) == len(results), f"{len(tasks)} tasks, {len(results)} results"
    assert all(t["state"] == "completed" and t["attempt"] == 1 for t in tasks), "a task did not complete at once"

    tasks.sort(key=lambda t: at(t["started_at"]))
    jobs = [*tasks, collecting]
    wall_s = (wall["ended_us"] - wall["began_us"]) / 1e6
    ideal_s = back_to_back([own(t) for t in tasks]) + own(collecting)
    clocks = {r["index"]: r["wall_s"] for r in results}
    least_s = back_to_back([clocks[index(t)] for t in tasks]) + own(collecting)
    cost_s = wall_s - ideal_s

    row("wall time, from the first submit to the last end", f"{wall_s:.2f} s")
    row("the same programs back to back, two at a time", f"{ideal_s:.2f} s")
    row(
        "qrm's own time, the difference",
        f"{cost_s:.2f} s",
        f"{cost_s / wall_s:.1%}, {cost_s / len(jobs) * 1e3:.1f} ms a job",
    )
    row("  the same by the trainings' own clocks, at most", f"{wall_s - least_s:.2f} s")
    between = sorted(gaps(tasks))
    row(
        "from a training's end to the next one's start",
        f"{median(between) * 1e3:.1f} ms",
        f"median; {between[len(between) * 95 // 100] * 1e3:.0f} ms at 95 %, {between[-1] * 1e3:.0f} ms the longest",
    )
    row("cpu time of the programs", f"{sum(j['usage']['cpu_ms'] for j in jobs) / 1e3:.2f} s")
    for when, file in (("until it was killed", "qrmd.killed"), ("since then", "qrmd.restarted")):
        if (run / file).exists():
            pid, cpu_s = daemon(run / file)
            row(f"cpu time of qrmd, {when}", f"{cpu_s:.2f} s", f"process {pid}")
    shims = [r["shim_cpu_s"] for r in results if r["shim_cpu_s"] is not None]
    if shims:
        row("cpu time of the shims, while their jobs ran", f"{sum(shims):.2f} s", f"{median(shims) * 1e3:.1f} ms each")


def daemon(file: Path) -> tuple[int, float]:
    """The pid of a daemon, and the cpu time of it and its helpers, from their lines of /proc/PID/stat."""
    lines = file.read_text().splitlines()
    cpu_s = 0.0
    for line in lines:
        utime, stime = line.rpartition(")")[2].split()[11:13]
        cpu_s += (int(utime) + int(stime)) / TICKS_PER_S
    return int(lines[0].split()[0]), cpu_s


def at(time: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def own(job: dict) -> float:
    """From the first instruction of the job's command to its end, in seconds."""
    return at(job["ended_at"]) - at(job["started_at"])


def index(task: dict) -> int:
    return int(task["id"].partition(".")[2])


def back_to_back(durations: list[float]) -> float:
    """How long they take if each begins the moment that one of WIDTH lanes is free."""
    lanes = [0.0] * WIDTH
    for duration in durations:
        lanes[lanes.index(min(lanes))] += duration
    return max(lanes)


def gaps(tasks: list[dict]) -> list[float]:
    """How long a lane was empty before each task but the first ones; the tasks in the order of their starts."""
    ends, found = [], []
    for task in tasks:
        if len(ends) == WIDTH:
            earliest = min(ends)
            ends.remove(earliest)
            found.append(at(task["started_at"]) - earliest)
        ends.append(at(task["ended_at"]))
    return found


def row(what: str, amount: str, more: str = "") -> None:
    print(f"{what:<50}{amount:>10}   {more}".rstrip())


if __name__ == "__main__":
    main()
