"""Stage `table`: a run's own fork of its context's phrases."""

import os
import shutil

from ctxvision._files import link_or_copy
from ctxvision.classifier.config import Config
from ctxvision.classifier.run import Run
from ctxvision.classifier.run_folder import RunFolder, create_run
from ctxvision.context.context import Context
from ctxvision.data.source import Source


def new_run(directory: str | os.PathLike[str], config: Config, data: Source, context: Context) -> Run:
    """A run over a context, with its own fork of the phrases and nothing trained yet.

    Args:
        directory: of the run, new or of the same call.
        config: its settings.
        data: that it learns from.
        context: that it uses.
    """
    create_run(directory, config, data, context.directory, context.config.image_size)
    run = Run(directory)
    if not run.stages.is_done("table"):
        fork_table(run, context)
    return run


def fork_table(run: RunFolder, context: Context) -> None:
    """Forks the phrase table by hard links: no column is copied, and a change to either is not seen by the other.

    Args:
        run: whose fork it is.
        context: past its stage `text`.
    """
    with run.stages.finishing("table", fingerprint=context.fingerprint) as folder:
        # Columns are never changed in place, and table.json is replaced by a rename.
        ignored = shutil.ignore_patterns(".lock", "done.json", "unfinished-*")
        shutil.copytree(
            context.table_folder, folder, copy_function=link_or_copy, ignore=ignored, dirs_exist_ok=True
        )
