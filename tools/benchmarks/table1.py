"""Writes the table of a run to results/table1-DATA.json; without a run it trains the demo first.

    python tools/benchmarks/table1.py [RUN]

Accuracies are mean and sample deviation over heads' seeds. Beside them: date, commit, versions, machine, minutes and
peak memory (of a run trained here; None for one that was trained before).
"""

import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import ctxvision as cv
from ctxvision._files import read_json, write_json
from ctxvision.evaluation import load_records, summary

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str]) -> None:
    minutes = memory = None
    if arguments:
        run = cv.Run(arguments[0])
    else:
        start = time.monotonic()
        run = cv.demo("runs/bench-demo")
        minutes = round((time.monotonic() - start) / 60, 1)
        memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    rows = summary(
        load_records(run.directory / "metrics.json"), by=("suite", "split", "fraction", "method", "metric")
    )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    write_json(
        RESULTS / f"table1-{run.data_name}.json",
        {
            "date": datetime.date.today().isoformat(),
            "commit": commit,
            "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
            "versions": read_json(run.directory / "config.json")["versions"],
            "minutes": minutes,
            "peak_memory_gib": memory,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main(sys.argv[1:])
