"""Exports a run or a context for TF Serving, as the next version in a folder."""

import functools
import os
from pathlib import Path

from ctxvision._files import only_here
from ctxvision.classifier.context_check import without_context
from ctxvision.classifier.run import Run
from ctxvision.context.context import Context
from ctxvision.context.finish import index_settings
from ctxvision.evaluation.quantization import quantization_cost
from ctxvision.evaluation.run_facts import facts_of
from ctxvision.models.context_tagger import ContextTagger
from ctxvision.serving import export_saved_model
from ctxvision.serving.export import export_tagger

# Phrases per picture of a tagger.
TAGS = 10


def export(
    run: Run | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    retrieval: str = "ivf",
    context: bool = True,
    with_text: bool = False,
    quantize: str | None = None,
) -> Path:
    """Exports a run's classifier for TF Serving.

    Args:
        run: a run or its folder.
        directory: folder of the model; the export becomes its next version, `directory/<version>`.
        retrieval: `"ivf"` and `"exact"` run on an unmodified TF Serving; `"scann"` needs ScaNN's op library.
        context: False exports the visual-only head that training compared on `val`: phrases are found and shown, but
            decide nothing.
        with_text: whether to export the text encoder, for the signature `with_context` and for the words of labels in
            `zero_shot`; see `export_saved_model`.
        quantize: "float16" or "int8" tables, see `Run.build_classifier`; their cost on `val` is measured, and the
            export tells it as `quantized`.

    Returns:
        The folder of the version.

    Raises:
        InputError: the run is not finished, or an argument does not fit it; see `Run.build_classifier` and
            `export_saved_model`.

    Example:
        >>> version = cv.export("runs/photos", "serving/photos", retrieval="exact")
    """
    run = run if isinstance(run, Run) else Run(run)
    with only_here(directory, "export"):
        version = _next_version(directory)
        build = run.build_classifier if context else functools.partial(without_context, run)
        model, facts = build(retrieval, quantize), facts_of(run, context)
        if quantize:
            facts["quantized"] = {"tables": quantize, **quantization_cost(run, build(retrieval), model)}
        return export_saved_model(model, version, with_text=with_text, facts=facts)


def export_context(
    context: Context | str | os.PathLike[str], directory: str | os.PathLike[str], k: int = TAGS
) -> Path:
    """Exports a context as a tagger for TF Serving, which answers pictures with phrases, without a taxonomy.

    Args:
        context: a context or its folder.
        directory: folder of the model; the export becomes its next version, `directory/<version>`.
        k: phrases per picture; limited to the number of retrievable phrases.

    Returns:
        The folder of the version.

    Example:
        >>> version = cv.export_context("contexts/web", "serving/tagger", k=5)
    """
    context = context if isinstance(context, Context) else Context(context)
    retrieval = context.retrieval(min(k, context.num_retrievable()), "ivf", **index_settings(context))
    facts = {"context": {"name": context.directory.resolve().name, "fingerprint": context.fingerprint}}
    tagger = ContextTagger(context.phrase_generator, retrieval)
    with only_here(directory, "export"):
        return export_tagger(tagger, _next_version(directory), facts)


def _next_version(directory: str | os.PathLike[str]) -> Path:
    versions = [int(path.name) for path in Path(directory).glob("*") if path.name.isdigit()]
    return Path(directory) / str(max(versions, default=0) + 1)
