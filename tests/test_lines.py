"""Bytes to lines: the published conversations, both payload modes, lost bytes, garbage and limits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skstack import MalformedLineError
from skstack.lines import MAX_PAYLOAD_BYTES, TRUNCATED, LineBuffer, payload_span
from skstack.parser import parse_line
from tests.lab.transcripts import BY_NUMBER, TRANSCRIPTS, Transcript

METER = b"FE80:0000:0000:0000:021C:6400:0001:6393"
MODULE = b"FE80:0000:0000:0000:021D:1200:0001:5678"
GOOD = b"EVENT 25 " + METER + b" 0"
HEADER = b"ERXUDP " + METER + b" " + MODULE + b" 0E1A 0E1A 001C640000016393 1 "
HEADERS = [HEADER, HEADER + b"0 ", HEADER[:-2] + b"5A 1 0 "]  # 9, 10 and 11 tokens in all
ECHO = b"SKSENDTO 1 " + METER + b" 0E1A 1 "
GET_E7 = bytes.fromhex("1081000105FF010288016201E700")  # 14 bytes
E7_27_W = bytes.fromhex("1081000102880105FF017201E7040000001B")  # 18 bytes
NASTY = b"\x10\x81\r\n\x00 OK\r\r\nOK \n\nEVENT 25\r\n\x09 "  # line ends and words, but no next line


def received(payload: bytes, *, header: bytes = HEADER, declared: int | None = None) -> bytes:
    """Return an ERXUDP line whose payload is printed as it is."""
    return header + b"%04X " % (len(payload) if declared is None else declared) + payload


def byte_by_byte(wire: bytes) -> Iterable[bytes]:
    return (wire[i : i + 1] for i in range(len(wire)))


def at_once(wire: bytes) -> Iterable[bytes]:
    return [wire]


Feeding = Callable[[bytes], Iterable[bytes]]
FEEDINGS = [at_once, byte_by_byte]


def cut(wire: bytes, *, seed: int) -> Iterable[bytes]:
    """Cut *wire* where a seeded generator says, in chunks of 1 to 40 bytes."""
    generator = random.Random(seed)
    while wire:
        size = generator.randint(1, 40)
        yield wire[:size]
        wire = wire[size:]


def lines_of(chunks: Iterable[bytes], *, max_line_bytes: int = 4096, abandon: bool = False) -> list[bytes]:
    buffer = LineBuffer(max_line_bytes)
    lines = [line for chunk in chunks for line in buffer.feed(chunk)]
    return lines + buffer.abandon() if abandon else lines


# --- published conversations


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=str)
class TestTranscripts:
    # Each ends with abandon(): in one, the last line declares more bytes than it has and nothing follows.

    def test_fed_whole_gives_the_published_lines(self, transcript: Transcript) -> None:
        assert lines_of([transcript.wire], abandon=True) == list(transcript.lines)

    def test_fed_byte_by_byte_gives_the_published_lines(self, transcript: Transcript) -> None:
        assert lines_of(byte_by_byte(transcript.wire), abandon=True) == list(transcript.lines)

    @pytest.mark.parametrize("seed", range(5))
    def test_cut_anywhere_gives_the_published_lines(self, transcript: Transcript, seed: int) -> None:
        assert lines_of(cut(transcript.wire, seed=seed), abandon=True) == list(transcript.lines)

    @pytest.mark.parametrize("garbage", [b"\x00\xff\x81", b"ERXUDP FE80:00", b"EVE", b"SKSENDTO 1 ", b"\n \r\n\x1a"])
    def test_garbage_before_costs_one_line_at_most(self, transcript: Transcript, garbage: bytes) -> None:
        lines = lines_of([garbage + b"\r\n" + transcript.wire], abandon=True)
        assert lines[len(lines) - len(transcript.lines) :] == list(transcript.lines)

    def test_garbage_after_leaves_the_published_lines_alone(self, transcript: Transcript) -> None:
        buffer = LineBuffer()
        assert buffer.feed(transcript.wire) + buffer.abandon() == list(transcript.lines)
        assert buffer.feed(b"\xff\x00 ERX") == []
        assert buffer.feed(b"\r\nOK\r\n") == [b"\xff\x00 ERX", b"OK"]


def test_published_chunks_of_a_startup_are_read_as_they_came() -> None:
    published = BY_NUMBER["02"].published["chunks"]
    lines = lines_of(chunk.encode("ascii") for chunk in published)
    assert lines == [
        *[b"OK", b"SKSCAN 2 FFFFFFFF 6 0 ", b"OK", b"SKSCAN 2 FFFFFFFF 6 0 ", b"OK"],
        b" 20 FE80:0000:0000:0000:021D:1200:0001:E578 0",  # the author lost "EVENT"
        *[b"EPANDESC", b"  Channel:31", b"  Channel Page:09", b"  Pan ID:B5FB", b"  Addr:0011220000016677"],
        *[b"  LQI:DD", b"  Side:0", b"  PairID:00AABBCC"],
        b"EVENT 22 FE80:0000:0000:0000:021D:1200:0001:E578 0",
    ]


# --- line ends


@pytest.mark.parametrize(
    "chunks",
    [
        [b"OK 01\r"],
        [b"OK 01\r\n"],
        [b"OK 01\n"],
        [b"OK 01", b"\r", b"\n"],
        [b"OK 0", b"1\r"],
        [b"\n", b"\r\nOK 01\r\n\r\n"],
    ],
)
def test_a_line_ends_at_cr_lf_or_both_and_empty_lines_are_dropped(chunks: list[bytes]) -> None:
    buffer = LineBuffer()
    assert [line for chunk in chunks for line in buffer.feed(chunk)] == [b"OK 01"]
    assert buffer.feed(b"\nOK\r\n") == [b"OK"]


def test_a_line_is_given_as_soon_as_its_cr_is_there() -> None:
    buffer = LineBuffer()
    assert buffer.feed(b"OK 01") == []
    assert buffer.pending == 5
    assert buffer.feed(b"\r") == [b"OK 01"]
    assert buffer.pending == 0
    assert buffer.feed(b"\n") == []
    assert buffer.pending == 0


# --- payloads


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("header", HEADERS, ids=["single", "side", "lqi"])
class TestPayload:
    def test_binary_payload_may_hold_line_ends_and_words(self, header: bytes, feeding: Feeding) -> None:
        line = received(NASTY, header=header)
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\n")) == [line, GOOD]

    def test_hex_text_of_any_length_up_to_the_cr_is_one_line(self, header: bytes, feeding: Feeding) -> None:
        for text in (b"108101", b"1081", b"10810", b"1081010203", b""):  # only the first is 2 x 3 digits
            line = header + b"0003 " + text
            assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\n")) == [line, GOOD]

    def test_hex_digits_that_are_the_payload_itself(self, header: bytes, feeding: Feeding) -> None:
        line = received(b"0", header=header)
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\n")) == [line, GOOD]

    def test_longest_datagram(self, header: bytes, feeding: Feeding) -> None:
        line = received(b"\x10" + b"\r\n" * 615 + b"\x00", header=header)
        assert len(line) == len(header) + 5 + MAX_PAYLOAD_BYTES
        assert lines_of(feeding(line + b"\r\n")) == [line]

    def test_a_length_that_no_datagram_has_is_not_believed(self, header: bytes, feeding: Feeding) -> None:
        line = received(b"\x10\x81", header=header, declared=MAX_PAYLOAD_BYTES + 1)
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\n")) == [line, GOOD]

    def test_payload_longer_than_declared_does_not_cost_the_next_line(self, header: bytes, feeding: Feeding) -> None:
        line = received(GET_E7, header=header, declared=10)
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\n")) == [line, GOOD]

    @pytest.mark.parametrize("missing", range(1, 18))
    @pytest.mark.parametrize("following", [b"OK", b"FAIL ER10", GOOD, received(GET_E7), b"EPANDESC", b"EVER 1.2.10"])
    def test_lost_bytes_do_not_cost_the_next_line(
        self, header: bytes, feeding: Feeding, missing: int, following: bytes
    ) -> None:
        line = received(E7_27_W[: 18 - missing], header=header, declared=18)
        wire = b"\r\n".join([line, following, GOOD, GOOD, b""])
        assert lines_of(feeding(wire)) == [line, following, GOOD, GOOD]


@pytest.mark.parametrize("next_line", [b"EVENT ", b"ERXUDP ", b"OK\r", b"OK 01\r", b"FAIL ", b"EPANDESC\r", b"EVER "])
def test_a_payload_cut_short_ends_as_soon_as_the_next_line_shows(next_line: bytes) -> None:
    buffer = LineBuffer()
    line = received(b"\x10\x81", declared=208)
    assert buffer.feed(line + b"\r\n" + next_line[:-1]) == []
    assert buffer.feed(next_line[-1:])[0] == line


def test_ok_in_the_place_of_the_last_bytes_is_not_taken_for_payload() -> None:
    # 14 bytes came of 18; CR LF O K would fill them up, and the CR after OK would seem to end the line.
    line = received(E7_27_W[:14], declared=18)
    assert lines_of([line + b"\r\nOK\r\n"]) == [line, b"OK"]
    with pytest.raises(MalformedLineError):
        parse_line(line)


def test_payload_that_looks_like_a_header_is_still_taken_whole() -> None:
    # Read past the true length field, "\x10 0012 AB" would end in hex text of another length.
    line = received(b"\x10 0012 AB\rCD")
    assert lines_of(byte_by_byte(line + b"\r\n" + GOOD + b"\r\n")) == [line, GOOD]


@pytest.mark.parametrize("glued", [b"SKSENDTO", b"SKSENDTO 1 FE80:", b"S", ECHO + b"000E ", ECHO + b"000E \x10\x81"])
def test_a_payload_is_found_behind_the_echo_that_it_is_glued_to(glued: bytes) -> None:
    line = glued + received(NASTY)
    assert lines_of(byte_by_byte(line + b"\r\n" + GOOD + b"\r\n")) == [line, GOOD]


def test_payload_span_names_the_place_and_the_declared_length() -> None:
    assert payload_span(b"ERXUDP a b 0E1A 0E1A 0011223344556677 1 0012 xyz") == (45, 0x12)
    assert payload_span(b"SKSENDTO 1 FE80::1 0E1A 1 0 000e ") == (33, 14)
    assert payload_span(b"ERXUDP a b 0E1A 0E1A 0011223344556677 1 04D1 xyz") is None
    assert payload_span(b"ERXUDP a b 0E1A 0E1A 0011223344556677 1 0012") is None
    assert payload_span(b"EVENT 25") is None


# --- echo of SKSENDTO


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("side", [b"", b"0 "])
class TestSendEcho:
    def test_without_the_payload(self, side: bytes, feeding: Feeding) -> None:
        line = ECHO + side + b"000E "
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\nOK\r\n")) == [line, GOOD, b"OK"]

    def test_with_the_raw_payload(self, side: bytes, feeding: Feeding) -> None:
        line = ECHO + side + b"000e " + GET_E7
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\nOK\r\n")) == [line, GOOD, b"OK"]

    def test_with_line_ends_in_the_payload(self, side: bytes, feeding: Feeding) -> None:
        line = ECHO + side + b"%04X " % len(NASTY) + NASTY
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\nOK\r\n")) == [line, GOOD, b"OK"]

    @pytest.mark.parametrize("kept", range(1, 14))
    def test_with_a_part_of_the_payload(self, side: bytes, feeding: Feeding, kept: int) -> None:
        line = ECHO + side + b"000E " + bytes(0x80 + i for i in range(kept))
        assert lines_of(feeding(line + b"\r\n" + GOOD + b"\r\nOK\r\n")) == [line, GOOD, b"OK"]

    def test_with_an_event_glued_behind(self, side: bytes, feeding: Feeding) -> None:
        for echoed in (b"", GET_E7):
            line = ECHO + side + b"000E " + echoed + GOOD
            assert lines_of(feeding(line + b"\r\nOK\r\n")) == [line, b"OK"]
            assert parse_line(line) == parse_line(GOOD)


# --- silence


def test_abandon_gives_up_a_payload_and_reads_the_lines_in_it() -> None:
    buffer = LineBuffer()
    line = received(b"\x10\x81", declared=208)
    assert buffer.feed(line + b"\r\n" + METER + b"\r\nESR") == []
    assert buffer.abandon() == [line, METER]
    assert buffer.pending == 3
    assert buffer.feed(b"EG 21\r\n") == [b"ESREG 21"]


def test_abandon_leaves_half_a_line_as_it_is() -> None:
    buffer = LineBuffer()
    line = received(NASTY)
    for split in (10, len(HEADER)):
        assert buffer.feed(line[:split]) == []
        assert buffer.abandon() == []
        assert buffer.feed(line[split:] + b"\r\n") == [line]


def test_abandon_ends_a_payload_without_a_line_end_at_the_next_one() -> None:
    buffer = LineBuffer()
    assert buffer.feed(received(b"\x10\x81", declared=208)) == []
    assert buffer.abandon() == []
    assert buffer.feed(b"\x01\r\nEVER 1.2.10\r\n") == [received(b"\x10\x81\x01", declared=208), b"EVER 1.2.10"]
    assert buffer.feed(received(NASTY) + b"\r") == [received(NASTY)]


def test_abandon_of_nothing_is_nothing() -> None:
    assert LineBuffer().abandon() == []


# --- limits


@pytest.mark.parametrize("feeding", FEEDINGS)
class TestOverlongLine:
    def test_comes_out_cut_and_the_next_line_whole(self, feeding: Feeding) -> None:
        lines = lines_of(feeding(b"E" * 5000 + b"\r\nOK\r\n"))
        assert lines == [b"E" * (4096 - len(TRUNCATED)) + TRUNCATED, b"OK"]

    def test_longest_line_is_not_cut(self, feeding: Feeding) -> None:
        assert lines_of(feeding(b"E" * 4096 + b"\r\nOK\r\n")) == [b"E" * 4096, b"OK"]

    @pytest.mark.parametrize("line", [b"EVENT 25 " + METER, b"SKSENDTO 1 " + METER, received(b"A" * 30), b"OK 01"])
    def test_is_malformed_wherever_it_is_cut(self, feeding: Feeding, line: bytes) -> None:
        for limit in range(len(TRUNCATED) + 1, len(line)):
            [cut_line, good] = lines_of(feeding(line + b"\r\nOK\r\n"), max_line_bytes=limit)
            assert len(cut_line) == limit
            assert good == b"OK"
            with pytest.raises(MalformedLineError):
                parse_line(cut_line)


def test_an_overlong_line_is_reported_before_it_ends_and_then_dropped() -> None:
    buffer = LineBuffer()
    assert len(buffer.feed(b"\x00" * 4097)) == 1
    for _ in range(100):
        assert buffer.feed(b"\x00" * 4000) == []
        assert buffer.pending == 0
    assert buffer.feed(b"\r\nOK\r\n") == [b"OK"]


def test_a_limit_too_small_for_the_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 4"):
        LineBuffer(max_line_bytes=4)


# --- any input

PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            *[b"\r", b"\n", b"\r\n", b"OK", b"OK\r\n", b"FAIL ER10\r\n", GOOD, GOOD + b"\r\n", HEADER, ECHO],
            *[b"0012 ", b"0000 ", b"04D0 ", b"FFFF ", GET_E7, NASTY, b"1081", b"ERXUDP ", b"SKSENDTO", b"\x10\x81"],
            *[
                received(GET_E7),
                received(NASTY) + b"\r\n",
                received(b"\x10", declared=500),
                b"E" * 50,
                HEADER + b"0012 ",
            ],
        ]
    ),
)
STREAMS = st.lists(PIECES, max_size=25).map(b"".join)
LIMITS = st.sampled_from([5, 40, 150, 200, 400, 4096])


@given(STREAMS, st.lists(st.integers(0, 600), max_size=30), LIMITS)
def test_any_stream_gives_the_same_lines_however_it_is_cut(stream: bytes, cuts: list[int], limit: int) -> None:
    bounds = [0, *sorted(cuts), len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    whole, pieces, single = LineBuffer(limit), LineBuffer(limit), LineBuffer(limit)
    expected = whole.feed(stream)
    assert [line for chunk in chunks for line in pieces.feed(chunk)] == expected
    assert [line for byte in byte_by_byte(stream) for line in single.feed(byte)] == expected
    assert whole.pending == pieces.pending == single.pending
    assert whole.abandon() == pieces.abandon() == single.abandon()


@given(STREAMS, LIMITS)
def test_no_stream_makes_the_buffer_or_a_line_grow_beyond_the_limit(stream: bytes, limit: int) -> None:
    buffer = LineBuffer(limit)
    for byte in byte_by_byte(stream):
        lines = buffer.feed(byte)
        assert buffer.pending <= limit
        assert all(0 < len(line) <= limit for line in lines)


@given(STREAMS)
def test_the_next_good_line_comes_out_after_any_garbage(garbage: bytes) -> None:
    buffer = LineBuffer()
    buffer.feed(garbage + b"\r\n")
    if buffer.pending:  # the garbage opened a payload
        buffer.abandon()
    assert buffer.pending == 0
    assert buffer.feed(GOOD + b"\r\n") == [GOOD]


@given(st.binary(min_size=1, max_size=100), st.sampled_from(HEADERS))
def test_any_binary_frame_comes_out_whole(body: bytes, header: bytes) -> None:
    # ECHONET Lite frames begin with 10 81, PANA frames with 00 00: no hex digit, so they cannot pass for hex text.
    line = received(b"\x10\x81" + body.replace(b"\r\n", b"\r"), header=header)
    assert lines_of([line + b"\r\n" + GOOD + b"\r\n"]) == [line, GOOD]
