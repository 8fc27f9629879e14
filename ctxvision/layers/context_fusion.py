"""What is seen and what is said, fused into label probabilities."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._joint_head import JointHead
from ctxvision.layers._label_terms import LabelTerms

FUSIONS = ("pool", "concat", "mlb", "mutan")
# Of a pool over all inputs, in their order; the last one is there where labels have terms.
MEMBERS = ("visual", "context", "query", "terms")
# Hidden stages of each modality's own head. Visual features were learnt for a linear layer over labels, so more stages
# learn what does not carry over. Chosen on `val` of the demo and of photographs.
STAGES = {"visual": 0, "context": 2, "query": 1}


@keras.saving.register_keras_serializable("ctxvision")
class ContextFusion(keras.layers.Layer):
    """Label probabilities from the visual features, the context vector and the query embedding.

    A member is a multi-stage MLP: it standardises each modality, maps each to `hidden` units on its own, fuses the
    results x and y to a further `hidden` units, and gives logits (section 3.5). In a pool the member of the visual
    features is linear, and that of the query embedding has one hidden stage. The logits of all members are added
    with non-negative weights, which are fitted on pictures that no member was trained on (a logarithmic opinion pool,
    Genest & Zidek 1986); they hold the temperature as well (Guo et al. 2017).

    | fusion | members | second stage | paper |
    |---|---|---|---|
    | `"pool"` | one for each modality, and the labels' own terms | of the context relu(W x + b) | section 4.3 for the terms |
    | `"concat"` | one | relu(W [x; y] + b) | section 3.5 |
    | `"mlb"` | one | Pᵀ(tanh(Ux + b_x) ∘ tanh(Vy + b_y)) + b | Kim et al. 2017, Hadamard product for low-rank bilinear pooling |
    | `"mutan"` | one | Σ_r (x W_r + b_r) ∘ (y V_r + c_r) | Ben-younes et al. 2017, multimodal Tucker fusion |

    Given one modality alone, the joint fusions are the same head of it.

    Args:
        num_labels: L, at least 2.
        fusion: how modalities meet, as above; `"mlb"` and `"mutan"` take at most two.
        activation: `"softmax"` for one label a picture, `"sigmoid"` for several.
        hidden: units of each hidden stage.
        dropout: rate after each stage, in [0, 1).
        seed: of initial weights and dropout.
        rank: width of the product in `"mlb"`, by default two thirds of `hidden`, which takes as many parameters as
            `"concat"`; number R of products in `"mutan"`, by default 5. The others have none.
        stages: hidden stages of each member, 0, 1 or 2; by default those of visual features, context and query embedding
            in a pool, and 2 in a joint head, which needs them for several modalities.
        terms: of `"pool"`, the most terms of a label; 0: labels are not scored by terms. `label_terms` holds where they
            lie.

    Call arguments:
        inputs: a list of float tensors [B, D_i]: [visual, context, query embedding], or the first of them; all three
            where there are terms.

    Returns:
        float32 [B, L] probabilities; under softmax each row sums to 1. Outside of training they are
        (1 - u) · softmax + u / L; u, the weight `uniform_share`, is 0 until calibration sets it.

    Raises:
        ValueError: an argument out of its range, or inputs that are not a list of rank-2 tensors.

    Example:
        >>> ContextFusion(num_labels=5)([tf.zeros([2, 128]), tf.zeros([2, 200]), tf.zeros([2, 64])]).shape
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
        # Float32 whatever the policy: probabilities of bfloat16 would tie.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}: a classifier needs a choice.")
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}: choose one.")
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(
                f"activation must be 'softmax' (one label a picture) or 'sigmoid' (several), got {activation!r}: choose one."
            )
        if hidden < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"hidden must be at least 1 and dropout in [0, 1), got {hidden} and {dropout}: use 256 and 0.5."
            )
        if rank is not None and (fusion in ("pool", "concat") or rank < 1):
            raise ValueError(
                f"rank must be at least 1, and is for fusion 'mlb' and 'mutan' alone, got {rank} with {fusion!r}: "
                "leave it out for the default."
            )
        if stages is not None and not set(stages) <= {0, 1, 2}:
            raise ValueError(f"stages must be 0, 1 or 2 for each member, got {stages}: 2 is the method's.")
        if terms < 0 or (terms and fusion != "pool"):
            raise ValueError(
                f"terms must be at least 0, and is for fusion 'pool' alone, got {terms} with {fusion!r}: leave it out."
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
                f"stages must be given for each of {number if pooled else 1} members, got {stages} for {number} inputs of "
                f"fusion {self.fusion!r}: give one number each."
            )
        if not pooled and number > 1 and stages != (2,):
            raise ValueError(
                f"stages must be (2,) for a joint head of {number} inputs, got {stages}: leave it out."
            )
        if self.terms and len(input_shape) != 3:
            raise ValueError(
                f"inputs must be [visual, context, query] where labels have terms, got {len(input_shape)} of them: pass all, "
                "or leave out terms."
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
        """Float32 [B, L] of each member, in the order of `member_weights`."""
        if len(inputs) != self._number:
            raise ValueError(
                f"inputs must be the {self._number} modalities that the layer was built on, got {len(inputs)}: pass all of "
                "[visual, context, query] that it knows."
            )
        parts = [[value] for value in inputs] if self.fusion == "pool" else [inputs]
        found = [member(part, training=training) for member, part in zip(self.members, parts, strict=True)]
        return found if self.label_terms is None else [*found, self.label_terms(inputs[1:])]

    def logits(self, member_logits: list[tf.Tensor]) -> tf.Tensor:
        """Float32 [..., L]: the weighted sum of the members' logits."""
        weights = tf.unstack(self.member_weights)
        return tf.add_n([weight * one for weight, one in zip(weights, member_logits, strict=True)])

    def probabilities(self, logits: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Float32 [..., L] of such logits."""
        # Keras' own activations: its losses read the logits off them.
        if self.activation == "sigmoid":
            return keras.activations.sigmoid(logits)
        probabilities = keras.activations.softmax(logits)
        if training:
            return probabilities
        return (1 - self.uniform_share) * probabilities + self.uniform_share / self.num_labels

    def restart_dropout(self, seed: int) -> None:
        """Dropout continues as in a new layer of this seed, also in functions that are traced already."""
        for member in self.members:
            member.restart_dropout(seed)

    def average_input(self, modality: int) -> tf.Tensor:
        """Float32 [D], the mean that input number `modality` had in training: what says nothing."""
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
