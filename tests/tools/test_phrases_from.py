"""Lists of phrases from captions, tables, WordNet and labels."""

import json
import sys

import pytest

from ctxvision.context.text_tower import phrases_of
from ctxvision.data import load_data
from tests.data.layouts import picture, write
from tools.phrases_from import main

# Files in the format of wndb(5WN). Of the senses of "turkey", the bird is tagged twice, the country once, the flop never.
LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by  \n  2 and so on.  \n"
DATA = LICENCE + "\n".join(
    [
        "00001740 05 n 02 turkey 0 Meleagris_gallopavo 0 001 @ 00001850 n 0000 | large fowl | with a bar  ",
        "00001800 04 n 02 turkey 1 bomb 0 000 | an event that fails badly  ",
        '00001850 05 n 01 domestic_fowl 0 002 ~ 00001740 n 0000 + 00002000 v 0101 | a "bird"  ',
        "00001900 15 n 02 Turkey 0 Republic_of_Turkey 0 001 @i 00001850 n 0000 | a country  ",
        "00001950 18 n 0b a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9 turkey_in_the_straw_song a 000 | eleven words  ",
        "00002000 23 n 02 24/7 0 .22 0 000 | no words  \n",
    ]
)
INDEX = LICENCE + "\n".join(
    [
        "24/7 n 1 0 1 0 00002000  ",
        "bomb n 1 0 1 0 00001800  ",
        "domestic_fowl n 1 2 ~ + 1 1 00001850  ",
        "meleagris_gallopavo n 1 1 @ 1 0 00001740  ",
        "republic_of_turkey n 1 1 @i 1 0 00001900  ",
        "turkey n 3 2 @ @i 3 2 00001740 00001900 00001800  \n",
    ]
)
COUNTS = [("turkey%1:05:00::", 1, 2), ("turkey%1:15:00::", 2, 1), ("turkey%2:30:00::", 1, 9)]
LETTERS = [(letter, "en", 1) for letter in "abcdefghij"]


def parquet(path, **columns):
    pyarrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(pyarrow.table(columns), path)


