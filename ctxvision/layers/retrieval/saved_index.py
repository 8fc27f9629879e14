"""Converts an index and its vocabulary to settings and arrays, which saved Keras models contain."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision.layers.retrieval.exact_search import ExactSearch
from ctxvision.layers.retrieval.inverted_lists import InvertedLists
from ctxvision.layers.retrieval.side_block import SideBlock
from ctxvision.layers.retrieval.vocabulary import Vocabulary

_KINDS = {kind.__name__: kind for kind in (ExactSearch, InvertedLists, SideBlock, Vocabulary)}
# Attributes of every module; those of TensorFlow that begin with "_self_" are skipped too.
_USUAL = set(vars(tf.Module(name="usual")))


def module_config(module: tf.Module) -> dict[str, Any]:
    """Describes a module of an index: its kind, settings, and shapes of variables, as JSON types."""
    config: dict[str, Any] = {"kind": type(module).__name__, "name": module.name}
    for name, value in _attributes(module):
        if isinstance(value, tf.Variable):
            value = {"shape": value.shape.as_list(), "dtype": value.dtype.name}
        elif isinstance(value, tf.Module):
            value = module_config(value)
        elif value is not None and not isinstance(value, int | float | str):
            value = list(value)  # a tuple, or a list wrapped by TensorFlow
        config.setdefault("attributes", {})[name] = value
    return config


def module_of(config: Mapping[str, Any]) -> tf.Module:
    """Makes the module that `module_config` describes; its variables are zeros."""
    module = _KINDS[config["kind"]].__new__(_KINDS[config["kind"]])
    tf.Module.__init__(module, name=config["name"])
    for name, value in config["attributes"].items():
        if isinstance(value, Mapping) and "dtype" in value:
            empty = "" if value["dtype"] == "string" else tf.zeros([], value["dtype"])
            value = tf.Variable(tf.fill(value["shape"], empty), trainable=False, name=name)
        elif isinstance(value, Mapping):
            value = module_of(value)
        elif isinstance(value, list):
            value = tuple(value)  # TensorFlow would wrap a list
        setattr(module, name, value)
    return module


def keep_variables(module: tf.Module, store: MutableMapping[str, Any]) -> None:
    """Puts the variables of a module and of its submodules into a store; strings become UTF-8 bytes and lengths."""
    for name, variable in _variables(module):
        value = variable.numpy()
        if variable.dtype == tf.string:
            store[f"{name}.lengths"] = np.array([len(text) for text in value], np.int32)
            value = np.frombuffer(b"".join(value), np.uint8)
        store[name] = value


def take_variables(module: tf.Module, store: Mapping[str, Any]) -> None:
    """Sets variables from a store that `keep_variables` filled."""
    for name, variable in _variables(module):
        value = np.asarray(store[name])
        if variable.dtype == tf.string:
            ends = np.cumsum(np.asarray(store[f"{name}.lengths"])).tolist()
            whole = value.tobytes()
            value = np.array([whole[start:end] for start, end in zip([0, *ends], ends)], object)
        variable.assign(value)


def _variables(module: tf.Module, path: str = "") -> Iterator[tuple[str, tf.Variable]]:
    for name, value in _attributes(module):
        if isinstance(value, tf.Variable):
            yield f"{path}{name}", value
        elif isinstance(value, tf.Module):
            yield from _variables(value, f"{path}{name}.")


def _attributes(module: tf.Module) -> list[tuple[str, Any]]:
    names = sorted(name for name in vars(module) if name not in _USUAL and not name.startswith("_self_"))
    return [(name, vars(module)[name]) for name in names]
