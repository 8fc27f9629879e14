"""Writes small KerasHub presets with random weights, and KerasHub's answers, for the tests of the converter.

    python kerashub_presets.py DIR NAME...

Each preset is written to DIR/NAME by KerasHub itself. Its `answers.npz` holds `pixels` in 0..255 and their `features`, and
for a two-tower model also `texts` and their `vectors`, computed eagerly. This needs Keras 3, so it runs in a process of
its own.
"""

import io
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np  # noqa: E402
from keras_hub import layers, models, tokenizers  # noqa: E402

SIZE = 32
TEXTS = ["a photo of the cat", "It's 50% off, iPhone 13", "CAFÉ e\u0301t\u00e9\u3000№ 7", "", "red car " * 40]
IMAGENET = {"scale": [0.0171, 0.0175, 0.0174], "offset": [-2.118, -2.036, -1.804]}
TRANSFORMER = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "image_shape": (SIZE, SIZE, 3)}


def vit(**options):
    return models.ViTBackbone(patch_size=8, mlp_dim=16, **TRANSFORMER, **options)


def dinov2():
    return models.DINOV2Backbone(
        patch_size=8,
        intermediate_dim=16,
        num_register_tokens=2,
        position_embedding_shape=(SIZE, SIZE, 3),
        **TRANSFORMER,
    )


def dinov3():
    return models.DINOV3Backbone(patch_size=8, intermediate_dim=16, **TRANSFORMER)


def resnet():
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )


def mobilenet():
    return models.MobileNetBackbone(
        stackwise_expansion=[[16, 24], [24, 32]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[8, 8], [16, 16]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=24,
        input_activation="hard_swish",
        output_activation="hard_swish",
        input_num_filters=8,
        image_shape=(SIZE, SIZE, 3),
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=24,
    )


def efficientnet():
    return models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0, 1.0],
        stackwise_depth_coefficients=[1.0, 1.0],
        stackwise_kernel_sizes=[3, 5],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_block_types=["v1", "v1"],
    )


def hgnetv2():
    """A backbone that returns the feature maps of its stages."""
    return models.HGNetV2Backbone(
        depths=[1, 1],
        embedding_size=8,
        hidden_sizes=[12, 16],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 12, 1, 1, 3), (12, 8, 16, 1, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
        image_shape=(SIZE, SIZE, 3),
    )


def cspnext():
    """A backbone with convolutions in 4 groups."""
    return models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 1],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[16, 32],
        block_type="bottleneck_block",
        stage_type="csp",
        groups=4,
        expand_ratio=[2.0],
    )


# Maps a family's name to its backbone, image converter and pooling of the output.
FAMILIES = {
    "vit": (vit, layers.ViTImageConverter, "class token"),
    "vit-of-patches": (lambda: vit(use_class_token=False), layers.ViTImageConverter, "mean of tokens"),
    "dinov2": (dinov2, layers.DINOV2ImageConverter, "class token"),
    "dinov3": (dinov3, layers.DINOV3ImageConverter, "class token"),
    "resnet": (resnet, layers.ResNetImageConverter, "mean of feature map"),
    "densenet": (
        lambda: models.DenseNetBackbone([2, 2, 2], growth_rate=4),
        layers.DenseNetImageConverter,
        "mean of feature map",
    ),
    "mobilenet": (mobilenet, layers.MobileNetImageConverter, "mean of feature map"),
    "efficientnet": (efficientnet, layers.EfficientNetImageConverter, "mean of feature map"),
    "cspnext": (cspnext, layers.CSPNetImageConverter, "mean of feature map"),
    "hgnetv2": (hgnetv2, layers.HGNetV2ImageConverter, "mean of feature map stage2"),
}


def clip():
    """Makes a CLIP model whose vocabulary has all bytes, inside and at the end of a word, and a few merges."""
    from keras_hub.src.tokenizers.byte_pair_tokenizer import bytes_to_unicode

    _, letters = bytes_to_unicode()
    merges = [
        "p h",
        "ph o",
        "pho t",
        "phot o</w>",
        "c a",
        "ca t</w>",
        "' s</w>",
        "o f</w>",
        "1 3</w>",
        "5 0</w>",
    ]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(one.split()) for one in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = tokenizers.CLIPTokenizer(
        {token: number for number, token in enumerate(tokens)}, merges, pad_with_end_token=True
    )
    preprocessor = models.CLIPPreprocessor(
        tokenizer, layers.CLIPImageConverter((SIZE, SIZE), **IMAGENET), sequence_length=20
    )
    return two_towers("CLIP", tokenizer, 20, projection_dim=12), preprocessor


