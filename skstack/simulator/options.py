"""What kind of meter is simulated, and whose joins it accepts."""

from __future__ import annotations

from dataclasses import dataclass, field

from skstack.echonet.frame import MAX_GET_PROPERTIES

TEST_ROUTE_B_ID = "00112233445566778899AABBCCDDEEFF"
TEST_PASSWORD = "0123456789AB"


@dataclass(frozen=True, slots=True)
class MeterOptions:
    """One kind of meter. The default is a first-generation one as most homes have."""

    unit_code: int = 0x01  # E1: 0.1 kWh a count; a code that is not defined counts as that, too
    coefficient: int = 1  # D3; 0 counts as 1
    digits: int = 6  # D7
    measures_export: bool = True  # False: no E3, E4 and EB
    second_generation: bool = False  # C0, D0, EE and EF
    two_wire: bool = False  # the T phase is not measured
    confirmed_notifications: bool = False  # half-hour values as INFC, which require a response
    notification_delay_s: float | None = None  # after :00 and :30; None: another one each time
    lacks: frozenset[int] = frozenset()  # properties it does not have and does not list, such as D3
    most_properties: int = MAX_GET_PROPERTIES  # in one Get; those beyond them come back without data
    zeros_before_installation: bool = False  # its history says 0 for the time before it was there, not "no data"
    serial_number: str = "SIM0000001"  # 8D
    maker: int = 0x000016  # as in the captures
    session_lifetime_s: int = 86_400
    route_b_id: str = field(default=TEST_ROUTE_B_ID, repr=False)  # of the household whose joins it accepts
    password: str = field(default=TEST_PASSWORD, repr=False)
    mac: str = "001C64000A0B8CF5"
    channel: int = 0x39
    pan_id: int = 0x8CF5
    lqi: int = 0xA7
    start_import_kwh: int = 12_345
    start_export_kwh: int = 678
