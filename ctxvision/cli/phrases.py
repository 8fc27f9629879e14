"""The verbs `phrases` and `concepts` of the command line."""

import argparse

import ctxvision
from ctxvision.cli.parser import Parser
from ctxvision.cli.runs import add_owner, add_run, owner_of, run_of
from ctxvision.errors import InputError


def add_phrases(parser: Parser, task: str) -> None:
    """Adds `ctxvision phrases add|remove|list|search|stats`."""
    verbs = parser.add_verb(
        "phrases",
        "List, search and change the phrases of a context or a run, without training.",
        "ctxvision phrases search contexts/web picture.jpg",
        task,
    )

    verb = verbs.add_verb(
        "add",
        "Add a phrase from pictures of it; a known phrase is replaced.",
        'ctxvision phrases add contexts/web "our mascot" --images mascot/',
    )
    add_owner(verb)
    verb.add_argument("phrase", help="the phrase to add")
    verb.add_argument(
        "--images", nargs="+", required=True, metavar="IMAGE", help="pictures, or folders of them"
    )
    verb.add_argument("--language", default="en", help="code of its language (default: %(default)s)")
    verb.add_argument("--text", help="text that the text encoder reads instead of the phrase")
    verb.set_defaults(verb=_phrases_add)

    verb = verbs.add_verb("remove", "Remove phrases.", 'ctxvision phrases remove contexts/web "our mascot"')
    add_owner(verb)
    verb.add_argument("phrases", nargs="+", metavar="PHRASE", help="phrases to remove")
    verb.set_defaults(verb=_phrases_remove)

    verb = verbs.add_verb(
        "list", "List phrases, most pictures first.", "ctxvision phrases list contexts/web --limit 50"
    )
    add_owner(verb)
    verb.add_argument("--language", help="list phrases of this language only")
    verb.add_argument("--limit", type=int, default=20, help="how many (default: %(default)s; 0: all)")
    verb.set_defaults(verb=_phrases_list)

    verb = verbs.add_verb(
        "search",
        "Find the phrases nearest to a picture or to words.",
        "ctxvision phrases search contexts/web picture.jpg -k 5",
    )
    add_owner(verb)
    verb.add_argument("query", help="file of a picture, or words")
    verb.add_argument("-k", type=int, default=10, help="how many (default: %(default)s)")
    verb.set_defaults(verb=_phrases_search)

    verb = verbs.add_verb(
        "stats", "Count phrases by pictures and by language.", "ctxvision phrases stats contexts/web"
    )
    add_owner(verb)
    verb.set_defaults(verb=_phrases_stats)


def add_concepts(parser: Parser, task: str) -> None:
    """Adds `ctxvision concepts add|remove|list`."""
    verbs = parser.add_verb(
        "concepts",
        "Add labels to a run from a few pictures or words, without training it again.",
        'ctxvision concepts add runs/photos "our mascot" --images mascot/',
        task,
    )

    verb = verbs.add_verb(
        "add",
        "Add a label, or teach a known one, from pictures, words, or both.",
        'ctxvision concepts add runs/photos okapi --words "okapi|forest giraffe"',
    )
    add_run(verb)
    verb.add_argument("name", help="name of the concept, which becomes a phrase as well")
    verb.add_argument("--images", nargs="+", metavar="IMAGE", help="up to 50 pictures, or folders of them")
    verb.add_argument("--words", metavar='"A|B"', help="what people call it")
    verb.add_argument("--label", help="label that the classifier answers (default: the name)")
    verb.set_defaults(verb=_concepts_add)

    verb = verbs.add_verb(
        "remove",
        "Remove a concept and all that the run learnt from it.",
        'ctxvision concepts remove runs/photos "our mascot"',
    )
    add_run(verb)
    verb.add_argument("name", help="name of the concept")
    verb.set_defaults(verb=_concepts_remove)

    verb = verbs.add_verb(
        "list", "List concepts in the order they were added.", "ctxvision concepts list runs/photos"
    )
    add_run(verb)
    verb.set_defaults(verb=_concepts_list)


def _phrases_add(chosen: argparse.Namespace) -> None:
    from ctxvision.classifier.phrases import context_of

    owner = owner_of(chosen)
    number = ctxvision.add_phrase(owner, chosen.phrase, chosen.images, chosen.language, chosen.text)
    print(f"added {chosen.phrase!r} as phrase {number}; export again to serve it")
    if chosen.language not in (languages := context_of(owner).languages):
        print(
            f"warning: only phrases in {', '.join(languages)} become context, not those in {chosen.language}"
        )


def _phrases_remove(chosen: argparse.Namespace) -> None:
    ctxvision.remove_phrases(owner_of(chosen), chosen.phrases)
    print(f"removed {', '.join(map(repr, chosen.phrases))}; export again to serve without")


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
        ("phrases", stats.phrases),
        ("may become context", stats.retrievable),
        ("removed", stats.removed),
        *((f"with {number} or more pictures", phrases) for number, phrases in stats.pictures.items()),
        *((f"in {language}", phrases) for language, phrases in stats.languages.items()),
        ("kilobytes on disk", round(stats.bytes_on_disk / 1000)),
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
        f"added {concept.name!r} with label {concept.label!r}, learnt from {learnt}; export again to serve it"
    )


def _concepts_remove(chosen: argparse.Namespace) -> None:
    run_of(chosen).remove_concept(chosen.name)
    print(f"removed {chosen.name!r}; export again to serve without")


def _concepts_list(chosen: argparse.Namespace) -> None:
    concepts = run_of(chosen).concepts()
    rows = [[str(concept.pictures), concept.label, concept.name] for concept in concepts]
    _print_columns(["pictures", "label", "concept"], rows, ">< ")


def _print_columns(header: list[str], rows: list[list[str]], sides: str) -> None:
    """Prints aligned columns; `sides` has "<" or ">" for each, or " " for a last column without padding."""
    lines = [header, *rows] if header else rows
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = [
            cell if side == " " else f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths)
        ]
        print("  ".join(cells))
