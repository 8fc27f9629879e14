"""The command line: each verb calls one public function.

Exit status: 0 done, 2 wrong usage or bad input with one line that says what to fix, 1 anything else.
"""

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import ctxvision
from ctxvision.cli.context import add_context_verbs
from ctxvision.cli.data import add_data_verbs, add_label_arguments, config_of, label_settings
from ctxvision.cli.phrases import add_concepts_verbs, add_phrases_verbs
from ctxvision.cli.runs import add_run, run_of
from ctxvision.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of absent GPUs as errors
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of letters that the terminal's encoding lacks
    chosen = _parser().parse_args(arguments)
    try:
        status = chosen.verb(chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted, as `head` does. Python would try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except InputError as error:
        print(f"ctxvision: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ctxvision: stopped; the same command goes on from here.", file=sys.stderr)
        return 1
    except Exception as error:
        full = "No space left on device" in str(error)  # TensorFlow has errors of its own for it
        if not full and not isinstance(error, OSError | RuntimeError):
            raise
        told = "the disk is full: make room, then give the same command again." if full else error
        print(f"ctxvision: {told}", file=sys.stderr)
        return 1
    return status or 0


class _Parser(argparse.ArgumentParser):
    """Takes whole options alone: `--dat` is a typing error."""

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ctxvision", description="Image classification with predicted phrases.")
    parser.add_argument("--version", action="version", version=ctxvision.__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser(
        "demo", help="the whole pipeline on the demo's pictures, then a served prediction"
    )
    verb.add_argument("--out", default="runs/demo", help="folder of the run (default: %(default)s)")
    verb.add_argument("--seed", type=int, default=0, help="of training; the splits stay as they are")
    verb.add_argument("--quick", action="store_true", help="a tenth of the training; accuracies mean little")
    verb.set_defaults(verb=_demo)

    verb = verbs.add_parser("train", help="train, measure, report and export on your own pictures")
    verb.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="folder with images.csv, or another source such as imagenet:DIR, or several (see ctxvision.load_data)",
    )
    verb.add_argument(
        "--context",
        help="folder of a context to use; without one the queries of the data train one in the run's folder",
    )
    verb.add_argument("--out", default="runs/train", help="folder of the run (default: %(default)s)")
    verb.add_argument(
        "--preset", default="small", help="small, demo, transfer or paper (default: %(default)s)"
    )
    verb.add_argument("--config", help="JSON file of settings; those it leaves out are the preset's")
    add_label_arguments(verb)
    verb.add_argument(
        "--shared-tower",
        action="store_true",
        help="one ConvNet for phrases and as visual encoder, run once",
    )
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
    verb.add_argument(
        "--preset", default="paper", help="small, demo, transfer or paper (default: %(default)s)"
    )
    verb.add_argument("--config", help="JSON file of settings; those it leaves out are the preset's")
    verb.set_defaults(verb=_plan)

    verb = verbs.add_parser("evaluate", help="measure a run and write its report anew")
    add_run(verb)
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
    add_run(verb)
    verb.set_defaults(verb=lambda chosen: print(ctxvision.write_report(run_of(chosen))))

    verb = verbs.add_parser("export", help="write a SavedModel for TF Serving")
    add_run(verb)
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

    add_context_verbs(
        verbs.add_parser("context", help="what predicts and understands phrases, made once for many runs")
    )

    add_phrases_verbs(
        verbs.add_parser("phrases", help="look into and change the vocabulary, without training")
    )

    add_concepts_verbs(
        verbs.add_parser("concepts", help="labels learnt from a handful of pictures, without training anew")
    )

    add_data_verbs(verbs.add_parser("data", help="look into a data set before training on it"))

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
    verb.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="pictures, folders of them, or .txt files with a path a line",
    )
    verb.add_argument(
        "--out", metavar="FILE", help="a new .csv, .jsonl or .parquet table; the same command goes on with it"
    )
    verb.add_argument("--strict", action="store_true", help="exit with 1 where a picture cannot be read")
    verb.add_argument(
        "--name", default="default", help="name of the model on a server (default: %(default)s)"
    )
    verb.add_argument("--explain", action="store_true", help="what each phrase adds to the top label")
    verb.add_argument("--json", action="store_true", help="one JSON object a line")
    verb.set_defaults(verb=_predict)
    return parser


def _demo(chosen: argparse.Namespace) -> None:
    from ctxvision.serving import format_prediction

    run = ctxvision.demo(chosen.out, chosen.seed, chosen.quick)
    predictions = ctxvision.demo_prediction(run)
    print()
    for time in json.loads((run.directory / "logs" / "times.json").read_text(encoding="utf-8")):
        print(f"{time['part']:<34}  {time['seconds']:5.0f} s")
    print("\nThree test pictures, answered over gRPC:\n")
    print("\n\n".join(format_prediction(prediction, explain=True) for prediction in predictions))
    print(f"\nreport  {run.directory / 'report.html'}\nexport  {run.directory / 'export'}")


def _train(chosen: argparse.Namespace) -> None:
    from ctxvision.classifier.config import refuse_context_settings
    from ctxvision.training.settings import read_settings

    settings = label_settings(chosen)
    settings |= {"visual_backbone": "shared"} if chosen.shared_tower else {}
    if chosen.context and chosen.config:
        refuse_context_settings(read_settings(chosen.config))
    config = config_of(chosen, **settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the same command goes on
    run = ctxvision.train(chosen.data, chosen.out, config, chosen.context, strategy=chosen.strategy)
    print(f"report  {run.directory / 'report.html'}\nexport  {run.directory / 'export'}")


def _plan(chosen: argparse.Namespace) -> None:
    print(ctxvision.plan(chosen.queries, chosen.images, chosen.devices, config_of(chosen)))


def _evaluate(chosen: argparse.Namespace) -> None:
    print(ctxvision.evaluate(run_of(chosen), chosen.suite, chosen.seeds, trainable_min=chosen.trainable_min))


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: requests under way are answered
    print(f"serving {chosen.name} from {chosen.directory} on {chosen.host}:{server.port}", flush=True)
    print(f"page and REST  http://{chosen.host}:{server.rest_port}/", flush=True)
    server.wait()


def _predict(chosen: argparse.Namespace) -> int:
    from ctxvision.serving.bulk import named_pictures, predict_to_file
    from ctxvision.serving.client import answers
    from ctxvision.serving.predictions import Refused, format_prediction
    from ctxvision.training.progress import Progress

    if chosen.out:
        progress = Progress()
        progress.start("predict")

        def tell(done: int, total: int) -> None:
            progress.update(done / total, f"{done:,} of {total:,} pictures")

        found = predict_to_file(chosen.target, chosen.images, chosen.out, chosen.explain, chosen.name, tell)
        progress.finish()
        print(f"{found.pictures:,} pictures, {found.refused:,} of them without an answer  {chosen.out}")
        return int(chosen.strict and found.refused > 0)
    paths = list(named_pictures(chosen.images))
    refused = 0
    for one in answers(chosen.target, paths, chosen.explain, chosen.name):
        if isinstance(one, Refused):
            if len(paths) == 1:
                raise InputError(one.reason)
            refused += 1
            print(f"ctxvision: {one.reason}", file=sys.stderr)
        elif chosen.json:
            print(json.dumps(one.to_json(), ensure_ascii=False))
        else:
            print(format_prediction(one, chosen.explain))
    return int(chosen.strict and refused > 0)
