"""The signatures of an export: they take pictures and return readable answers.

| module | signatures |
|---|---|
| `answer` | `serving_default`, `pixels`, `pixels_float32`, `with_context` |
| `explain` | `explain` |
| `embed` | `embed` |
| `zero_shot` | `zero_shot` |
| `about` | `about` |

`towers` runs the ConvNets for all signatures; `build` assembles them.
"""

from ctxvision.serving.signatures.build import build_signatures

__all__ = ["build_signatures"]
