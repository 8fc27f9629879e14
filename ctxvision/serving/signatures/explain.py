"""Answers pictures with labels and the shares of the picture, the query embedding and each phrase."""

import tensorflow as tf

from ctxvision.data.decoding import decode_pictures
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.models.explanation import explain_found
from ctxvision.serving.signatures.labels import Labels
from ctxvision.serving.signatures.picture_batch import Embed, Find, blank_invalid

TOP_EXPLAINED = 3


def explain_signature(
    model: ContextClassifier, embed: Embed, find: Find, labels: Labels
) -> tf.types.experimental.GenericFunction:
    """Returns the signature `explain`: see `build_signatures`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def explained(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, valid = decode_pictures(image_bytes, model.image_size)
        queries, visual = embed(pixels)
        found = explain_found(model, find(queries), visual, queries, TOP_EXPLAINED)
        outputs = {
            **labels.named(found["scores"], found["label_ids"]),
            "phrases": found["phrases"],
            "phrase_scores": found["phrase_scores"],
            "phrase_shares": found["shares"],
            "phrase_groups": found["groups"],
            "visual_shares": found["visual"],
            "query_shares": found["query"],
            "prior_scores": found["prior_scores"],
        }
        return blank_invalid(outputs, valid)

    return explained
