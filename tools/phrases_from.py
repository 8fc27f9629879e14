"""Writes a list of phrases for a context made from two towers: `ctxvision context build --phrases FILE`.

    python tools/phrases_from.py captions PLACE --out FILE
    python tools/phrases_from.py csv TABLE --column NAME [--language-column NAME] [--separator "|"] --out FILE
    python tools/phrases_from.py wordnet [PLACE] [--max-words 4] --out FILE
    python tools/phrases_from.py labels FILE... --out FILE

| source | phrases | count | case |
|---|---|---|---|
| captions | n-grams, as in `captions:PLACE`; no pictures needed | captions with the phrase | lower |
| csv | values of a column of a CSV or TSV file, several per cell | cells with the phrase | lower |
| wordnet | nouns | 1, plus 1 per occurrence in WordNet's corpora | as in `data.noun`: turkey and Turkey differ |
| labels | labels and their synset terms; hyphens and underscores become spaces | labels with the phrase | lower |

All sources take these options: `--min-count N` (default 2 for captions, else 1), `--max N` (keeps the most frequent),
`--deny FILE` (words and phrases, one per line; phrases that contain one as whole words are dropped) and
`--language CODE` (for phrases whose source names no language).

FILE is UTF-8. Each line holds phrase, language and count, separated by tabs; lines are sorted by descending count, then
by phrase. A phrase table holds a phrase once, so a phrase of several languages gets its most frequent language and the
count of that language. Phrases are dropped if they are empty, have neither a letter nor an emoji, hold control
characters, or are too long for a phrase table.

WordNet is read only in its own format, wndb(5WN), not as WN-LMF. PLACE is a folder with `data.noun`, such as that of
Debian's package wordnet-base, or a file in the format of `data.noun` or `index.noun`. The number of occurrences of a
noun comes from `cntlist.rev` or `cntlist` beside it. Without these files, each tagged sense in `index.noun` counts as
one occurrence. `index.noun` alone gives only lower case.
"""

import argparse
import csv
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ctxvision._files import atomic_path, open_text
from ctxvision._limits import MOST_PHRASE_BYTES
from ctxvision.context.text_tower import ListedPhrase
from ctxvision.data.caption_phrases import count_phrases, deny_rule
from ctxvision.data.captions import MIN_COUNT, captions_of, deny_file
from ctxvision.data.images_csv import clean
from ctxvision.data.manifest import read_label_terms
from ctxvision.errors import InputError

