"""Versions appear, disappear and are damaged while one of them answers."""

import gc
import os
import shutil
import time
import weakref

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

import ctxvision as cv
from ctxvision.serving.devserver.prediction import RequestError, predict_with
from ctxvision.serving.devserver.replay import WARMUP_FILE, warm_up
from ctxvision.serving.devserver.versions import VersionManager
from ctxvision.serving.loading import load_export

LOADING, AVAILABLE = ModelVersionStatus.LOADING, ModelVersionStatus.AVAILABLE
UNLOADING, END = ModelVersionStatus.UNLOADING, ModelVersionStatus.END
NEVER = 3600.0  # the tests call `poll` themselves


@pytest.fixture
def place(export_directory, tmp_path):
    """Copies the export to a version's folder with one rename, as an export appears."""

    def copy(number):
        shutil.copytree(export_directory / "2", tmp_path / ".copying")
        return (tmp_path / ".copying").rename(tmp_path / str(number))

    return copy


@pytest.fixture
def manager(tmp_path):
    made = VersionManager(tmp_path, "default", NEVER)
    yield made
    made.stop()


def states(manager):
    return {number: status.state for number, status in manager.statuses().items()}


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_higher_version_takes_over_and_the_old_one_is_freed(manager, place):
    place(1)
    manager.start()
    assert (manager.current, states(manager)) == (1, {1: AVAILABLE})
    with manager.use() as export:
        old = weakref.ref(export.saved_model)
    del export
    place(10)
    manager.poll()
    assert (manager.current, states(manager)) == (10, {10: AVAILABLE, 1: END})
    assert manager.statuses()[1].status.error_code == 0
    gc.collect()
    assert old() is None, "the old version is still in memory"
    place(9)  # lower, so not loaded
    manager.poll()
    assert (manager.current, list(states(manager))) == (10, [10, 1])


def test_the_old_version_answers_while_the_new_one_is_loaded_and_warmed_up(manager, place, monkeypatch):
    place(1)
    manager.start()
    place(2)
    seen = []

    def watched(export):
        seen.append((export.version, manager.current, states(manager)))
        return warm_up(export)

    monkeypatch.setattr("ctxvision.serving.devserver.versions.warm_up", watched)
    manager.poll()
    assert seen == [(2, 1, {2: LOADING, 1: AVAILABLE})]
    assert (manager.current, states(manager)) == (2, {2: AVAILABLE, 1: END})


def test_a_request_keeps_its_version_until_it_ends(manager, place, images):
    place(1)
    manager.start()
    with manager.use(1) as export:
        place(2)
        manager.poll()
        assert (manager.current, states(manager)) == (2, {2: AVAILABLE, 1: UNLOADING})
        with (
            pytest.raises(RequestError, match=r"Servable not found for request: Specific\(default, 1\)"),
            manager.use(1),
        ):
            pass
        manager.poll()
        assert states(manager)[1] == UNLOADING
        made = predict_pb2.PredictRequest()
        made.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images))
        assert predict_with(export, made).model_spec.version.value == 1
    manager.poll()
    assert states(manager) == {2: AVAILABLE, 1: END}


def damage_variables(version):
    data = next(version.glob("variables/*.data-*"))
    content = bytearray(data.read_bytes())
    content[len(content) // 3 :] = bytes(len(content) - len(content) // 3)
    data.write_bytes(content)


def truncate_variables(version):
    data = next(version.glob("variables/*.data-*"))
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])


