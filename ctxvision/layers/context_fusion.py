"""Fuses visual features and context into label probabilities."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._joint_head import JointHead
from ctxvision.layers._label_terms import LabelTerms

FUSIONS = ("pool", "concat", "mlb", "mutan")
# Members of a pool over all inputs, in the order of the inputs; "terms" exists if labels have terms.
MEMBERS = ("visual", "context", "query", "terms")
# Hidden stages of each modality's own head. Visual features were trained for a linear layer over labels, so further
# stages overfit. The numbers were chosen on `val` of the demo and of photographs.
STAGES = {"visual": 0, "context": 2, "query": 1}


@keras.saving.register_keras_serializable("ctxvision")
class ContextFusion(keras.layers.Layer):
    """Computes label probabilities from visual features, context vector and query embedding.

    A member is a multi-stage MLP: it standardises each modality, maps each to `hidden` units, fuses the results x and y
    into another `hidden` units, and computes logits (section 3.5). In a pool, the member of the visual features is
    linear, and the member of the query embedding has one hidden stage.

    The logits of all members are summed with the non-negative `member_weights`, which are 1 until calibration fits them
    on pictures that no member was trained on (a logarithmic opinion pool, Genest & Zidek 1986). The weights include the
    temperature (Guo et al. 2017).

    | fusion | members | second stage | paper |
    |---|---|---|---|
    | `"pool"` | one per modality, one for terms | relu(W x + b) for the context | section 4.3 for the terms |
    | `"concat"` | one | relu(W [x; y] + b) | section 3.5 |
    | `"mlb"` | one | Pᵀ(tanh(Ux + b_x) ∘ tanh(Vy + b_y)) + b | Kim et al. 2017, Hadamard product for low-rank bilinear pooling |
    | `"mutan"` | one | Σ_r (x W_r + b_r) ∘ (y V_r + c_r) | Ben-younes et al. 2017, multimodal Tucker fusion |

    With a single modality, all joint fusions are the same head.

    Args:
        num_labels: L, at least 2.
        fusion: how modalities are fused, see the table; `"mlb"` and `"mutan"` take at most two.
        activation: `"softmax"` for one label per picture, `"sigmoid"` for several.
        hidden: units of each hidden stage.
        dropout: rate after each stage, in [0, 1).
        seed: seed of initial weights and dropout.
        rank: for `"mlb"`, the width of the product; None means two thirds of `hidden`, which has as many parameters as
            `"concat"`. For `"mutan"`, the number R of products; None means 5. Must be None for other fusions.
        stages: hidden stages, 0, 1 or 2, one number per member except the terms. None means (0, 2, 1) for visual
            features, context and query embedding in a pool. For a joint head, which is one member, None means (2,), the
            only value for several modalities.
        terms: for `"pool"`, the largest number of terms of a label; 0 means no score by terms. `label_terms` holds the
            embeddings of the terms.

    Call arguments:
        inputs: a list of float tensors [B, D_i]: [visual, context, query embedding], or its beginning; all three if
            `terms` is above 0.

    Returns:
        float32 [B, L] probabilities; with softmax each row sums to 1. Outside training, softmax is mixed with a uniform
        distribution: (1 - u) · softmax + u / L. The weight u, `uniform_share`, is 0 until calibration sets it.

    Raises:
        ValueError: an argument is out of range, the inputs are not a list of rank-2 tensors, or their number does not
            fit the arguments or an earlier call.

    Example:
        >>> fusion = cv.ContextFusion(num_labels=5)
        >>> fusion([tf.zeros([2, 128]), tf.zeros([2, 200]), tf.zeros([2, 64])]).shape
        TensorShape([2, 5])
    """

    def __init__(
        self,
        num_labels: int,
        fusion: str = "pool",
        activation: str = "softmax",
        hidden: int = 256,
        dropout: float = 0.5,
        seed: int = 0,
        rank: int | None = None,
        stages: Sequence[int] | None = None,
        terms: int = 0,
        **kwargs: Any,
    ):
        # Float32 under any dtype policy, because probabilities in bfloat16 would tie.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}: give at least two labels.")
        if fusion not in FUSIONS:
            raise ValueError(
                f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}: choose one of these."
            )
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(
                f"activation must be 'softmax' (one label per picture) or 'sigmoid' (several), got {activation!r}: "
                "choose one."
            )
        if hidden < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"hidden must be at least 1 and dropout in [0, 1), got {hidden} and {dropout}: use, for example, 256 "
                "and 0.5."
            )
        if rank is not None and (fusion in ("pool", "concat") or rank < 1):
            raise ValueError(
                f"rank must be at least 1 and given only for fusion 'mlb' or 'mutan', got {rank} with {fusion!r}: "
                "leave it out for the default."
            )
        if stages is not None and not set(stages) <= {0, 1, 2}:
            raise ValueError(f"stages must be 0, 1 or 2 for each member, got {stages}: the method uses 2.")
        if terms < 0 or (terms and fusion != "pool"):
            raise ValueError(
                f"terms must be at least 0 and given only for fusion 'pool', got {terms} with {fusion!r}: leave it out."
            )
        self.num_labels = num_labels
        self.fusion = fusion
        self.activation = activation
        self.hidden = hidden
        self.dropout = dropout
        self.seed = seed
        self.rank = rank
        self.stages = None if stages is None else tuple(stages)
        self.terms = terms

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, (list, tuple)) or any(len(tuple(s)) != 2 for s in input_shape):
            raise ValueError(
                f"inputs must be a list of tensors [B, D], got shapes {input_shape}: pass [visual, context, query]."
            )
        if self.fusion in ("mlb", "mutan") and len(input_shape) > 2:
            raise ValueError(
                f"fusion {self.fusion!r} takes at most two inputs, got {len(input_shape)}: use 'concat' for more."
            )
        pooled, number = self.fusion == "pool", len(input_shape)
        stages = self.stages or (tuple(STAGES.values())[:number] if pooled else (2,))
        if len(stages) != (number if pooled else 1):
            raise ValueError(
                f"stages must have one number for each of {number if pooled else 1} members, got {stages} for {number} "
                f"inputs of fusion {self.fusion!r}: give one number per member."
            )
        if not pooled and number > 1 and stages != (2,):
            raise ValueError(
                f"stages must be (2,) for a joint head of {number} inputs, got {stages}: leave stages out."
            )
        if self.terms and len(input_shape) != 3:
            raise ValueError(
                f"inputs must be [visual, context, query] if terms is above 0, got {len(input_shape)} inputs: pass all "
                "three, or leave out terms."
            )
        fusion = "concat" if pooled else self.fusion
        arguments = (self.num_labels, fusion, self.hidden, self.dropout, self.seed, self.rank)
        self._number = number
        self.members = [JointHead(*arguments, one) for one in stages]
        self.label_terms = LabelTerms(self.num_labels, self.terms) if self.terms else None
        self.member_weights = self.add_weight(
            name="member_weights",
            shape=[len(self.members) + (self.terms > 0)],
            dtype="float32",
            initializer="ones",
            trainable=False,
        )
        if self.activation == "softmax":
            self.uniform_share = self.add_weight(
                name="uniform_share", shape=[], dtype="float32", initializer="zeros", trainable=False
            )
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        return self.probabilities(self.logits(self.member_logits(inputs, training)), training)

    def member_logits(self, inputs: list[tf.Tensor], training: bool | None = None) -> list[tf.Tensor]:
        """Computes the logits of each member, float32 [B, L], in the order of `member_weights`."""
        if len(inputs) != self._number:
            raise ValueError(
                f"inputs must be the {self._number} modalities that the layer was built with, got {len(inputs)}: "
                f"pass the first {self._number} of [visual, context, query]."
            )
        parts = [[value] for value in inputs] if self.fusion == "pool" else [inputs]
        found = [member(part, training=training) for member, part in zip(self.members, parts, strict=True)]
        return found if self.label_terms is None else [*found, self.label_terms(inputs[1:])]

    def logits(self, member_logits: list[tf.Tensor]) -> tf.Tensor:
        """Computes the weighted sum of the members' logits, float32 [..., L]."""
        weights = tf.unstack(self.member_weights)
        return tf.add_n([weight * one for weight, one in zip(weights, member_logits, strict=True)])

    def probabilities(self, logits: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Computes probabilities float32 [..., L] from logits."""
        # Keras' own activations keep the logits, which Keras' losses use.
        if self.activation == "sigmoid":
            return keras.activations.sigmoid(logits)
        probabilities = keras.activations.softmax(logits)
        if training:
            return probabilities
        return (1 - self.uniform_share) * probabilities + self.uniform_share / self.num_labels

    def restart_dropout(self, seed: int) -> None:
        """Resets dropout to the state of a new layer with this seed, also in traced functions."""
        for member in self.members:
            member.restart_dropout(seed)

    def average_input(self, modality: int) -> tf.Tensor:
        """Returns the training mean of an input, float32 [D], which carries no information about a picture."""
        averages = [one.moving_mean for member in self.members for one in member.standardize]
        return averages[modality]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_labels": self.num_labels,
            "fusion": self.fusion,
            "activation": self.activation,
            "hidden": self.hidden,
            "dropout": self.dropout,
            "seed": self.seed,
            "rank": self.rank,
            "stages": self.stages,
            "terms": self.terms,
        }
