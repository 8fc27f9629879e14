"""Assembles the parts of a run into one end-to-end model."""

from typing import Any

import numpy as np

from ctxvision.classifier.choice import STAGE
from ctxvision.classifier.concept_store import ConceptStore, labels_with
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.classifier.terms import MOST_TERMS
from ctxvision.context.context import Context
from ctxvision.errors import InputError
from ctxvision.layers import ContextFusion, ContextPooling, PhraseEmbeddings
from ctxvision.layers.phrase_embeddings import int8_rows
from ctxvision.models import ContextClassifier
from ctxvision.training.weights import load_weights

QUANTIZATIONS = ("float16", "int8")


def assemble(run: RunFolder, backend: str = "ivf", quantize: str | None = None) -> ContextClassifier:
    """Builds the end-to-end model of a trained run with its concepts; the head is trainable, the towers are frozen.

    Args:
        run: a run whose stages are finished.
        backend: backend of the retrieval, see `PrototypeRetrieval`.
        quantize: "float16" and "int8" keep the prototypes of the backend `ivf` in float16, and the text embeddings of a
            context from two towers in that dtype. None keeps all in float32.

    Raises:
        InputError: `quantize` is unknown, or a stage is not finished.
    """
    if quantize not in (None, *QUANTIZATIONS):
        raise InputError(
            f"quantize must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}: choose one, or leave it out."
        )
    choice, context = run.choice, run.context
    settings: dict[str, Any] = choice.index_settings if backend == "ivf" else {}
    settings |= {"dtype": "float16"} if quantize else {}
    concepts = run.concepts()
    labels = labels_with(choice.labels, concepts)
    activation = task_of(run.config).activation
    terms = MOST_TERMS if concepts else choice.terms
    fusion = ContextFusion(len(labels), "pool", activation, terms=terms, name="context_fusion")
    model = ContextClassifier(
        context.phrase_generator,
        context.retrieval(choice.k, backend, **settings),
        _phrase_embeddings(context, quantize),
        run.visual_encoder(max(run.config.fractions)),
        fusion,
        labels,
        ContextPooling(choice.weighting, name="context_pooling"),
        choice.thresholds,
    )
    trained = run.stages.folder(STAGE) / "weights.npz"
    load_weights(fusion, ConceptStore(run.directory).head(concepts) if concepts else trained)
    # Few labels suffice for the head alone; a caller unfreezes a tower by setting its `trainable`.
    for layer in (model.phrase_generator, model.visual_encoder):
        layer.trainable = False
    return model


def _phrase_embeddings(context: Context, quantize: str | None) -> PhraseEmbeddings:
    if quantize is None or context.text_encoder:  # n-grams are integers already
        return context.phrase_embeddings
    layer = PhraseEmbeddings(context.config.text_dim, name="phrase_embeddings", trainable=False)
    text = np.asarray(context.phrase_table.text_embeddings)
    layer.assign(int8_rows(text) if quantize == "int8" else text.astype(np.float16))
    return layer
