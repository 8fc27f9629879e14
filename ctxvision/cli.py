"""The command line: each verb calls one public function.

Exit status: 0 done, 2 wrong usage or bad input with one line that says what to fix, 1 anything else.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import ctxvision
from ctxvision.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of absent GPUs as errors
    chosen = _parser().parse_args(arguments)
    try:
        chosen.verb(chosen)
    except InputError as error:
        print(f"ctxvision: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ctxvision: stopped; the same command goes on from here.", file=sys.stderr)
        return 1
    except (OSError, RuntimeError) as error:
        print(f"ctxvision: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ctxvision", description="Image classification with predicted phrases."
    )
    parser.add_argument("--version", action="version", version=ctxvision.__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser(
        "demo", help="the whole pipeline on the demo's pictures, then a served prediction"
    )
    verb.add_argument("--out", default="runs/demo", help="folder of the run (default: %(default)s)")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--quick", action="store_true", help="a tenth of the training; accuracies mean little")
    verb.set_defaults(verb=_demo)

    verb = verbs.add_parser("train", help="train, measure, report and export on your own pictures")
    verb.add_argument("--data", required=True, help="folder with images.csv")
    verb.add_argument("--out", default="runs/train", help="folder of the run (default: %(default)s)")
    verb.add_argument("--preset", default="small", help="small, demo or paper (default: %(default)s)")
    verb.add_argument("--config", help="JSON file of settings; those it leaves out are the preset's")
    verb.add_argument(
        "--label-column", help="column of images.csv to learn, or several: 'label|coarse_label'"
    )
    verb.add_argument("--multi-label", action="store_true", help="a picture may have several labels")
    verb.add_argument(
        "--strategy",
        default="auto",
        metavar="NAME",
        help="auto, cpu, gpu, mirrored, tpu or multiworker (default: %(default)s)",
    )
    verb.set_defaults(verb=_train)

    verb = verbs.add_parser("plan", help="bytes, seconds and hours of a training, before it is started")
    verb.add_argument("--queries", type=float, required=True, help="how many, such as 40e6")
    verb.add_argument("--images", type=float, required=True, help="pictures with queries, such as 260e6")
    verb.add_argument("--devices", required=True, help="such as v5e-64, a100-8 or cpu-16")
    verb.add_argument("--preset", default="paper", help="small, demo or paper (default: %(default)s)")
    verb.add_argument("--config", help="JSON file of settings; those it leaves out are the preset's")
    verb.set_defaults(verb=_plan)

    verb = verbs.add_parser("evaluate", help="measure a run and write its report anew")
    verb.add_argument("run")
    verb.add_argument("--suite", default="all", help="name of a suite, or all (default: %(default)s)")
    verb.add_argument("--seeds", type=int, help="heads for each row")
    verb.add_argument(
        "--trainable-min",
        type=int,
        metavar="N",
        help="pictures that a label of mAP needs in train, under several labels a picture",
    )
    verb.set_defaults(verb=_evaluate)

    verb = verbs.add_parser("report", help="write report.html anew")
    verb.add_argument("run")
    verb.set_defaults(verb=lambda chosen: print(ctxvision.report(chosen.run)))

    verb = verbs.add_parser("export", help="write a SavedModel for TF Serving")
    verb.add_argument("run")
    verb.add_argument("--to", required=True, help="folder of the model; the next version in it is written")
    verb.add_argument("--retrieval", choices=("ivf", "exact", "scann"), default="ivf")
    verb.add_argument("--without-context", action="store_true", help="the picture alone decides")
    text = verb.add_mutually_exclusive_group()
    text.add_argument(
        "--fold-text",
        action="store_true",
        help="the vocabulary's text embeddings alone go along (the default)",
    )
    text.add_argument(
        "--with-text",
        action="store_true",
        help="the text encoder too, for callers' own words (TF.Text's ops)",
    )
    verb.add_argument(
        "--quantize", choices=("float16", "int8"), help="smaller tables; prints what that costs on val"
    )
    verb.set_defaults(verb=_export)

    _add_phrases_verbs(
        verbs.add_parser("phrases", help="look into and change the vocabulary, without training")
    )

    _add_concepts_verbs(
        verbs.add_parser("concepts", help="labels learnt from a handful of pictures, without training anew")
    )

    verb = verbs.add_parser("serve", help="serve an export by gRPC, REST and a page, for development")
    verb.add_argument("directory", help="folder of the model, with numbered versions in it")
    verb.add_argument("--port", type=int, default=8500, help="of gRPC (default: %(default)s)")
    verb.add_argument(
        "--rest-port", type=int, default=8501, help="of REST and the page (default: %(default)s)"
    )
    verb.add_argument(
        "--host", default="localhost", help="to listen on, 0.0.0.0 for all networks (default: %(default)s)"
    )
    verb.add_argument("--name", default="default", help="name of the model (default: %(default)s)")
    verb.set_defaults(verb=_serve)

    verb = verbs.add_parser("predict", help="classify pictures with an export or a server")
    verb.add_argument("target", help="folder of an export, or HOST:PORT")
    verb.add_argument("images", nargs="+", metavar="IMAGE")
    verb.add_argument(
        "--name", default="default", help="name of the model on a server (default: %(default)s)"
    )
    verb.add_argument("--explain", action="store_true", help="what each phrase adds to the top label")
    verb.add_argument("--json", action="store_true", help="one JSON object a line")
    verb.set_defaults(verb=_predict)
    return parser


def _add_phrases_verbs(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="build|add|remove|list|search|stats")

    verb = verbs.add_parser("build", help="the vocabulary of a two-tower model, for the setting phrase_table")
    verb.add_argument("--phrases", required=True, help="text file: a phrase a line, or phrase, tab, language")
    verb.add_argument("--text-tower", required=True, help="SavedModel that maps texts to vectors")
    verb.add_argument("--out", default="phrases", help="folder of the vocabulary (default: %(default)s)")
    verb.add_argument("--dim", type=int, default=64, help="of the prototypes (default: %(default)s)")
    verb.set_defaults(verb=_phrases_build)

    verb = verbs.add_parser("add", help="a phrase, from pictures of it; one that is known is replaced")
    verb.add_argument("run", help="folder of the run")
    verb.add_argument("phrase")
    verb.add_argument(
        "--images", nargs="+", required=True, metavar="IMAGE", help="pictures, or folders of them"
    )
    verb.add_argument("--language", default="en", help="code of its language (default: %(default)s)")
    verb.add_argument("--text", help="what the text encoder reads in the phrase's stead")
    verb.set_defaults(verb=_phrases_add)

    verb = verbs.add_parser("remove", help="phrases")
    verb.add_argument("run", help="folder of the run")
    verb.add_argument("phrases", nargs="+", metavar="PHRASE")
    verb.set_defaults(verb=_phrases_remove)

    verb = verbs.add_parser("list", help="phrases with the pictures behind them, most first")
    verb.add_argument("run", help="folder of the run")
    verb.add_argument("--language", help="of this language alone")
    verb.add_argument("--limit", type=int, default=20, help="how many (default: %(default)s; 0: all)")
    verb.set_defaults(verb=_phrases_list)

    verb = verbs.add_parser("search", help="phrases nearest to a picture or to a phrase")
    verb.add_argument("run", help="folder of the run")
    verb.add_argument("query", help="a picture's file, or words")
    verb.add_argument("-k", type=int, default=10, help="how many (default: %(default)s)")
    verb.set_defaults(verb=_phrases_search)

    verb = verbs.add_parser("stats", help="what the vocabulary holds")
    verb.add_argument("run", help="folder of the run")
    verb.set_defaults(verb=_phrases_stats)


def _add_concepts_verbs(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="add|remove|list")

    verb = verbs.add_parser("add", help="a label, or more of a known one, from 1 to 50 pictures")
    verb.add_argument("run", help="folder of the run")
    verb.add_argument("name", help="of the concept; becomes a phrase as well")
    verb.add_argument(
        "--images", nargs="+", required=True, metavar="IMAGE", help="pictures, or folders of them"
    )
    verb.add_argument("--label", help="what the classifier is to answer (default: the name)")
    verb.set_defaults(verb=_concepts_add)

    verb = verbs.add_parser("remove", help="a concept: the run is as it was without it")
    verb.add_argument("run", help="folder of the run")
    verb.add_argument("name")
    verb.set_defaults(verb=_concepts_remove)

    verb = verbs.add_parser("list", help="concepts, in the order in which they were added")
    verb.add_argument("run", help="folder of the run")
    verb.set_defaults(verb=_concepts_list)


def _phrases_build(chosen: argparse.Namespace) -> None:
    table = ctxvision.build_phrases(chosen.phrases, chosen.text_tower, chosen.out, chosen.dim)
    print(f"{len(table):,} phrases of {table.prototypes.shape[1]} dimensions in {chosen.out}")


def _phrases_add(chosen: argparse.Namespace) -> None:
    run = ctxvision.Run(chosen.run)
    number = ctxvision.add_phrase(run, chosen.phrase, chosen.images, chosen.language, chosen.text)
    print(f"{chosen.phrase!r} is phrase {number}; the next ctxvision export knows it")
    if chosen.language not in run.config.languages:
        print(f"it will not be context: the run's languages are {', '.join(run.config.languages)}")


def _phrases_remove(chosen: argparse.Namespace) -> None:
    ctxvision.remove_phrases(chosen.run, chosen.phrases)
    print(f"removed: {', '.join(map(repr, chosen.phrases))}; the next ctxvision export does without")


def _phrases_list(chosen: argparse.Namespace) -> None:
    if chosen.limit < 0:
        raise InputError(f"limit must be 0 or more, got {chosen.limit}: 0 lists all.")
    phrases = ctxvision.list_phrases(chosen.run, chosen.language)
    shown = phrases[: chosen.limit or None]
    _print_columns(
        ["pictures", "language", "phrase"], [[str(p.count), p.language, p.phrase] for p in shown], ">< "
    )
    if len(shown) < len(phrases):
        print(f"and {len(phrases) - len(shown)} more: --limit 0 lists all")


def _phrases_search(chosen: argparse.Namespace) -> None:
    found = ctxvision.search_phrases(chosen.run, chosen.query, chosen.k)
    rows = [[f"{p.score:.3f}", str(p.count), p.language, p.phrase] for p in found]
    _print_columns(["score", "pictures", "language", "phrase"], rows, ">>< ")


def _phrases_stats(chosen: argparse.Namespace) -> None:
    stats = ctxvision.phrase_stats(chosen.run)
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
    concept = ctxvision.Run(chosen.run).add_concept(chosen.name, chosen.images, chosen.label)
    learnt = "1 picture" if concept.pictures == 1 else f"{concept.pictures} pictures"
    print(
        f"{concept.name!r} is learnt from {learnt} as {concept.label!r}; the next ctxvision export knows it"
    )


def _concepts_remove(chosen: argparse.Namespace) -> None:
    ctxvision.Run(chosen.run).remove_concept(chosen.name)
    print(f"removed: {chosen.name!r}; the next ctxvision export does without")


def _concepts_list(chosen: argparse.Namespace) -> None:
    concepts = ctxvision.Run(chosen.run).concepts()
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


def _demo(chosen: argparse.Namespace) -> None:
    from ctxvision.serving import format_prediction

    run = ctxvision.demo(chosen.out, chosen.seed, chosen.quick)
    predictions = ctxvision.demo_prediction(run)
    print("\nThree test pictures, answered over gRPC:\n")
    print("\n\n".join(format_prediction(prediction, explain=True) for prediction in predictions))
    print(f"\nreport  {run.directory / 'report.html'}\nexport  {run.directory / 'export'}")


def _train(chosen: argparse.Namespace) -> None:
    settings = {"label_column": chosen.label_column} if chosen.label_column else {}
    settings |= {"multi_label": True} if chosen.multi_label else {}
    config = _config(chosen, **settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the same command goes on
    run = ctxvision.train(chosen.data, chosen.out, config, strategy=chosen.strategy)
    print(f"report  {run.directory / 'report.html'}\nexport  {run.directory / 'export'}")


def _plan(chosen: argparse.Namespace) -> None:
    print(ctxvision.plan(chosen.queries, chosen.images, chosen.devices, _config(chosen)))


def _config(chosen: argparse.Namespace, **settings: Any) -> "ctxvision.Config":
    """The preset, the file's settings over it, and `settings` over both."""
    if chosen.config:
        return ctxvision.Config.from_file(chosen.config, chosen.preset, **settings)
    return ctxvision.Config.preset(chosen.preset, **settings)