DAMAGES = {
    "no saved_model.pb yet": (lambda v: (v / "saved_model.pb").unlink(), 5, "Could not find saved_model.pb"),
    "no variables yet": (lambda v: shutil.rmtree(v / "variables"), None, "must be a whole SavedModel"),
    "half of the variables": (truncate_variables, None, "must be a whole SavedModel"),
    "other variables": (damage_variables, None, "must be a whole SavedModel"),
    "half of saved_model.pb": (
        lambda v: os.truncate(v / "saved_model.pb", (v / "saved_model.pb").stat().st_size // 2),
        15,
        "must be a whole SavedModel",
    ),
    "no TFRecord to warm up with": (
        lambda v: (v / WARMUP_FILE).write_bytes(b"no record" * 10),
        15,
        "must answer its own warm-up requests",
    ),
    "nothing yet": (lambda v: [shutil.rmtree(v), v.mkdir()], 5, "Could not find saved_model.pb"),
}


@pytest.mark.parametrize(
    "case",
    [case if i < 2 else pytest.param(case, marks=pytest.mark.slow) for i, case in enumerate(DAMAGES)],
)
def test_a_damaged_version_leaves_the_old_one_and_is_tried_again_when_its_files_change(
    manager, place, case, monkeypatch
):
    damage, code, match = DAMAGES[case]
    place(1)
    manager.start()
    version = place(2)
    damage(version)
    manager.poll()
    assert (manager.current, states(manager)) == (1, {2: END, 1: AVAILABLE})
    status = manager.statuses()[2].status
    assert status.error_code == code if code else status.error_code > 0
    assert match in status.error_message

    with monkeypatch.context() as patched:
        patched.setattr(
            "ctxvision.serving.devserver.versions.load_export", lambda path: pytest.fail("loaded again")
        )
        manager.poll()
    shutil.rmtree(version)
    place(2)
    manager.poll()
    assert (manager.current, states(manager)) == (2, {2: AVAILABLE, 1: END})
    assert manager.statuses()[2].status.error_code == 0


def test_a_lower_version_loads_if_the_highest_is_damaged(manager, place):
    place(1)
    manager.start()
    truncate_variables(place(3))
    place(2)
    manager.poll()
    assert (manager.current, states(manager)) == (2, {3: END, 2: AVAILABLE, 1: END})


def test_the_version_in_memory_goes_on_when_its_folder_is_removed(manager, place, tmp_path, images):
    place(2)
    manager.start()
    shutil.rmtree(tmp_path / "2")
    manager.poll()
    assert (manager.current, states(manager)) == (2, {2: AVAILABLE})
    place(1)  # now the highest
    manager.poll()
    assert (manager.current, states(manager)) == (1, {2: END, 1: AVAILABLE})
    shutil.rmtree(tmp_path)
    manager.poll()
    with manager.use() as export:
        assert export.version == 1


def test_the_directory_is_watched(place, tmp_path):
    place(1)
    manager = VersionManager(tmp_path, "default", poll_seconds=0.01).start()
    try:
        place(2)
        wait_for(lambda: manager.current == 2)
    finally:
        manager.stop()


def test_an_error_in_a_check_does_not_end_the_watch(place, tmp_path, monkeypatch, caplog):
    place(1)
    manager = VersionManager(tmp_path, "default", poll_seconds=0.01).start()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(manager, "poll", lambda: 1 / 0)
            wait_for(lambda: "ZeroDivisionError" in caplog.text)
        place(2)
        wait_for(lambda: manager.current == 2)
    finally:
        manager.stop()


def test_start_tells_why_the_only_version_does_not_load(manager, place, tmp_path):
    with pytest.raises(cv.InputError, match="directory must hold an export as DIR/<version>/saved_model.pb"):
        manager.start()
    (tmp_path / "3").mkdir()
    with pytest.raises(cv.InputError, match="directory must hold an export as DIR/<version>/saved_model.pb"):
        manager.start()
    truncate_variables(place(1))
    with pytest.raises(cv.InputError, match="must be a whole SavedModel, but it does not load"):
        manager.start()
    with (
        pytest.raises(RequestError, match=r"Servable not found for request: Latest\(default\)"),
        manager.use(),
    ):
        pass


def test_all_warm_up_requests_are_answered(export_directory, tmp_path, images, monkeypatch):
    version = shutil.copytree(export_directory / "2", tmp_path / "1")
    asked = []

    def recorded(export, request):
        asked.append((request.model_spec.signature_name, len(request.inputs["image_bytes"].string_val)))
        return predict_with(export, request)

    with tf.io.TFRecordWriter(str(version / WARMUP_FILE)) as writer:
        for signature, batch in (("serving_default", 1), ("explain", 3), ("serving_default", 6)):
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            log.predict_log.request.inputs["image_bytes"].CopyFrom(
                tf.make_tensor_proto(images[:batch], tf.string)
            )
            writer.write(log.SerializeToString())
    monkeypatch.setattr("ctxvision.serving.devserver.replay.predict_with", recorded)
    assert warm_up(load_export(version)) == 3
    assert asked == [("serving_default", 1), ("explain", 3), ("serving_default", 6)]
    (version / WARMUP_FILE).unlink()
    assert warm_up(load_export(version)) == 0
