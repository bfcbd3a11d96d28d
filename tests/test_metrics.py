"""metrics.jsonl: what was written is read, and of what was torn nothing."""

import io
import math
import os

import pytest

from ffnn_jax.metrics import LONGEST_LINE, append_metrics, read_metrics

ONE, TWO = {"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 0.2, "validation_loss": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_round_trip(path):
    append_metrics(path, [ONE])
    append_metrics(path, [])
    append_metrics(path, [TWO, {"note": "ä"}, {"note": "ä"}])
    assert read_metrics(path) == [ONE, TWO, {"note": "ä"}, {"note": "ä"}]
    assert path.read_bytes().count(b"\n") == 4


def test_numbers_come_back_bit_for_bit(path):
    numbers = [0.1, 1e-320, -0.0, math.inf, math.nan, 2**60]
    append_metrics(path, [{"epoch": 0, "numbers": numbers}])
    assert repr(read_metrics(path)[0]["numbers"]) == repr(numbers)


def test_of_one_epoch_the_last_record_counts(path):
    again = {"epoch": 1, "loss": 9.0}
    append_metrics(path, [ONE, TWO, again, {"epoch": True}, {"epoch": [1]}])
    assert read_metrics(path) == [again, TWO, {"epoch": True}, {"epoch": [1]}]


def test_a_line_torn_anywhere(path):
    """However far the last write came, all before it is read, and the next write goes on there."""
    append_metrics(path, [ONE])
    before = path.stat().st_size
    append_metrics(path, [TWO])
    whole = path.read_bytes()
    for length in range(before, len(whole)):
        path.write_bytes(whole[:length])
        expected = [ONE, TWO] if length == len(whole) - 1 else [ONE]
        assert read_metrics(path) == expected
        append_metrics(path, [{"epoch": 3}])
        assert read_metrics(path) == [*expected, {"epoch": 3}]
        assert path.read_bytes().count(b"\n") == len(expected) + 1


def test_zeros_where_a_file_system_lost_the_end(path):
    append_metrics(path, [ONE])
    with open(path, "ab") as file:
        file.write(bytes(100))
    assert read_metrics(path) == [ONE]
    append_metrics(path, [TWO])
    assert read_metrics(path) == [ONE, TWO]


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[1]", b"7", b"\xff", b"\0\0", b'{"a": ' + b"[" * 10**5, b"x" * LONGEST_LINE],
)
def test_a_broken_line_in_the_middle(broken, path):
    path.write_bytes(b'{"epoch": 1}\n' + broken + b'\n{"epoch": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is no JSON object"):
        read_metrics(path)


@pytest.mark.parametrize("end", [b"no record", b"{" + b" " * LONGEST_LINE])
def test_a_file_that_is_none_of_ours_is_left_alone(end, path):
    path.write_bytes(b"text\n" + end)
    with pytest.raises(ValueError, match="does not end as a file of records does"):
        append_metrics(path, [ONE])
    with pytest.raises(ValueError, match="line 1 is no JSON object"):
        read_metrics(path)
    assert path.read_bytes() == b"text\n" + end


@pytest.mark.parametrize(
    ("record", "error", "match"),
    [
        (1, TypeError, r"records\[0\]: expected a dict"),
        ({"a": {1}}, TypeError, "JSON"),
        ({"a": "b" * LONGEST_LINE}, ValueError, r"records\[0\]: expected at most 1048576 bytes"),
    ],
)
def test_what_is_no_record(record, error, match, path):
    with pytest.raises(error, match=match):
        append_metrics(path, [record])
    assert not path.exists()


def test_errors_have_the_path(path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        read_metrics(path)
    with pytest.raises(IsADirectoryError, match=str(path.parent)):
        append_metrics(path.parent, [ONE])

    def full(_):
        raise OSError(28, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"full: .*metrics\.jsonl"):
        append_metrics(path, [ONE])


def test_a_record_that_is_written_while_it_is_read(path, monkeypatch):
    """Its beginning is read, then its rest is there: it has no end yet for who reads."""

    class Growing(io.BytesIO):
        def readline(self, size):
            line = super().readline(size)
            if line == b'{"epoch": 2':
                at = self.tell()
                self.write(b"}\n")
                self.seek(at)
            return line

    written = Growing(b'{"epoch": 1}\n{"epoch": 2')
    monkeypatch.setattr("builtins.open", lambda *_: written)
    assert read_metrics(path) == [{"epoch": 1}]
