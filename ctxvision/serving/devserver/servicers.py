"""Implements TF Serving's RPCs with TF Serving's error codes."""

from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from ctxvision.serving.devserver.prediction import as_request_error
from ctxvision.serving.devserver.served_model import ServedModel


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves PredictionService: Predict and GetModelMetadata; the three RPCs for tf.Example are UNIMPLEMENTED.

    Args:
        model: the served model.
    """

    def __init__(self, model: ServedModel):
        self._model = model

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(self._model.predict, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(self._model.metadata, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> None:
        _refuse_examples(context, "Classify")

    def Regress(self, request: Any, context: grpc.ServicerContext) -> None:
        _refuse_examples(context, "Regress")

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> None:
        _refuse_examples(context, "MultiInference")


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Serves ModelService: GetModelStatus; reloading a configuration is UNIMPLEMENTED.

    Args:
        model: the served model.
    """

    def __init__(self, model: ServedModel):
        self._model = model

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answer(self._model.status, request, context)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> None:
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "HandleReloadConfigRequest is not served here: restart this server, or use TensorFlow Serving.",
        )


def _answer(method: Callable[[Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
    """Answers a request, or refuses it with the code of the exception; no exception ends the server."""
    remaining = context.time_remaining()
    if not context.is_active() or (remaining is not None and remaining <= 0):
        # The request waited in the queue past its deadline; nobody waits for the answer.
        context.abort(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "The deadline passed before the request's turn came: allow more time.",
        )
    try:
        return method(request)
    except Exception as error:
        refusal = as_request_error(error)
    context.abort(refusal.code, str(refusal))


def _refuse_examples(context: grpc.ServicerContext, method: str) -> None:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, examples_refusal(method))


def examples_refusal(method: str) -> str:
    """Returns the refusal of a method for tf.Example."""
    return f"{method} takes tf.Example and this model takes pictures: call Predict with image_bytes."
