import json

import pytest

from ctxvision.errors import InputError
from ctxvision.metrics.records import Record, load_records, save_records, select, summary


def record(value=0.5, suite="table1", **keys):
    return Record(
        **{"suite": suite, "method": "multimodal", "metric": "top1", "split": "test", "value": value, **keys}
    )


def test_records_survive_the_file_with_absent_keys_null(tmp_path):
    path = tmp_path / "metrics.json"
    records = [record(0.25, fraction=0.1, seed=2, data="emoji")]
    save_records(path, records)
    assert json.loads(path.read_text()) == [
        {
            "suite": "table1",
            "data": "emoji",
            "method": "multimodal",
            "fraction": 0.1,
            "shots": None,
            "vocabulary": None,
            "seed": 2,
            "split": "test",
            "metric": "top1",
            "value": 0.25,
        }
    ]
    assert load_records(path) == records


def test_saving_replaces_the_same_suite_and_keeps_others(tmp_path):
    path = tmp_path / "metrics.json"
    save_records(path, [record(0.1), record(0.2)])
    save_records(path, [record(0.3, suite="phrases")])
    save_records(path, [record(0.4)])
    assert [(one.suite, one.value) for one in load_records(path)] == [("phrases", 0.3), ("table1", 0.4)]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_a_failed_save_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "metrics.json"
    save_records(path, [record(0.1)])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_records(path, [record(0.2, data=object())])
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_select():
    records = [record(0.1, seed=0), record(0.2, seed=1), record(0.3, seed=1, split="seen")]
    assert [one.value for one in select(records, seed=1)] == [0.2, 0.3]
    assert [one.value for one in select(records, seed=1, split="seen")] == [0.3]
    with pytest.raises(ValueError, match="keys must be among suite, .* got seeds"):
        select(records, seeds=1)


def test_summary():
    records = [record(0.2, seed=0), record(0.5, seed=0, split="seen"), record(0.4, seed=1)]
    rows = summary(records, by=("split", "metric"))
    assert rows == [
        {
            "split": "test",
            "metric": "top1",
            "mean": pytest.approx(0.3),
            "deviation": pytest.approx(0.02**0.5),
            "n": 2,
        },
        {"split": "seen", "metric": "top1", "mean": 0.5, "deviation": 0.0, "n": 1},
    ]
    with pytest.raises(ValueError, match="got sead"):
        summary(records, by=("sead",))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, True, "0.5"])
def test_a_value_is_a_finite_number(value):
    with pytest.raises(ValueError, match="value of table1/multimodal/top1 must be a finite number"):
        record(value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[{", "must be JSON and is damaged"),
        ('{"suite": 1}', "must hold a JSON list, got dict"),
        ('[{"suite": "table1"}]', "and record 0 is not one"),
        ('[{"suite": "table1", "metric": "top1", "value": NaN}]', "and record 0 is not one .*finite"),
        ("[3]", "and record 0 is not one"),
    ],
)
def test_damaged_files_are_named(tmp_path, text, message):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_records(path)
    assert str(path) in str(caught.value) and "ctxvision evaluate" in str(caught.value)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(InputError, match=r"must hold metrics.json, got none: run ctxvision evaluate "):
        load_records(tmp_path / "metrics.json")
