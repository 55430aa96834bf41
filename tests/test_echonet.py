"""ECHONET Lite frames. Hex of real meters names the transcript in tests/data/transcripts/ it was taken from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skstack import FrameError
from skstack.echonet import CONTROLLER, METER, NODE_PROFILE, Esv, Frame, Property, encode_property_map
from skstack.echonet.frame import MAX_GET_PROPERTIES, SET_ALLOWED, check_length, parse_property_map


def from_meter(tid: int, esv: Esv, *properties: tuple[int, str]) -> Frame:
    """Return the frame a meter sends, its EDTs given in hex."""
    return Frame(tid, METER, CONTROLLER, esv, tuple(Property(epc, bytes.fromhex(edt)) for epc, edt in properties))


# The day of 5.4: slot k holds 123456 + 10 k counts.
DAY_1 = "0001" + "".join(f"{123456 + 10 * slot:08X}" for slot in range(48))

RESPONSES = [
    pytest.param(
        "1081 0001 028801 05FF01 72 01 E7 04 000002AE", from_meter(1, Esv.GET_RES, (0xE7, "000002AE")), id="E7"
    ),
    pytest.param(
        "1081 0005 028801 05FF01 72 01 E8 04 FFEC 7FFE", from_meter(5, Esv.GET_RES, (0xE8, "FFEC7FFE")), id="E8"
    ),
    pytest.param(
        "1081 0006 028801 05FF01 52 03 D3 00 E1 01 01 E0 04 0001E240",
        from_meter(6, Esv.GET_SNA, (0xD3, ""), (0xE1, "01"), (0xE0, "0001E240")),
        id="Get_SNA keeps what could be read",
    ),
    pytest.param(
        "1081 0007 028801 05FF01 72 03 D3 04 0000000A E1 01 02 E0 04 00BC614E",
        from_meter(7, Esv.GET_RES, (0xD3, "0000000A"), (0xE1, "02"), (0xE0, "00BC614E")),
        id="D3 E1 E0",
    ),
    pytest.param(
        "1081 06E1 028801 05FF01 72 06 80 01 30 88 01 42 E7 04 00000698 E8 04 00A0 0028 E0 04 0004F3FDE3 04 0000000B",
        from_meter(
            0x06E1,
            Esv.GET_RES,
            (0x80, "30"),
            (0x88, "42"),
            (0xE7, "00000698"),
            (0xE8, "00A00028"),
            (0xE0, "0004F3FD"),
            (0xE3, "0000000B"),
        ),
        id="six properties",
    ),
    pytest.param("1081 000A 028801 05FF01 71 01 E5 00", from_meter(10, Esv.SET_RES, (0xE5, "")), id="Set_Res"),
    pytest.param(
        "1081 000B 028801 05FF01 72 01 E2 C2" + DAY_1, from_meter(11, Esv.GET_RES, (0xE2, DAY_1)), id="E2, 208 bytes"
    ),
    pytest.param(
        "1081 A001 028801 05FF01 73 02 EA 0B 07E606150F1E00 00016CA7 EB 0B 07E606150F1E00 00000005",
        from_meter(0xA001, Esv.INF, (0xEA, "07E606150F1E0000016CA7"), (0xEB, "07E606150F1E0000000005")),
        id="INF of EA and EB",
    ),
    pytest.param(
        "1081000102880105FF015201D300", from_meter(1, Esv.GET_SNA, (0xD3, "")), id="06_ak1211_bp35a1_get_d3_sna"
    ),
    pytest.param("1081000102880105FF0152019C00", from_meter(1, Esv.GET_SNA, (0x9C, "")), id="27_cracker_get_sna_83_9c"),
    pytest.param(
        "108103610EF0010EF0017301D50401028801",
        Frame(0x0361, NODE_PROFILE, NODE_PROFILE, Esv.INF, (Property(0xD5, bytes.fromhex("01028801")),)),
        id="07_ak1211_bp35a1_instance_list_inf",
    ),
    pytest.param(
        "1081036202880105FF017301EA0B07E60801141E0000012D02",
        from_meter(0x0362, Esv.INF, (0xEA, "07E60801141E0000012D02")),
        id="12_ak1211_bp35a1_inf_ea_30min_unsolicited",
    ),
    pytest.param(
        "1081000102880105FF017203E7040000055EE80400000082E00400052155",
        from_meter(1, Esv.GET_RES, (0xE7, "0000055E"), (0xE8, "00000082"), (0xE0, "00052155")),
        id="24_hakase329_rl7023_three_properties",
    ),
    pytest.param(
        "1081100202880105FF017202E7040000029CE80400280028",
        from_meter(0x1002, Esv.GET_RES, (0xE7, "0000029C"), (0xE8, "00280028")),
        id="49_yakumosaki_bp35a1_get_e7_e8",
    ),
]


@pytest.mark.parametrize(("hexa", "frame"), RESPONSES)
def test_a_response_is_read_byte_by_byte(hexa: str, frame: Frame) -> None:
    assert Frame.from_bytes(bytes.fromhex(hexa)) == frame


@pytest.mark.parametrize(("hexa", "frame"), RESPONSES)
def test_a_response_is_written_byte_by_byte(hexa: str, frame: Frame) -> None:
    assert frame.to_bytes() == bytes.fromhex(hexa)


@pytest.mark.parametrize(
    ("frame", "hexa"),
    [
        (Frame.get(6, [0xD3, 0xE1, 0xE0]), "1081 0006 05FF01 028801 62 03 D3 00 E1 00 E0 00"),
        (Frame.get(0x1A, [0x9E]), "1081001A05FF0102880162019E00"),  # 51_futomi_bp35a1_get_9e_then_silence
        (Frame.set_c(10, 0xE5, b"\x01"), "1081 000A 05FF01 028801 61 01 E5 01 01"),
    ],
)
def test_our_requests_are_the_bytes_of_the_specification(frame: Frame, hexa: str) -> None:
    assert frame.to_bytes() == bytes.fromhex(hexa)


# --- what is not a frame


@pytest.mark.parametrize(
    ("hexa", "reason"),
    [
        ("", "at least 12 bytes, not 0"),
        ("1081 0001 028801 05FF01 72", "at least 12 bytes, not 11"),
        ("1082 0001 028801 05FF01 72 01 E7 04 000002AE", "header is 1082"),
        ("1181 0001 028801 05FF01 72 01 E7 04 000002AE", "header is 1181"),
        ("1081 0001 028801 05FF01 7F 01 E7 04 000002AE", "unknown ESV 7F"),
        ("1081 0001 028801 05FF01 72 00", "without a property"),
        ("1081 0001 028801 05FF01 72 01", "1 properties announced, 0 there"),
        ("1081 0001 028801 05FF01 72 01 E7", "1 properties announced, 0 there"),
        ("1081 0001 028801 05FF01 72 01 E7 04 000002", "EDT of E7 is cut short"),
        ("1081 0001 028801 05FF01 72 02 E7 04 000002AE", "2 properties announced, 1 there"),
        ("1081 0001 028801 05FF01 72 01 E7 04 000002AE 0D0A", "2 bytes left over"),
        ("1081 0001 028801 05FF01 72 01 67 04 000002AE", "an EPC is 80 to FF, not 67"),
        ("1081 0001 028801 05FF01 7E 01 E5 00 01 E2 00", "unknown ESV 7E"),  # SetGet: two lists, and not ours
    ],
)
def test_bytes_that_are_no_frame_are_refused_with_the_reason(hexa: str, reason: str) -> None:
    with pytest.raises(FrameError, match=reason) as caught:
        Frame.from_bytes(bytes.fromhex(hexa))
    assert caught.value.raw == bytes.fromhex(hexa)


def test_a_frame_cut_anywhere_is_refused() -> None:
    whole = Frame.get(6, [0xD3, 0xE1, 0xE0]).to_bytes()
    for length in range(len(whole)):
        with pytest.raises(FrameError):
            Frame.from_bytes(whole[:length])


@pytest.mark.parametrize("tid", [-1, 0x10000])
def test_a_frame_with_an_impossible_tid_is_never_sent(tid: int) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        Frame(tid, METER, CONTROLLER, Esv.INF, (Property(0xE7),)).to_bytes()


def test_a_frame_without_a_property_is_never_sent() -> None:
    with pytest.raises(ValueError, match="1 to 255 properties, not 0"):
        Frame(1, METER, CONTROLLER, Esv.INF, ()).to_bytes()


def test_a_frame_of_256_properties_is_never_sent() -> None:
    many = (Property(0xE7),) * 256
    with pytest.raises(ValueError, match="1 to 255 properties, not 256"):
        Frame(1, METER, CONTROLLER, Esv.INF, many).to_bytes()


@pytest.mark.parametrize("epc", [-1, 0x00, 0x7F, 0x100])
def test_a_property_outside_80_to_ff_is_never_sent(epc: int) -> None:
    with pytest.raises(ValueError, match="80 to FF"):
        Property(epc).to_bytes()


def test_an_edt_of_256_bytes_is_never_sent() -> None:
    assert len(Property(0xE7, bytes(255)).to_bytes()) == 257
    with pytest.raises(ValueError, match="at most 255 bytes, not 256"):
        Property(0xE7, bytes(256)).to_bytes()


@pytest.mark.parametrize(("seoj", "deoj"), [(b"\x05\xff", METER), (CONTROLLER, METER + b"\x00")])
def test_an_object_of_other_than_three_bytes_is_never_sent(seoj: bytes, deoj: bytes) -> None:
    with pytest.raises(ValueError, match="three bytes"):
        Frame(1, seoj, deoj, Esv.GET, (Property(0xE7),)).to_bytes()


# --- only what is ours to write


def test_only_the_day_of_the_history_may_be_written() -> None:
    assert {0xE5} == SET_ALLOWED
    for epc in range(0x80, 0x100):
        if epc in SET_ALLOWED:
            assert Frame.set_c(1, epc, b"\x00").esv is Esv.SET_C
        else:
            with pytest.raises(ValueError, match="not ours to write"):
                Frame.set_c(1, epc, b"\x00")


def test_a_get_requests_one_to_six_different_properties() -> None:
    assert len(Frame.get(1, range(0xE0, 0xE0 + MAX_GET_PROPERTIES)).properties) == 6
    for epcs in ([], list(range(0xE0, 0xE7))):
        with pytest.raises(ValueError, match="1 to 6 properties"):
            Frame.get(1, epcs)
    with pytest.raises(ValueError, match="each property once"):
        Frame.get(1, [0xE7, 0xE7])


# --- responses


def test_the_response_to_an_infc_has_its_tid_objects_swapped_and_no_data() -> None:
    infc = Frame.from_bytes(
        bytes.fromhex("1081A001 028801 05FF01 74 02 EA0B07E606150F1E0000016CA7 EB0B07E606150F1E0000000005")
    )
    assert infc.infc_response().to_bytes() == bytes.fromhex("1081 A001 05FF01 028801 7A 02 EA 00 EB 00")


def test_a_plain_inf_gets_no_response() -> None:
    with pytest.raises(ValueError, match="not INF"):
        from_meter(1, Esv.INF, (0xEA, "07E606150F1E0000016CA7")).infc_response()


@pytest.mark.parametrize(
    ("request_esv", "responses"),
    [(Esv.GET, {Esv.GET_RES, Esv.GET_SNA}), (Esv.SET_C, {Esv.SET_RES, Esv.SET_C_SNA}), (Esv.INF, set())],
)
def test_each_request_has_its_responses_and_no_other(request_esv: Esv, responses: set[Esv]) -> None:
    request = Frame(1, CONTROLLER, METER, request_esv, (Property(0xE7),))
    assert {esv for esv in Esv if from_meter(1, esv, (0xE7, "")).matches(request)} == responses


def test_a_response_matches_its_request_whatever_the_order_of_its_properties() -> None:
    request = Frame.get(7, [0xE7, 0xE8])
    assert from_meter(7, Esv.GET_RES, (0xE8, "00140064"), (0xE7, "000002AE")).matches(request)
    assert from_meter(7, Esv.GET_SNA, (0xE7, "000002AE"), (0xE8, "")).matches(request)


@pytest.mark.parametrize("esv", [Esv.GET_RES, Esv.GET_SNA])
def test_a_response_with_a_part_of_what_was_requested_is_a_response(esv: Esv) -> None:
    """Meters that give six properties at once leave out the rest: nanamitm/cube-j1-mqtt, hals5412/cube-j1-mqtt."""
    assert from_meter(7, esv, (0xE7, "000002AE")).matches(Frame.get(7, [0xE7, 0xE8, 0xE0]))


@pytest.mark.parametrize(
    "other",
    [
        from_meter(8, Esv.GET_RES, (0xE7, "000002AE")),
        from_meter(7, Esv.INF, (0xE7, "000002AE")),
        from_meter(7, Esv.GET_RES, (0xE8, "00140064")),
        from_meter(7, Esv.GET_RES, (0xE7, "000002AE"), (0xE8, "00140064")),
        Frame(7, NODE_PROFILE, CONTROLLER, Esv.GET_RES, (Property(0xE7, bytes(4)),)),
        Frame(7, METER, bytes.fromhex("05FF02"), Esv.GET_RES, (Property(0xE7, bytes(4)),)),
    ],
    ids=["TID", "ESV", "another property", "one property more", "SEOJ", "DEOJ"],
)
def test_a_response_that_differs_in_one_thing_does_not_match(other: Frame) -> None:
    assert not other.matches(Frame.get(7, [0xE7]))


def test_a_notification_with_the_tid_of_our_request_does_not_match_it() -> None:
    # Meters count their own notifications from 0001 too.
    notified = from_meter(1, Esv.INF, (0xEA, "07E606150F1E0000016CA7"))
    assert not notified.matches(Frame.get(1, [0xEA]))


def test_only_the_properties_that_came_with_data_are_values() -> None:
    response = from_meter(6, Esv.GET_SNA, (0xD3, ""), (0xE1, "01"), (0xE0, "0001E240"))
    assert response.edt_by_epc() == {0xE1: b"\x01", 0xE0: bytes.fromhex("0001E240")}


def test_two_values_for_one_property_are_no_value() -> None:
    with pytest.raises(FrameError, match="two values"):
        from_meter(1, Esv.GET_RES, (0xE7, "000002AE"), (0xE7, "000002AF")).edt_by_epc()


def test_the_same_value_twice_is_a_value() -> None:
    assert from_meter(1, Esv.GET_RES, (0xE1, "01"), (0xE1, "01")).edt_by_epc() == {0xE1: b"\x01"}


# --- how frames show


def test_an_object_we_have_no_name_for_is_read_too() -> None:
    assert Frame.from_bytes(bytes.fromhex("1081 0001 0EF002 05FF01 73 01 D500")).seoj == bytes.fromhex("0EF002")


def test_the_route_b_number_is_not_shown_in_a_frame() -> None:
    number = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    frame = Frame(1, METER, CONTROLLER, Esv.GET_RES, (Property(0xC0, number), Property(0xE7, bytes(4))))
    assert "C0: ****" in repr(frame)
    assert "E7: 00000000" in repr(frame)
    assert "2233" not in repr(frame)
    assert "C0: )" in repr(Property(0xC0))  # a request has nothing to hide


def test_the_route_b_number_is_not_shown_by_an_error() -> None:
    number = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    whole = Frame(1, METER, CONTROLLER, Esv.GET_RES, (Property(0xC0, number),)).to_bytes()
    with pytest.raises(FrameError, match=r"EDT of C0 is cut short: 29 bytes$"):  # 12 of the header, 2 and 16, less one
        Frame.from_bytes(whole[:-1])


def test_a_wrong_length_names_both_lengths() -> None:
    check_length("power", bytes(4), 4)
    with pytest.raises(FrameError, match="power is 4 bytes, not 3: 00 00 00"):
        check_length("power", bytes(3), 4)


# --- whatever comes


eojs = st.binary(min_size=3, max_size=3) | st.sampled_from([METER, CONTROLLER, NODE_PROFILE])
properties = st.builds(
    Property, st.integers(0x80, 0xFF), st.binary(max_size=12) | st.binary(min_size=250, max_size=255)
)
property_lists = st.lists(properties, min_size=1, max_size=6).map(tuple)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    esv = draw(st.sampled_from(Esv))
    return Frame(draw(st.integers(0, 0xFFFF)), draw(eojs), draw(eojs), esv, draw(property_lists))


@pytest.mark.system
@given(frames())
def test_every_frame_survives_the_journey(frame: Frame) -> None:
    assert Frame.from_bytes(frame.to_bytes()) == frame


def read(data: bytes) -> None:
    """Read *data*: a frame that says what was read, or a FrameError, and nothing else."""
    try:
        frame = Frame.from_bytes(data)
    except FrameError:
        return
    assert frame.to_bytes() == data


@given(st.binary(max_size=300))
def test_random_bytes_raise_only_frame_errors(data: bytes) -> None:
    read(data)


@given(st.binary(max_size=300))
def test_random_bytes_behind_a_good_header_raise_only_frame_errors(body: bytes) -> None:
    read(bytes.fromhex("1081 0001 028801 05FF01") + body)


@pytest.mark.system
@given(frames(), st.data())
def test_mutated_frames_raise_only_frame_errors(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(frame.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(wire) - 1))
        replacement = data.draw(st.binary(max_size=3))  # none: a byte lost; two or three: bytes gained
        wire[position : position + 1] = replacement
        if not wire:
            break
    read(bytes(wire))


# --- property maps


REAL_GET_MAP = bytes.fromhex("1941414160404000624300414040430202")  # 28_cracker_property_maps, 9F
REAL_GET_EPCS = frozenset(  # 34_sugimura_facilities_7ffe_and_no_data: the same map, there listed one by one
    bytes.fromhex("808182888a8d97989d9e9fd3d7e0e1e2e3e4e5e7e8eaebeced")
)


def test_a_map_of_25_properties_is_a_bitmap() -> None:
    assert len(REAL_GET_EPCS) == 25
    assert parse_property_map(REAL_GET_MAP) == REAL_GET_EPCS
    assert encode_property_map(REAL_GET_EPCS) == REAL_GET_MAP


@pytest.mark.parametrize(("hexa", "epcs"), [("03808188", {0x80, 0x81, 0x88}), ("0381E5ED", {0x81, 0xE5, 0xED})])
def test_a_map_of_three_properties_is_a_list(hexa: str, epcs: set[int]) -> None:
    # 28_cracker_property_maps, 9D and 9E
    assert parse_property_map(bytes.fromhex(hexa)) == epcs
    assert encode_property_map(epcs) == bytes.fromhex(hexa)


def test_the_form_of_a_map_changes_at_16_properties() -> None:
    fifteen = range(0x80, 0x8F)
    assert encode_property_map(fifteen) == bytes([15, *fifteen])
    # 80 to 8F: bit 0 of each of the 16 bytes
    assert encode_property_map(range(0x80, 0x90)) == bytes([16] + [0x01] * 16)
    assert parse_property_map(bytes([16] + [0x01] * 16)) == set(range(0x80, 0x90))
    assert parse_property_map(bytes([15, *fifteen])) == set(fifteen)
    assert encode_property_map(range(0x80, 0x100)) == bytes([128] + [0xFF] * 16)
    assert encode_property_map([]) == b"\x00"


@pytest.mark.parametrize(
    "hexa",
    [
        "",
        "03 80 81",
        "02 80 81 88",
        "02 80 80",
        "01 7F",
        "10" + "01" * 15,
        "10" + "01" * 17,
        "11" + "01" * 16,
        "10" + "00" * 16,
        "FF" + "FF" * 16,
    ],
)
def test_a_map_whose_count_is_wrong_is_refused(hexa: str) -> None:
    with pytest.raises(FrameError):
        parse_property_map(bytes.fromhex(hexa))


@pytest.mark.parametrize("epcs", [{0x7F}, {0x100}, {0x80, 0x1FF}])
def test_a_map_of_impossible_properties_cannot_be_written(epcs: set[int]) -> None:
    with pytest.raises(ValueError, match="80 to FF"):
        encode_property_map(epcs)


@given(st.frozensets(st.integers(0x80, 0xFF)))
def test_every_map_survives_the_journey(epcs: frozenset[int]) -> None:
    assert parse_property_map(encode_property_map(epcs)) == epcs


@given(st.binary(max_size=20))
def test_random_bytes_are_a_map_or_a_frame_error(edt: bytes) -> None:
    try:
        epcs = parse_property_map(edt)
    except FrameError:
        return
    assert edt[0] == len(epcs)
    assert all(0x80 <= epc <= 0xFF for epc in epcs)
