"""The command line: each verb calls one public function.

Exit status: 0 done, 2 wrong usage or bad input with one line that says what to fix, 1 anything else.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

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
    verb.add_argument("--config", help="JSON file of settings")
    verb.add_argument("--label-column", help="column of images.csv to learn")
    verb.set_defaults(verb=_train)

    verb = verbs.add_parser("evaluate", help="measure a run and write its report anew")
    verb.add_argument("run")
    verb.add_argument("--suite", default="all", help="table1 or all (default: %(default)s)")
    verb.add_argument("--seeds", type=int, help="heads for each row")
    verb.set_defaults(verb=lambda chosen: print(ctxvision.evaluate(chosen.run, chosen.suite, chosen.seeds)))

    verb = verbs.add_parser("report", help="write report.html anew")
    verb.add_argument("run")
    verb.set_defaults(verb=lambda chosen: print(ctxvision.report(chosen.run)))

    verb = verbs.add_parser("export", help="write a SavedModel for TF Serving")
    verb.add_argument("run")
    verb.add_argument("--to", required=True, help="folder of the model; the next version in it is written")
    verb.add_argument("--retrieval", choices=("exact", "scann"), default="exact")
    verb.set_defaults(verb=lambda chosen: print(ctxvision.export(chosen.run, chosen.to, chosen.retrieval)))

    verb = verbs.add_parser("serve", help="serve an export by gRPC, for development")
    verb.add_argument("directory", help="folder of the model, with numbered versions in it")
    verb.add_argument("--port", type=int, default=8500)
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


def _demo(chosen: argparse.Namespace) -> None:
    from ctxvision.serving import format_prediction

    run = ctxvision.demo(chosen.out, chosen.seed, chosen.quick)
    predictions = ctxvision.demo_prediction(run)
    print("\nThree test pictures, answered over gRPC:\n")
    print("\n\n".join(format_prediction(prediction, explain=True) for prediction in predictions))
    print(f"\nreport  {run.directory / 'report.html'}\nexport  {run.directory / 'export'}")


def _train(chosen: argparse.Namespace) -> None:
    settings = {"label_column": chosen.label_column} if chosen.label_column else {}
    config = (
        ctxvision.Config.from_file(chosen.config, **settings)
        if chosen.config
        else ctxvision.Config.from_dict(settings)
    )
    run = ctxvision.train(chosen.data, chosen.out, config)
    print(f"report  {run.directory / 'report.html'}\nexport  {run.directory / 'export'}")


def _serve(chosen: argparse.Namespace) -> None:
    from ctxvision.serving import Server

    server = Server(chosen.directory, port=chosen.port, name=chosen.name)
    server.start()
    print(f"serving {chosen.name} from {chosen.directory} on localhost:{server.port}", flush=True)
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
