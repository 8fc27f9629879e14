"""Adds labels to a run from a handful of pictures or words, without training the run again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from ctxvision.classifier.choice import STAGE
from ctxvision.classifier.concept_head import Examples, grow_head
from ctxvision.classifier.concept_store import Concept, ConceptStore, knows, labels_with
from ctxvision.classifier.features import pool_inputs
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.terms import MOST_TERMS, Terms, place_terms, terms_of, terms_of_run
from ctxvision.context.phrases import add_phrase, remove_phrases
from ctxvision.context.pooled import contexts_of
from ctxvision.data.images_csv import clean
from ctxvision.errors import InputError
from ctxvision.layers import ContextFusion
from ctxvision.training.given_pictures import Images, given_pictures
from ctxvision.training.weights import embed, load_weights

MOST_PICTURES = 50
# Number of examples that stand in for the pictures of a label from words alone.
WORD_EXAMPLES = 64


def add_concept(
    run: RunFolder,
    name: str,
    images: Images | None = None,
    label: str | None = None,
    words: Sequence[str] = (),
) -> Concept:
    """Teaches a run's classifier a new label, or extends a known label, from up to 50 pictures, words, or both.

    Each member of the head gets a row for a new label, and the last layers are trained briefly on the concept and on
    pictures replayed from `train`; see `grow_head`. The towers do not change. With pictures, the name becomes a phrase
    of the vocabulary with the pictures' prototype, unless the vocabulary knows it. Words become terms of the label.
    Without pictures, the label is learnt from the places of its words in query space and text space. The next export
    knows the label.

    Args:
        run: a trained run.
        name: name of the concept, with which `remove_concept` finds it; cleaned like labels of data.
        images: see `Images`; None for a label from words alone.
        label: the label that the classifier learns; the name by default.
        words: terms of the label; a new label without words has itself as its term.

    Returns:
        The concept.

    Raises:
        InputError: a concept has the name already; name, label or a word is empty; there are neither pictures nor
            words; without pictures, the context knows none of the words; there are more than 50 pictures, or one cannot
            be read; the run has several labels per picture; or another change is in progress. The run is then
            unchanged.
    """
    label = name if label is None else label
    given = [("name", name), ("label", label), *(("words", word) for word in words)]
    for argument, text in given:
        if not isinstance(text, str) or not clean(text):
            raise InputError(
                f"{argument} of a concept must be a non-empty text, got {text!r}: write a word or more."
            )
    name, label, words = clean(name), clean(label), tuple(map(clean, words))
    if run.config.multi_label:
        raise InputError(
            "a concept must be added to a run of one label a picture, got one of several (multi_label): train again "
            "with pictures of the label in images.csv."
        )
    if images is None:
        _check_words(run, words)
    store, table = ConceptStore(run.directory), run.context.phrase_table
    with store.changing():
        concepts = store.read()
        if name in [concept.name for concept in concepts]:
            raise InputError(
                f"name must be new, got {name!r}, which is a concept already: remove it, or choose another name."
            )
        size = run.data.image_size
        pictures = (
            np.zeros([0, size, size, 3], np.uint8)
            if images is None
            else given_pictures(images, size, MOST_PICTURES)
        )
        brings = len(pictures) > 0 and not knows(table, name)
        visual, queries = (
            embed(tower, pictures) if len(pictures) else np.zeros([0, 1], np.float32)
            for tower in (run.visual_encoder(max(run.config.fractions)), run.context.phrase_generator)
        )
        key = store.keep_features(name, label, words, visual, queries)
        concept = Concept(name, label, len(pictures), key, brings, words)
        with _phrase_as_concept(run, store, concept):
            if brings:
                add_phrase(run.context, name, pictures, run.context.languages[0])
            _learn(run, store, [*concepts, concept])
            store.commit([*concepts, concept])
    return concept


def _check_words(run: RunFolder, words: Sequence[str]) -> None:
    if not words:
        raise InputError(
            "a concept must have images or words, got neither: give pictures, or the words that people call it by."
        )
    placed = place_terms(run.context, Terms(list(words), np.zeros(len(words), int)), run.config.seed)
    if not placed.known.any():
        raise InputError(
            f"words of a concept without images must be known to the context, got {' | '.join(words)!r}: use other "
            "words, or give pictures."
        )


def remove_concept(run: RunFolder, name: str) -> None:
    """Removes a concept; the run is then as it would be without the concept.

    Removing the concept that was added last restores the earlier head to the bit.

    Raises:
        InputError: the run has no such concept, or another change is in progress.
    """
    name = clean(name)
    store, table = ConceptStore(run.directory), run.context.phrase_table
    with store.changing():
        concepts = store.read()
        names = [concept.name for concept in concepts]
        if name not in names:
            remedy = f"name one of {', '.join(map(repr, names))}" if names else "the run has none"
            raise InputError(f"name must be a concept of the run, got {name!r}: {remedy}.")
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
    """Ensures that, even after an error, the vocabulary has a concept's phrase only if the run has the concept."""
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
    """Trains and writes the head that knows the concepts; `phrases` are the rows of the vocabulary to use."""
    folder, choice = run.stages.folder(STAGE), run.choice
    table = run.context.phrase_table if phrases is None else run.context.phrase_table.take(phrases)
    labels = labels_with(choice.labels, concepts)

    def of_split(split: str) -> list[np.ndarray]:
        return pool_inputs(run, split, choice.k, choice.weighting, table)

    def of_concept(concept: Concept) -> Examples:
        if not concept.pictures:
            numbers = np.full(WORD_EXAMPLES, labels.index(concept.label), np.int32)
            return Examples(_examples_of_words(run, concept, replay), numbers)
        visual, queries = store.features(concept)
        context = contexts_of(run.context, queries, choice.k, choice.weighting, table)[0]
        numbers = np.full(len(visual), labels.index(concept.label), np.int32)
        return Examples([visual, context, queries], numbers)

    replay, held_out = of_split("train"), Examples(of_split("val"), run.data.label_ids("val"))
    words: dict[str, list[str]] = {}
    for concept in concepts:
        words.setdefault(concept.label, []).extend(concept.words)
    more = {label: texts for label, texts in words.items() if texts}
    terms = terms_of_run(run, replay, labels, more, least=MOST_TERMS)
    head = ContextFusion(len(choice.labels), terms=choice.terms, name="context_fusion")
    head([tf.constant(part[:1]) for part in replay])
    load_weights(head, folder / "weights.npz")
    examples = [of_concept(one) for one in concepts]
    grown = grow_head(head, replay, held_out, examples, terms, run.config.seed)
    store.keep_head(concepts, grown.get_weights())


def _examples_of_words(run: RunFolder, concept: Concept, replay: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the inputs of the head for pictures that would find these words, [WORD_EXAMPLES, D_i] of each modality.

    The visual features are those of random pictures, so that they speak neither for nor against the label.
    """
    visual, contexts, queries = replay
    terms = terms_of([concept.label], {concept.label: concept.words})
    placed = place_terms(run.context, terms, run.config.seed).known_only()
    rng = np.random.default_rng(run.config.seed)
    turns = np.arange(WORD_EXAMPLES) % len(placed.queries)
    length = np.linalg.norm(contexts, axis=1).mean()
    own = rng.integers(len(visual), size=WORD_EXAMPLES)
    found = [visual[own], length * placed.texts[turns], placed.queries[turns]]
    return [part.astype(np.float32) for part in found]
