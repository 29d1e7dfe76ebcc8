import pytest

from tfsd.model_server.rest.remembered import MAX_LENGTH, remembered


def test_a_short_text_is_looked_at_once_and_a_long_one_each_time() -> None:
    seen: list[str] = []

    @remembered
    def length(text: str) -> int:
        seen.append(text)
        return len(text)

    long = "x" * (MAX_LENGTH + 1)
    assert [length("ab"), length("ab"), length(long), length(long)] == [2, 2, len(long), len(long)]
    assert seen == ["ab", long, long]


def test_an_error_is_raised_anew() -> None:
    errors: list[ValueError] = []

    @remembered
    def refuse(text: str) -> int:
        errors.append(ValueError(text))
        raise errors[-1]

    for _ in range(2):
        with pytest.raises(ValueError, match="ab") as raised:
            refuse("ab")
        assert raised.value is errors[-1]
    assert len(errors) == 2
