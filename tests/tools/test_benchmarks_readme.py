"""Every figure in the README of tools/benchmarks is that of the committed JSON, and every JSON has its provenance there."""

import json
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "tools" / "benchmarks"
README = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
FRACTIONS = (0.1, 0.3, 1.0)
SPLITS = ("seen", "unseen")
METHODS = ("visual_only", "multimodal", "text_only", "multimodal_concat", "visual_web", "shuffled_phrases")
was_read = set()


def read(name):
    was_read.add(name)
    return json.loads((BENCHMARKS / "results" / f"{name}.json").read_text(encoding="utf-8"))


def plus_minus(mean, deviation, decimals=1):
    return f"{100 * mean:.{decimals}f} ± {100 * deviation:.{decimals}f}"


def points(*values):
    """A gain and the ends of its interval, in points."""
    gain, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in values)
    return f"{gain} ({low} to {high})"


def rows_of(name):
    """(suite, split, fraction, method, metric) to row."""
    keys = ("suite", "split", "fraction", "method", "metric")
    return {tuple(row.get(key) for key in keys): row for row in read(name)["rows"]}


def over(rows, *key):
    """A row's gain with the ends of its interval."""
    *row, metric = key
    return points(*(rows[(*row, f"{metric}{end}")]["mean"] for end in ("", "_low", "_high")))


def cell(rows, *key):
    return plus_minus(rows[key]["mean"], rows[key]["deviation"])


def demo():
    rows = rows_of("table1-emoji")
    for split in SPLITS:
        for fraction in FRACTIONS:
            cells = [cell(rows, "table1", split, fraction, method, "top1") for method in METHODS]
            yield split, f"{fraction:.0%}", *cells


def demo_phrases():
    rows = rows_of("table1-emoji")
    for metric in ("hit@1", "hit@3"):
        found = (rows["phrases", split, None, "phrase_generator", metric]["mean"] for split in SPLITS)
        yield metric, *(f"{100 * value:.1f}" for value in found)


def other_splits():
    rows = rows_of("demo_seeds")
    methods = ("visual_only", "multimodal", "multimodal_without_terms", "multimodal_concat", "visual_web")
    for split in SPLITS:
        for fraction in FRACTIONS:
            there = [("table1", split, fraction, method, "top1") for method in methods]
            yield split, f"{fraction:.0%}", *(cell(rows, *key) for key in there)


def calibration():
    rows = rows_of("demo_seeds")
    for split in ("all", *SPLITS):
        yield (
            split,
            cell(rows, "calibration", split, 1.0, "uncalibrated", "ece"),
            cell(rows, "calibration", split, 1.0, "calibrated", "ece"),
            cell(rows, "calibration", split, 1.0, "calibrated", "ece_by_chance"),
        )


def several_labels():
    rows = rows_of("demo_seeds")
    for split in SPLITS:
        methods = ("visual_only", "multimodal", "shuffled_phrases")
        yield split, *(cell(rows, "multi-label", split, 1.0, method, "map") for method in methods)


def thresholds():
    found = read("demo_seeds")
    reached = rows_of("demo_seeds")["calibration", "all", 1.0, "thresholds", "precision_at_threshold"]
    for one, value in zip(found["thresholds"], reached["values"], strict=True):
        yield str(one["seed"]), f"{one['val']}", f"{100 * one['wanted']:.0f}", f"{100 * value:.1f}"
    yield "mean", "", "", plus_minus(reached["mean"], reached["deviation"])


def zero_shot():
    rows = rows_of("demo_seeds")
    yield "top-1", *(cell(rows, "zero-shot", split, None, "zero_shot", "top1") for split in SPLITS)


def larger_vocabulary():
    rows = rows_of("table2-emoji")
    for method, name in (("text_only", "phrases alone"), ("multimodal_concat", "with the picture")):
        gains = (over(rows, "table2", split, None, method, f"top1_over_{method}_small") for split in SPLITS)
        yield name, *gains


def photographs(name):
    rows = rows_of(f"table1-{name}")
    for fraction in FRACTIONS:
        cells = (cell(rows, "table1", "test", fraction, method, "top1") for method in METHODS)
        gain = over(rows, "table1", "test", fraction, "multimodal", "top1_over_visual_web")
        yield f"{fraction:.0%}", *cells, gain


def strong_embedding():
    for name, generator in (("visual", "trained here"), ("both", "EfficientNet-Lite0")):
        rows = rows_of(f"table1-photos-strong-{name}")
        hits = rows["phrases", "test", None, "phrase_generator", "hit@3"]["mean"]
        methods = ["visual_only", "multimodal", "multimodal_concat", "text_only", "shuffled_phrases"]
        if name == "visual":  # `multimodal` was concatenation before there was a pool
            methods[1:3] = [None, "multimodal"]
        cells = [method and cell(rows, "table1", "test", 1.0, method, "top1") for method in methods]
        gain = None
        if name == "both":
            gain = over(rows, "table1", "test", 1.0, "multimodal", "top1_over_visual_only")
        yield generator, f"{100 * hits:.1f}", *(of or "–" for of in (*cells, gain))


def fine_tuned_tower():
    for learnt, name in (("labels", "fine_tuning-photos"), ("queries", "fine_tuning-photos-queries")):
        for row in read(name)["rows"]:
            started, random = (
                plus_minus(row[f"top1_{start}"], row[f"deviation_{start}"]) for start in ("started", "random")
            )
            gain = points(row["gain"], row["gain_low"], row["gain_high"])
            yield learnt, f"{row['fraction']:.0%}", random, started, gain


