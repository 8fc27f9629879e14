"""Converts a KerasHub preset to SavedModels that load with TensorFlow alone.

    python ctxvision/kerashub/convert.py PRESET --out DIR [--pixels 0..255|0..1|-1..1|imagenet|clip]

PRESET is a preset's name (`clip_vit_base_patch16`), a handle (`hf://`, `kaggle://`) or a local preset folder. An image
backbone becomes one picture tower, the SavedModel DIR; a two-tower preset (CLIP, SigLIP, MetaCLIP 2) becomes
DIR/picture and DIR/text. A `tower.json` beside each `saved_model.pb` holds the facts.

| tower | `serving_default` takes | and returns |
|---|---|---|
| picture | `pixels` float32 [B, S, S, 3] in 0..255 | `features` float32 [B, D], not normalised |
| text | `texts` string [B] | `vectors` float32 [B, D], not normalised |

The graph includes the preset's own scale and offset of pixels, and its tokenizer. A text tower loads after
`import tensorflow_text`. DIR is written completely or not at all. Bad input gives exit status 2 and one sentence on
standard error.

The program needs Keras 3, and `import ctxvision` binds Keras 2: run it in a separate process.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from _convert.output import new_folder, quiet
from _convert.picture import PIXELS, picture_tower
from _convert.preset import has_two_towers, import_keras_hub, license_of, load_backbone
from _convert.refusal import RefusedError, no_space, reason
from _convert.saving import save_tower
from _convert.text import text_tower


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(description="Converts a KerasHub preset to SavedModels.")
    parser.add_argument("preset", metavar="PRESET", help="name, handle or folder of a preset")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder")
    parser.add_argument("--pixels", choices=PIXELS, help="used instead of the preset's own pixel convention")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--pixels" in words[:-1]:  # argparse would read the value -1..1 as an option
        at = words.index("--pixels")
        words[at : at + 2] = ["=".join(words[at : at + 2])]
    given = parser.parse_args(words)
    try:
        convert(given.preset, given.out, given.pixels)
    except RefusedError as refusal:
        sentence = str(refusal)
    except Exception as error:
        if not isinstance(error, OSError) and not no_space(error):
            raise
        sentence = f"--out must be a folder that can be written, got {str(given.out)!r} ({reason(error)}): "
        sentence += "make room there and in the cache of presets." if no_space(error) else "name another."
    else:
        return 0
    print(sentence, file=sys.stderr)
    return 2


def convert(preset: str, out: Path, pixels: str | None = None) -> None:
    """Writes the towers of `preset` to the new folder `out`."""
    if out.exists() or out.is_symlink():
        raise RefusedError(f"--out must be a new folder, got {str(out)!r}: delete it, or name another.")
    keras_hub = import_keras_hub(preset)
    backbone = load_backbone(preset, keras_hub)
    towers = {"picture": picture_tower(backbone, preset, pixels, keras_hub)}
    if has_two_towers(type(backbone)):
        towers["text"] = text_tower(backbone, preset, keras_hub)
    facts = {"source": preset, "backbone": type(backbone).__name__, "license": license_of(preset)}
    with new_folder(out) as folder, quiet():
        for name, tower in towers.items():
            save_tower(tower, folder / name if len(towers) > 1 else folder, facts)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # removes the temporary folder
    sys.exit(main())
