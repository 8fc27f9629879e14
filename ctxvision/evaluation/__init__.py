"""Measures a run: suites that write `metrics.json`, and the report."""

from ctxvision.evaluation.examples import write_examples
from ctxvision.evaluation.phrase_hits import measure_phrases
from ctxvision.evaluation.records import Record, load_records, save_records, select, summary
from ctxvision.evaluation.report import write_report
from ctxvision.evaluation.suites import SUITES
from ctxvision.evaluation.table1 import table1

__all__ = [
    "SUITES",
    "Record",
    "load_records",
    "measure_phrases",
    "save_records",
    "select",
    "summary",
    "table1",
    "write_examples",
    "write_report",
]
