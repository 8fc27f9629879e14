"""The verb `context` of the command line."""

import argparse
import json
import signal

import ctxvision


def add_context_verbs(parser: argparse.ArgumentParser) -> None:
    """`ctxvision context train|build|describe|evaluate|export`."""
    verbs = parser.add_subparsers(required=True, metavar="train|build|describe|evaluate|export")

    verb = verbs.add_parser("train", help="a context from pictures and the queries that led to them")
    verb.add_argument(
        "data", nargs="+", metavar="DATA", help="as of ctxvision train; its split web has queries"
    )
    _add_making(verb)
    verb.add_argument(
        "--associations", metavar="FILE", help="more pairs of queries: TSV of query, query, optional weight"
    )
    verb.add_argument(
        "--strategy", default="auto", metavar="NAME", help="as of ctxvision train (default: %(default)s)"
    )
    verb.set_defaults(verb=_train)

    verb = verbs.add_parser("build", help="a context from a two-tower model and a list of phrases")
    verb.add_argument(
        "--phrases",
        required=True,
        help="text file: a phrase a line, or phrase, tab, language, or also tab, count",
    )
    verb.add_argument(
        "--preset", help="CLIP or SigLIP preset of KerasHub, or its folder: both towers are made from it once"
    )
    verb.add_argument("--text-tower", help="SavedModel that maps texts to vectors, instead of --preset")
    verb.add_argument("--picture-tower", help="SavedModel that maps pixels to vectors, instead of --preset")
    verb.add_argument(
        "--pictures",
        nargs="+",
        metavar="DATA",
        help="data whose pictures give the mean that pictures are seen from",
    )
    _add_out(verb)
    verb.set_defaults(verb=_build)

    verb = verbs.add_parser("describe", help="phrases of pictures, no taxonomy needed")
    verb.add_argument("context", help="folder of the context")
    verb.add_argument("images", nargs="+", metavar="IMAGE")
    verb.add_argument("-k", type=int, default=5, help="phrases a picture (default: %(default)s)")
    verb.add_argument("--json", action="store_true", help="one JSON object a line")
    verb.set_defaults(verb=_describe)

    verb = verbs.add_parser("evaluate", help="measure a context, and write its card")
    verb.add_argument("context", help="folder of the context")
    verb.add_argument("data", nargs="+", metavar="DATA", help="pictures with queries, labels or both")
    verb.add_argument("--label-column", default="label", help="column of the labels (default: %(default)s)")
    verb.set_defaults(verb=_evaluate)

    verb = verbs.add_parser("export", help="write a tagger as a SavedModel for TF Serving")
    verb.add_argument("context", help="folder of the context")
    verb.add_argument("--to", required=True, help="folder of the model; the next version in it is written")
    verb.set_defaults(verb=_export)


def _add_making(verb: argparse.ArgumentParser) -> None:
    _add_out(verb)
    verb.add_argument(
        "--preset", default="small", help="small, demo, transfer or paper (default: %(default)s)"
    )


def _add_out(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--out", required=True, help="folder of the context")
    verb.add_argument(
        "--config", help="JSON file of settings; those it leaves out are the preset's or the defaults"
    )
    verb.add_argument("--license", default="", help="of what the context is made from, for its card")


def _config(chosen: argparse.Namespace, preset: str) -> "ctxvision.ContextConfig":
    if chosen.config:
        return ctxvision.ContextConfig.from_file(chosen.config, preset)
    return ctxvision.ContextConfig.preset(preset)


def _train(chosen: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the same command goes on
    context = ctxvision.train_context(
        chosen.data,
        chosen.out,
        _config(chosen, chosen.preset),
        chosen.associations,
        licence=chosen.license,
        strategy=chosen.strategy,
    )
    print(f"context  {context.directory}\ncard     {context.directory / 'README.md'}")


def _build(chosen: argparse.Namespace) -> None:
    context = ctxvision.build_context(
        chosen.phrases,
        chosen.text_tower,
        chosen.picture_tower,
        chosen.out,
        chosen.pictures,
        _config(chosen, "small"),
        chosen.license,
        preset=chosen.preset,
    )
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
    for record in ctxvision.evaluate_context(chosen.context, chosen.data, chosen.label_column):
        print(f"{record.split:<12}  {record.metric:<18}  {100 * record.value:5.1f}%")
    print(f"card  {chosen.context}/README.md")


def _export(chosen: argparse.Namespace) -> None:
    print(ctxvision.export_context(chosen.context, chosen.to))
