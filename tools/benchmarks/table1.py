"""Writes the table of a run to results/table1-NAME.json; without a run the demo is trained first.

    python tools/benchmarks/table1.py [RUN [NAME [SUITE]]]

NAME defaults to the name of the data. With SUITE the script measures that suite of the run, or resumes it, and writes
its records to results/SUITE-NAME.json instead. Accuracies are mean and sample deviation over the heads' seeds. The file also holds the
settings that differ from the preset "small", date, commit, versions, machine, minutes and peak memory (None for a run
trained earlier).
"""

import datetime
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import ctxvision as cv
from ctxvision._files import read_json, write_json
from ctxvision.metrics.records import load_records, summary

RESULTS = Path(__file__).parent / "results"
KEYS = ("suite", "split", "fraction", "method", "metric", "shots", "vocabulary")
SUITES = ("phrases", "table1", "answers")  # measured by training itself


def main(arguments: list[str]) -> None:
    minutes = memory = None
    if arguments:
        run = cv.Run(arguments[0])
    else:
        start = time.monotonic()
        run = cv.demo("runs/bench-demo")
        minutes = round((time.monotonic() - start) / 60, 1)
        memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    for suite in arguments[2:]:
        cv.evaluate(run, suite)
    wanted = arguments[2:] or SUITES
    records = [one for one in load_records(run.directory / "metrics.json") if one.suite in wanted]
    rows = summary(records, by=KEYS if arguments[2:] else KEYS[:5])
    trained = read_json(run.directory / "config.json")
    name = arguments[1] if len(arguments) > 1 else run.data.name
    write_json(
        RESULTS / f"{'-'.join(arguments[2:]) or 'table1'}-{name}.json",
        {
            "date": datetime.date.today().isoformat(),
            "commit": trained["commit"],
            "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
            "versions": trained["versions"],
            "settings": {**own_settings(run.config), "context": own_settings(run.context.config)},
            "minutes": minutes,
            "peak_memory_gib": memory,
            "rows": rows,
        },
    )


def own_settings(config: cv.Config | cv.ContextConfig) -> dict[str, Any]:
    """Lists settings that differ from the preset "small"; paths of towers are reduced to their names."""
    usual = type(config).preset("small").to_dict()
    own = {key: value for key, value in config.to_dict().items() if value != usual[key]}
    return {key: Path(value).name if isinstance(value, str) else value for key, value in own.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
