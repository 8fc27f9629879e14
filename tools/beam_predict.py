"""Answers archives of millions of pictures by an export, with Apache Beam's RunInference.

    python tools/beam_predict.py serving/photos 'gs://bucket/archive/**' --out gs://bucket/answers --runner DataflowRunner ...

The model is a folder that every worker can read, or HOST:PORT of a server. Each matching picture becomes a line of a
shard `OUT-*-of-*.jsonl`, in the format of `ctxvision predict --out answers.jsonl`; an unreadable picture gets an
`error`.

All other arguments go to Beam. Workers need ctxvision and apache-beam. Only the Direct runner has been run here.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io import WriteToText, fileio
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from ctxvision.errors import InputError
from ctxvision.serving.asking import MOST_PICTURES, Ask, asker
from ctxvision.serving.predictions import Refused, predictions_of

Row = dict[str, Any]


class Answers(ModelHandler[str, Row, Ask]):
    """Maps paths of pictures to rows of answers.

    Args:
        target: an export or server, see `asker`.
    """

    def __init__(self, target: str):
        super().__init__(min_batch_size=1, max_batch_size=MOST_PICTURES)
        self._target = target

    def load_model(self) -> Ask:
        return asker(self._target, "serving_default")

    def run_inference(
        self, batch: Sequence[str], model: Ask, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Row]:
        contents, refused = {}, []
        for path in batch:
            try:
                with FileSystems.open(path) as file:
                    contents[path] = file.read()
            except OSError as error:
                refused.append(
                    Refused(path, f"image must be a readable file, got {path!r} ({error}): check the file.")
                )
        answer = model(list(contents.values())) if contents else {}
        for one in [
            *refused,
            *predictions_of(list(contents), list(contents.values()), answer, explain=False),
        ]:
            yield {"path": one.path, "error": one.reason} if isinstance(one, Refused) else one.to_json()


def answer_all(target: str, images: str, out: str, options: PipelineOptions) -> None:
    """Runs the pipeline over the pictures that match `images`."""
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | fileio.MatchFiles(images)
            | beam.Map(lambda found: found.path)
            | beam.Reshuffle()
            | RunInference(Answers(target))
            | beam.Map(lambda row: json.dumps(row, ensure_ascii=False))
            | WriteToText(out, file_name_suffix=".jsonl")
        )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", help="folder of an export, or HOST:PORT")
    parser.add_argument("images", help="glob pattern of picture files, such as 'archive/**'")
    parser.add_argument("--out", required=True, help="path of the shards, without -00000-of-...")
    given, others = parser.parse_known_args(arguments)
    try:
        _ = asker(given.target, "serving_default")  # raises before the pipeline starts
        answer_all(given.target, given.images, given.out, PipelineOptions(others))
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
