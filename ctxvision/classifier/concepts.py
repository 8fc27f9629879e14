"""Labels learnt from a handful of pictures, without training the rest anew."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from ctxvision.classifier.choice import STAGE
from ctxvision.classifier.concept_head import Examples, grow_head
from ctxvision.classifier.concept_store import Concept, ConceptStore, knows, labels_with
from ctxvision.classifier.features import context_vectors
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.context.phrases import add_phrase, remove_phrases
from ctxvision.context.pooled import contexts_of
from ctxvision.data.images_csv import clean
from ctxvision.errors import InputError
from ctxvision.layers import ContextFusion
from ctxvision.training.given_pictures import Images, given_pictures
from ctxvision.training.weights import embed, load_weights

MOST_PICTURES = 50


def add_concept(run: RunFolder, name: str, images: Images, label: str | None = None) -> Concept:
    """Teaches a run's classifier a new label, or more of a label that it knows, from 1 to 50 pictures.

    The name becomes a phrase of the vocabulary, with the pictures' prototype, unless it is one already. The head gets a
    row for a new label, and its last layer is trained briefly beside pictures replayed from `train`; see `grow_head`.
    The towers stay as they are. The next export knows the label.

    Args:
        run: past its training.
        name: of the concept, by which it is removed; cleaned as labels of data are.
        images: see `Images`.
        label: what the classifier is to answer; the name by default.

    Returns:
        The concept.

    Raises:
        InputError: a name that a concept has already, an empty name or label, no pictures, more than 50 or one that
            cannot be read, or a run of several labels a picture; nothing changes then.
    """
    label = name if label is None else label
    for argument, text in (("name", name), ("label", label)):
        if not isinstance(text, str) or not clean(text):
            raise InputError(f"{argument} of a concept must be a text, got {text!r}: write some words.")
    name, label = clean(name), clean(label)
    if run.config.multi_label:
        raise InputError(
            "a concept must be added to a run of one label a picture, got one of several (multi_label): train anew with "
            "pictures of the label in images.csv."
        )
    store, table = ConceptStore(run.directory), run.context.phrase_table
    with store.changing():
        concepts = store.read()
        if name in [concept.name for concept in concepts]:
            raise InputError(
                f"name must be new, got {name!r}, which is a concept already: remove it, or choose another name."
            )
        pictures = given_pictures(images, run.data.image_size, MOST_PICTURES)
        brings = not knows(table, name)
        visual = embed(run.visual_encoder(max(run.config.fractions)), pictures)
        key = store.keep_features(name, label, visual, embed(run.context.phrase_generator, pictures))
        concept = Concept(name, label, len(pictures), key, brings)
        with _phrase_as_concept(run, store, concept):
            if brings:
                add_phrase(run.context, name, pictures, run.context.languages[0])
            _learn(run, store, [*concepts, concept])
            store.commit([*concepts, concept])
    return concept


def remove_concept(run: RunFolder, name: str) -> None:
    """Takes a concept away: the run is as it was without it, to the bit where it was the last one added.

    Raises:
        InputError: there is no such concept.
    """
    name = clean(name)
    store, table = ConceptStore(run.directory), run.context.phrase_table
    with store.changing():
        concepts = store.read()
        names = [concept.name for concept in concepts]
        if name not in names:
            raise InputError(
                f"name must be a concept of the run, got {name!r}: it has {', '.join(map(repr, names)) or 'none'}."
            )
        concept = concepts[names.index(name)]
        left = [other for other in concepts if other != concept]
        with _phrase_as_concept(run, store, concept):
            if left and not store.head(left).exists():
                kept = np.array(table.live)
                if concept.brought_phrase and knows(table, name):
                    kept[table.ids([name])] = False
                _learn(run, store, left, np.flatnonzero(kept))
            store.commit(left)


@contextmanager
def _phrase_as_concept(run: RunFolder, store: ConceptStore, concept: Concept) -> Iterator[None]:
    """At the end, however it comes, the vocabulary has the phrase that a concept brought if the run has the concept."""
    if not concept.brought_phrase:
        yield
        return
    store.begin(concept.name)
    try:
        yield
    finally:
        if store.is_orphan(concept.name, run.context.phrase_table):
            remove_phrases(run.context, [concept.name], run.choice.k)
        store.end()


def _learn(
    run: RunFolder, store: ConceptStore, concepts: Sequence[Concept], phrases: np.ndarray | None = None
) -> None:
    """Writes the head that knows the concepts, trained on the run's own; `phrases` are the vocabulary's rows to use."""
    folder, choice = run.stages.folder(STAGE), run.choice
    table = run.context.phrase_table if phrases is None else run.context.phrase_table.take(phrases)
    number = {label: i for i, label in enumerate(labels_with(choice.labels, concepts))}
    fraction = max(run.config.fractions)

    def of_split(split: str) -> list[np.ndarray]:
        return [
            run.visual_features(split, fraction),
            context_vectors(run, split, choice.k, choice.weighting, table),
        ]

    def of_concept(concept: Concept) -> Examples:
        visual, queries = store.features(concept)
        context = contexts_of(run.context, queries, choice.k, choice.weighting, table)[0]
        return Examples([visual, context], np.full(len(visual), number[concept.label], np.int32))

    replay, held_out = of_split("train"), Examples(of_split("val"), run.data.label_ids("val"))
    head = ContextFusion(len(choice.labels), name="context_fusion")
    head([tf.constant(part[:1]) for part in replay])
    load_weights(head, folder / "weights.npz")
    grown = grow_head(head, replay, held_out, [of_concept(one) for one in concepts], run.config.seed)
    store.keep_head(concepts, grown.get_weights())
