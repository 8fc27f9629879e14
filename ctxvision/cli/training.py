"""The verbs `train`, `demo`, `evaluate`, `report` and `plan` of the command line."""

import argparse
import json
import signal

import ctxvision
from ctxvision.cli.data import add_label_arguments, config_of, label_settings
from ctxvision.cli.parser import Parser
from ctxvision.cli.runs import add_config, add_preset, add_run, add_sources, add_strategy, progress_of, run_of


def add_train(parser: Parser, task: str) -> None:
    """Adds `ctxvision train`."""
    verb = parser.add_verb(
        "train",
        "Train, measure, report and export a classifier of your own pictures.",
        "ctxvision train photos --out runs/photos",
        task,
    )
    add_sources(verb)
    verb.add_argument(
        "--context",
        help="folder of a context to use; without one, the queries of the data train one in the run",
    )
    verb.add_argument("--out", default="runs/train", help="folder of the run (default: %(default)s)")
    add_preset(verb)
    add_config(verb)
    add_label_arguments(verb)
    verb.add_argument(
        "--shared-tower", action="store_true", help="use one ConvNet as phrase generator and visual encoder"
    )
    add_strategy(verb)
    verb.set_defaults(verb=_train)


def add_demo(parser: Parser, task: str) -> None:
    """Adds `ctxvision demo`."""
    verb = parser.add_verb(
        "demo",
        "Train the whole pipeline on the demo's pictures and serve three predictions.",
        "ctxvision demo --quick",
        task,
    )
    verb.add_argument("--out", default="runs/demo", help="folder of the run (default: %(default)s)")
    verb.add_argument("--seed", type=int, default=0, help="seed of training; the splits do not depend on it")
    verb.add_argument("--quick", action="store_true", help="train a tenth as long; accuracies mean little")
    verb.set_defaults(verb=_demo)


def add_evaluate(parser: Parser, task: str) -> None:
    """Adds `ctxvision evaluate`."""
    verb = parser.add_verb(
        "evaluate",
        "Measure a run and write its report again.",
        "ctxvision evaluate runs/photos --suite few-shot",
        task,
    )
    add_run(verb)
    verb.add_argument("--suite", default="all", help="name of a suite, or all (default: %(default)s)")
    verb.add_argument("--seeds", type=int, help="heads trained for each row of a table")
    verb.add_argument(
        "--trainable-min",
        type=int,
        metavar="N",
        help="with several labels a picture: mAP counts labels that have N pictures in train",
    )
    verb.set_defaults(verb=_evaluate)


def add_report(parser: Parser, task: str) -> None:
    """Adds `ctxvision report`."""
    verb = parser.add_verb(
        "report", "Write report.html of a run again.", "ctxvision report runs/photos", task
    )
    add_run(verb)
    verb.set_defaults(verb=lambda chosen: print(ctxvision.write_report(run_of(chosen))))


def add_plan(parser: Parser, task: str) -> None:
    """Adds `ctxvision plan`."""
    verb = parser.add_verb(
        "plan",
        "Estimate memory, disk space and hours of a training before it starts.",
        "ctxvision plan --queries 40e6 --images 260e6 --devices v5e-64",
        task,
    )
    verb.add_argument("--queries", type=float, required=True, help="number of queries, such as 40e6")
    verb.add_argument(
        "--images", type=float, required=True, help="number of pictures with queries, such as 260e6"
    )
    verb.add_argument("--devices", required=True, help="such as v5e-64, a100-8 or cpu-16")
    add_preset(verb, "paper")
    add_config(verb)
    verb.set_defaults(verb=_plan)


def _train(chosen: argparse.Namespace) -> None:
    from ctxvision.classifier.config import refuse_context_settings
    from ctxvision.training.settings import read_settings

    settings = label_settings(chosen)
    settings |= {"visual_backbone": "shared"} if chosen.shared_tower else {}
    if chosen.context and chosen.config:
        refuse_context_settings(read_settings(chosen.config))
    config = config_of(chosen, **settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the same command resumes
    run = ctxvision.train(
        chosen.data, chosen.out, config, chosen.context, progress_of(chosen), strategy=chosen.strategy
    )
    _print_products(run)


def _demo(chosen: argparse.Namespace) -> None:
    from ctxvision.serving import format_prediction

    run = ctxvision.demo(chosen.out, chosen.seed, chosen.quick, progress_of(chosen))
    predictions = ctxvision.demo_prediction(run)
    print()
    for time in json.loads((run.directory / "logs" / "times.json").read_text(encoding="utf-8")):
        print(f"{time['part']:<34}  {time['seconds']:5.0f} s")
    print("\nThree test pictures, answered over gRPC:\n")
    print("\n\n".join(format_prediction(prediction, explain=True) for prediction in predictions))
    print()
    _print_products(run)


def _print_products(run: "ctxvision.Run") -> None:
    print(f"report  {run.directory / 'report.html'}\nexport  {run.directory / 'export'}")


def _evaluate(chosen: argparse.Namespace) -> None:
    run, progress = run_of(chosen), progress_of(chosen)
    print(ctxvision.evaluate(run, chosen.suite, chosen.seeds, progress, chosen.trainable_min))


def _plan(chosen: argparse.Namespace) -> None:
    print(ctxvision.plan(chosen.queries, chosen.images, chosen.devices, config_of(chosen)))
