"""The public names of ctxvision, each with its module.

Type checkers read this file, and `__init__.py` reads it to load a name on first use.
"""

from .classifier.config import Config as Config
from .classifier.phrases import (
    add_phrase as add_phrase,
    list_phrases as list_phrases,
    phrase_stats as phrase_stats,
    remove_phrases as remove_phrases,
    search_phrases as search_phrases,
)
from .classifier.plan import plan as plan
from .classifier.run import Run as Run
from .context.config import ContextConfig as ContextConfig
from .context.context import Context as Context
from .context.evaluate import evaluate_context as evaluate_context
from .context.train import train_context as train_context
from .context.two_towers import build_context as build_context
from .data import (
    Manifest as Manifest,
    check_data as check_data,
    load_data as load_data,
    record_batches as record_batches,
)
from .data.training_check import QueryNeeds as QueryNeeds
from .demo_run import demo as demo, demo_prediction as demo_prediction
from .errors import InputError as InputError
from .layers import (
    ContextFusion as ContextFusion,
    ContextPooling as ContextPooling,
    DualEncoderText as DualEncoderText,
    PhraseEmbeddings as PhraseEmbeddings,
    PhraseGenerator as PhraseGenerator,
    PrototypeRetrieval as PrototypeRetrieval,
    VisualEncoder as VisualEncoder,
)
from .models import (
    ContextClassifier as ContextClassifier,
    ContextTagger as ContextTagger,
    QueryClassifier as QueryClassifier,
    SiameseText as SiameseText,
    explain as explain,
)
from .pipeline import (
    evaluate as evaluate,
    export as export,
    export_context as export_context,
    train as train,
    write_report as write_report,
)
from .serving import (
    export_saved_model as export_saved_model,
    predict as predict,
    predict_to_file as predict_to_file,
)
from .vocabulary import PhraseTable as PhraseTable, build_prototypes as build_prototypes

__version__: str