WORDNET = "/usr/share/wordnet"
_COUNT_FILES = ("cntlist.rev", "cntlist")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SYNSET_ID = re.compile(r"[nvars][0-9]{8}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LARGEST_FIELD = 1 << 24  # characters, as for images.csv

# Text, language, and number of occurrences in the source.
Values = Iterable[tuple[str, str, int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the list; returns 0, or 2 after printing one sentence for bad input."""
    chosen = _parser().parse_args(arguments)
    try:
        numbers = {"--min-count": chosen.min_count, "--max": chosen.max, "--max-words": chosen.max_words}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}: leave it out, or give 1 or more.")
        _check_language(chosen.language, "--language")
        values: Values = chosen.source(chosen)
        counts, deny = _merged(values), _denied(chosen)
        phrases, dropped = select(counts, chosen.min_count, chosen.max, chosen.max_words, deny)
        told = ", ".join(f"{reason} {number:,}" for reason, number in dropped.items()) or "nothing"
        if not phrases:
            raise InputError(
                f"{chosen.verb} must give at least one phrase, got none (dropped: {told}): name another source, or drop "
                "less."
            )
        write_phrases(phrases, chosen.out)
    except InputError as error:
        print(f"phrases_from: {error}", file=sys.stderr)
        return 2
    languages = Counter(phrase.language for phrase in phrases)
    print(f"{len(phrases):,} phrases in {chosen.out}")
    print("languages: " + ", ".join(f"{code} {number:,}" for code, number in languages.most_common()))
    print(f"dropped: {told}")
    return 0


def select(
    counts: Counter[tuple[str, str]],
    min_count: int = 1,
    most: int | None = None,
    most_words: int | None = None,
    deny: Sequence[str] = (),
) -> tuple[list[ListedPhrase], Counter[str]]:
    """Selects the phrases to list, and counts dropped phrases by reason.

    Args:
        counts: the count of each (clean phrase, language).
        min_count: the count that a phrase needs in a language.
        most: keeps this number of the most frequent phrases; None keeps all.
        most_words: the largest number of words in a phrase; None sets no limit.
        deny: words and phrases that no phrase may contain.

    Returns:
        The phrases in the order of the list, and reason to number.
    """
    reason = _reason(most_words, deny_rule(deny))
    dropped: Counter[str] = Counter()
    best: dict[str, tuple[int, str]] = {}
    for (phrase, language), count in counts.items():
        if not phrase:
            dropped["empty"] += count  # counts occurrences, because all empty texts are the same phrase
        elif why := reason(phrase):
            dropped[why] += 1
        elif count < min_count:
            dropped[f"under {min_count:,} times"] += 1
        else:
            found = (-count, language)
            dropped["in another language too"] += phrase in best
            best[phrase] = min(best.get(phrase, found), found)
    order = sorted((least, phrase, language) for phrase, (least, language) in best.items())
    kept = order[:most]
    dropped["less frequent than the first"] += len(order) - len(kept)
    return [ListedPhrase(phrase, language, -least) for least, phrase, language in kept], +dropped


def write_phrases(phrases: Iterable[ListedPhrase], out: str | os.PathLike[str]) -> None:
    """Writes the list, completely or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with atomic_path(out) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{phrase}\t{language}\t{count}\n" for phrase, language, count in phrases)
    except OSError as error:
        raise InputError(
            f"out must be a writable file, got {str(out)!r} ({error.strerror}): choose another."
        ) from None


# === Sources ===


def _captions(chosen: argparse.Namespace) -> Values:
    counts = count_phrases(captions_of(chosen.place, chosen.language))
    while counts:  # frees memory while yielding: there may be many millions
        (phrase, language), count = counts.popitem()
        yield phrase, clean(language), count


def _csv(chosen: argparse.Namespace) -> Values:
    rows = _csv_rows(chosen.table)
    _, names = next(rows)
    column = _column(chosen.table, names, chosen.column)
    spoken = None if chosen.language_column is None else _column(chosen.table, names, chosen.language_column)
    for line, row in rows:
        texts = row[column].split(chosen.separator) if chosen.separator else [row[column]]
        codes = [] if spoken is None else row[spoken].split(chosen.separator or None)
        if len(codes) <= 1:
            codes = len(texts) * (codes or [""])
        if len(codes) != len(texts):
            raise InputError(
                f"{chosen.language_column} must name one language, or one per phrase, got {len(codes)} languages for "
                f"{len(texts)} phrases in {chosen.table} line {line}: align the columns."
            )
        for text, code in zip(texts, codes):
            language = code.strip() or chosen.language
            _check_language(language, f"{chosen.language_column} in {chosen.table} line {line}")
            yield text.lower(), language, 1


def _wordnet(chosen: argparse.Namespace) -> Values:
    place = Path(chosen.place)
    found = [place] if place.is_file() else [place / "data.noun", place / "index.noun"]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        raise InputError(
            f"wordnet must be a folder with data.noun, or such a file, got {chosen.place!r}: apt-get install wordnet-base, "
            "or name the folder of WordNet's files."
        )
    read = _data_nouns if _is_data(path) else _index_nouns
    for word, occurrences in read(path):
        yield word.replace("_", " "), chosen.language, occurrences


def _labels(chosen: argparse.Namespace) -> Values:
    for file in chosen.files:
        labels: Iterable[list[str]]
        if file.lower().endswith(".json"):
            _check_file(file, "labels")
            terms = read_label_terms(Path(file))
            labels = ([*([] if _SYNSET_ID.fullmatch(label) else [label]), *terms[label]] for label in terms)
        else:
            labels = ([line] for _, line in _lines(file, "labels") if line.strip())
        for names in labels:
            for text in dict.fromkeys(clean(re.sub("[-_]", " ", name.lower())) for name in names):
                yield text, chosen.language, 1


# === WordNet, see wndb(5WN) ===


def _data_nouns(path: Path) -> Iterator[tuple[str, int]]:
    """Yields each word of each synset, and its occurrences in this sense; the first sense of a word adds 1."""
    by_sense = _sense_counts(path.parent)
    index = path.parent / "index.noun"
    tagged = set(_tagged_senses(index)) if by_sense is None and index.is_file() else set()
    seen = set()
    for line, text in _wordnet_lines(path):
        fields = text.partition("|")[0].split()
        try:
            offset, lexicographer, kind, words = fields[0], fields[1], fields[2], int(fields[3], 16)
            pointers = int(fields[4 + 2 * words])
            named = [(fields[i], int(fields[i + 1], 16)) for i in range(4, 4 + 2 * words, 2)]
            if kind != "n" or len(fields) != 5 + 2 * words + 4 * pointers:
                raise ValueError
        except (ValueError, IndexError):
            raise _not_wordnet(path, line, "a synset of nouns") from None
        for word, number in named:
            lemma = word.lower()
            if by_sense is None:
                occurrences = int((lemma, offset) in tagged)
            else:
                occurrences = by_sense.get(f"{lemma}%1:{lexicographer}:{number:02}::", 0)
            yield word, occurrences + (word not in seen)
            seen.add(word)


def _index_nouns(path: Path) -> Iterator[tuple[str, int]]:
    for lemma, _, tagged in _index(path):
        yield lemma, 1 + tagged


def _tagged_senses(path: Path) -> Iterator[tuple[str, str]]:
    """Yields lemma and synset of tagged senses, which come first in the index."""
    for lemma, offsets, tagged in _index(path):
        for offset in offsets[:tagged]:
            yield lemma, offset


def _index(path: Path) -> Iterator[tuple[str, list[str], int]]:
    """Yields a lemma, the offsets of its synsets, and the number of tagged ones."""
    for line, text in _wordnet_lines(path):
        fields = text.split()
        try:
            synsets, pointers = int(fields[2]), int(fields[3])
            tagged, offsets = int(fields[5 + pointers]), fields[6 + pointers :]
            if fields[1] != "n" or len(offsets) != synsets or not 0 <= tagged <= synsets:
                raise ValueError
        except (ValueError, IndexError):
            raise _not_wordnet(path, line, "an index entry of a noun") from None
        yield fields[0], offsets, tagged


def _sense_counts(folder: Path) -> dict[str, int] | None:
    """Maps sense key to number of occurrences; None without a file of counts."""
    path = next((folder / name for name in _COUNT_FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    counts = {}
    for line, text in _wordnet_lines(path):
        fields = text.split()
        key, count = (0, 2) if path.name == "cntlist.rev" else (1, 0)
        try:
            if len(fields) != 3 or "%" not in fields[key]:
                raise ValueError
            counts[fields[key]] = int(fields[count])
        except ValueError:
            raise _not_wordnet(path, line, "a count of a sense") from None
    return counts


def _is_data(path: Path) -> bool:
    """Tells whether a file is like `data.noun`, with entries that begin with an offset, and not like `index.noun`."""
    for _, text in _wordnet_lines(path):
        return re.match(r"[0-9]{8} [0-9]{2} ", text) is not None
    return True


def _wordnet_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields lines without the licence, whose lines begin with two spaces."""
    return ((number, text) for number, text in _lines(path, "wordnet") if text.strip() and text[:2] != "  ")


def _not_wordnet(path: Path, line: int, what: str) -> InputError:
    return InputError(
        f"{path} must be a file of WordNet's nouns as in wndb(5WN), got something other than {what} in line {line}: "
        "name data.noun, index.noun or their folder."
    )


# === Files ===


def _csv_rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and fields of the header, and then of each row."""
    csv.field_size_limit(_LARGEST_FIELD)
    lines = _lines(path, "csv")
    _, first = next(lines, (1, ""))
    tabs = path.lower().endswith((".tsv", ".tab")) or "\t" in first
    reader = csv.reader(_again(first, lines), delimiter="\t" if tabs else ",", strict=True)
    line = 0
    try:
        names = next(reader, [])
        yield reader.line_num, names
        for fields in reader:
            line = reader.line_num
            if len(fields) > len(names):
                raise InputError(
                    f"{path} line {line} must have {len(names)} fields, got {len(fields)}: put fields that hold a "
                    f"{'tab' if tabs else 'comma'} in double quotes."
                )
            if fields:
                yield line, fields + [""] * (len(names) - len(fields))
    except csv.Error as error:
        # An unclosed quote swallows the rest of the file, so the message names the line where it begins.
        raise InputError(
            f"{path} must be a csv file, got {error} in line {line + 1}: correct the line."
        ) from None


def _again(first: str, rest: Iterator[tuple[int, str]]) -> Iterator[str]:
    yield first
    for _, text in rest:
        yield text


def _column(path: str, names: list[str], name: str) -> int:
    if name not in names:
        raise InputError(
            f"{path} must have a column {name!r}, got {', '.join(names) or 'none'}: name one of these."
        )
    return names.index(name)


def _lines(path: str | os.PathLike[str], argument: str) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line of a UTF-8 file; keeps line ends, removes a byte order mark."""
    _check_file(path, argument)
    with open_text(path, newline="") as file:
        yield from enumerate(file, 1)


def _check_file(path: str | os.PathLike[str], argument: str) -> None:
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise InputError(
            f"{argument} must name a readable file, got {str(path)!r}, which is not one: check the path."
        )


def _check_language(code: str, argument: str) -> None:
    if not _LANGUAGE.fullmatch(code):
        raise InputError(f"{argument} must be a language code, got {code!r}: write it as en or pt-BR.")


# === Phrases ===


def _merged(values: Values) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for text, language, number in values:
        counts[clean(text), language] += number
    return counts


def _reason(most_words: int | None, denied: Callable[[str], bool]) -> Callable[[str], str]:
    """Makes a function that tells why a phrase is dropped; "" if it is not."""

    def reason(phrase: str) -> str:
        if _UNPRINTABLE.search(phrase):
            return "control characters"
        if not any(map(str.isalpha, phrase)) and not _is_emoji(phrase):
            return "no letter"
        if len(phrase.encode()) > MOST_PHRASE_BYTES:
            return f"over {MOST_PHRASE_BYTES:,} bytes"
        if most_words and phrase.count(" ") >= most_words:
            return f"over {most_words} words"
        return "denied" if denied(phrase) else ""

    return reason


def _is_emoji(phrase: str) -> bool:
    """Tells whether a phrase without letters holds an emoji or similar symbol and no number: 90° does not count."""
    return any(unicodedata.category(char) == "So" for char in phrase) and not any(map(str.isnumeric, phrase))


def _denied(chosen: argparse.Namespace) -> list[str]:
    """Reads words and phrases from `--deny`, and from the `deny.txt` beside captions."""
    files = [chosen.deny] if chosen.deny else []
    if chosen.verb == "captions" and deny_file(chosen.place).is_file():
        files.append(deny_file(chosen.place))
    return [text for file in files for _, text in _lines(file, "deny")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", required=True, help="file of the list")
    common.add_argument("--max", type=int, metavar="N", help="keep the N most frequent phrases")
    common.add_argument(
        "--deny", metavar="FILE", help="words and phrases that no phrase may contain, one per line"
    )
    common.add_argument(
        "--language", default="en", help="code of phrases whose source names none (default: %(default)s)"
    )
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="captions|csv|wordnet|labels")

    verb = verbs.add_parser("captions", parents=[common], help="n-grams of captions in parquet files")
    verb.add_argument("place", help="a folder of parquet files, one file, or a glob pattern")
    _add_min_count(verb, MIN_COUNT)
    verb.set_defaults(source=_captions)

    verb = verbs.add_parser("csv", parents=[common], help="a column of a CSV or TSV file")
    verb.add_argument("table", help="file with a header")
    verb.add_argument("--column", required=True, help="column of the phrases")
    verb.add_argument("--language-column", help="column of codes, one per cell or one per phrase of the cell")
    verb.add_argument(
        "--separator", default="|", help='separator of phrases in a cell, "" for none (default: %(default)s)'
    )
    _add_min_count(verb, 1)
    verb.set_defaults(source=_csv)

    verb = verbs.add_parser("wordnet", parents=[common], help="nouns of WordNet")
    verb.add_argument(
        "place", nargs="?", default=WORDNET, help="folder of data.noun, or a file (default: %(default)s)"
    )
    verb.add_argument(
        "--max-words", type=int, default=4, help="largest number of words in a phrase (default: %(default)s)"
    )
    _add_min_count(verb, 1)
    verb.set_defaults(source=_wordnet)

    verb = verbs.add_parser(
        "labels", parents=[common], help="files with a label per line, or labels.json files"
    )
    verb.add_argument("files", nargs="+", metavar="FILE")
    _add_min_count(verb, 1)
    verb.set_defaults(source=_labels)

    parser.set_defaults(max_words=None)
    return parser


def _add_min_count(verb: argparse.ArgumentParser, default: int) -> None:
    verb.add_argument(
        "--min-count",
        type=int,
        default=default,
        metavar="N",
        help="count that a phrase needs (default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