def _evaluate(chosen: argparse.Namespace) -> None:
    print(ctxvision.evaluate(chosen.run, chosen.suite, chosen.seeds, trainable_min=chosen.trainable_min))


def _export(chosen: argparse.Namespace) -> None:
    context = not chosen.without_context
    settings = {"context": context, "with_text": chosen.with_text, "quantize": chosen.quantize}
    version = ctxvision.export(chosen.run, chosen.to, chosen.retrieval, **settings)
    print(version)
    if chosen.quantize:
        cost = json.loads((version / "assets" / "ctxvision.json").read_text(encoding="utf-8"))["quantized"]
        print(
            f"on the {cost['pictures']} pictures of val: {cost['metric']} {100 * cost['before']:.1f}% -> "
            f"{100 * cost['after']:.1f}%, {100 * cost['same_phrases']:.1f}% of the phrases the same; "
            f"variables {cost['megabytes_before']:,.1f} -> {cost['megabytes_after']:,.1f} MB"
        )


def _serve(chosen: argparse.Namespace) -> None:
    from ctxvision.serving import Server

    server = Server(chosen.directory, chosen.port, chosen.name, chosen.host, chosen.rest_port)
    server.start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: requests under way are answered
    print(f"serving {chosen.name} from {chosen.directory} on {chosen.host}:{server.port}", flush=True)
    print(f"page and REST  http://{chosen.host}:{server.rest_port}/", flush=True)
    server.wait()


def _predict(chosen: argparse.Namespace) -> None:
    from ctxvision.serving import format_prediction

    for prediction in ctxvision.predict(chosen.target, chosen.images, chosen.explain, chosen.name):
        print(
            json.dumps(prediction.to_json(), ensure_ascii=False)
            if chosen.json
            else format_prediction(prediction, chosen.explain)
        )


if __name__ == "__main__":
    sys.exit(main())
