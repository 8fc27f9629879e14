"""Replays the warm-up requests of an export before it becomes available."""

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from ctxvision.serving.devserver.prediction import predict_with
from ctxvision.serving.loading import LoadedExport

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


def warm_up(export: LoadedExport) -> int:
    """Answers every Predict request of the export's warm-up file once, in the file's order.

    Args:
        export: an export that has just been loaded.

    Returns:
        The number of requests; 0 if the file is missing.

    Raises:
        RequestError, tf.errors.OpError: a request is refused, or the file is damaged.
    """
    path = export.directory / WARMUP_FILE
    if not path.is_file():
        return 0
    answered = 0
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.HasField("predict_log"):
            predict_with(export, log.predict_log.request)
            answered += 1
    return answered
