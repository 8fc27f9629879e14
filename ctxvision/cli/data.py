"""The verb `data` of the command line."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctxvision.cli.parser import Parser
from ctxvision.cli.runs import add_config, add_preset, add_sources
from ctxvision.errors import InputError

if TYPE_CHECKING:
    from ctxvision.classifier.config import Config


def add_data(parser: Parser, task: str) -> None:
    """Adds `ctxvision data check`."""
    verbs = parser.add_verb("data", "Check data before training on it.", "ctxvision data check photos", task)

    verb = verbs.add_verb(
        "check",
        "Show what data holds, what is wrong with it, and whether training accepts it.",
        "ctxvision data check photos --sheet sheet.html",
    )
    add_sources(verb)
    verb.add_argument("--context", help="folder of the context to train with: then no queries are needed")
    add_preset(verb)
    add_config(verb)
    add_label_arguments(verb)
    verb.add_argument(
        "--pictures", type=int, default=2000, metavar="N", help="pictures to open (default: %(default)s)"
    )
    verb.add_argument("--sheet", metavar="FILE", help="HTML page to write, with some of the pictures")
    verb.set_defaults(verb=_check)


def add_label_arguments(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments that say which labels to learn."""
    verb.add_argument(
        "--label-column", help="column of images.csv to learn, or several: 'label|coarse_label'"
    )
    verb.add_argument("--multi-label", action="store_true", help="a picture may have several labels")
    verb.add_argument(
        "--merge-labels", action="store_true", help="merge labels that look alike, such as Cat and cat"
    )


def label_settings(chosen: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings from the arguments of `add_label_arguments`, without those that were not given."""
    settings: dict[str, Any] = {"label_column": chosen.label_column} if chosen.label_column else {}
    settings |= {"multi_label": True} if chosen.multi_label else {}
    return settings | ({"merge_labels": True} if chosen.merge_labels else {})


def config_of(chosen: argparse.Namespace, **settings: Any) -> "Config":
    """Returns the configuration of `--preset` and `--config`; `settings` replace those of both."""
    from ctxvision.classifier.config import Config

    if chosen.config:
        return Config.from_file(chosen.config, chosen.preset, **settings)
    return Config.preset(chosen.preset, **settings)


def _check(chosen: argparse.Namespace) -> None:
    from ctxvision.classifier.fusion import check_vocabulary
    from ctxvision.context.context import Context
    from ctxvision.data import check_data, load_data, write_sheet

    if chosen.pictures < 0:
        raise InputError(f"pictures must be 0 or more, got {chosen.pictures}: 0 opens none.")
    config = config_of(chosen, **label_settings(chosen))
    manifest = load_data(chosen.data, config.label_column, config.merge_labels)
    if chosen.context:
        check_vocabulary(Context(chosen.context, languages=config.languages), config)
    needs = None if chosen.context else config.query_needs
    found = check_data(manifest, config.multi_label, needs, chosen.pictures, config.seed)
    width = max(len(name) for name, _ in found.facts)
    for name, told in found.facts:
        print(f"{name:{width}}  {told}")
    for problem in found.problems:
        print(f"problem: {problem}")
    if chosen.sheet:
        write_sheet(chosen.sheet, " + ".join(chosen.data), found.sheet)
        print(f"pictures: {Path(chosen.sheet)}")
    for refused in found.refused[1:]:
        print(f"refused: {refused}")
    if found.refused:
        raise InputError(found.refused[0])
    print("fit for training")
