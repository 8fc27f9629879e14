"""The layers, in the order in which data passes through them.

| layer | in | out |
|---|---|---|
| `PhraseGenerator` | pixels [B, H, W, 3], 0..255 | query embedding float32 [B, 64], L2-normalised |
| `PrototypeRetrieval` | query embedding [B, 64] | ids int32, scores float32, phrases string, each [B, k] |
| `DualEncoderText` | phrases string [...] | text embeddings float32 [..., 200], L2-normalised |
| `PhraseEmbeddings` | ids int32 [B, k] | text embeddings of a vocabulary's phrases, float32 [B, k, 200] |
| `ContextPooling` | text embeddings [B, k, 200], scores [B, k] | context float32 [B, 200] |
| `VisualEncoder` | pixels [B, H, W, 3], 0..255 | visual features float32 [B, D] |
| `ContextFusion` | visual [B, D], context [B, 200], query embedding [B, 64] | probabilities float32 [B, L] |
"""

from ctxvision.layers._label_terms import LabelTerms, TermPlaces
from ctxvision.layers.backbone import build_backbone
from ctxvision.layers.context_fusion import ContextFusion
from ctxvision.layers.context_pooling import ContextPooling
from ctxvision.layers.dual_encoder_text import DualEncoderText
from ctxvision.layers.phrase_embeddings import PhraseEmbeddings
from ctxvision.layers.phrase_generator import PhraseGenerator
from ctxvision.layers.prototype_retrieval import PrototypeRetrieval, Retrieved
from ctxvision.layers.visual_encoder import VisualEncoder

__all__ = [
    "ContextFusion",
    "ContextPooling",
    "DualEncoderText",
    "LabelTerms",
    "PhraseEmbeddings",
    "PhraseGenerator",
    "PrototypeRetrieval",
    "Retrieved",
    "TermPlaces",
    "VisualEncoder",
    "build_backbone",
]
