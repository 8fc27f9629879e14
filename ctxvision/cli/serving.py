"""The verbs `export`, `serve` and `predict` of the command line."""

import argparse
import json
import signal

import ctxvision
from ctxvision.cli.parser import Parser, print_error
from ctxvision.cli.runs import add_json, add_run, add_to, progress_of, run_of
from ctxvision.errors import InputError


def add_export(parser: Parser, task: str) -> None:
    """Adds `ctxvision export`."""
    verb = parser.add_verb(
        "export",
        "Write a run as a SavedModel for TF Serving.",
        "ctxvision export runs/photos --to serving/photos",
        task,
    )
    add_run(verb)
    add_to(verb)
    verb.add_argument(
        "--retrieval",
        choices=("ivf", "exact", "scann"),
        default="ivf",
        help="search for the nearest phrases (default: %(default)s)",
    )
    verb.add_argument("--without-context", action="store_true", help="classify by the picture alone")
    text = verb.add_mutually_exclusive_group()
    text.add_argument(
        "--fold-text",
        action="store_true",
        help="export the phrases' text embeddings without the text encoder (the default)",
    )
    text.add_argument(
        "--with-text", action="store_true", help="export the text encoder too, which needs the ops of TF.Text"
    )
    verb.add_argument(
        "--quantize", choices=("float16", "int8"), help="store smaller tables; prints what that costs on val"
    )
    verb.set_defaults(verb=_export)


def add_serve(parser: Parser, task: str) -> None:
    """Adds `ctxvision serve`."""
    verb = parser.add_verb(
        "serve",
        "Serve an export over gRPC, REST and a web page, for development.",
        "ctxvision serve serving/photos --port 8500",
        task,
    )
    verb.add_argument("directory", help="folder of the model, with numbered versions in it")
    verb.add_argument("--port", type=int, default=8500, help="port of gRPC (default: %(default)s)")
    verb.add_argument(
        "--rest-port", type=int, default=8501, help="port of REST and the page (default: %(default)s)"
    )
    verb.add_argument(
        "--host",
        default="localhost",
        help="address to listen on, 0.0.0.0 for all networks (default: %(default)s)",
    )
    verb.add_argument("--name", default="default", help="name of the model (default: %(default)s)")
    verb.set_defaults(verb=_serve)


def add_predict(parser: Parser, task: str) -> None:
    """Adds `ctxvision predict`."""
    verb = parser.add_verb(
        "predict",
        "Classify pictures with an export or a server.",
        "ctxvision predict serving/photos picture.jpg --explain",
        task,
    )
    verb.add_argument("target", help="folder of an export, or HOST:PORT of a server")
    verb.add_argument(
        "images", nargs="+", metavar="IMAGE", help="pictures, folders, or .txt files with a path on each line"
    )
    verb.add_argument(
        "--out", metavar="FILE", help="new .csv, .jsonl or .parquet table; the same command resumes it"
    )
    verb.add_argument("--strict", action="store_true", help="exit with status 1 if a picture cannot be read")
    verb.add_argument(
        "--name", default="default", help="name of the model on a server (default: %(default)s)"
    )
    verb.add_argument("--explain", action="store_true", help="show what each phrase adds to the top label")
    add_json(verb)
    verb.set_defaults(verb=_predict)


def _export(chosen: argparse.Namespace) -> None:
    context = not chosen.without_context
    settings = {"context": context, "with_text": chosen.with_text, "quantize": chosen.quantize}
    version = ctxvision.export(run_of(chosen), chosen.to, chosen.retrieval, **settings)
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: answers running requests first
    print(f"serving {chosen.name} from {chosen.directory} on {chosen.host}:{server.port}", flush=True)
    print(f"page and REST  http://{chosen.host}:{server.rest_port}/", flush=True)
    server.wait()


def _predict(chosen: argparse.Namespace) -> int:
    from ctxvision.serving.bulk import named_pictures
    from ctxvision.serving.client import answers
    from ctxvision.serving.predictions import Refused, format_prediction

    if chosen.out:
        return _predict_to_file(chosen)
    paths = named_pictures(chosen.images)
    refused = 0
    for one in answers(chosen.target, paths, chosen.explain, chosen.name):
        if isinstance(one, Refused):
            if len(paths) == 1:
                raise InputError(one.reason)
            refused += 1
            print_error(f"ctxvision: {one.reason}")
        elif chosen.json:
            print(json.dumps(one.to_json(), ensure_ascii=False))
        else:
            print(format_prediction(one, chosen.explain))
    return int(chosen.strict and refused > 0)


def _predict_to_file(chosen: argparse.Namespace) -> int:
    progress = progress_of(chosen)
    progress.start("predict")

    def tell(done: int, total: int) -> None:
        progress.update(done, f"{done:,} of {total:,}", total, "pictures")

    written = ctxvision.predict_to_file(
        chosen.target, chosen.images, chosen.out, chosen.explain, chosen.name, tell
    )
    progress.finish()
    print(f"{written.pictures:,} pictures, {written.refused:,} of them without an answer  {chosen.out}")
    return int(chosen.strict and written.refused > 0)
