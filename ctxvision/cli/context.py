"""The verb `context` of the command line."""

import argparse
import json
import signal

import ctxvision
from ctxvision.cli.parser import Parser
from ctxvision.cli.runs import (
    add_config,
    add_json,
    add_preset,
    add_sources,
    add_strategy,
    add_to,
    progress_of,
)


def add_context(parser: Parser, task: str) -> None:
    """Adds `ctxvision context train|build|describe|evaluate|export`."""
    verbs = parser.add_verb(
        "context",
        "Make, describe, measure or export a context, which predicts phrases of pictures.",
        "ctxvision context train weblog --out contexts/web",
        task,
    )

    verb = verbs.add_verb(
        "train",
        "Train a context on the pictures of split web and the queries that led to them.",
        "ctxvision context train weblog --out contexts/web",
    )
    add_sources(verb)
    _add_out(verb)
    add_preset(verb)
    verb.add_argument(
        "--associations", metavar="FILE", help="more pairs of queries: TSV of query, query, optional weight"
    )
    add_strategy(verb)
    verb.set_defaults(verb=_train)

    verb = verbs.add_verb(
        "build",
        "Build a context from a two-tower model and a list of phrases, without training.",
        "ctxvision context build --preset clip_vit_base_patch16 --phrases phrases.tsv --out contexts/clip",
    )
    verb.add_argument(
        "--phrases",
        required=True,
        help="text file with a phrase on each line, or phrase, tab, language, or also tab, count",
    )
    verb.add_argument(
        "--preset", help="CLIP or SigLIP preset of KerasHub, or its folder; both towers are made from it once"
    )
    verb.add_argument("--text-tower", help="SavedModel that maps texts to vectors, instead of --preset")
    verb.add_argument("--picture-tower", help="SavedModel that maps pixels to vectors, instead of --preset")
    verb.add_argument(
        "--pictures",
        nargs="+",
        metavar="DATA",
        help="data whose mean picture vector is subtracted from every picture vector",
    )
    _add_out(verb)
    verb.set_defaults(verb=_build)

    verb = verbs.add_verb(
        "describe",
        "Predict phrases of pictures; no labels are needed.",
        "ctxvision context describe contexts/web picture.jpg",
    )
    _add_folder(verb)
    verb.add_argument("images", nargs="+", metavar="IMAGE", help="pictures, or folders of them")
    verb.add_argument("-k", type=int, default=5, help="phrases for each picture (default: %(default)s)")
    add_json(verb)
    verb.set_defaults(verb=_describe)

    verb = verbs.add_verb(
        "evaluate",
        "Measure a context and write its card.",
        "ctxvision context evaluate contexts/web photos",
    )
    _add_folder(verb)
    verb.add_argument("data", nargs="+", metavar="DATA", help="pictures with queries, labels or both")
    verb.add_argument("--label-column", default="label", help="column of the labels (default: %(default)s)")
    verb.set_defaults(verb=_evaluate)

    verb = verbs.add_verb(
        "export",
        "Write a context as a tagger for TF Serving, a SavedModel from pixels to phrases.",
        "ctxvision context export contexts/web --to serving/tagger",
    )
    _add_folder(verb)
    add_to(verb)
    verb.set_defaults(verb=_export)


def _add_folder(verb: Parser) -> None:
    verb.add_argument("context", help="folder of the context")


def _add_out(verb: Parser) -> None:
    verb.add_argument("--out", required=True, help="folder of the context")
    add_config(verb)
    verb.add_argument("--license", default="", help="licence of the data or model, for the context's card")


def _config(chosen: argparse.Namespace, preset: str) -> "ctxvision.ContextConfig":
    if chosen.config:
        return ctxvision.ContextConfig.from_file(chosen.config, preset)
    return ctxvision.ContextConfig.preset(preset)


def _train(chosen: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the same command resumes
    context = ctxvision.train_context(
        chosen.data,
        chosen.out,
        _config(chosen, chosen.preset),
        chosen.associations,
        licence=chosen.license,
        progress=progress_of(chosen),
        strategy=chosen.strategy,
    )
    _print_products(context)


def _build(chosen: argparse.Namespace) -> None:
    context = ctxvision.build_context(
        chosen.phrases,
        chosen.text_tower,
        chosen.picture_tower,
        chosen.out,
        chosen.pictures,
        _config(chosen, "small"),
        chosen.license,
        progress_of(chosen),
        preset=chosen.preset,
    )
    _print_products(context)


def _print_products(context: "ctxvision.Context") -> None:
    print(f"context  {context.directory}\ncard     {context.directory / 'README.md'}")


def _describe(chosen: argparse.Namespace) -> None:
    from ctxvision.training.given_pictures import picture_files

    files = picture_files(chosen.images)
    for path, found in zip(files, ctxvision.Context(chosen.context).describe(files, chosen.k), strict=True):
        if chosen.json:
            phrases = [{"phrase": one.phrase, "score": one.score} for one in found]
            print(json.dumps({"path": path, "phrases": phrases}, ensure_ascii=False))
            continue
        print(path)
        for one in found:
            print(f"  {one.score:.3f}  {one.phrase}")


def _evaluate(chosen: argparse.Namespace) -> None:
    progress = progress_of(chosen)
    for record in ctxvision.evaluate_context(chosen.context, chosen.data, chosen.label_column, progress):
        print(f"{record.split:<12}  {record.metric:<18}  {100 * record.value:5.1f}%")
    print(f"card  {chosen.context}/README.md")


def _export(chosen: argparse.Namespace) -> None:
    print(ctxvision.export_context(chosen.context, chosen.to))
