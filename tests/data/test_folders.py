"""Entries of folders that every reader leaves out."""

import os
import re
import shutil
from collections import Counter

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.cli import main
from ctxvision.data import load_data
from ctxvision.data.folders import describe, inner_folders, picture_files
from ctxvision.data.training_check import refused_for_training
from ctxvision.errors import InputError
from ctxvision.training.given_pictures import given_pictures
from ctxvision.training.given_pictures import picture_files as given_picture_files
from tests.data.layouts import picture, write


@pytest.fixture
def folder(tmp_path):
    """Two labels of two pictures each, among files that systems and people leave in folders."""
    for label in ("cats", "dogs"):
        for number in range(2):
            write(tmp_path / "data" / "train" / label / f"{number}.jpg", picture("red", number))
    cats = tmp_path / "data" / "train" / "cats"
    for name in ("._0.jpg", ".hidden.png", "@eaDir/0.jpg", ".ipynb_checkpoints/0-checkpoint.jpg"):
        write(cats / name, picture("red", 0))
    for name in (".ipynb_checkpoints/x/1.jpg", "__MACOSX/cats/._1.jpg"):
        write(tmp_path / "data" / "train" / name, picture("red", 0))
    write(cats / "Thumbs.db", b"x")
    write(cats / "notes.TXT", b"x")
    write(cats / "README", b"x")
    write(tmp_path / "data" / "train" / "loose.jpg", picture("red", 1))
    write(tmp_path / "data" / "Val" / "cats" / "1.jpg", picture("red", 1))
    write(tmp_path / "data" / "TEST-Night" / "dogs" / "1.jpg", picture("red", 1))
    write(tmp_path / "data" / "extra" / "cats" / "1.jpg", picture("red", 1))
    return tmp_path / "data"


def test_every_suffix_of_a_jpeg_is_read_and_lock_files_are_not(tmp_path):
    for number, name in enumerate(("a.jfif", "b.JPE", "c.Jpeg", "d.JPG")):
        write(tmp_path / name, picture("red", number))
    write(tmp_path / "~$a.jpg", b"x")
    left_out = Counter()
    assert [os.path.basename(path) for path in picture_files(str(tmp_path), left_out)] == [
        "a.jfif", "b.JPE", "c.Jpeg", "d.JPG"
    ]  # fmt: skip
    assert left_out == {"hidden": 1}


def test_folders_of_storage_devices_are_left_out(tmp_path):
    names = ("@Recycle", "@tmp", "#snapshot", "LOST.DIR", "RECYCLER", "Network Trash Folder", "_gsdata_")
    for name in names:
        write(tmp_path / name / "a.png", picture("red", 0))
    write(tmp_path / "cats" / "a.png", picture("red", 1))
    left_out = Counter()
    assert inner_folders(str(tmp_path), left_out) == ["cats"] and left_out == {"system files": len(names)}


def test_a_pipe_is_no_picture(folder):
    os.mkfifo(folder / "train" / "cats" / "pipe.jpg")
    assert load_data(f"folder:{folder}").left_out["neither files nor folders"] == 1


def test_system_and_other_files_are_left_out(folder):
    manifest = load_data(f"folder:{folder}")
    assert set(manifest.splits) == {"web", "train", "val", "test:Night"}
    train = manifest.split("train")
    assert Counter(train.labels) == {("cats",): 2, ("dogs",): 2}
    assert manifest.left_out == {
        "hidden": 4,
        "system files": 3,
        ".txt files": 1,
        "files without a suffix": 1,
        "files beside folders": 1,
        "folder 'extra', which is not a split": 1,
    }
    assert describe(manifest.left_out).startswith("hidden 4, system files 3, ")


def test_data_check_tells_what_is_left_out(folder, capsys):
    main(["data", "check", f"folder:{folder}"])
    assert re.search("left out +hidden 4, system files 3", capsys.readouterr().out)


def test_links_to_folders_are_followed_once(folder, tmp_path):
    write(tmp_path / "elsewhere" / "7.jpg", picture("blue", 7))
    os.symlink(tmp_path / "elsewhere", folder / "train" / "birds")
    os.symlink(tmp_path / "elsewhere" / "7.jpg", folder / "train" / "dogs" / "linked.jpg")
    os.symlink(folder / "train" / "dogs", folder / "train" / "dogs" / "myself")
    os.symlink("/nowhere.jpg", folder / "train" / "dogs" / "dead.jpg")
    os.symlink("/nowhere", folder / "train" / "lost")
    os.symlink("loop.jpg", folder / "train" / "dogs" / "loop.jpg")  # points to itself
    manifest = load_data(f"folder:{folder}")
    assert Counter(manifest.split("train").labels) == {("cats",): 2, ("dogs",): 3, ("birds",): 1}
    assert manifest.left_out["broken links"] == 3
    assert not refused_for_training(manifest)


def test_folders_given_by_name_follow_the_same_rule(folder):
    cats = folder / "train" / "cats"
    assert [os.path.basename(path) for path in picture_files(str(cats))] == ["0.jpg", "1.jpg"]
    assert len(given_pictures(str(cats), 8)) == 2
    write(folder / "empty" / "notes.txt", b"x")
    with pytest.raises(InputError, match="images must name pictures or a folder that holds some"):
        given_pictures(str(folder / "empty"), 8)


def test_pictures_given_by_name_keep_their_order(folder):
    cats, dog = folder / "train" / "cats", folder / "train" / "dogs" / "0.jpg"
    files = given_picture_files([dog, cats / "1.jpg", cats])
    assert files == [str(dog), str(cats / "1.jpg"), str(cats / "0.jpg")]
    assert np.array_equal(given_pictures(files, 8), given_pictures(files[::-1], 8)[::-1])


def test_a_broken_link_in_images_csv_counts_as_missing(tiny_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    first = next(iter(sorted((data / "images").glob("train-*"))))
    first.unlink()
    os.symlink("/nowhere.png", first)
    found = cv.data.check_data(load_data(data), pictures=0)
    assert any("1 file of split 'train' is missing" in told for told in [*found.problems, *found.refused])


def test_names_that_are_not_utf8_are_left_out_and_counted(tmp_path):
    for label in (b"cat", b"caf\xe9"):
        for name in (b"1.jpg", b"\xff.jpg"):
            place = os.path.join(os.fsencode(tmp_path), label, name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(picture("red", 0))
    manifest = load_data(f"folder:{tmp_path}")
    assert manifest.split("train").paths == [str(tmp_path / "cat" / "1.jpg")]
    assert manifest.left_out == {"names that are not UTF-8": 2}


def test_queries_longer_than_a_phrase_are_left_out_and_counted(tmp_path):
    long = "é" * 501
    rows = f"a.png,web,,cat|{long}\nb.png,web,,{long}|{'e' * 1000}\n"
    (tmp_path / "images.csv").write_text("image,split,label,queries\n" + rows, encoding="utf-8")
    manifest = load_data(tmp_path)
    assert [[query.text for query in row] for row in manifest.split("web").queries] == [["cat"], ["e" * 1000]]
    assert manifest.left_out == {"queries of more than 1,000 bytes": 2}
