"""The benchmark's entry: measures qrm next to the queues that are installed and prints one table, line by line with its
limit. It refuses to know how anything is measured, and it never fails because a number is bad."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True

import baseline  # noqa: E402
import measures  # noqa: E402
import qrm  # noqa: E402
from timing import Failed, sweep  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(os.path.dirname(os.path.dirname(HERE)), os.environ.get("CARGO_TARGET_DIR", "target"))


def main():
    args = arguments()
    names = chosen(args.only)
    gone = qrm.missing(args.bin)
    if gone and not measures.WITHOUT_QRM.issuperset(names):
        say(f"{', '.join(gone)} not in {args.bin}; build them with: cargo build --release")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = tempfile.mkdtemp(prefix="qrm-bench-", dir=args.dir)
    back = os.getcwd()
    try:
        os.chmod(directory, 0o711)  # a peer's helper may run as its own user
        os.makedirs(os.path.join(directory, "work"))
        os.chdir(os.path.join(directory, "work"))
        lines, skipped, failed = measure_all(args, names, directory)
    except Failed as why:
        # Before anything was measured: what does it is not there.
        say(str(why))
        return 2
    finally:
        left = sweep(directory)
        os.chdir(back)
        shutil.rmtree(directory)
    print(table(lines))
    for name, why in skipped:
        print(f"skipped {name}: {why}")
    for name, why in failed:
        print(f"could not run {name}: {why}")
    if left and not failed:
        print(f"{left} processes were still there at the end and were killed")
    if args.json:
        write_json(args.json, lines, skipped, failed)
    return 1 if failed else 0


def arguments():
    parser = argparse.ArgumentParser(description="Measures qrm next to the job queues that are installed.")
    parser.add_argument("--quick", action="store_true", help="few rounds and a tenth of the jobs: a smoke test")
    parser.add_argument("--only", metavar="NAME,...", help=f"of: {', '.join(measures.ALL)}")
    parser.add_argument("--json", metavar="FILE", type=os.path.abspath, help="write the lines there as well")
    parser.add_argument("--bin", metavar="DIR", type=os.path.abspath, default=os.path.join(TARGET, "release"))
    parser.add_argument(
        "--bin-testing",
        metavar="DIR",
        type=os.path.abspath,
        default=os.path.join(TARGET, "testing", "release"),
        help="programs built with --features testing",
    )
    parser.add_argument(
        "--dir", metavar="DIR", type=os.path.abspath, default=tempfile.gettempdir(), help="a place on the disk to measure"
    )
    return parser.parse_args()


def chosen(only):
    if only is None:
        return list(measures.ALL)
    names = only.split(",")
    for name in names:
        if name not in measures.ALL:
            say(f"no measure is called {name}; there are {', '.join(measures.ALL)}")
            sys.exit(2)
    return [name for name in measures.ALL if name in names]


def measure_all(args, names, directory):
    lines, skipped, failed = [], [], []
    bench = measures.Bench(
        directory=directory,
        bin=args.bin,
        bin_testing=args.bin_testing,
        bare=baseline.build(os.path.join(HERE, "bare.rs"), directory),
        cache=os.path.join(args.dir, f"qrm-bench-cache-{os.geteuid()}"),
        quick=args.quick,
        say=say,
        commit=baseline.Commit(directory),
    )
    for name in names:
        say(f"measuring {name}")
        try:
            lines += measures.ALL[name](bench)
        except measures.Skipped as why:
            skipped.append((name, str(why)))
        except (Failed, OSError, LookupError, ValueError) as error:
            first = error.__context__
            failed.append((name, f"{error!r}" + (f" (after {first!r})" if first else "")))
    bench.commit.close()
    return lines, skipped, failed


def table(lines):
    rows = [("line", "measured", "limit", "ratio", "", "")]
    for line in lines:
        limit = "" if line.limit is None else f"{line.sense} {figure(line.limit)}"
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        rows.append((line.name, f"{figure(line.measured)} {line.unit}", limit, ratio, line.verdict(), line.note))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    text = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [row[n].rjust(widths[n]) for n in range(1, 4)] + [row[4].ljust(widths[4])]
        text.append("  ".join(cells + [row[5]]).rstrip())
    return "\n".join(text)


def figure(number):
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.2f}"


def write_json(path, lines, skipped, failed):
    with open("/proc/loadavg", encoding="utf-8") as file:
        load = file.read().split()[0]
    found = {
        "machine": {"kernel": os.uname().release, "cpus": os.cpu_count(), "load_at_end": float(load)},
        "lines": [{**vars(line), "verdict": line.verdict()} for line in lines],
        "skipped": dict(skipped),
        "failed": dict(failed),
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
        file.write("\n")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
