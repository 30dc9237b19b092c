import pytest

from edge.model import check_id


def test_an_id_of_a_site_is_accepted_as_written() -> None:
    assert check_id("evse-1.A:b_2") == "evse-1.A:b_2"


@pytest.mark.parametrize("text", ["", "a" * 49, "a b", "a/b", "é"])
def test_a_text_that_is_no_id_is_refused_with_the_value(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        check_id(text)