def few_shot():
    rows = {
        (data, row["split"], row["method"], row["shots"]): plus_minus(row["mean"], row["deviation"])
        for data in ("emoji", "photos")
        for row in read(f"few-shot-{data}")["rows"]
        if row["metric"] == "top1"
    }
    methods = {
        "multimodal_pool": "pool",
        "multimodal_linear_probe": "probe of picture and phrases",
        "linear_probe": "probe of the picture",
    }
    places = (("emoji", "seen"), ("emoji", "unseen"), ("photos", "test"))
    for shots in (1, 5):
        for method, name in methods.items():
            yield str(shots), name, *(rows[(*place, method, shots)] for place in places)


def concepts():
    found = read("concepts-emoji")
    for kind, of in ((f"{found['shots']} pictures", found), ("words alone", found["words"])):
        recall, change = (
            plus_minus(of[f"{what}_mean"], of[f"{what}_deviation"], decimals).replace("-", "−")
            for what, decimals in (("recall", 0), ("others_change", 1))
        )
        seconds = f"{of['seconds_mean']:.1f} ± {of['seconds_deviation']:.1f}"
        yield kind, recall, change, seconds


def a_query_beside_the_picture():
    rows = {(row["words"], row["split"]): row for row in read("with_context-emoji")["rows"]}
    for words in ("none", "true query", "another picture's"):
        found = (rows[words, f"test:{split}"] for split in SPLITS)
        yield words, *(plus_minus(row["mean"], row["deviation"]) for row in found)


def times():
    for row in read("taxonomies-emoji")["times"]:
        yield row["part"], f"{row['seconds']:.0f}"


def millions_of_phrases():
    for record in read("served_model")["records"]:
        build, serve, upsert = record["build"], record["serve"], record["build"]["upsert"]
        yield (
            f"{record['phrases'] / 1e6:g} million",
            f"{build['num_lists']:,}",
            f"{build['probes']}",
            f"{build['index_seconds'] / 60:.0f}",
            f"{build['recall_at_3']:.3f}",
            f"{build['search_milliseconds']:.1f}",
            *(f"{serve[f'batch_{batch}']['times_towers']:.2f}" for batch in (1, 8)),
            f"{upsert['on_disk'] + upsert['in_memory']:.1f}",
        )


def memory_of_millions():
    for record in read("served_model")["records"]:
        yield (
            f"{record['phrases'] / 1e6:g} million",
            f"{record['table']['peak_gb']:.1f}",
            f"{record['build']['peak_gb']:.1f}",
            f"{record['build']['export_gb']:.1f}",
            f"{record['serve']['peak_gb_without_towers']:.1f}",
            f"{record['serve_by_c_library']['peak_gb']:.1f}",
        )


TABLES = {
    "The demo": (demo, demo_phrases),
    "The demo with other splits": (other_splits,),
    "Calibration": (calibration,),
    "Several labels a picture": (several_labels, thresholds),
    "Zero-shot": (zero_shot,),
    "A larger vocabulary": (larger_vocabulary,),
    "Photographs": (lambda: photographs("photos"),),
    "A context of other labels": (lambda: photographs("photos-other-labels"),),
    "A strong visual embedding": (strong_embedding,),
    "A fine-tuned tower": (fine_tuned_tower,),
    "Few labelled pictures": (few_shot,),
    "Concepts": (concepts,),
    "A query beside the picture": (a_query_beside_the_picture,),
    "Times": (times,),
    "Millions of phrases": (millions_of_phrases, memory_of_millions),
}


def section(title):
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def tables_in(text):
    """The tables of a text, each its lines without the two of the header."""
    blocks = re.findall(r"(?:^\|.*\n)+", text + "\n", flags=re.MULTILINE)
    return [block.splitlines()[2:] for block in blocks]


@pytest.mark.parametrize("title", TABLES)
def test_tables_are_the_measured_ones(title):
    was_read.clear()
    measured = [[f"| {' | '.join(row)} |" for row in table()] for table in TABLES[title]]
    assert tables_in(section(title)) == measured
    assert set(re.findall(r"\(results/(.*?)\.json\)", section(title))) == was_read


def test_every_section_is_checked_and_has_its_figures_in_tables():
    titles = re.findall(r"^## (.*)$", README, flags=re.MULTILINE)
    assert titles == [*TABLES, "Provenance"]
    for title in TABLES:
        prose = re.sub(r"^\|.*$|`[^`]*`", "", section(title), flags=re.MULTILINE)
        assert not re.findall(r"±|\d\s?%|(?<!section )(?<![\d.])\d+\.\d", prose), title


def test_provenance_is_that_of_the_files():
    rows = {line.split(" | ")[0].strip("| `"): line for line in tables_in(section("Provenance"))[0]}
    assert sorted(rows) == sorted(path.name for path in (BENCHMARKS / "results").glob("*.json"))
    for name, row in rows.items():
        measured = sorted(set(provenance(read(name.removesuffix(".json")))))
        assert row.split(" | ")[2].rstrip(" |") == "; ".join(measured), name


def provenance(found):
    """Day and commit of a file, or of each part of it that was measured by itself."""
    if isinstance(found, dict):
        if "commit" in found:
            yield f"{found['date'][:10]} {found['commit'][:7]}"
        else:
            found = [*found.values()]
    if isinstance(found, list):
        for part in found:
            yield from provenance(part)
