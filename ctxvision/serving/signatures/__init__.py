"""The signatures of an export: pictures in, a readable answer out.

| module | signatures |
|---|---|
| `answer` | `serving_default`, `pixels`, `pixels_float32`, `with_context` |
| `explain` | `explain` |
| `embed` | `embed` |
| `zero_shot` | `zero_shot` |
| `about` | `about` |

`picture_batch` decodes for all of them; `build` puts them together.
"""

from ctxvision.serving.signatures.build import build_signatures
from ctxvision.serving.signatures.picture_batch import decode_pictures

__all__ = ["build_signatures", "decode_pictures"]
