"""Data sets: manifests of pictures with labels and queries, and the pictures' pixels."""

from ctxvision.data.data_check import DataCheck, check_data
from ctxvision.data.decoding import load_encoded, load_pictures
from ctxvision.data.emoji import write_demo_data
from ctxvision.data.manifest import Manifest
from ctxvision.data.picture_sheet import write_sheet
from ctxvision.data.pictures import decode_picture
from ctxvision.data.record_batches import record_batches
from ctxvision.data.source import load_data
from ctxvision.data.split import Query, Split, check_pictures
from ctxvision.data.training_batches import training_batches

__all__ = [
    "DataCheck",
    "Manifest",
    "Query",
    "Split",
    "check_data",
    "check_pictures",
    "decode_picture",
    "load_data",
    "load_encoded",
    "load_pictures",
    "record_batches",
    "training_batches",
    "write_demo_data",
    "write_sheet",
]
