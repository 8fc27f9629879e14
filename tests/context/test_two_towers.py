"""A small two-tower model whose space has three colours, one direction of all pictures and one of all texts."""

import csv
import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.context.text_tower import fit_projection
from ctxvision.serving.loading import load_export
from tests.tiny_data import COLOURS, write_tiny_data

WORDS = {
    **COLOURS,
    "tomato": (210, 30, 40),
    "lawn": (30, 190, 50),
    "sea": (30, 50, 230),
    "lemon": (230, 220, 60),
}


class Pictures(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], name="pixels")])
    def embed(self, pixels):
        colour = tf.reduce_mean(pixels, axis=[1, 2]) - 0.5
        return {
            "vectors": tf.concat([colour, tf.fill([tf.shape(pixels)[0], 1], 0.9), colour[:, :1] * 0], axis=1)
        }


class Texts(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def embed(self, texts):
        found = tf.stack([tf.strings.regex_full_match(texts, f".*{word}.*") for word in WORDS], axis=1)
        colours = tf.constant([list(value) for value in WORDS.values()], tf.float32) / 255 - 0.5
        mean = tf.math.divide_no_nan(
            tf.cast(found, tf.float32) @ colours,
            tf.reduce_sum(tf.cast(found, tf.float32), axis=1, keepdims=True),
        )
        # The part that all texts share, and no picture has, is larger than their differences.
        return {"vectors": tf.concat([mean, mean[:, :1] * 0, tf.fill([tf.shape(texts)[0], 1], -3.0)], axis=1)}


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    for name, module in (("pictures", Pictures()), ("texts", Texts())):
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": module.embed})
    phrases = [f"{adjective} {word}" for adjective in ("a", "one") for word in WORDS]
    (folder / "phrases.txt").write_text("\n".join(phrases) + "\n\nun mar azul sea\tes\n", encoding="utf-8")
    return folder


CONFIG = cv.ContextConfig(image_size=16, phrase_pixels="0..1", embedding_dim=3, text_dim=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Labelled pictures only, without a `web` split."""
    folder = write_tiny_data(tmp_path_factory.mktemp("labelled") / "data", web=4, labelled=24, test=12)
    with open(folder / "images.csv", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row[1] != "web"]
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def build(towers, data, out, config=CONFIG, **towers_named):
    named = {"text_tower": towers / "texts", "picture_tower": towers / "pictures", **towers_named}
    return cv.build_context(towers / "phrases.txt", out=out, pictures=data, config=config, **named)


@pytest.fixture(scope="module")
def built(towers, data):
    return build(towers, data, towers / "built").directory


@pytest.fixture(scope="module")
def run(towers, data, built, tmp_path_factory):
    settings = {
        "image_size": 16,
        "visual_backbone": str(towers / "pictures"),
        "visual_pixels": "0..1",
        "head_steps": 20,
        "fractions": [1.0],
        "seeds": 1,
    }
    out = tmp_path_factory.mktemp("runs") / "run"
    return cv.train(data, out, cv.Config.from_dict(settings), context=built)


def test_the_table_holds_centred_texts(towers, built):
    table = cv.PhraseTable.load(built / "table")
    assert len(table) == 17 and table.prototypes.shape == (17, 3) and table.text_embeddings.shape == (17, 4)
    assert table.languages[-1] == "es" and set(table.languages[:-1]) == {"en"}
    vectors = Texts().embed(tf.constant(list(table.phrases)))["vectors"].numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    # Three directions hold all differences, so the projection keeps every angle.
    np.testing.assert_allclose(table.prototypes @ table.prototypes.T, centred @ centred.T, atol=1e-3)


def test_projection_keeps_the_directions_of_largest_variance():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 4)) * [0.1, 3.0, 0.2, 1.0] + 5
    mean, kernel = fit_projection(vectors, 2)
    np.testing.assert_allclose(mean, vectors.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.abs(kernel), [[0, 0], [1, 0], [0, 0], [0, 1]], atol=0.05)
    np.testing.assert_allclose(fit_projection(vectors, 9).kernel, np.eye(4))


def test_pictures_find_the_words_of_their_colour_without_training(run):
    data = run.data
    answers = run.classifier.predict(data.pictures("test:easy"), verbose=0)
    things = dict(zip(COLOURS, ("tomato", "lawn", "sea", "lemon"), strict=True))
    for (label,), phrases in zip(data.split("test:easy").labels, answers["phrases"], strict=True):
        colour = label.split()[0]
        assert phrases[0].decode().split()[-1] in (colour, things[colour])
    assert b"un mar azul sea" not in answers["phrases"]  # the language filter applies
    assert not run.stages.curves() and not run.context.stages.curves()  # only the head is trained
    embeddings = run.query_embeddings("train")
    assert np.abs(embeddings.mean(axis=0)).max() < 0.35  # pictures are centred on their own mean
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)


def test_the_vocabulary_grows_by_the_text_tower(run, tmp_path):
    copy = cv.Run(shutil.copytree(run.directory, tmp_path / "run"))
    purple = np.full((2, 16, 16, 3), (130, 20, 160), np.uint8)
    row = cv.add_phrase(copy, "our red mascot", purple)
    expected = copy.context.phrase_table.text_embeddings[copy.context.phrase_table.ids(["a red"])[0]]
    np.testing.assert_allclose(copy.context.phrase_table.text_embeddings[row], expected, atol=1e-5)
    assert cv.search_phrases(copy, "lemon", k=1)[0].phrase.endswith("lemon")
    with pytest.raises(
        cv.InputError, match="with_text must be left out for a model that has no text encoder"
    ):
        cv.export(copy, tmp_path / "export", with_text=True)


@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_quantised_text_embeddings_answer_nearly_the_same(run, quantize):
    pixels = tf.constant(run.data.pictures("test:easy"))
    model = run.build_classifier("ivf", quantize)
    assert model.phrase_embeddings.rows.dtype == quantize and run.context.phrase_table.ngrams is None
    expected = run.classifier(pixels)["probabilities"]
    np.testing.assert_allclose(model(pixels)["probabilities"], expected, atol=0.02)


def test_the_same_build_gives_the_same_context(towers, data, built, tmp_path):
    build(towers, data, tmp_path / "again")
    first, second = (cv.PhraseTable.load(folder / "table") for folder in (built, tmp_path / "again"))
    np.testing.assert_array_equal(first.prototypes, second.prototypes)


@pytest.mark.slow
def test_a_context_is_complete_without_the_original_towers(towers, data, tmp_path):
    others = shutil.copytree(towers, tmp_path / "towers", ignore=shutil.ignore_patterns("built"))
    context = build(others, data, tmp_path / "context")
    before = context.describe(np.full((1, 16, 16, 3), (220, 40, 40), np.uint8), k=3)
    shutil.rmtree(others)
    moved = cv.Context(shutil.move(tmp_path / "context", tmp_path / "moved"))
    assert moved.describe(np.full((1, 16, 16, 3), (220, 40, 40), np.uint8), k=3) == before
    assert before[0][0].phrase.split()[-1] in ("red", "tomato")
    found = moved.embed_texts(["a red", "nothing"])
    np.testing.assert_allclose(
        found[0], moved.phrase_table.text_embeddings[moved.phrase_table.ids(["a red"])[0]], atol=1e-5
    )
    figures = {(one.split, one.metric): one.value for one in cv.evaluate_context(moved, data)}
    assert figures["test:easy", "cluster_accuracy"] > 0.9
    assert "two-tower model and 17 phrases" in (moved.directory / "README.md").read_text()
    tagger = load_export(cv.export_context(moved, tmp_path / "tagger")).signatures["pixels"]
    told = tagger(pixels=tf.fill([1, 16, 16, 3], tf.constant(200, tf.uint8)) * [1, 0, 0])["phrases"]
    assert told[0, 0].numpy().decode().split()[-1] in ("red", "tomato")
    settings = {
        "image_size": 16,
        "visual_backbone": "shared",
        "head_steps": 20,
        "fractions": [1.0],
        "seeds": 1,
    }
    run = cv.train(data, tmp_path / "run", cv.Config.from_dict(settings), moved)
    assert cv.predict(run.directory / "export", [run.data.split("test:easy").paths[0]])[0].phrases


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        (b"red\n", {}, "phrases must be at least 2, got 1"),
        (b"red\n\xff\n", {}, "must be UTF-8, got byte 0xff in line 2"),
        (
            b"red\nblue\n",
            {"text_tower": "nowhere"},
            "text_tower must be the folder of a SavedModel, got .*nowhere",
        ),
        (
            b"red\nblue\n",
            {"text_tower": "pictures"},
            "text_tower must have a signature serving_default from one string",
        ),
        (b"red\nblue\n", {"pictures": None}, "pictures must name data .*, got none: give a folder"),
        (b"red\nblue\n", {"picture_tower": "nowhere"}, "picture_tower must be .*, got .*nowhere"),
    ],
)
def test_refused_builds(towers, data, tmp_path, content, arguments, sentence):
    (tmp_path / "phrases.txt").write_bytes(content)
    named = {"text_tower": "texts", "picture_tower": "pictures", **arguments}
    pictures = named.pop("pictures", data)
    places = {name: towers / folder for name, folder in named.items()}
    with pytest.raises(cv.InputError, match=sentence):
        cv.build_context(
            tmp_path / "phrases.txt", out=tmp_path / "out", pictures=pictures, config=CONFIG, **places
        )
    assert not (tmp_path / "out").exists()


def test_a_repeated_phrase(towers, data, tmp_path):
    (tmp_path / "phrases.txt").write_text("red\nblue\nred\n")
    with pytest.raises(cv.InputError, match="red"):
        cv.build_context(
            tmp_path / "phrases.txt", towers / "texts", towers / "pictures", tmp_path / "out", data, CONFIG
        )
    assert not (tmp_path / "out" / "table").exists()


def test_towers_of_different_models(towers, data, tmp_path):
    class Narrow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="pixels")])
        def embed(self, pixels):
            return {"vectors": tf.reduce_mean(pixels, axis=[1, 2])}

    tower = Narrow()
    tf.saved_model.save(tower, str(tmp_path / "narrow"), signatures={"serving_default": tower.embed})
    with pytest.raises(cv.InputError, match="picture_tower must map pictures to the 5 dimensions .* got 3"):
        build(towers, data, tmp_path / "out", picture_tower=tmp_path / "narrow")
    with pytest.raises(cv.InputError, match="picture_tower must be a SavedModel, got 'resnet_mini'"):
        build(towers, data, tmp_path / "out", cv.ContextConfig(image_size=16), picture_tower="resnet_mini")


def test_both_towers_or_a_preset(towers, data, tmp_path):
    rule = "text_tower and picture_tower must both be given, or preset alone"
    for named, got in (
        ({"picture_tower": None}, "got text_tower"),
        ({"text_tower": None, "picture_tower": None}, "got neither"),
        ({"preset": "clip_vit_base_patch16"}, "got text_tower, picture_tower, preset"),
    ):
        with pytest.raises(cv.InputError, match=f"{rule}, {got}"):
            build(towers, data, tmp_path / "new", **named)
    assert not (tmp_path / "new").exists()


def test_a_picture_tower_names_its_pixels(towers, data, tmp_path):
    shutil.copytree(towers / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures" / "tower.json").write_text('{"pixels": "0..1", "image_size": 16}')
    config = cv.ContextConfig(embedding_dim=3, text_dim=4)
    told = build(towers, data, tmp_path / "told", config, picture_tower=tmp_path / "pictures")
    assert (told.config.image_size, told.config.phrase_pixels) == (16, "0..1")
    with pytest.raises(
        cv.InputError, match="phrase_pixels must be given for a SavedModel without tower.json"
    ):
        build(towers, data, tmp_path / "unknown", config)
