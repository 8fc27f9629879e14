"""Labels learnt from a handful of pictures, without training the rest anew."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from ctxvision._files import read_json
from ctxvision.errors import InputError
from ctxvision.layers import ContextFusion
from ctxvision.training.concept_head import Examples, grow_head
from ctxvision.training.concept_store import Concept, ConceptStore, knows, labels_with
from ctxvision.training.context import contexts, contexts_of
from ctxvision.training.given_pictures import Images, given_pictures
from ctxvision.training.run import Run
from ctxvision.training.vocabulary import add_phrase, remove_phrases
from ctxvision.training.weights import embed, load_weights

MOST_PICTURES = 50


def add_concept(
    run: Run | str | os.PathLike[str], name: str, images: Images, label: str | None = None
) -> Concept:
    """Teaches a run's classifier a new label, or more of a label that it knows, from 1 to 50 pictures.

    The name becomes a phrase of the vocabulary, with the pictures' prototype, unless it is one already. The head gets a
    row for a new label, and its last layer is trained briefly beside pictures replayed from `train`; see `grow_head`.
    The towers stay as they are. `run.classifier` is another from then on, and the next export knows the label.

    Args:
        run: past its training, or its folder.
        name: of the concept, by which it is removed.
        images: see `Images`.
        label: what the classifier is to answer; the name by default.

    Returns:
        The concept.

    Raises:
        InputError: a name that a concept has already, an empty name or label, no pictures, more than 50 or one that
            cannot be read, or a run of several labels a picture; nothing changes then.
    """
    run = run if isinstance(run, Run) else Run(run)
    label = name if label is None else label
    for argument, text in (("name", name), ("label", label)):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{argument} of a concept must be a text, got {text!r}: write some words.")
    if run.config.multi_label:
        raise InputError(
            "a concept must be added to a run of one label a picture, got one of several (multi_label): train anew with "
            "pictures of the label in images.csv."
        )
    store, table = ConceptStore(run.directory), run.phrase_table
    with store.changing():
        concepts = store.read()
        if name in [concept.name for concept in concepts]:
            raise InputError(
                f"name must be new, got {name!r}, which is a concept already: remove it, or choose another name."
            )
        pictures = given_pictures(images, run.config.image_size, MOST_PICTURES)
        brings = not knows(table, name)
        visual = embed(run.visual_encoder(max(run.config.fractions)), pictures)
        key = store.keep_features(name, label, visual, embed(run.phrase_generator, pictures))
        concept = Concept(name, label, len(pictures), key, brings)
        with _phrase_as_concept(run, store, concept):
            if brings:
                add_phrase(run, name, pictures, run.config.languages[0])
            _learn(run, store, [*concepts, concept])
            store.commit([*concepts, concept])
    return concept


def remove_concept(run: Run | str | os.PathLike[str], name: str) -> None:
    """Takes a concept away: the run is as it was without it, to the bit where it was the last one added.

    Raises:
        InputError: there is no such concept.
    """
    run = run if isinstance(run, Run) else Run(run)
    store, table = ConceptStore(run.directory), run.phrase_table
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
def _phrase_as_concept(run: Run, store: ConceptStore, concept: Concept) -> Iterator[None]:
    """At the end, however it comes, the vocabulary has the phrase that a concept brought if the run has the concept."""
    run.__dict__.pop("classifier", None)
    if not concept.brought_phrase:
        yield
        return
    store.begin(concept.name)
    try:
        yield
    finally:
        if store.is_orphan(concept.name, run.phrase_table):
            remove_phrases(run, [concept.name])
        store.end()


def _learn(
    run: Run, store: ConceptStore, concepts: Sequence[Concept], phrases: np.ndarray | None = None
) -> None:
    """Writes the head that knows the concepts, trained on the run's own; `phrases` are the vocabulary's rows to use."""
    folder = run.stage_folder("classifier")
    choice = read_json(folder / "choice.json")
    how = {"k": choice["k"], "weighting": choice["weighting"]}
    table = run.phrase_table if phrases is None else run.phrase_table.take(phrases)
    number = {label: i for i, label in enumerate(labels_with(choice["labels"], concepts))}
    fraction = max(run.config.fractions)

    def of_split(split: str) -> list[np.ndarray]:
        return [run.visual_features(split, fraction), contexts(run, split, **how, table=table)[0]]

    def of_concept(concept: Concept) -> Examples:
        visual, queries = store.features(concept)
        context = contexts_of(run, queries, **how, table=table)[0]
        return Examples([visual, context], np.full(len(visual), number[concept.label], np.int32))

    replay, held_out = of_split("train"), Examples(of_split("val"), run.data.label_ids("val"))
    head = ContextFusion(len(choice["labels"]), name="context_fusion")
    head([tf.constant(part[:1]) for part in replay])
    load_weights(head, folder / "weights.npz")
    grown = grow_head(head, replay, held_out, [of_concept(one) for one in concepts], run.config.seed)
    store.keep_head(concepts, grown.get_weights())
