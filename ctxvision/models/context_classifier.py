"""The end-to-end model: pixels in, label probabilities and phrases out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.backbone_features import BackboneFeatures
from ctxvision.layers.context_fusion import ContextFusion
from ctxvision.layers.context_pooling import ContextPooling
from ctxvision.layers.phrase_embeddings import PhraseEmbeddings
from ctxvision.layers.phrase_generator import PhraseGenerator
from ctxvision.layers.prototype_retrieval import PrototypeRetrieval
from ctxvision.layers.visual_encoder import VisualEncoder
from ctxvision.models.phrase_context import FoundContext, PhraseContext


@keras.saving.register_keras_serializable("ctxvision")
class ContextClassifier(keras.Model):
    """Classifies pictures from pixels alone, with the phrases that people would search for as context.

    A functional `tf_keras.Model`. `compile` takes a loss and metrics of probabilities [B, L], and `fit` on
    (pixels, labels) fine-tunes the model like any classifier; phrases are outputs without a loss. Each layer's
    `trainable` decides what learns. No gradient passes retrieval, so the phrase generator never learns from labels.
    `fit`, `evaluate` and `predict` keep strings off the device, so XLA compiles them and a TPU runs them; `predict`
    looks up the phrases on the host.

    Args:
        phrase_generator: layer from pixels to query embeddings.
        prototype_retrieval: an indexed layer.
        phrase_embeddings: text embeddings of the phrases of the same table.
        visual_encoder: layer from pixels to visual features. If its `tower` is the phrase generator's tower, that
            ConvNet runs once.
        context_fusion: layer from [visual, context, query embedding] to probabilities if it is a pool, else from
            [visual, context].
        labels: the L label names, in the order of the probabilities.
        context_pooling: layer from the phrases' embeddings to one context vector; similarity-weighted by default.
        thresholds: for pictures with several labels, the lowest accepted probability of each of the L labels; None
            under softmax. The model does not use them; an export does.

    Call arguments:
        pixels: [B, H, W, 3], uint8 or float in 0..255, RGB, any height and width.

    Returns:
        A dict: `probabilities` float32 [B, L]; `phrases` string [B, k], "" for a missing phrase; `phrase_scores`
        float32 [B, k], descending cosines (`support` of `PrototypeRetrieval` lowers those of phrases with few
        pictures); `phrase_ids` int32 [B, k], row numbers of the phrase table, -1 for a missing phrase.

    Raises:
        ValueError: the number of labels or thresholds differs from the fusion layer's.

    Example:
        >>> table = cv.PhraseTable.from_arrays(["red car", "old tree", "blue sea"], np.eye(3, 64))
        >>> text = cv.DualEncoderText()
        >>> embeddings = cv.PhraseEmbeddings(encoder=text, trainable=False)
        >>> embeddings.assign(text.ngrams(list(table.phrases)))
        >>> model = cv.ContextClassifier(
        ...     cv.PhraseGenerator("resnet_mini"),
        ...     cv.PrototypeRetrieval(k=2).index(table),
        ...     embeddings,
        ...     cv.VisualEncoder("resnet_mini"),
        ...     cv.ContextFusion(num_labels=2),
        ...     labels=["car", "tree"],
        ... )
        >>> model.predict(pixels, verbose=0)["phrases"].shape
        (4, 2)
    """

    def __init__(
        self,
        phrase_generator: PhraseGenerator,
        prototype_retrieval: PrototypeRetrieval,
        phrase_embeddings: PhraseEmbeddings,
        visual_encoder: VisualEncoder,
        context_fusion: ContextFusion,
        labels: Sequence[str],
        context_pooling: ContextPooling | None = None,
        thresholds: Sequence[float] | None = None,
        name: str = "context_classifier",
    ):
        if len(labels) != context_fusion.num_labels:
            raise ValueError(
                f"labels must name each of the {context_fusion.num_labels} labels of context_fusion, "
                f"got {len(labels)}: give one name per output."
            )
        if thresholds is not None and len(thresholds) != len(labels):
            raise ValueError(
                f"thresholds must have one value for each of the {len(labels)} labels, got {len(thresholds)} values: "
                "fit the thresholds again."
            )
        # === Layers ===
        context_pooling = context_pooling or ContextPooling(name="context_pooling")

        # === Functional model ===
        pixels = keras.Input((None, None, 3), name="pixels")
        queries, visual = _run_both(phrase_generator, visual_encoder, pixels)
        retrieved = prototype_retrieval(queries)
        context = PhraseContext(prototype_retrieval, phrase_embeddings, context_pooling)
        vector = context.pooled(retrieved.ids, retrieved.scores).vector
        outputs = {
            "probabilities": context_fusion(seen_by(context_fusion, visual, vector, queries)),
            "phrases": retrieved.phrases,
            "phrase_scores": retrieved.scores,
            "phrase_ids": retrieved.ids,
        }
        super().__init__(inputs=pixels, outputs=outputs, name=name)

        # === Config ===
        self.phrase_generator = phrase_generator
        self.retrieval = prototype_retrieval
        self.phrase_embeddings = phrase_embeddings
        self.visual_encoder = visual_encoder
        self.pooling = context_pooling
        self.fusion = context_fusion
        self.labels = list(labels)
        self.thresholds = None if thresholds is None else [float(value) for value in thresholds]

    # Without this, Keras makes an empty model of a SavedModel whose `from_config` fails, and hides the reason.
    _must_restore_from_config = True

    def get_config(self) -> dict[str, Any]:
        """Returns the layers' configs, labels and thresholds; `model.save("x.keras")` includes labels and phrases.

        Raises:
            ValueError: the retrieval backend is ScaNN; no Keras file holds its index.
        """
        if self.retrieval.get_config()["index"] is None:
            raise ValueError(
                "prototype_retrieval must have the backend 'ivf' or 'exact' in a model that Keras saves or copies, got "
                "'scann': build the classifier with another backend, or save only its weights."
            )
        shared = self.visual_encoder.tower is self.phrase_generator.tower
        layers = {name: getattr(self, of) for name, of in _LAYERS.items()}
        return {
            "name": self.name,
            **{name: keras.layers.serialize(layer) for name, layer in layers.items()},
            "labels": self.labels,
            "thresholds": self.thresholds,
            "shared_tower": shared,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "ContextClassifier":
        """Builds the model that `get_config` describes, without its weights."""
        config = dict(config)
        shared = config.pop("shared_tower")
        layers = {name: keras.layers.deserialize(config.pop(name), custom_objects) for name in _LAYERS}
        if shared:
            layers["visual_encoder"] = layers["visual_encoder"].over(layers["phrase_generator"].tower)
        return cls(**layers, **config)

    @property
    def text(self) -> Any:
        """The `DualEncoderText` of the phrase embeddings, which also embeds a caller's words; None for two towers."""
        return self.phrase_embeddings.encoder

    @property
    def image_size(self) -> int:
        """Side in pixels to which encoded pictures are decoded: the larger input of the towers, else 224."""
        towers = (self.phrase_generator.tower, self.visual_encoder.tower)
        return max((tower.input_shape[1] or 0 for tower in towers), default=0) or 224

    def embed(self, pixels: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns query embeddings float32 [B, 64], L2-normalised, and visual features float32 [B, D]."""
        return _run_both(self.phrase_generator, self.visual_encoder, pixels, training=training)

    def find_context(self, queries: tf.Tensor, **asked: Any) -> FoundContext:
        """Finds the phrases of query embeddings float32 [B, 64] and their context vector, see `PhraseContext.find`."""
        return PhraseContext(self.retrieval, self.phrase_embeddings, self.pooling).find(queries, **asked)

    def classify(self, pixels: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the outputs of a call without `phrases`, so that XLA compiles it; `phrases_of` gives the strings.

        Under XLA the pixels must already have the towers' size, because XLA cannot resize with antialiasing.
        """
        queries, visual = self.embed(pixels, training)
        found = self.find_context(queries)
        probabilities = self.fuse(visual, found.vector, queries, training)
        return {"probabilities": probabilities, "phrase_scores": found.scores, "phrase_ids": found.ids}

    def fuse(
        self, visual: tf.Tensor, context: tf.Tensor, queries: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Returns probabilities [B, L] of visual features [B, D], contexts [B, T] and query embeddings [B, 64]."""
        return self.fusion(seen_by(self.fusion, visual, context, queries), training=training)

    def phrases_of(self, phrase_ids: tf.Tensor) -> tf.Tensor:
        """Looks up the phrases, string [B, k], of int32 [B, k] row numbers on the host; "" for a row number of -1."""
        return self.retrieval.phrases_of(phrase_ids)

    # === Keras' steps, through `classify` ===

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            outputs = self.classify(x, training=True)
            loss = self.compute_loss(x, y, outputs, sample_weight)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return self.compute_metrics(x, y, outputs, sample_weight)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self.classify(x)
        self.compute_loss(x, y, outputs, sample_weight)
        return self.compute_metrics(x, y, outputs, sample_weight)

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        return self.classify(keras.utils.unpack_x_y_sample_weight(data)[0])

    def predict(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """Works as in Keras and returns the outputs of a call as NumPy arrays; phrases are bytes."""
        found = super().predict(*args, **kwargs)
        return {**found, "phrases": self.phrases_of(found["phrase_ids"]).numpy()}

    def predict_on_batch(self, x: Any) -> dict[str, np.ndarray]:
        """Works as in Keras and returns the outputs of a call as NumPy arrays; phrases are bytes."""
        found = super().predict_on_batch(x)
        return {**found, "phrases": self.phrases_of(found["phrase_ids"]).numpy()}

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Works as in Keras; the loss and the metrics apply to the probabilities."""
        names = self.output_names  # type: ignore[has-type]
        self.output_names = ["probabilities"]
        super().compile(*args, **kwargs)
        self.output_names = names

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as the saved one was compiled."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            self.optimizer.build(self.trainable_variables)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Works as in Keras, except that HDF5 is refused, because it cannot hold the phrases.

        `keras.models.load_model` reads a `.keras` file directly, and the folder of a SavedModel after
        `from ctxvision import ContextClassifier`. That SavedModel has no signatures: `export_saved_model` writes one for
        TF Serving.

        Raises:
            ValueError: `filepath` ends in .h5 or .hdf5.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"filepath must end in .keras or be the folder of a SavedModel, got {str(filepath)!r}: HDF5 cannot "
                "hold the phrases."
            )
        super().save(filepath, *args, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> tf.Tensor:
        return super().compute_loss(x, y, _probabilities(y_pred), sample_weight)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, tf.Tensor]:
        return super().compute_metrics(x, y, _probabilities(y_pred), sample_weight)


# Maps arguments of the model to the attributes that hold them.
_LAYERS = {
    "phrase_generator": "phrase_generator",
    "prototype_retrieval": "retrieval",
    "phrase_embeddings": "phrase_embeddings",
    "visual_encoder": "visual_encoder",
    "context_fusion": "fusion",
    "context_pooling": "pooling",
}


def seen_by(
    fusion: ContextFusion, visual: tf.Tensor, context: tf.Tensor, queries: tf.Tensor
) -> list[tf.Tensor]:
    """Returns the inputs of a fusion: a pool also takes the query embedding, the joint heads do not (section 3.5)."""
    return [visual, context, queries] if fusion.fusion == "pool" else [visual, context]


def _run_both(
    phrase_generator: PhraseGenerator, visual_encoder: VisualEncoder, pixels: tf.Tensor, **training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs both layers on pixels; a tower that both share runs once."""
    if visual_encoder.tower is phrase_generator.tower:
        pixels = BackboneFeatures(phrase_generator.tower, name="backbone_features")(pixels, **training)
    return phrase_generator(pixels, **training), visual_encoder(pixels, **training)


def _probabilities(outputs: Any) -> Any:
    return outputs["probabilities"] if isinstance(outputs, dict) else outputs
