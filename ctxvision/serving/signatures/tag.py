"""Answers pictures with phrases, for a context without a taxonomy."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ctxvision.data.decoding import decode_pictures
from ctxvision.models.context_tagger import ContextTagger
from ctxvision.serving.signatures.build import Traced, traced
from ctxvision.serving.signatures.picture_batch import blank_invalid
from ctxvision.serving.signatures.rules import Rules
from ctxvision.serving.signatures.towers import Towers


def build_tagger(tagger: ContextTagger, facts: Mapping[str, Any] | None = None) -> Traced:
    """Traces a tagger into a module and its signatures.

    Args:
        tagger: a tagger whose parts are built.
        facts: JSON values by name, which `about` tells beside image size, retrieval backend, signatures and `needs`.

    Returns:
        As `build_signatures`. The signatures:

        - `serving_default` takes `image_bytes` string [B], `pixels` takes `pixels` uint8 [B, H, W, 3]. They return
          `phrases` string and `phrase_scores` float32 [B, k], nearest first, `query_embedding` float32 [B, D],
          L2-normalised, and `valid` bool [B].
        - `filtered` takes `image_bytes` and the optional rules of `embed`, see `build_signatures`. It returns the same
          and `phrase_ids` int32 [B, k], -1 for a missing phrase.
        - `about` takes `fields` string [M] and returns `values` string [M], JSON.
    """
    size, rules = tagger.image_size, Rules(tagger.retrieval)
    towers = Towers(tagger.phrase_generator)
    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")

    def answer_pixels(pixels: tf.Tensor, valid: tf.Tensor, **asked: Any) -> dict[str, tf.Tensor]:
        queries = towers.queries(pixels)
        found = tagger.retrieval(queries, **asked)
        outputs = {"phrases": found.phrases, "phrase_scores": found.scores, "query_embedding": queries}
        if asked:
            outputs["phrase_ids"] = found.ids
        answer = blank_invalid(outputs, valid)
        if asked:
            answer["phrase_ids"] = tf.where(answer["valid"][:, tf.newaxis], answer["phrase_ids"], -1)
        return answer

    @tf.function(input_signature=[encoded], autograph=False)
    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer_pixels(*decode_pictures(image_bytes, size))

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")], autograph=False
    )
    def from_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer_pixels(pixels, tf.ones(tf.shape(pixels)[:1], tf.bool))

    def filtered(image_bytes: tf.Tensor, **asked: Any) -> dict[str, tf.Tensor]:
        return answer_pixels(*decode_pictures(image_bytes, size), **asked)

    signatures = {
        "serving_default": serving_default,
        "pixels": from_pixels,
        "filtered": rules.signature(filtered),
    }
    known = {"image_size": size, "retrieval": tagger.retrieval.backend, **(facts or {})}
    return traced(signatures, known)
