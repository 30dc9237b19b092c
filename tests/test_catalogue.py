import re
from pathlib import Path

from edge.core import BusState
from edge.core.kinds import Refusal
from edge.model import Outcome, Reason, catalogue

ROOT = Path(__file__).parent.parent
TELLERS = ("edge/local/notices.py", "edge/gateway/events.py", "edge/gateway/gateway.py", "edge/uplink/uplink.py")
BEFORE = (
    '"code": ',
    r"add\(\s*Level\.\w+,\s*",
    r"add\(level, ",
    "yield ",
    '"site", ',
    "feeder, ",
    "evse_id, ",
    r"event\.index\), ",
)
CARRIED = "(?:" + "|".join(BEFORE) + ')"([A-Z][A-Z_]+)"'
"""Where a code stands in them."""
DOC = Path(__file__).parent.parent / "docs" / "codes.md"


def test_every_reason_and_outcome_is_explained() -> None:
    assert list(catalogue.REASONS) == [reason.name for reason in Reason]
    assert list(catalogue.OUTCOMES) == [outcome.value for outcome in Outcome]


def test_every_code_that_a_notice_or_event_carries_is_explained() -> None:
    told = {code for path in TELLERS for code in re.findall(CARRIED, (ROOT / path).read_text())}
    assert {"CERTIFICATE", "OUTBOX", "METER_BACK", "UPLINK_OFF", "HUB"} <= told, "the expression still finds them"
    told |= {f"BUS_{state.name}" for state in BusState} | {refusal.name for refusal in list(Refusal)[1:]}
    assert [code for code in sorted(told) if catalogue.find(code) is None] == []


def test_no_text_of_the_catalogue_is_empty() -> None:
    for info in (*catalogue.REASONS.values(), *catalogue.CONDITIONS.values(), *catalogue.OUTCOMES.values()):
        for text in (info.title, info.meaning, info.cause, info.remedy, info.loosens):
            assert text.strip(), info.code


def test_a_code_is_found_however_it_is_written() -> None:
    info = catalogue.find("err_v2g_limit_reached")
    assert info is catalogue.reason_info(Reason.ERR_V2G_LIMIT_REACHED)
    assert catalogue.find("CLIPPED") is catalogue.OUTCOMES["clipped"]
    assert catalogue.find("no_such_code") is None


def test_the_page_of_codes_is_current() -> None:
    message = (
        "regenerate: python -c \"from edge.model import catalogue; print(catalogue.to_markdown(), end='')\" > docs/codes.md"
    )
    assert DOC.read_text() == catalogue.to_markdown(), message
