"""Checks what training needs of a data set; `ctxvision data check` reports all problems, training raises the first."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ctxvision.data.manifest import Manifest
from ctxvision.data.split import Split, few, too_many
from ctxvision.errors import InputError


class QueryNeeds(NamedTuple):
    """The requirements of a context on queries; the first three fields are settings of `ContextConfig`.

    Attributes:
        languages: languages of the queries to learn.
        min_class_count: pictures that a query needs to be a class.
        min_phrase_count: pictures that a query needs to be a phrase.
        phrases: the number of phrases in a picture's context.

    Example:
        >>> needs = cv.QueryNeeds(languages=("en", "es"), min_class_count=10)
        >>> cv.check_data(cv.load_data("photos"), queries=needs).refused
        []
    """

    languages: Sequence[str] = ("en",)
    min_class_count: int = 5
    min_phrase_count: int = 1
    phrases: int = 1


# The requirements of the default settings.
USUAL_NEEDS = QueryNeeds()


def refused_for_training(
    manifest: Manifest, multi_label: bool = False, queries: QueryNeeds | None = None
) -> list[str]:
    """Lists why training would refuse the data, as sentences; empty if training would start.

    Args:
        manifest: the data.
        multi_label: whether pictures may have several labels, or none.
        queries: what training needs of the queries; None for a run over a context, which needs no queries.
    """
    refused = [] if queries is None else refused_queries(manifest, queries)
    return refused_labels(manifest, multi_label) + refused + refused_files(manifest)


def refuse_unfit(refused: Iterable[str]) -> None:
    """Raises an InputError with the first sentence, if there is one."""
    for sentence in refused:
        raise InputError(sentence)


def refused_labels(manifest: Manifest, multi_label: bool = False) -> list[str]:
    """Lists problems of the labels as sentences; empty if a classifier can learn from them.

    Args:
        manifest: the data.
        multi_label: whether pictures may have several labels, or none.
    """
    try:
        train = manifest.require_split("train")
    except InputError as error:
        return [str(error)]
    trained = {label for labels in train.labels for label in labels}
    if not trained:
        return [
            f"the train rows of {manifest.source} must have labels, got an empty column {manifest.label_column!r} in "
            "all of them: fill it or choose another label column."
        ]
    if len(trained) < 2:
        return [
            f"the train rows of {manifest.source} must have at least 2 labels, got only {next(iter(trained))!r} in column "
            f"{manifest.label_column!r}: add pictures of another label."
        ]
    splits = [split for name, split in manifest.by_split.items() if name != "web"]
    return [sentence for split in splits for sentence in _labels_of(manifest, split, trained, multi_label)]


def refused_queries(manifest: Manifest, needs: QueryNeeds) -> list[str]:
    """Lists problems of the queries as sentences; empty if a context can learn from them."""
    try:
        web = manifest.require_split("web")
    except InputError as error:
        return [str(error)]
    if not any(web.queries):
        return [
            f"the web rows of {manifest.source} must have queries, got none: fill the column queries, several "
            "separated by |."
        ]
    counts, spoken, refused = query_counts(web, needs.languages), ", ".join(needs.languages), []
    classes = sum(number >= needs.min_class_count for number in counts.values())
    if classes < 2 and manifest.words_for_queries:
        refused.append(
            f"{manifest.source} must have queries or {needs.min_class_count} pictures per label, got neither: train over a context "
            "(--context), name a second source with queries, add pictures, or lower min_class_count."
        )
    elif classes < 2:
        refused.append(
            f"queries must include at least 2 with {needs.min_class_count} pictures or more in {spoken}, got {classes}: give more "
            "pictures, or lower min_class_count."
        )
    found = sum(number >= needs.min_phrase_count for number in counts.values())
    if found < needs.phrases:
        refused.append(
            f"queries must include at least {needs.phrases} with {needs.min_phrase_count} pictures or more in {spoken}, got {found}: "
            "give more pictures, or lower context_phrases or min_phrase_count."
        )
    return refused


def query_counts(web: Split, languages: Sequence[str]) -> Counter[str]:
    """Counts the pictures of each query in these languages; a query has the language of its first picture."""
    language: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in web.queries:
        counts.update(query.text for query in row)
        for query in row:
            language.setdefault(query.text, query.language)
    return Counter({text: number for text, number in counts.items() if language[text] in languages})


def missing_files(split: Split) -> list[str]:
    """Lists the paths of a split that are not files; empty if pictures lie inside other files or are remote.

    The function lists each folder once, because checking a million single files takes minutes.
    """
    if split.stored is not None or (split.paths and "://" in split.paths[0]):
        return []
    listed: dict[str, set[str]] = {}
    missing = []
    for path in split.paths:
        folder, _, name = path.rpartition("/")
        if folder not in listed:
            listed[folder] = _files_in(folder)
        if name not in listed[folder]:
            missing.append(path)
    return missing


def refused_files(manifest: Manifest) -> list[str]:
    """Makes sentences about the splits with too many missing files."""
    missing = [(split, missing_files(split)) for split in manifest.by_split.values()]
    return [
        f"{told_missing(split, paths)}; at most 1% may be: restore the files, or remove their rows."
        for split, paths in missing
        if too_many(len(paths), len(split))
    ]


def told_missing(split: Split, paths: Sequence[str]) -> str:
    """Describes the missing files of a split."""
    some = "1 file" if len(paths) == 1 else f"{len(paths):,} files"
    return f"{some} of split {split.name!r} {'is' if len(paths) == 1 else 'are'} missing: {few(paths)}"


def _labels_of(manifest: Manifest, split: Split, trained: set[str], multi_label: bool) -> list[str]:
    for path, labels in zip(split.paths, split.labels, strict=True):
        if len(labels) != 1 and not multi_label:
            return [
                f"every picture of split {split.name!r} must have one label, got "
                f"{'|'.join(labels) or 'none'} for {path.removeprefix(manifest.root + os.sep)}: correct the row or "
                "train with multi-label."
            ]
    unknown = sorted({label for labels in split.labels for label in labels} - trained)
    if unknown:
        return [
            f"every label of split {split.name!r} must also be in split 'train', got {few(unknown)}: add train rows "
            "with it or leave its rows out."
        ]
    return []


def _files_in(folder: str) -> set[str]:
    """Lists the names of the files in a folder, without broken links."""
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as entries:
        # `is_file` of an entry raises for a link to itself.
        return {
            one.name for one in entries if (os.path.isfile(one.path) if one.is_symlink() else one.is_file())
        }
