"""The text tower of a two-tower preset."""

from typing import Any

from .refusal import RefusedError, no_space, reason
from .tower import Tower

# Digits, accents, contractions, capitals, wide spaces, other scripts, an empty text, and a text longer than a tower
# reads.
TEXTS = ("a photo of a cat", "It's 50% off: CAFÉ\u3000№ 1980s", "кошка 猫", "", "word 12 " * 200)


def text_tower(backbone: Any, preset: str, keras_hub: Any) -> Tower:
    """Returns the tower from texts to the joint space of a two-tower model, with the tokenizer of its preset."""
    import tensorflow as tf

    try:
        preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(preset, image_converter=None)
        tokenizer = preprocessor.tokenizer
        tokenizer.vocabulary_size()
    except Exception as error:
        if no_space(error):
            raise
        raise RefusedError(
            f"preset must hold the tokenizer of its text tower, got {preset!r} ({reason(error)}): save it there with "
            f"tokenizer.save_to_preset."
        ) from error
    length = min(preprocessor.sequence_length, backbone.text_encoder.max_sequence_length)

    def call(texts: Any) -> dict[str, Any]:
        packed = preprocessor({"prompts": texts, "images": None}, sequence_length=length)
        return {"vectors": tf.cast(backbone.get_text_embeddings(packed["token_ids"]), tf.float32)}

    given = tf.TensorSpec([None], tf.string, "texts")
    facts = {
        "kind": "text",
        "tokenizer": type(tokenizer).__name__,
        "tokens": length,
        "pooling": "joint space",
    }
    return Tower(call, given, tf.constant(TEXTS), tokenizer, facts)
