from pathlib import Path

from edge.model import Outcome, Reason, catalogue

DOC = Path(__file__).parent.parent / "docs" / "codes.md"


def test_every_reason_and_outcome_is_explained() -> None:
    assert list(catalogue.REASONS) == [reason.name for reason in Reason]
    assert list(catalogue.OUTCOMES) == [outcome.value for outcome in Outcome]


def test_no_text_of_the_catalogue_is_empty() -> None:
    for info in (*catalogue.REASONS.values(), *catalogue.OUTCOMES.values()):
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