def listed(tmp_path, *arguments):
    out = tmp_path / "out" / "phrases.txt"
    assert main([*map(str, arguments), "--out", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["phrases.txt"]
    lines = [tuple(line.split("\t")) for line in out.read_bytes().decode("utf-8").split("\n")]
    assert lines.pop() == ("",)
    found = [(phrase, language, int(count)) for phrase, language, count in lines]
    assert [tuple(line) for line in phrases_of(out)] == found
    return found


# === Captions ===


def test_captions_give_the_phrases_of_a_data_set(tmp_path):
    texts = ["A red car on the beach", "the RED car, a dog", "rotes auto", "rotes auto", "dog", "failed dog"]
    languages = ["en", None, "de", "de", "en", "en"]
    status = ["success"] * 5 + ["failed_to_download"]
    pictures = [picture("red", i) for i in range(6)]
    parquet(tmp_path / "a" / "0.parquet", jpg=pictures, caption=texts, language=languages, status=status)
    expected = [
        ("auto", "de", 2),
        ("car", "en", 2),
        ("dog", "en", 2),
        ("red", "en", 2),
        ("red car", "en", 2),
        ("rotes", "de", 2),
        ("rotes auto", "de", 2),
    ]
    assert listed(tmp_path, "captions", tmp_path / "a") == expected
    web = load_data(f"captions:{tmp_path / 'a'}").split("web")
    assert {tuple(query) for row in web.queries for query in row} == {line[:2] for line in expected}

    write(tmp_path / "a" / "deny.txt", "Car\n")
    write(tmp_path / "more.txt", "\ufeffrotes  AUTO\n\n")
    left = [("auto", "de", 2), ("dog", "en", 2), ("red", "en", 2), ("rotes", "de", 2)]
    assert listed(tmp_path, "captions", tmp_path / "a", "--deny", tmp_path / "more.txt") == left
    all_of_them = listed(tmp_path, "captions", tmp_path / "a", "--min-count", 1)
    assert ("beach", "en", 1) in all_of_them and not any("car" in line[0].split() for line in all_of_them)


def test_captions_need_no_pictures(tmp_path):
    parquet(tmp_path / "cc3m.parquet", URL=["http://a", "http://b"], TEXT=["ein hund", "hund"])
    lines = listed(tmp_path, "captions", tmp_path / "cc3m.parquet", "--language", "de")
    assert lines == [("hund", "de", 2)]


# === CSV ===


def test_a_column_is_counted(tmp_path):
    write(
        tmp_path / "log.csv",
        "\ufeffid,queries\r\n"
        "1,Red  Car|dog\r\n"
        "2,\r\n"
        '3,"red car|a, quoted ""one""|2024"\r\n'
        "\r\n"
        "4,Cafe\u0301 noir|red car|🐶|90°|...\r\n"
        "5,caf\u00e9 noir|12\x0734|" + "x" * 1000 + "|" + "y" * 1001 + "\r\n",
    )
    assert listed(tmp_path, "csv", tmp_path / "log.csv", "--column", "queries") == [
        ("red car", "en", 3),
        ("caf\u00e9 noir", "en", 2),
        ('a, quoted "one"', "en", 1),
        ("dog", "en", 1),
        ("x" * 1000, "en", 1),
        ("🐶", "en", 1),
    ]


def test_languages_of_a_table(tmp_path, capsys):
    """A phrase of several languages is listed once, with the language of most cells."""
    write(
        tmp_path / "log.tsv",
        "q\tlang\n"
        "taxi|Straße\tde\n"
        "taxi|street|taxi\ten|en|en\n"
        "taxi, rot\t\n"
        "auto|auto\tes|de\n"
        "rue\tfr-CA\n"
        "solo\n",
    )
    options = ["--column", "q", "--language-column", "lang", "--language", "pt"]
    capsys.readouterr()
    assert listed(tmp_path, "csv", tmp_path / "log.tsv", *options) == [
        ("taxi", "en", 2),
        ("auto", "de", 1),
        ("rue", "fr-CA", 1),
        ("solo", "pt", 1),
        ("straße", "de", 1),
        ("street", "en", 1),
        ("taxi, rot", "pt", 1),
    ]
    out = tmp_path / "out" / "phrases.txt"
    assert capsys.readouterr().out.splitlines() == [
        f"7 phrases in {out}",
        "languages: en 2, de 2, pt 2, fr-CA 1",
        "dropped: in another language too 2",
    ]


def test_no_separator_and_tabs_by_the_header(tmp_path):
    write(tmp_path / "log.txt", "n\tq\n1\ta|b, c\n")
    options = ["--column", "q", "--separator", ""]
    assert listed(tmp_path, "csv", tmp_path / "log.txt", *options) == [("a|b, c", "en", 1)]


def test_the_most_frequent_are_kept_and_reasons_reported(tmp_path, capsys):
    cells = (
        ["b"] * 3
        + ["a"] * 3
        + ["c"] * 2
        + ["d"] * 2
        + ["e", "hot dog", "hotdog", "Hot-dog", "7", "7", "", ""]
    )
    write(tmp_path / "t.csv", "n,q\n" + "".join(f"1,{cell}\n" for cell in cells))
    write(tmp_path / "deny.txt", "DOG\n")
    options = ["--column", "q", "--min-count", 2, "--max", 3, "--deny", tmp_path / "deny.txt"]
    lines = listed(tmp_path, "csv", tmp_path / "t.csv", *options)
    assert lines == [("a", "en", 3), ("b", "en", 3), ("c", "en", 2)]
    # "hotdog" and "hot-dog" are single words without the word "dog"; they occur once, like "e".
    told = "dropped: under 2 times 3, denied 1, no letter 1, empty 2, less frequent than the first 1\n"
    assert capsys.readouterr().out.endswith(told)


# === WordNet ===


def test_nouns_with_counts(tmp_path):
    write(tmp_path / "wn" / "data.noun", DATA)
    write(tmp_path / "wn" / "index.noun", INDEX)
    write(tmp_path / "wn" / "cntlist.rev", "".join(f"{key} {sense} {n}\n" for key, sense, n in COUNTS))
    expected = [
        ("turkey", "en", 3),
        ("Turkey", "en", 2),
        ("Meleagris gallopavo", "en", 1),
        ("Republic of Turkey", "en", 1),
        *LETTERS[:2],
        ("bomb", "en", 1),
        *LETTERS[2:4],
        ("domestic fowl", "en", 1),
        *LETTERS[4:],
    ]
    assert listed(tmp_path, "wordnet", tmp_path / "wn") == expected
    assert listed(tmp_path, "wordnet", tmp_path / "wn" / "data.noun") == expected
    assert ("turkey in the straw song", "en", 1) in listed(
        tmp_path, "wordnet", tmp_path / "wn", "--max-words", 5
    )
    assert listed(tmp_path, "wordnet", tmp_path / "wn", "--min-count", 2) == expected[:2]

    (tmp_path / "wn" / "cntlist.rev").unlink()
    write(tmp_path / "wn" / "cntlist", "".join(f"{n} {key} {sense}\n" for key, sense, n in COUNTS))
    assert listed(tmp_path, "wordnet", tmp_path / "wn") == expected


def test_nouns_without_counts(tmp_path):
    """Tagged senses come first in the index: one of the bird, one of the country, one of the fowl."""
    write(tmp_path / "wn" / "data.noun", DATA)
    write(tmp_path / "wn" / "index.noun", INDEX)
    expected = [("Turkey", "en", 2), ("domestic fowl", "en", 2), ("turkey", "en", 2)]
    assert listed(tmp_path, "wordnet", tmp_path / "wn", "--min-count", 2) == expected

    (tmp_path / "wn" / "data.noun").rename(tmp_path / "nouns")
    words = ["Meleagris gallopavo", "Republic of Turkey", "Turkey", "bomb", "domestic fowl", "turkey"]
    found = [line for line in listed(tmp_path, "wordnet", tmp_path / "nouns") if line not in LETTERS]
    assert found == [(word, "en", 1) for word in words]

    assert listed(tmp_path, "wordnet", tmp_path / "wn", "--language", "la") == [
        ("turkey", "la", 3),
        ("domestic fowl", "la", 2),
        ("bomb", "la", 1),
        ("meleagris gallopavo", "la", 1),
        ("republic of turkey", "la", 1),
    ]


# === Labels ===


def test_labels_and_their_terms(tmp_path):
    terms = {
        "Tailed_frog": {"synset_terms": ["tailed frog", "bell-toad"]},
        "n01443537": {"synset_terms": ["goldfish", "Tailed Frog"]},
        "plain": {},
    }
    write(tmp_path / "labels.json", json.dumps(terms))
    write(tmp_path / "labels.txt", "goldfish\n\nmerry-go-round\n12\n")
    lines = listed(tmp_path, "labels", tmp_path / "labels.json", tmp_path / "labels.txt")
    assert lines == [
        ("goldfish", "en", 2),
        ("tailed frog", "en", 2),
        ("bell toad", "en", 1),
        ("merry go round", "en", 1),
        ("plain", "en", 1),
    ]


# === Bad input ===

LATIN = "q\nok\ncafé\n".encode("latin-1")
BAD = {
    "no file": (["csv", "GONE", "--column", "q"], b"", "csv must name a readable file, got '"),
    "no column": (
        ["csv", "F", "--column", "x"],
        b"q,lang\na,en\n",
        "F must have a column 'x', got q, lang: name",
    ),
    "empty": (["csv", "F", "--column", "x"], b"", "F must have a column 'x', got none: name"),
    "no language column": (
        ["csv", "F", "--column", "q", "--language-column", "x"],
        b"q\na\n",
        "F must have a column 'x', got q: name",
    ),
    "Latin-1": (["csv", "F", "--column", "q"], LATIN, "F must be UTF-8, got byte 0xe9 in line 3: save"),
    "Latin-1 labels": (["labels", "F"], LATIN, "F must be UTF-8, got byte 0xe9 in line 3: save"),
    "more fields": (
        ["csv", "F", "--column", "q"],
        b"q\na\nb,c\n",
        "F line 3 must have 1 fields, got 2: put",
    ),
    "an open quote": (
        ["csv", "F", "--column", "q"],
        b'q\na\n"b\nc\n',
        "F must be a csv file, got unexpected end of data in line 3",
    ),
    "a language": (
        ["csv", "F", "--column", "q", "--language-column", "l"],
        b"q,l\na,en\nb,English\n",
        "F line 3 must be a language code, got 'English': write it as en or pt-BR",
    ),
    "languages that do not fit": (
        ["csv", "F", "--column", "q", "--language-column", "l"],
        b"q,l\na|b|c,en|de\n",
        "l must name one language, or one per phrase, got 2 languages for 3 phrases in",
    ),
    "--language": (
        ["labels", "F", "--language", "EN"],
        b"a\n",
        "--language must be a language code, got 'EN'",
    ),
    "--min-count": (["labels", "F", "--min-count", "0"], b"a\n", "--min-count must be at least 1, got 0"),
    "--max": (["labels", "F", "--max", "-1"], b"a\n", "--max must be at least 1, got -1"),
    "--max-words": (["wordnet", "F", "--max-words", "0"], b"", "--max-words must be at least 1, got 0"),
    "--deny": (["labels", "F", "--deny", "GONE"], b"a\n", "deny must name a readable file, got '"),
    "nothing left": (
        ["labels", "F", "--min-count", "2"],
        b"a\n12\n",
        "labels must give at least one phrase, got none (dropped: under 2 times 1, no letter 1): name",
    ),
    "labels.json": (["labels", "F.json"], b"[]", "F.json must be a JSON object of label to"),
    "no labels.json": (["labels", "GONE.json"], b"", "labels must name a readable file, got '"),
    "no WordNet": (["wordnet", "GONE"], b"", "apt-get install wordnet-base, or name the folder"),
    "an index of verbs": (
        ["wordnet", "F"],
        b"  1 licence\nrun v 1 0 1 0 00001740\n",
        "F must be a file of WordNet's nouns as in wndb(5WN), got something other than an index entry of a noun in line 2",
    ),
    "a truncated synset": (
        ["wordnet", "F"],
        b"00001740 05 n 02 turkey 0 hen 0 002 @ 00001850 n 0000 | fowl\n",
        "F must be a file of WordNet's nouns as in wndb(5WN), got something other than a synset of nouns in line 1",
    ),
    "no parquet": (["captions", "F"], b"a red car", "F must be a parquet file, got a file that is not"),
    "no captions": (["captions", "GONE"], b"", "captions: must name parquet files, got '"),
}


@pytest.mark.parametrize(("arguments", "content", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input(tmp_path, capsys, arguments, content, sentence):
    for name in ("F", "F.json"):
        (tmp_path / name).write_bytes(content)
    places = {name: str(tmp_path / name) for name in ("F", "F.json", "GONE", "GONE.json")}
    out = tmp_path / "phrases.txt"
    assert main([*(places.get(one, one) for one in arguments), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("phrases_from: ") and sentence in error and error.count("\n") == 1
    assert not out.exists()


def test_invalid_counts(tmp_path, capsys):
    write(tmp_path / "data.noun", DATA)
    write(tmp_path / "cntlist.rev", "turkey%1:05:00:: 1 2\nturkey 2\n")
    assert main(["wordnet", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "got something other than a count of a sense in line 2" in capsys.readouterr().err


def test_an_unwritable_list(tmp_path, capsys):
    write(tmp_path / "labels.txt", "a\n")
    assert main(["labels", str(tmp_path / "labels.txt"), "--out", str(tmp_path / "labels.txt" / "x")]) == 2
    assert "out must be a writable file, got '" in capsys.readouterr().err
    assert (tmp_path / "labels.txt").read_text() == "a\n"


def test_captions_need_pyarrow(tmp_path, capsys, monkeypatch):
    parquet(tmp_path / "0.parquet", TEXT=["dog", "dog"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.delattr(sys.modules["pyarrow"], "parquet", raising=False)
    assert main(["captions", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'ctxvision[captions]'" in capsys.readouterr().err
