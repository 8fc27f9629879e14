"""Traces a classifier for `tf.saved_model.save`."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.serving.signatures.about import about_signature
from ctxvision.serving.signatures.answer import answer_signatures
from ctxvision.serving.signatures.embed import embed_signature
from ctxvision.serving.signatures.explain import explain_signature
from ctxvision.serving.signatures.labels import Labels
from ctxvision.serving.signatures.towers import Towers
from ctxvision.serving.signatures.zero_shot import zero_shot_signature

# Maps op namespaces to the modules whose import registers the ops.
_LIBRARIES = {"Scann": "scann", "TFText": "tensorflow_text"}


class Traced(NamedTuple):
    """The arguments of `tf.saved_model.save`, and the facts that are saved beside it."""

    module: tf.Module  # holds only the variables that the signatures read
    signatures: dict[str, tf.types.experimental.GenericFunction]
    namespaces: list[str]  # op namespaces that a bare TensorFlow does not know
    facts: dict[str, Any]  # facts that the signature `about` tells


def build_signatures(
    model: ContextClassifier, with_text: bool = False, facts: Mapping[str, Any] | None = None
) -> Traced:
    """Traces a classifier into a module and its signatures.

    Every signature takes any number of pictures, including none. A row that cannot be answered has `valid` false, zeros
    and empty strings, and does not affect other rows. Such rows are bytes that are not a picture, pictures of more than
    50 million pixels, and pixels or answers that are not finite.

    Args:
        model: a built classifier.
        with_text: whether to include the text encoder, which needs the ops of TF.Text; a stock TF Serving has them.
        facts: JSON values by name for `about`, which also tells labels, thresholds, image size, retrieval backend,
            signatures and `needs`, the modules whose op libraries the graph needs.

    Returns:
        Module, signatures, namespaces and facts. The signatures:

        - `serving_default` takes `image_bytes` string [B], `pixels` takes `pixels` uint8 [B, H, W, 3], `pixels_float32`
          takes the same as float32 in 0..255. They return `probabilities` float32 [B, L], `labels` string and `scores`
          float32 [B, top], most probable first, `phrases` string and `phrase_scores` float32 [B, k] as in
          `PrototypeRetrieval`, and `valid` bool [B]. `top` is 5, or L if L is less. A model with thresholds also
          returns `accepted` bool [B, top], whether each of `labels` passes its threshold.
        - `with_context`, only with text, takes `image_bytes` and `texts` string [B], such as a caption or a query that
          led to the picture, "" for none. It returns the same; the text's embedding has weight 0.4 in the context.
        - `explain` takes `image_bytes` and returns `labels`, `scores`, `phrases`, `phrase_scores`, `phrase_shares`
          float32 [B, top, k], `phrase_groups` int32 [B, k], `visual_shares`, `query_shares` and `prior_scores` float32
          [B, top], `valid`, and with thresholds `accepted`. `top` is 3, or L if L is less. The shares of a label sum to
          its score minus its prior score, see `explain`.
        - `embed` takes `image_bytes` and the optional `k` int32 [], `min_score` float32 [], `allow_languages`,
          `deny_languages`, `allow_flags`, `deny_flags` string [M], `deny_ids` int32 [M], see
          `PrototypeRetrieval.filter`. It returns `query_embedding` float32 [B, 64], L2-normalised, `visual` [B, D],
          `context` [B, T] of the found phrases, `phrases`, `phrase_scores`, `phrase_ids` int32 [B, k], -1 for a missing
          phrase, and `valid`.
        - `zero_shot` takes `image_bytes` and `candidate_embeddings` float32 [M, T] as from `DualEncoderText`. With text
          it also takes `candidate_labels` string [M'], and both candidates are optional. It returns `scores` float32
          [B, M + M'], cosines, with the embeddings' scores first, and `valid`.
        - `about` takes `fields` string [M], names of facts, and returns `values` string [M], JSON, "" for an unknown
          name.
    """
    labels = Labels(model)
    # All signatures share these functions, so that ConvNets and search are traced and saved once.
    towers = Towers(model.phrase_generator, model.visual_encoder)
    find = tf.function(model.find_context, autograph=False)
    signatures = {
        **answer_signatures(model, towers.both, find, labels, with_text),
        "explain": explain_signature(model, towers.both, find, labels),
        "embed": embed_signature(model, towers.both),
        "zero_shot": zero_shot_signature(model, towers.queries, find, with_text),
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
    # Keras would save each layer's own functions with the model, and tensorflow-text's ops among them.
    graphs = [signature.get_concrete_function().graph for signature in signatures.values()]
    used = {id(variable): variable for graph in graphs for variable in graph.variables}
    module.read_variables = list(used.values())
    return Traced(module, signatures, namespaces, known)


def _ops(signatures: Iterable[tf.types.experimental.GenericFunction]) -> set[str]:
    """Returns the names of the ops in the graphs of signatures."""
    ops: set[str] = set()
    for signature in signatures:
        graph = signature.get_concrete_function().graph.as_graph_def()
        ops.update(node.op for node in graph.node)
        ops.update(node.op for function in graph.library.function for node in function.node_def)
    return ops
