"""A classifier traced into what `tf.saved_model.save` takes."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.serving.signatures.about import about_signature
from ctxvision.serving.signatures.answer import answer_signatures
from ctxvision.serving.signatures.embed import embed_signature
from ctxvision.serving.signatures.explain import explain_signature
from ctxvision.serving.signatures.labels import Labels
from ctxvision.serving.signatures.picture_batch import embed_pictures
from ctxvision.serving.signatures.zero_shot import zero_shot_signature

# Op namespaces to the modules whose import makes their ops known.
_LIBRARIES = {"Scann": "scann", "TFText": "tensorflow_text"}


class Traced(NamedTuple):
    """What `tf.saved_model.save` takes, and what goes beside it."""

    module: tf.Module  # holds just the variables that the signatures read
    signatures: dict[str, tf.types.experimental.GenericFunction]
    namespaces: list[str]  # of ops that a bare TensorFlow does not know
    facts: dict[str, Any]  # that the signature `about` tells


def build_signatures(
    model: ContextClassifier, with_text: bool = False, facts: Mapping[str, Any] | None = None
) -> Traced:
    """Traces a classifier into a module and its signatures.

    Every signature takes any number of pictures, none included. A row that cannot be answered (no picture, one of more
    than 50 million pixels, pixels or an answer that are not finite) comes back with `valid` false, zeros and empty
    strings; the others are right.

    Args:
        model: a built classifier.
        with_text: whether the text encoder goes along, which needs the ops of TF.Text; a stock TF Serving has them.
        facts: JSON values by name, which `about` tells beside labels, thresholds, image size, retrieval backend,
            signatures and `needs`, the modules whose op libraries the graph needs.

    Returns:
        Module, signatures, namespaces and facts. The signatures:

        - `serving_default` (`image_bytes` string [B]), `pixels` (`pixels` uint8 [B, H, W, 3]) and `pixels_float32`
          (the same as float32 in 0..255) to `probabilities` float32 [B, L], `labels` string and `scores` float32
          [B, top], most probable first, `phrases` string and `phrase_scores` float32 [B, k] as of
          `PrototypeRetrieval`, `valid` bool [B]. `top` is 5, or L where that is less. Where the model has thresholds
          also `accepted` bool [B, top]: whether each of `labels` passes its own.
        - `with_context`, with text only (`image_bytes` and `texts` string [B], such as a caption or a query that led
          to the picture, "" where there is none): the same; the text's embedding makes 0.4 of the context.
        - `explain` (`image_bytes`) to `labels`, `scores`, `phrases`, `phrase_scores`, `phrase_shares` float32
          [B, top, k], `phrase_groups` int32 [B, k], `visual_shares`, `query_shares` and `prior_scores` float32 [B, top],
          `valid`, and `accepted`; `top` is 3, or L. The shares of a label sum to its score less its prior score, see
          `explain`.
        - `embed` (`image_bytes` and, all optional: `k` int32 [], `min_score` float32 [], `allow_languages`,
          `deny_languages`, `allow_flags`, `deny_flags` string [M], `deny_ids` int32 [M], see
          `PrototypeRetrieval.filter`) to `query_embedding` float32 [B, 64], L2-normalised, `visual` [B, D], `context`
          [B, T] of the phrases found, `phrases`, `phrase_scores`, `phrase_ids` int32 [B, k], -1 where there is none,
          and `valid`.
        - `zero_shot` (`image_bytes`, `candidate_embeddings` float32 [M, T] as of `DualEncoderText`; with text both that
          and `candidate_labels` string [M'] are optional) to `scores` float32 [B, M + M'], cosines, those of the
          embeddings first, and `valid`.
        - `about` (`fields` string [M], names of facts) to `values` string [M], JSON, "" for another name.
    """
    labels = Labels(model)
    # Functions that the signatures share, so that ConvNets and search are traced and saved once.
    embed = tf.function(functools.partial(embed_pictures, model.embed), autograph=False)
    find = tf.function(model.find_context, autograph=False)
    signatures = {
        **answer_signatures(model, embed, find, labels, with_text),
        "explain": explain_signature(model, embed, find, labels),
        "embed": embed_signature(model, embed),
        "zero_shot": zero_shot_signature(model, find, with_text),
    }
    known = {
        "labels": model.labels,
        "thresholds": model.thresholds,
        "image_size": model.image_size,
        "retrieval": model.retrieval.backend,
        **(facts or {}),
    }
    return traced(signatures, known)


def traced(signatures: dict[str, tf.types.experimental.GenericFunction], facts: Mapping[str, Any]) -> Traced:
    """Traces signatures and adds `about`, which tells `facts`, the names of all signatures, and `needs`."""
    namespaces = sorted({op.partition(">")[0] for op in _ops(signatures.values()) if ">" in op})
    known = {
        "needs": [_LIBRARIES.get(name, name) for name in namespaces],
        "signatures": [*signatures, "about"],
        **facts,
    }
    signatures["about"] = about_signature(known)
    module = tf.Module()
    # Not the model itself: Keras would save each layer's own functions too, tensorflow-text's ops among them.
    graphs = [signature.get_concrete_function().graph for signature in signatures.values()]
    used = {id(variable): variable for graph in graphs for variable in graph.variables}
    module.read_variables = list(used.values())
    return Traced(module, signatures, namespaces, known)


def _ops(signatures: Iterable[tf.types.experimental.GenericFunction]) -> set[str]:
    """Names of the ops in the graphs of signatures."""
    ops: set[str] = set()
    for signature in signatures:
        graph = signature.get_concrete_function().graph.as_graph_def()
        ops.update(node.op for node in graph.node)
        ops.update(node.op for function in graph.library.function for node in function.node_def)
    return ops
