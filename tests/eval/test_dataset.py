"""Datasets from files: every row a case with an id, or an error that names the line."""

from pathlib import Path

import pytest

import lutum
from lutum.eval import Case, load_cases
from lutum.eval._dataset import digest_of


def jsonl(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text(text, "utf-8")
    return path


def test_json_lines(tmp_path: Path) -> None:
    """What has a name of its own goes there, the rest is metadata; without an input that is the input."""
    text = (
        '\ufeff{"id": "a", "input": "1+1?", "expected": "2", "tags": ["sum", "easy"], "by": "me"}\n'
        "\n"
        '{"id": 7, "question": "2\u20282?", "tags": "sum, hard"}\r\n'
    )
    first, second = load_cases(jsonl(tmp_path, text))
    assert first == Case("a", "1+1?", "2", ("sum", "easy"), {"by": "me"})
    question = {"question": "2\u20282?"}
    assert second == Case("7", question, None, ("sum", "hard"), question)


def test_csv(tmp_path: Path) -> None:
    """Cells are text; quoted ones hold commas and line ends; columns are found by the header."""
    path = tmp_path / "cases.CSV"
    path.write_text('\ufeffid,input,expected,tags,by\n1,"a, b\nc",x,easy sum,me\n\n2,d,,,\n', "utf-8")
    first, second = load_cases(path)
    assert first == Case("1", "a, b\nc", "x", ("easy", "sum"), {"by": "me"})
    assert second == Case("2", "d", "", (), {"by": ""})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"input": 1}', "1: the id is missing"),
        ('{"id": " ", "input": 1}', "1: the id is missing"),
        ('{"id": true}', "1: the id is missing"),
        ('{"id": "a"}\n{"id": "a"}', "2: an earlier line has the id 'a' too"),
        ('{"id": "a"}\n\n[1]', "3: is not a JSON object"),
        ('{"id": "a"', "1: is not a JSON object"),
        ('{"id": "a", "tags": [1]}', "1: tags"),
        ('{"id": "a", "tags": 5}', "1: tags"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    """The file, the line, and what is wrong there."""
    with pytest.raises(lutum.BadValue) as caught:
        load_cases(jsonl(tmp_path, text))
    assert f"cases.jsonl:{said}" in str(caught.value)


@pytest.mark.parametrize("row", ["1", "1,2,3", '1,"2'])
def test_a_bad_row_is_named(tmp_path: Path, row: str) -> None:
    """Too few cells, too many, or an open quote."""
    path = tmp_path / "cases.csv"
    path.write_text(f"id,input\n{row}\n", "utf-8")
    with pytest.raises(lutum.BadValue, match=r"cases\.csv:[12]: "):
        load_cases(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """By their suffix; one that is not there is an OSError."""
    with pytest.raises(lutum.BadValue, match="neither"):
        load_cases(tmp_path / "cases.txt")
    with pytest.raises(FileNotFoundError):
        load_cases(tmp_path / "cases.jsonl")


def test_a_digest_tells_cases_apart() -> None:
    """By input and expectation, in whatever order their members stand; not by tags."""
    case = Case("a", {"x": 1, "y": 2}, "e", ("t",))
    assert digest_of(case) == digest_of(Case("b", {"y": 2, "x": 1}, "e"))
    assert len({digest_of(case), digest_of(Case("a", {"x": 1}, "e")), digest_of(Case("a", case.input))}) == 3
    assert digest_of(Case("a", object())) == ""
