"""Estimates what a training will take before it is started."""

import dataclasses
import math
from typing import NamedTuple

from ctxvision.classifier.config import Config
from ctxvision.classifier.towers import with_found_tower
from ctxvision.context.towers import with_found_tower as with_found_phrase_tower
from ctxvision.errors import InputError
from ctxvision.layers.backbone import build_backbone
from ctxvision.training.costs import forward_flops
from ctxvision.training.devices import DEVICES, parse_devices

# === Measured on a CPU; each line names its file under tools/benchmarks/results/ ===
GFLOPS_A_CORE = 20.99  # steps.json: a training step of ResNet-101
ACTIVATION_BYTES_A_PIXEL = 4200  # steps.json: memory of a step of ResNet-101 without its weights
TEXT_STEP_MS = 43.3  # steps.json: on one core
TABLE_STEP_MS = (
    8.0  # class_table.json: a whole step over 5 million classes, with a linear layer as the backbone
)
PAIRS_A_SECOND = 376_648  # build_prototypes.json: build_prototypes in one process
INDEX_BYTES_A_ROW = 391  # retrieval.json: backend ivf
INDEX_SECONDS_AT_10M = 1515.3  # retrieval.json: clustering 10 million rows
# Bytes of a phrase in a table without its vectors, from ctxvision/vocabulary/README.md.
PHRASE_BYTES = 56
NGRAM_BYTES = 2 * (16 + 32)  # of words and of characters, as stage `table` hashes them
JPEG_BYTES_A_PIXEL = 0.7  # for small photographs; larger ones take less

# === Assumed ===
UTILIZATION = 0.3  # share of a device's peak
QUERIES_A_PICTURE = 4
SAMPLED_CLASSES = 512


class PlanRow(NamedTuple):
    """One figure and its source."""

    part: str  # "bytes", "a step" or "hours"
    what: str
    value: float  # bytes, seconds or hours
    basis: str


class Plan(NamedTuple):
    """Bytes, seconds and hours of a training; `str(plan)` is a table of them."""

    title: str
    rows: list[PlanRow]
    device_bytes: float  # needed on each device
    device_limit: float | None  # memory of a device; None for a CPU
    notes: list[str]

    @property
    def fits(self) -> bool | None:
        """Whether the training fits into a device's memory; None if the memory is not known."""
        return None if self.device_limit is None else self.device_bytes <= self.device_limit

    def __str__(self) -> str:
        lines, part = [self.title], ""
        for row in self.rows:
            if row.part != part:
                part = row.part
                lines += ["", part]
            lines.append(f"  {row.what:<42}{_readable(row.value, part):>11}  {row.basis}")
        held = f"each device must hold {_readable(self.device_bytes, 'bytes')}"
        if self.device_limit is not None:
            held += f" of its {_readable(self.device_limit, 'bytes')}: it {'fits' if self.fits else 'does not fit'}"
        return "\n".join([*lines, "", held, "", *self.notes])


def plan(queries: float, images: float, devices: str, config: Config | None = None) -> Plan:
    """Estimates the bytes, seconds and hours of a training on so many pictures and queries.

    Sizes are counted. Times are extrapolated from measurements on a CPU (`cpu-N`), or from a device's published peak
    figures and an assumed utilisation of 30%. Each row names its source, and the notes name what is left out.

    Args:
        queries: V, each of them a softmax class.
        images: pictures with queries; the plan covers one pass over them.
        devices: a name such as "v5e-64", "a100-8" or "cpu-16"; see `training.devices.DEVICES`.
        config: settings; the preset "paper" by default.

    Returns:
        The plan; print it.

    Raises:
        InputError: there are fewer than 2 queries or 1 picture, or a number is not whole; the devices are unknown; or
            the batch is not a multiple of their number.
    Example:
        >>> print(cv.plan(queries=40e6, images=260e6, devices="v5e-64"))
        40,000,000 queries and 260,000,000 pictures of 299 pixels, on 64 × TPU v5e chip
        ...
        each device must hold 2.3 GB of its 16.0 GB: it fits
        ...
    """
    for name, value, least in (("queries", queries, 2), ("images", images, 1)):
        if not math.isfinite(value) or value < least or value != int(value):
            raise InputError(
                f"{name} must be a whole number of at least {least}, got {value!r}: give such a number."
            )
    kind, chips = parse_devices(devices)
    config = config or Config.preset("paper")
    context = with_found_phrase_tower(config.context)
    config = dataclasses.replace(with_found_tower(config, context.image_size), context=context)
    batch = config.batch_size
    if kind != "cpu" and batch % chips:
        raise InputError(
            f"batch_size must be a multiple of the {chips} devices, got {batch}: set batch_size to "
            f"{math.ceil(batch / chips) * chips}."
        )
    return _Estimate(int(queries), int(images), kind, chips, config).plan()


