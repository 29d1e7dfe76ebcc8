"""JSON in general: any list of values, one a line or one after another, is read back as it was."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tfsd.errors import BadRequest
from tfsd.worker.conversion import json_documents

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
KEYS = st.one_of(st.sampled_from(["x", "inputs", "examples", "NaN"]), st.text(max_size=4)).filter(
    lambda key: key != "instances"
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
BATCHES = st.lists(VALUES, min_size=2, max_size=6)
CONTAINERS = st.lists(VALUES.filter(lambda value: isinstance(value, list | dict)), min_size=2, max_size=6)
SPREAD = st.booleans()


def read(text: str, spread: bool) -> Any:
    return json.loads(json_documents.to_instances(text.encode(), spread))["instances"]


@given(BATCHES, st.sampled_from(["\n", "\r\n", "\r", "\n\n", " ", " \n\t"]), st.booleans(), SPREAD)
def test_separated(values: list[Any], separator: str, ascii_only: bool, spread: bool) -> None:
    text = separator.join(json.dumps(value, ensure_ascii=ascii_only) for value in values)
    assert read(text, spread) == values
    assert read(separator + text + separator, spread) == values


@given(CONTAINERS, SPREAD)
def test_concatenated(values: list[Any], spread: bool) -> None:
    assert read("".join(map(json.dumps, values)), spread) == values


@given(BATCHES, SPREAD)
def test_pretty_printed(values: list[Any], spread: bool) -> None:
    assert read("\n".join(json.dumps(value, indent=2) for value in values), spread) == values


@given(CONTAINERS)
def test_one_array_of_containers(values: list[Any]) -> None:
    assert read(json.dumps(values, indent=1), spread=True) == values
    assert read(json.dumps(values), spread=False) == [values]


@given(BATCHES)
def test_the_text_of_an_instance_is_kept(values: list[Any]) -> None:
    texts = [json.dumps(value, separators=(" , ", " : ")) for value in values]
    body = json_documents.to_instances("\n".join(texts).encode(), spread=True)
    assert body.decode() == '{"instances":[' + ",".join(texts) + "]}"


@settings(max_examples=300)
@given(st.text(alphabet='{}[]",:01-.eE \n\ttrufalsnNIiy\\', max_size=20))
def test_any_text_is_read_exactly_or_refused(text: str) -> None:
    try:
        body = json_documents.to_instances(text.encode(), spread=False)
    except BadRequest:
        return
    # Nothing is lost: what is added are a beginning, an end and commas.
    start, end = b'{"instances":[', b"]}"
    if body.startswith(start):
        kept = body.removeprefix(start).removesuffix(end).decode()
        assert "".join(kept.replace(",", "").split()) == "".join(text.replace(",", "").split())
    else:
        assert body == text.encode()
