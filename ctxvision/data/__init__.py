"""Data that comes in: manifests of pictures with labels and queries, and their pixels."""

from ctxvision.data.emoji import write_demo_data
from ctxvision.data.manifest import Manifest, Query, Split, check_pictures
from ctxvision.data.pictures import decode_picture, load_pictures, training_batches

__all__ = [
    "Manifest",
    "Query",
    "Split",
    "check_pictures",
    "decode_picture",
    "load_pictures",
    "training_batches",
    "write_demo_data",
]
