"""The suites of `ctxvision evaluate`, in the order of `--suite all`."""

from collections.abc import Callable

from ctxvision.classifier.run import Run
from ctxvision.evaluation.bottleneck import bottleneck
from ctxvision.evaluation.calibration import calibration
from ctxvision.evaluation.deletion import deletion
from ctxvision.evaluation.few_shot import few_shot
from ctxvision.evaluation.fusion import fusion
from ctxvision.evaluation.knowledge import knowledge
from ctxvision.evaluation.multi_label import multi_label
from ctxvision.evaluation.open_vocabulary import open_vocabulary
from ctxvision.evaluation.table1 import table1
from ctxvision.evaluation.table2 import table2
from ctxvision.evaluation.text_encoder import text_encoder
from ctxvision.evaluation.zero_shot import zero_shot
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

# Maps a run, its progress display and a number of seeds to records.
Suite = Callable[[Run, Progress, int], list[Record]]
SUITES: dict[str, Suite] = {
    "table1": table1,
    "table2": table2,
    "bottleneck": bottleneck,
    "fusion": fusion,
    "multi-label": multi_label,
    "calibration": calibration,
    "few-shot": few_shot,
    "deletion": deletion,
    "knowledge": knowledge,
    "zero-shot": zero_shot,
    "open-vocabulary": open_vocabulary,
    "text-encoder": text_encoder,
}
