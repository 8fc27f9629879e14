"""Serves a trained classifier: export, embedded server, client."""

from typing import TYPE_CHECKING, Any

from ctxvision.serving.asking import ServingError
from ctxvision.serving.bulk import predict_to_file
from ctxvision.serving.client import predict
from ctxvision.serving.devserver.server import Server
from ctxvision.serving.predictions import Prediction, format_prediction

if TYPE_CHECKING:
    from ctxvision.serving.export import export_saved_model

__all__ = [
    "Prediction",
    "Server",
    "ServingError",
    "export_saved_model",
    "format_prediction",
    "predict",
    "predict_to_file",
]


def __getattr__(name: str) -> Any:
    # Server and client load without model code, and so without Keras and TFRS, which would load scann's ops.
    if name != "export_saved_model":
        raise AttributeError(f"module 'ctxvision.serving' has no attribute {name!r}")
    from ctxvision.serving.export import export_saved_model

    return export_saved_model
