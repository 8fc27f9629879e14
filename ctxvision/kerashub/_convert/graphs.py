"""Patches of Keras and KerasHub for the time in which a tower is traced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

# The words of CLIP's tokenizer.
CLIP_WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


@contextmanager
def better_graphs(tokenizer: Any) -> Iterator[None]:
    """Patches what Keras and KerasHub trace, so that graphs are fast and give the answers of eager code.

    Grouped convolutions, such as MobileNet's, become plain ones: Keras makes XLA clusters of them on CPUs, which take
    30 times as long. CLIP's tokenizer splits texts as outside of graphs: KerasHub's graph takes "13" for one word and
    lowers only A..Z, which gives other tokens than CLIP was trained with. The tokenizer's cache of words stays out of
    the graph.
    """
    from keras.src.backend.tensorflow import nn
    from keras_hub.src.models.clip import clip_tokenizer

    with mock.patch.object(nn, "conv", _convolution(nn.conv, nn.depthwise_conv)):
        if not isinstance(tokenizer, clip_tokenizer.CLIPTokenizer):
            yield
            return
        split = mock.patch.object(clip_tokenizer, "split_strings_for_bpe", _clip_words)
        with split, mock.patch.object(tokenizer, "cache", _NoCache()):
            yield


def _convolution(plain: Callable[..., Any], depthwise: Callable[..., Any]) -> Callable[..., Any]:
    """Returns Keras' `conv` without XLA clusters for grouped convolutions of pictures."""
    import tensorflow as tf

    def conv(inputs: Any, kernel: Any, strides: Any = 1, *others: Any, **named: Any) -> Any:
        kernel = tf.convert_to_tensor(kernel)
        channels, inside = inputs.shape[-1], kernel.shape[-2]
        strides = strides if isinstance(strides, int) else tuple(strides)
        if len(kernel.shape) != 4 or channels == inside:
            return plain(inputs, kernel, strides, *others, **named)
        if inside == 1 and (isinstance(strides, int) or len(set(strides)) == 1):
            kernel = tf.reshape(kernel, [*kernel.shape[:2], channels, -1])
            return depthwise(inputs, kernel, strides, *others, **named)
        parts = zip(tf.split(inputs, channels // inside, -1), tf.split(kernel, channels // inside, -1))
        return tf.concat([plain(*part, strides, *others, **named) for part in parts], -1)

    return conv


def _clip_words(texts: Any, _: Any = None) -> Any:
    """Splits texts into the words that CLIP was trained with and the spaces between, ragged string [B, words]."""
    import tensorflow as tf
    import tensorflow_text as tf_text

    texts = tf.strings.regex_replace(tf_text.normalize_utf8(texts, "NFC"), r"[\s\v\x{85}\p{Z}]+", " ")
    return tf_text.regex_split(tf.strings.lower(texts, encoding="utf-8"), CLIP_WORD, CLIP_WORD)


class _NoCache:
    """Replaces the tokenizer's cache: it is empty until the words of a batch are inserted together."""

    tokens: Any = None

    def lookup(self, words: Any) -> Any:
        import tensorflow as tf

        tokens, self.tokens = self.tokens, None
        return tf.fill(tf.shape(words), "") if tokens is None else tokens

    def insert(self, _: Any, tokens: Any) -> None:
        self.tokens = tokens
