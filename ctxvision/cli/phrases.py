"""The verbs `phrases` and `concepts` of the command line."""

import argparse

import ctxvision
from ctxvision.cli.runs import add_owner, add_run, owner_of, run_of
from ctxvision.errors import InputError


def add_phrases_verbs(parser: argparse.ArgumentParser) -> None:
    """`ctxvision phrases add|remove|list|search|stats`."""
    verbs = parser.add_subparsers(required=True, metavar="add|remove|list|search|stats")

    verb = verbs.add_parser("add", help="a phrase, from pictures of it; one that is known is replaced")
    add_owner(verb)
    verb.add_argument("phrase")
    verb.add_argument(
        "--images", nargs="+", required=True, metavar="IMAGE", help="pictures, or folders of them"
    )
    verb.add_argument("--language", default="en", help="code of its language (default: %(default)s)")
    verb.add_argument("--text", help="read by the text encoder instead of the phrase")
    verb.set_defaults(verb=_phrases_add)

    verb = verbs.add_parser("remove", help="phrases")
    add_owner(verb)
    verb.add_argument("phrases", nargs="+", metavar="PHRASE")
    verb.set_defaults(verb=_phrases_remove)

    verb = verbs.add_parser("list", help="phrases with the pictures behind them, most first")
    add_owner(verb)
    verb.add_argument("--language", help="of this language alone")
    verb.add_argument("--limit", type=int, default=20, help="how many (default: %(default)s; 0: all)")
    verb.set_defaults(verb=_phrases_list)

    verb = verbs.add_parser("search", help="phrases nearest to a picture or to a phrase")
    add_owner(verb)
    verb.add_argument("query", help="a picture's file, or words")
    verb.add_argument("-k", type=int, default=10, help="how many (default: %(default)s)")
    verb.set_defaults(verb=_phrases_search)

    verb = verbs.add_parser("stats", help="what the vocabulary holds")
    add_owner(verb)
    verb.set_defaults(verb=_phrases_stats)


def add_concepts_verbs(parser: argparse.ArgumentParser) -> None:
    """`ctxvision concepts add|remove|list`."""
    verbs = parser.add_subparsers(required=True, metavar="add|remove|list")

    verb = verbs.add_parser("add", help="a label, or more of a known one, from pictures, words, or both")
    add_run(verb)
    verb.add_argument("name", help="of the concept; becomes a phrase as well")
    verb.add_argument("--images", nargs="+", metavar="IMAGE", help="up to 50 pictures, or folders of them")
    verb.add_argument("--words", metavar='"A|B"', help="what people call it")
    verb.add_argument("--label", help="what the classifier is to answer (default: the name)")
    verb.set_defaults(verb=_concepts_add)

    verb = verbs.add_parser("remove", help="a concept: the run is as it was without it")
    add_run(verb)
    verb.add_argument("name")
    verb.set_defaults(verb=_concepts_remove)

    verb = verbs.add_parser("list", help="concepts, in the order in which they were added")
    add_run(verb)
    verb.set_defaults(verb=_concepts_list)


def _phrases_add(chosen: argparse.Namespace) -> None:
    from ctxvision.classifier.phrases import context_of

    owner = owner_of(chosen)
    number = ctxvision.add_phrase(owner, chosen.phrase, chosen.images, chosen.language, chosen.text)
    print(f"{chosen.phrase!r} is phrase {number}; the next ctxvision export knows it")
    if chosen.language not in context_of(owner).languages:
        print(f"it will not be context: the languages are {', '.join(context_of(owner).languages)}")


def _phrases_remove(chosen: argparse.Namespace) -> None:
    ctxvision.remove_phrases(owner_of(chosen), chosen.phrases)
    print(f"removed: {', '.join(map(repr, chosen.phrases))}; the next ctxvision export does without")


def _phrases_list(chosen: argparse.Namespace) -> None:
    if chosen.limit < 0:
        raise InputError(f"limit must be 0 or more, got {chosen.limit}: 0 lists all.")
    phrases = ctxvision.list_phrases(owner_of(chosen), chosen.language)
    shown = phrases[: chosen.limit or None]
    _print_columns(
        ["pictures", "language", "phrase"], [[str(p.count), p.language, p.phrase] for p in shown], ">< "
    )
    if len(shown) < len(phrases):
        print(f"and {len(phrases) - len(shown)} more: --limit 0 lists all")


def _phrases_search(chosen: argparse.Namespace) -> None:
    found = ctxvision.search_phrases(owner_of(chosen), chosen.query, chosen.k)
    rows = [[f"{p.score:.3f}", str(p.count), p.language, p.phrase] for p in found]
    _print_columns(["score", "pictures", "language", "phrase"], rows, ">>< ")


def _phrases_stats(chosen: argparse.Namespace) -> None:
    stats = ctxvision.phrase_stats(owner_of(chosen))
    rows = [
        ["phrases", stats.phrases],
        ["may become context", stats.retrievable],
        ["removed", stats.removed],
        *([f"with {number} or more pictures", phrases] for number, phrases in stats.pictures.items()),
        *([f"in {language}", phrases] for language, phrases in stats.languages.items()),
        ["kilobytes on disk", round(stats.bytes_on_disk / 1000)],
    ]
    _print_columns([], [[name, f"{number:,}"] for name, number in rows], "<>")


def _concepts_add(chosen: argparse.Namespace) -> None:
    words = [] if chosen.words is None else chosen.words.split("|")
    concept = run_of(chosen).add_concept(chosen.name, chosen.images, chosen.label, words)
    learnt = "1 picture" if concept.pictures == 1 else f"{concept.pictures} pictures"
    if concept.words:
        told = ", ".join(concept.words)
        learnt = f"{learnt} and the words {told}" if concept.pictures else f"the words {told}"
    print(
        f"{concept.name!r} is learnt from {learnt} as {concept.label!r}; the next ctxvision export knows it"
    )


def _concepts_remove(chosen: argparse.Namespace) -> None:
    run_of(chosen).remove_concept(chosen.name)
    print(f"removed: {chosen.name!r}; the next ctxvision export does without")


def _concepts_list(chosen: argparse.Namespace) -> None:
    concepts = run_of(chosen).concepts()
    rows = [[str(concept.pictures), concept.label, concept.name] for concept in concepts]
    _print_columns(["pictures", "label", "concept"], rows, ">< ")


def _print_columns(header: list[str], rows: list[list[str]], sides: str) -> None:
    """Aligned lines; `sides` says where each column's text stands, "<", ">", or " " for a last one as it is."""
    lines = [header, *rows] if header else rows
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = [
            cell if side == " " else f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths)
        ]
        print("  ".join(cells))