class _Estimate:
    """Computes the figures of a plan, one method per part."""

    def __init__(self, queries: int, images: int, kind: str, chips: int, config: Config):
        self.queries, self.images, self.kind, self.chips, self.config = queries, images, kind, chips, config
        size, self.cpu = config.image_size, kind == "cpu"
        phrase = build_backbone(config.context.phrase_backbone, size, config.context.phrase_pixels)
        visual = build_backbone(config.visual_backbone, size, config.visual_pixels)
        self.phrase_flops, self.visual_flops = forward_flops(phrase), forward_flops(visual)
        self.phrase_weights, self.visual_weights = phrase.count_params(), visual.count_params()
        self.replicas = 1 if self.cpu else chips
        self.basis = "extrapolated from a step measured" if self.cpu else "peak figures and 30% utilisation"

    def plan(self) -> Plan:
        parts = {"bytes": self.sizes(), "a step": self.phrase_step(), "hours": self.hours()}
        rows = [PlanRow(part, *row) for part, found in parts.items() for row in found]
        held = sum(size for _, size, _ in self.sizes()[:3])
        limit = None if self.cpu else DEVICES[self.kind].gigabytes * 1e9
        return Plan(self.title(), rows, held, limit, self.notes())

    def sizes(self) -> list[tuple[str, float, str]]:
        """Returns all sizes; the first three are those that each device holds."""
        config, where = self.config, "the machine" if self.cpu else "each device"
        queries, images, area = self.queries, self.images, config.image_size**2
        activations = config.batch_size / self.replicas * area * ACTIVATION_BYTES_A_PIXEL
        row = config.context.embedding_dim * (2 if config.context.class_dtype == "float16" else 4) + 4
        large = "extrapolated from 10M phrases"
        return [
            (
                f"class table, on {where}",
                math.ceil(queries / self.replicas) * row,
                f"counted: {config.context.class_dtype} rows, one number each"
                + (f", {self.replicas} shards" if self.replicas > 1 else ""),
            ),
            (
                f"phrase generator, on {where}",
                16 * self.phrase_weights,
                "counted: weights, gradients, 2 moments",
            ),
            (f"activations, on {where}", activations, "extrapolated from a step measured"),
            ("pictures as JPEG", images * area * JPEG_BYTES_A_PIXEL, "estimated"),
            ("query embeddings of all pictures", images * config.context.embedding_dim * 4, "counted"),
            (
                "phrase table with prototypes",
                queries * (config.context.embedding_dim * 4 + PHRASE_BYTES),
                large,
            ),
            ("n-grams of all phrases", queries * NGRAM_BYTES, "counted"),
            ("index ivf, where it is served", queries * INDEX_BYTES_A_ROW, large),
        ]

    def hours(self) -> list[tuple[str, float, str]]:
        config, measured = self.config, "extrapolated from a step measured"
        steps = math.ceil(self.images / config.batch_size)
        step = sum(seconds for _, seconds, _ in self.phrase_step())
        visual = self.seconds(3 * self.visual_flops * config.batch_size * config.visual_steps)
        index = INDEX_SECONDS_AT_10M * (self.queries / 1e7) ** 1.5
        pairs = self.images * QUERIES_A_PICTURE
        found = [
            (f"phrases: {steps:,} steps of {config.batch_size}", steps * step, self.basis),
            ("prototypes: embedding the pictures", self.seconds(self.images * self.phrase_flops), self.basis),
            ("prototypes: adding up, one process", pairs / PAIRS_A_SECOND, "extrapolated from 20M pairs"),
            (f"visual: {config.visual_steps:,} steps", visual, self.basis),
            (
                f"text: {config.context.text_steps:,} steps, one core",
                config.context.text_steps * TEXT_STEP_MS / 1000,
                measured,
            ),
            ("index: clustering, on 2 cores", index, "extrapolated from 10M phrases by N · √N"),
        ]
        return [(what, seconds / 3600, basis) for what, seconds, basis in found]

    def title(self) -> str:
        what = f"{self.chips} CPU cores" if self.cpu else f"{self.chips} × {DEVICES[self.kind].what}"
        return f"{self.queries:,} queries and {self.images:,} pictures of {self.config.image_size} pixels, on {what}"

    def seconds(self, flops: float) -> float:
        if self.cpu:
            return flops / (self.chips * GFLOPS_A_CORE * 1e9)
        return flops / (self.chips * DEVICES[self.kind].teraflops * 1e12 * UTILIZATION)

    def phrase_step(self) -> list[tuple[str, float, str]]:
        config = self.config
        work = self.seconds(3 * self.phrase_flops * config.batch_size)
        step = [("phrase generator, forward and back", work, self.basis)]
        if self.cpu:
            return [
                *step,
                ("class table", TABLE_STEP_MS / 1000, "measured at 5M classes, whatever their number"),
            ]
        device = DEVICES[self.kind]
        rows = config.batch_size * QUERIES_A_PICTURE + SAMPLED_CLASSES
        # Rows are read, gathered, sorted, added up, read again and written.
        moved = 6 * rows * config.context.embedding_dim * 4
        step.append(("class table", moved / (device.memory_bandwidth * 1e9), "bytes moved at peak bandwidth"))
        if self.chips > 1:
            # Devices sum the tower's gradients, the classes' rows and the gradients of these rows.
            shared = 2 * 4 * self.phrase_weights / (device.link_bandwidth * 1e9)
            fetched = 2 * 2 * rows * config.context.embedding_dim * 4 / (device.link_bandwidth * 1e9)
            step.append(("gradients between devices", shared, "bytes moved at peak bandwidth"))
            step.append(("class rows between devices", fetched, "bytes moved at peak bandwidth"))
        return step

    def notes(self) -> list[str]:
        rate = self.config.batch_size / sum(seconds for _, seconds, _ in self.phrase_step())
        return [
            f"The input must deliver {rate:,.0f} pictures a second.",
            f"Assumed: {QUERIES_A_PICTURE} queries per picture; every query is a softmax class.",
            "Left out: waiting for input, start and compilation, checkpoints, evaluation, and on a TPU the padding of "
            "rows to 128 numbers that its compiler may choose, which would double the class table.",
            "No training has been run on a TPU or GPU: their figures are computed, not measured.",
        ]


def _readable(value: float, part: str) -> str:
    if part == "hours":
        return f"{value:,.1f} h"
    if part == "a step":
        return f"{value * 1000:,.3g} ms" if value < 1 else f"{value:,.1f} s"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 1000 or unit == "PB":
            break
        value /= 1000
    return f"{value:,.1f} {unit}"
