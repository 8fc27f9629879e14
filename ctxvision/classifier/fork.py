"""Stage `table`: makes a run's own fork of its context's phrases."""

import os
import shutil

from ctxvision._files import link_or_copy
from ctxvision.classifier.config import Config
from ctxvision.classifier.run import Run
from ctxvision.classifier.run_folder import RunFolder, create_run
from ctxvision.context.context import Context
from ctxvision.data.source import Source


def new_run(directory: str | os.PathLike[str], config: Config, data: Source, context: Context) -> Run:
    """Creates a run over a context, with its own fork of the phrases and nothing trained yet.

    Args:
        directory: folder of the run, new or left by the same call.
        config: settings of the run.
        data: source of the run's data.
        context: the context of the run.
    """
    create_run(directory, config, data, context.directory, context.config.image_size)
    run = Run(directory)
    if not run.stages.is_done("table"):
        fork_table(run, context)
    return run


def fork_table(run: RunFolder, context: Context) -> None:
    """Forks the phrase table by hard links: no column is copied, and neither table sees later changes of the other.

    Args:
        run: the run that gets the fork.
        context: a context whose stage `text` is finished.
    """
    with run.stages.finishing("table", fingerprint=context.fingerprint) as folder:
        # Columns are never changed in place, and table.json is replaced by a rename.
        ignored = shutil.ignore_patterns(".lock", "done.json")
        shutil.copytree(
            context.table_folder, folder, copy_function=link_or_copy, ignore=ignored, dirs_exist_ok=True
        )
