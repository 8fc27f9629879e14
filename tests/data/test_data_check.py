import html
import shutil

import numpy as np
import pytest
from PIL import Image

from ctxvision.cli import main
from ctxvision.data import check_data, load_data, write_sheet
from ctxvision.data.training_check import QueryNeeds
from tests.data.layouts import picture, write
from tests.tiny_data import write_tiny_data


@pytest.fixture
def folder(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


def rewrite(folder, change):
    path = folder / "images.csv"
    path.write_text(change(path.read_text()))


def checked(folder, **arguments):
    return check_data(load_data(folder), **{"queries": QueryNeeds(min_class_count=2), **arguments})


def test_facts(folder):
    found = checked(folder)
    facts = dict(found.facts)
    assert facts["split web"] == "96 pictures, 0 with labels, 96 with queries"
    assert facts["split test:easy"] == "24 pictures, 24 with labels, 24 with queries"
    assert facts["queries"] == "288 of 12 different ones"
    assert facts["languages"] == "en 192, es 96"
    assert facts["query classes"] == "8 queries in en with 2 pictures or more"
    assert facts["opened"] == "192 of 192 pictures"
    assert facts["sizes"] == "20 x 20 pixels, 1 different" and facts["kinds"] == "PNG RGB 192"
    assert not found.problems and not found.refused
    assert {one.split for one in found.sheet} == {"web", "train", "test:easy", "test:hard"}


def test_missing_damaged_and_copied_pictures(folder):
    images = folder / "images"
    (images / "web-3.png").unlink()
    (images / "train-5.png").write_bytes(b"no picture")
    shutil.copy(images / "train-0.png", images / "test-easy-1.png")
    Image.new("L", (30, 10)).save(images / "web-8.jpg")
    rewrite(folder, lambda text: text.replace("images/web-8.png", "images/web-8.jpg"))
    rewrite(folder, lambda text: text.replace("images/test-hard-2.png", "images/train-2.png"))
    found = checked(folder)
    problems, refused = "\n".join(found.problems), "\n".join(found.refused)
    assert "1 file of split 'web' is missing: " in refused and "web-3.png" in refused  # 1 of 96 is over 1%
    assert "1 of 48 pictures opened in split 'train' cannot be decoded: " in refused
    assert "1 picture of split 'test:easy' is learnt from under another name or split: " in problems
    assert "1 picture of split 'test:hard' is also learnt from: " in problems
    facts = dict(found.facts)
    assert facts["sizes"] == "20..30 x 10..20 pixels, 2 different" and "JPEG grey 1" in facts["kinds"]


def test_damaged_web_pictures_do_not_matter_to_a_run_over_a_context(folder):
    (folder / "images" / "web-5.png").write_bytes(b"no picture")
    sentence = "1 of 96 pictures opened in split 'web' cannot be decoded: "
    assert checked(folder).refused[0].startswith(sentence)
    found = check_data(load_data(folder), queries=None)
    assert not found.refused and any(problem.startswith(sentence) for problem in found.problems)


def test_missing_and_unreadable_pictures_count_together_as_in_training(folder):
    """Each is one of 144 pictures, which training accepts alone; both are over 1%."""
    rewrite(folder, lambda text: text.replace(",train,", ",web,", 48).replace("test:hard", "train"))
    (folder / "images" / "web-3.png").unlink()
    assert not checked(folder).refused
    picture = folder / "images" / "web-5.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:60])
    (told,) = checked(folder).refused
    assert told.startswith("1 of 144 pictures opened in split 'web' cannot be decoded: ")
    assert told.endswith(", and 1 file of it is missing")
    picture.unlink()
    picture.mkdir()
    (told,) = checked(folder).refused
    assert told.startswith("2 files of split 'web' are missing: ")


def test_16_bit_pngs_that_use_fewer_bits(folder):
    Image.fromarray(np.full((20, 20), 4000, np.uint16)).save(folder / "images/train-5.png")
    Image.fromarray(np.full((20, 20), 40000, np.uint16)).save(folder / "images/train-6.png")
    (told,) = checked(folder).problems
    assert told.startswith(
        "1 PNG of 16 bits in split 'train' uses fewer bits, and is brightened to the whole range: "
    )
    assert told.endswith("train-5.png (12)")


def test_labels_and_queries(folder):
    def change(text):
        rows = text.replace("green label", "yellow label").splitlines()
        blue = [row for row in rows if ",train,blue label" in row]
        kept = [row for row in rows if row not in blue[1:]]
        return "\n".join(kept).replace("test:hard,red label", "test:hard,pink label") + "\n"

    rewrite(folder, change)
    found = checked(folder, queries=QueryNeeds(min_class_count=25))
    problems, refused = "\n".join(found.problems), "\n".join(found.refused)
    assert "labels are unbalanced: 'yellow label' has 24 pictures in train, 'blue label' 1" in problems
    assert "1 label with one picture in train, so that none is held out for val: blue label" in problems
    assert "labels of split 'test:hard' that train does not have: pink label" in problems
    assert "split 'test:hard' has no picture of 1 label: red label" in problems
    assert "8 of 8 queries in en have fewer than 25 pictures and get no class" in problems
    assert "every label of split 'test:hard' must also be in split 'train', got pink label" in refused
    assert "queries must include at least 2 with 25 pictures or more in en, got 0" in refused


def test_a_sample_of_each_split_is_opened(folder):
    found = checked(folder, pictures=20)
    assert dict(found.facts)["opened"] == "20 of 192 pictures" and len(found.sheet) == 20
    assert "opened" not in dict(checked(folder, pictures=0).facts)


def test_the_sheet_shows_pictures_labels_and_queries(folder, tmp_path):
    found = checked(folder)
    write_sheet(tmp_path / "sheet.html", "a <title>", found.sheet)
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("<img ") == len(found.sheet) == 4 * 24 and "data:image/png;base64," in page
    assert "red label" in page and "ripe tomato" in page and html.escape("a <title>") in page
    first = next(one for one in found.sheet if one.labels == ("red label",))
    assert first.pixels.shape == (96, 96, 3) and np.argmax(first.pixels.mean(axis=(0, 1))) == 0


def test_the_command(folder, tmp_path, capsys):
    sheet = tmp_path / "sheet.html"
    assert main(["data", "check", str(folder), "--sheet", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "split web        96 pictures" in out and out.endswith("fit for training\n") and sheet.is_file()
    rewrite(folder, lambda text: text.replace(",train,blue label", ",train,"))
    assert main(["data", "check", str(folder), "--pictures", "0"]) == 2
    told = capsys.readouterr()
    assert "split web" in told.out and "fit for training" not in told.out
    assert (
        told.err.startswith("ctxvision: every picture of split 'train' must have one label")
        and told.err.count("\n") == 1
    )
    for arguments, sentence in (
        (["/nowhere"], "data must name a folder"),
        (["flickr:30k"], "data must be a folder or start with one of folder:, imagenet:"),
        (["imagenet:"], "data must name what imagenet: reads"),
        ([str(folder), "--pictures", "-1"], "pictures must be 0 or more, got -1"),
        ([str(folder), "--label-column", "colour"], "the label column must be one of label, coarse_label"),
    ):
        assert main(["data", "check", *arguments]) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1


def test_a_hundred_thousand_rows_share_their_strings(tmp_path):
    """A million rows fit in memory because equal labels and queries are one object."""
    rows = "".join(
        f"p/{i}.jpg,web,,red car|Blue  CAR,en|en\np/{i}.png,train,l{i % 3},,\n" for i in range(50_000)
    )
    (tmp_path / "images.csv").write_text("image,split,label,queries,languages\n" + rows)
    manifest = load_data(tmp_path)
    web, train = manifest.split("web"), manifest.split("train")
    assert len({id(query) for row in web.queries for query in row}) == 2
    assert len({id(row) for row in train.labels}) == 3
    found = check_data(manifest, pictures=0)
    assert found.refused == [
        f"50,000 files of split '{name}' are missing: {tmp_path}/p/0.{kind}, {tmp_path}/p/1.{kind}, {tmp_path}/p/2.{kind} "
        "and 49997 more; at most 1% may be: restore the files, or remove their rows."
        for name, kind in (("web", "jpg"), ("train", "png"))
    ]


def test_the_tiny_data_is_fit(tmp_path, capsys):
    folder = write_tiny_data(tmp_path / "data", web=20, labelled=8, test=4)
    assert main(["data", "check", str(folder)]) == 0
    assert "problem:" not in capsys.readouterr().out


def test_the_remedy_for_few_pictures_without_queries(tmp_path):
    for label in ("cat", "dog"):
        for number in range(3):
            write(tmp_path / label / f"{number}.jpg", picture("red", number))
    (told,) = check_data(load_data(f"folder:{tmp_path}")).refused
    assert "must have queries or 5 pictures per label, got neither: train over a context (--context)" in told
    assert not check_data(load_data(f"folder:{tmp_path}"), queries=None).refused
