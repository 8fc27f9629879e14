"""Runs `ctxvision/kerashub/convert.py` from the checkout, which converts a KerasHub preset to SavedModels.

    python tools/convert_kerashub.py PRESET --out DIR [--pixels 0..255|0..1|-1..1|imagenet|clip]

It needs `pip install 'ctxvision[convert]'`. An image backbone (`efficientnet_b0_ra_imagenet`) becomes the picture tower
DIR, for `visual_backbone` and `phrase_backbone`. A two-tower preset (`clip_vit_base_patch16`) becomes DIR/picture and
DIR/text, for `ctxvision context build`.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    program = Path(__file__).resolve().parents[1] / "ctxvision" / "kerashub" / "convert.py"
    sys.path.insert(0, str(program.parent))
    runpy.run_path(str(program), run_name="__main__")