def siglip():
    tokenizer = tokenizers.SigLIPTokenizer(sentence_pieces(pad_id=0, bos_id=-1, eos_id=1, unk_id=2))
    converter = layers.SigLIPImageConverter((SIZE, SIZE), scale=1 / 127.5, offset=-1)
    preprocessor = models.SigLIPPreprocessor(tokenizer, converter, sequence_length=16)
    return two_towers("SigLIP", tokenizer, 16), preprocessor


def metaclip2():
    tokenizer = tokenizers.MetaCLIP2Tokenizer(sentence_pieces(unk_id=0, bos_id=1, eos_id=2))
    converter = layers.MetaCLIP2ImageConverter((SIZE, SIZE), **IMAGENET)
    preprocessor = models.MetaCLIP2CausalLMPreprocessor(tokenizer, converter, sequence_length=16)
    return two_towers("MetaCLIP2", tokenizer, 16, projection_dim=12), preprocessor


TWO_TOWERS = {"clip": clip, "siglip": siglip, "metaclip2": metaclip2}


def two_towers(kind, tokenizer, length, **options):
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "intermediate_dim": 24}
    vision = vars(models)[f"{kind}VisionEncoder"](patch_size=16, image_shape=(SIZE, SIZE, 3), **sizes)
    text = vars(models)[f"{kind}TextEncoder"](
        vocabulary_size=tokenizer.vocabulary_size(), embedding_dim=16, max_sequence_length=length, **sizes
    )
    return vars(models)[f"{kind}Backbone"](vision_encoder=vision, text_encoder=text, **options)


def sentence_pieces(**ids):
    import sentencepiece

    words, model = "a photo of the cat on red car it is small off with hat", io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([words, *words.split()]),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **ids,
    )
    return model.getvalue()


def shaken(backbone):
    """Adds noise to the weights, because initial zeros, ones and tiny weights make all pictures look alike."""
    random = np.random.default_rng(2)
    for weight in backbone.weights:
        if "seed" not in weight.path:
            moved = np.asarray(weight) + random.normal(0, 0.4, weight.shape)
            weight.assign(np.abs(moved) + 0.2 if "variance" in weight.path else moved)
    return backbone


def pooled(backbone, pixels, pooling):
    outputs = backbone({next(iter(backbone.input)): pixels} if isinstance(backbone.input, dict) else pixels)
    outputs = np.asarray(outputs["stage2"] if isinstance(outputs, dict) else outputs)
    if pooling == "class token":
        return outputs[:, 0]
    return outputs.mean(tuple(range(1, outputs.ndim - 1)))


def write(folder, name):
    contrast = np.array([255, 160, 60]).reshape(3, 1, 1, 1)
    pixels = (np.random.default_rng(1).random((3, SIZE, SIZE, 3)) * contrast).astype(np.float32)
    answers = {"pixels": pixels}
    if name in TWO_TOWERS:
        backbone, preprocessor = TWO_TOWERS[name]()
        shaken(backbone)
        packed = preprocessor({"prompts": TEXTS, "images": pixels})
        answers["features"] = np.asarray(backbone.get_vision_embeddings(packed["images"]))
        answers["vectors"] = np.asarray(backbone.get_text_embeddings(packed["token_ids"]))
        answers["texts"] = np.array([text.encode() for text in TEXTS])
    elif name == "bert":
        sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 4, "intermediate_dim": 4}
        backbone, preprocessor = models.BertBackbone(vocabulary_size=20, **sizes), None
    else:
        make, converter, pooling = FAMILIES[name]
        backbone, preprocessor = shaken(make()), converter((SIZE, SIZE), **IMAGENET)
        answers["features"] = pooled(backbone, preprocessor(pixels), pooling)
        answers["pooling"] = np.array(pooling)
    for part in filter(None, (backbone, preprocessor)):
        part.save_to_preset(str(folder))
    np.savez(folder / "answers.npz", **answers)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        write(Path(sys.argv[1], name), name)
