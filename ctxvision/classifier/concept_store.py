"""Stores the concepts that were added to a run."""

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctxvision._files import atomic_path, read_json, write_json
from ctxvision.errors import InputError
from ctxvision.vocabulary import PhraseTable


class Concept(NamedTuple):
    """A label that was learnt from a handful of pictures or from words."""

    name: str
    label: str
    pictures: int
    key: str  # digest of name, label, words and features
    brought_phrase: bool  # whether adding the concept also added its name to the vocabulary
    words: tuple[str, ...] = ()  # terms of the label


class ConceptStore:
    """The folder `RUN/concepts`; `concepts.json`, which a rename replaces, lists the valid concepts.

        concepts.json       the concepts, in the order in which they were added
        pictures/<key>.npz  visual features and query embeddings of a concept
        heads/<key>.npz     weights of the head with the first concepts of the list
        unfinished.json     the phrase that a change in progress has added or will remove
        .lock               held while the concepts change

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path):
        self.folder = run / "concepts"
        self._table = run / "table"

    def read(self) -> list[Concept]:
        """Returns the concepts in the order in which they were added.

        Raises:
            InputError: `concepts.json` is damaged.
        """
        path = self.folder / "concepts.json"
        if not path.is_file():
            return []
        try:
            return [Concept(**{**row, "words": tuple(row["words"])}) for row in read_json(path)]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{str(path)!r} must be a list of concepts, got one that is damaged ({error}): delete the file, and "
                "add the concepts again."
            ) from None

    def head(self, concepts: Sequence[Concept]) -> Path:
        """Returns the path of the head that knows these concepts, whether or not the file exists."""
        keys = "".join(concept.key for concept in concepts)
        return self.folder / "heads" / f"{_hash(keys.encode())}.npz"

    def features(self, concept: Concept) -> tuple[np.ndarray, np.ndarray]:
        """Reads a concept's visual features float32 [N, D] and query embeddings float32 [N, 64]."""
        with np.load(self._pictures(concept.key), allow_pickle=False) as stored:
            return stored["visual"], stored["queries"]

    def keep_features(
        self, name: str, label: str, words: Sequence[str], visual: np.ndarray, queries: np.ndarray
    ) -> str:
        """Writes a concept's features, and returns the key of the concept."""
        text = "\n".join([name, label, *words, ""])
        key = _hash(text.encode() + visual.tobytes() + queries.tobytes())
        with atomic_path(self._pictures(key)) as temporary, open(temporary, "wb") as file:
            np.savez(file, visual=visual, queries=queries)
        return key

    def keep_head(self, concepts: Sequence[Concept], weights: Sequence[np.ndarray]) -> None:
        """Writes the weights of the head that knows these concepts."""
        with atomic_path(self.head(concepts)) as temporary, open(temporary, "wb") as file:
            np.savez(file, *weights)

    def commit(self, concepts: Sequence[Concept]) -> None:
        """Makes these the concepts of the run, and deletes files that only other concepts need."""
        write_json(self.folder / "concepts.json", [concept._asdict() for concept in concepts])
        needed = {self._pictures(concept.key) for concept in concepts}
        needed |= {self.head(concepts[:number]) for number in range(1, len(concepts) + 1)}
        for path in [*self.folder.glob("pictures/*"), *self.folder.glob("heads/*")]:
            if path not in needed:
                path.unlink(missing_ok=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Locks the concepts against other changes, and ends a change that was killed.

        Raises:
            InputError: another change is in progress.
        """
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"concepts of {str(self.folder.parent)!r} must be changed by one process at a time, got another "
                    "change under way: try again when that change is done."
                ) from None
            self._recover()
            yield

    def begin(self, phrase: str) -> None:
        """Notes, under `changing`, the phrase that the vocabulary is about to add or remove."""
        write_json(self.folder / "unfinished.json", phrase)

    def end(self) -> None:
        """Removes the note of `begin` after the vocabulary has changed or kept its state."""
        (self.folder / "unfinished.json").unlink()

    def is_orphan(self, phrase: str, table: PhraseTable) -> bool:
        """Returns whether the vocabulary holds the phrase of a concept that does not exist."""
        owned = any(concept.name == phrase and concept.brought_phrase for concept in self.read())
        return not owned and knows(table, phrase)

    def recover(self) -> None:
        """Ends a change that was killed: its concept then exists completely or not at all."""
        if (self.folder / "unfinished.json").exists():
            with open(self.folder / ".lock", "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # the change is still in progress
                    return
                self._recover()

    def _recover(self) -> None:
        journal = self.folder / "unfinished.json"
        if journal.exists():
            phrase, table = read_json(journal), PhraseTable.load(self._table)
            if self.is_orphan(phrase, table):
                table.remove([phrase])
            journal.unlink(missing_ok=True)

    def _pictures(self, key: str) -> Path:
        return self.folder / "pictures" / f"{key}.npz"


def labels_with(labels: Sequence[str], concepts: Sequence[Concept]) -> list[str]:
    """Returns the labels of a classifier of `labels` that has learnt `concepts`; new labels come last."""
    return list(dict.fromkeys([*labels, *(concept.label for concept in concepts)]))


def knows(table: PhraseTable, phrase: str) -> bool:
    """Returns whether the vocabulary holds a phrase that has not been removed."""
    return bool(table.ids([phrase])[0] >= 0)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
