"""Labels learnt from a handful of pictures: at once, after a restart, in an export, and removed."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.classifier import concepts as module
from ctxvision.classifier.concept_store import ConceptStore
from ctxvision.serving.loading import load_export
from tests.tiny_data import MASCOT


def probabilities(run, pixels):
    """Answers of a fresh model with exact search, as from a run that is opened again."""
    return cv.Run(run.directory).build_classifier("exact")(tf.constant(pixels))["probabilities"].numpy()


def phrases_of(run):
    return sorted((p.phrase, p.count, p.language) for p in cv.list_phrases(cv.Run(run.directory)))


@pytest.fixture(scope="module")
def easy(kept_run):
    return kept_run.data.pictures("test:easy"), kept_run.data.label_ids("test:easy")


def right(run, easy):
    return (probabilities(run, easy[0]).argmax(axis=1) == easy[1]).mean()


def test_a_new_label(run, purple, folder, easy, tmp_path):
    before = right(run, easy)
    model = run.classifier
    concept = run.add_concept(MASCOT, folder, label="mascot")
    assert (concept.name, concept.label, concept.pictures) == (MASCOT, "mascot", 3)
    assert run.concepts() == [concept] == cv.Run(run.directory).concepts()
    assert run.classifier is not model and model.labels == run.data.labels
    assert run.classifier.labels == [*run.data.labels, "mascot"]

    served = load_export(cv.export(run, tmp_path / "serving")).signatures["pixels"]
    for found in (
        run.classifier.predict(purple, verbose=0),
        cv.Run(run.directory).classifier(tf.constant(purple)),
        served(pixels=tf.constant(purple)),
    ):
        assert (np.asarray(found["probabilities"]).argmax(axis=1) == 4).all()
        assert (np.asarray(found["phrases"]) == MASCOT.encode()).any(axis=1).all()
    assert right(run, easy) >= before - 0.05


def test_removal_restores_the_earlier_state(run, purple, easy):
    pixels = np.concatenate([purple, easy[0]])
    before, phrases = probabilities(run, pixels), phrases_of(run)
    run.add_concept(MASCOT, purple)
    assert probabilities(run, pixels).shape[1] == 5
    run.remove_concept(MASCOT)
    np.testing.assert_array_equal(probabilities(run, pixels), before)
    assert run.classifier.labels == run.data.labels and phrases_of(run) == phrases
    left = [path for path in (run.directory / "concepts").rglob("*") if path.is_file()]
    assert {path.name for path in left} == {".lock", "concepts.json"} and run.concepts() == []


@pytest.mark.slow
def test_removal_in_any_order(run, purple, tmp_path):
    grey = np.full_like(purple, 128)
    run.add_concept("grey", grey)
    with_grey, phrases = probabilities(run, purple), phrases_of(run)
    run.add_concept(MASCOT, purple)
    other = cv.Run(shutil.copytree(run.directory, tmp_path / "other"))
    run.remove_concept(MASCOT)
    np.testing.assert_array_equal(probabilities(run, purple), with_grey)
    assert phrases_of(run) == phrases

    other.remove_concept("grey")
    assert other.classifier.labels[4:] == [MASCOT] and "grey" not in [p[0] for p in phrases_of(other)]
    run.remove_concept("grey")
    run.add_concept(MASCOT, purple)
    np.testing.assert_allclose(probabilities(other, purple), probabilities(run, purple), atol=1e-3)


def test_more_pictures_of_a_known_label(run, purple):
    least = int(probabilities(run, purple).mean(axis=0).argmin())
    run.add_concept(MASCOT, purple, label=run.data.labels[least])
    found = probabilities(run, purple)
    assert found.shape[1] == 4 and (found.argmax(axis=1) == least).all()


def test_a_name_that_is_already_a_phrase_leaves_the_phrase_alone(run, purple):
    phrases = phrases_of(run)
    assert not run.add_concept("red square", purple, "mascot").brought_phrase
    assert phrases_of(run) == phrases
    run.remove_concept("red square")
    assert phrases_of(run) == phrases


def test_a_label_from_words_alone(run, easy):
    """Words teach a colour that phrases know and no label names; its pictures get the label."""
    before, phrases = probabilities(run, easy[0]), phrases_of(run)
    concept = run.add_concept("tomato", words=["Ripe  Tomato"], label="vegetable")
    assert (concept.pictures, concept.words, concept.brought_phrase) == (0, ("Ripe Tomato",), False)
    assert cv.Run(run.directory).concepts() == [concept] and phrases_of(run) == phrases
    found = probabilities(run, easy[0])
    assert found.shape[1] == 5
    # Among all pictures, red ones are closest to it.
    red = easy[1] == run.data.labels.index("red label")
    assert found[red, 4].mean() > 2 * found[~red, 4].mean()
    assert (found[:, :4].argmax(axis=1) == before.argmax(axis=1)).mean() > 0.9
    run.remove_concept("tomato")
    np.testing.assert_array_equal(probabilities(run, easy[0]), before)


def test_pictures_and_words_together(run, purple):
    concept = run.add_concept(MASCOT, purple, words=["ripe tomato", "fresh lawn"])
    model = cv.Run(run.directory).classifier
    assert concept.words == ("ripe tomato", "fresh lawn") and model.labels[4] == MASCOT
    assert (probabilities(run, purple).argmax(axis=1) == 4).all()


def test_one_picture_and_fifty(run, purple):
    run.add_concept("one", purple[:1])
    run.add_concept("fifty", np.repeat(purple, 17, axis=0)[:50])
    assert [concept.pictures for concept in run.concepts()] == [1, 50]


def test_removal_works_after_somebody_has_removed_the_phrase(run, purple):
    run.add_concept(MASCOT, purple)
    cv.remove_phrases(run, [MASCOT])
    run.remove_concept(MASCOT)
    assert run.concepts() == []


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("phrase added", marks=pytest.mark.slow),
        "head written",
        pytest.param("committed", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment(run, purple, tmp_path, monkeypatch, moment):
    """A copy of the folder at that moment holds what a killed process leaves."""
    before, phrases = probabilities(run, purple), phrases_of(run)

    def copied(work, first):
        def copying(*arguments):
            if first:
                shutil.copytree(run.directory, tmp_path / "killed")
            work(*arguments)
            if not first:
                shutil.copytree(run.directory, tmp_path / "killed")

        return copying

    if moment == "phrase added":
        monkeypatch.setattr(module, "_learn", copied(module._learn, first=True))
    else:
        first = moment == "head written"
        monkeypatch.setattr(ConceptStore, "commit", copied(ConceptStore.commit, first))
    run.add_concept(MASCOT, purple)
    assert (tmp_path / "killed" / "concepts" / "unfinished.json").is_file()
    killed = cv.Run(tmp_path / "killed")
    if moment == "committed":
        np.testing.assert_array_equal(probabilities(killed, purple), probabilities(run, purple))
        assert phrases_of(killed) == phrases_of(run)
        return
    np.testing.assert_array_equal(probabilities(killed, purple), before)
    assert killed.concepts() == [] and phrases_of(killed) == phrases
    assert not (killed.directory / "concepts" / "unfinished.json").exists()
    monkeypatch.undo()
    killed.add_concept(MASCOT, purple)
    np.testing.assert_allclose(probabilities(killed, purple), probabilities(run, purple), atol=1e-3)


@pytest.mark.slow
def test_killed_while_removing(run, purple, tmp_path, monkeypatch):
    before = phrases_of(run)
    run.add_concept(MASCOT, purple)
    remove = module.remove_phrases

    def copying(*arguments):
        shutil.copytree(run.directory, tmp_path / "killed")
        remove(*arguments)

    monkeypatch.setattr(module, "remove_phrases", copying)
    run.remove_concept(MASCOT)
    killed = cv.Run(tmp_path / "killed")
    assert killed.concepts() == [] and phrases_of(killed) == before
    np.testing.assert_array_equal(probabilities(killed, purple), probabilities(run, purple))


def test_a_failed_change_changes_nothing(run, purple, monkeypatch):
    before, phrases = probabilities(run, purple), phrases_of(run)

    def broken(*arguments, **settings):
        raise OSError("disk full")

    monkeypatch.setattr(module, "grow_head", broken)
    with pytest.raises(OSError, match="disk full"):
        run.add_concept(MASCOT, purple)
    np.testing.assert_array_equal(probabilities(run, purple), before)
    assert phrases_of(run) == phrases and run.concepts() == []
    assert not (run.directory / "concepts" / "unfinished.json").exists()


def test_one_change_at_a_time(run, purple):
    with (
        ConceptStore(run.directory).changing(),
        pytest.raises(
            cv.InputError, match="must be changed by one process at a time, got another change under way"
        ),
    ):
        cv.Run(run.directory).add_concept(MASCOT, purple)


BAD = {
    "no name": (
        lambda run, place: run.add_concept(" ", place),
        "name of a concept must be a non-empty text, got ' '",
    ),
    "no label": (
        lambda run, place: run.add_concept("x", place, label=""),
        "label of a concept must be a non-empty text, got ''",
    ),
    "a concept that exists": (
        lambda run, place: run.add_concept(MASCOT, place, label="other"),
        f"name must be new, got '{MASCOT}', which is a concept already: remove it, or",
    ),
    "neither pictures nor words": (
        lambda run, place: run.add_concept("x"),
        "a concept must have images or words, got neither: give pictures, or the words",
    ),
    "an empty word": (
        lambda run, place: run.add_concept("x", words=["tomato", " "]),
        "words of a concept must be a non-empty text, got ' '",
    ),
    "an unreadable picture": (
        lambda run, place: run.add_concept("x", [place / "a.png", place / "notes.txt"]),
        "images must be JPEG, PNG, GIF, BMP or still WebP files, got '.*notes.txt' that cannot be decoded",
    ),
    "no pictures": (
        lambda run, place: run.add_concept("x", []),
        r"images must name pictures or a folder that holds some, got \[\]",
    ),
    "no pixels": (
        lambda run, place: run.add_concept("x", np.zeros([0, 16, 16, 3], np.uint8)),
        "images must be uint8 .* with N at least 1, got uint8",
    ),
    "51 pictures": (
        lambda run, place: run.add_concept("x", np.zeros([51, 16, 16, 3], np.uint8)),
        "images must be 1 to 50 pictures, got 51: give fewer",
    ),
    "an export without context": (
        lambda run, place: cv.export(run, place / "serving", context=False),
        f"a run must have no concepts to do without context, got '{MASCOT}': remove the concepts",
    ),
    "an unknown name": (
        lambda run, place: run.remove_concept("dog"),
        f"name must be a concept of the run, got 'dog': name one of '{MASCOT}'",
    ),
}


@pytest.fixture(scope="module")
def learnt(tiny_run, tmp_path_factory, purple):
    run = cv.Run(shutil.copytree(tiny_run.directory, tmp_path_factory.mktemp("learnt") / "run"))
    run.add_concept(MASCOT, purple)
    return run


@pytest.mark.parametrize("case", BAD)
def test_bad_input_changes_nothing(case, learnt, folder):
    call, sentence = BAD[case]

    def state():
        files = [p for part in ("concepts/heads", "table") for p in (learnt.directory / part).rglob("*")]
        return {p: p.read_bytes() for p in files if p.is_file()}, learnt.concepts()

    before = state()
    with pytest.raises(cv.InputError, match=sentence) as error:
        call(learnt, folder)
    assert "\n" not in str(error.value) and state() == before


def test_a_run_with_several_labels_per_picture(kept_run, purple, monkeypatch):
    monkeypatch.setattr(kept_run, "config", cv.Config(multi_label=True))
    with pytest.raises(
        cv.InputError, match="a concept must be added to a run of one label a picture, got one of"
    ):
        kept_run.add_concept(MASCOT, purple)


def test_a_damaged_list(run):
    (run.directory / "concepts").mkdir()
    (run.directory / "concepts" / "concepts.json").write_text('[{"name": "x"}]')
    with pytest.raises(cv.InputError, match="must be a list of concepts, got one that is damaged"):
        run.concepts()
    with pytest.raises(cv.InputError, match="must be a list of concepts"):
        run.build_classifier()


def test_names_are_cleaned_like_labels(run, purple):
    concept = run.add_concept("our\nlilac\u200b  thing", purple)
    assert concept.name == concept.label == "our lilac thing"
    assert "our lilac thing" in run.classifier.labels and "our lilac thing" in list(
        run.context.phrase_table.phrases
    )
    run.remove_concept("our  lilac\u200b thing")
    assert run.concepts() == []
