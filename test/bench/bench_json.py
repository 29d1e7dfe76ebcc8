#!/usr/bin/env python
"""What the embedded model server's JSON reader costs by the kind of body: none may be much dearer than plain numbers.

usage: python test/bench/bench_json.py [--megabytes 2] [KIND…]

Prints, for each kind of body, CPU seconds for a body of 6 MB (SageMaker's limit, scaled from the size that is read),
milliseconds for each MB, and the ratio to the body of plain numbers, which is read before each other one: a slower
machine makes both slower.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "daemon"))

from tfsd.model_server.codec.codec import decode_examples, decode_predict
from tfsd.model_server.errors import ServingError

FLOAT, STRING = 1, 7
ONE, TEXT, TWO, EMPTY = {"x": FLOAT}, {"x": STRING}, {"a": FLOAT, "b": FLOAT}, {"": FLOAT}
EXAMPLES: dict[str, int] = {}
PLAIN = "1.5"
#: Kind -> a row, the last row, the inputs; EXAMPLES for the examples of :classify and :regress.
KINDS = {
    PLAIN: ("1.5", "1.5", ONE),
    "[1]": ("[1]", "[1]", ONE),
    "[1.5,2.5,3.5,4.5]": ("[1.5,2.5,3.5,4.5]", "[1.5,2.5,3.5,4.5]", ONE),
    '"abc"': ('"abc"', '"abc"', TEXT),
    '"ab\\u00e9c"': ('"ab\\u00e9c"', '"ab\\u00e9c"', TEXT),
    '{"b64":"YQ=="}': ('{"b64":"YQ=="}', '{"b64":"YQ=="}', TEXT),
    '{"b64":"YQ"}': ('{"b64":"YQ"}', '{"b64":"YQ"}', TEXT),
    '"ab",{"b64":"YQ=="}': ('"ab",{"b64":"YQ=="}', '"ab"', TEXT),
    '"ab", the last 1': ('"ab"', "1", TEXT),
    '{"x":1}': ('{"x":1}', '{"x":1}', ONE),
    '{"x":[1]}': ('{"x":[1]}', '{"x":[1]}', ONE),
    '{"x":"ab"}': ('{"x":"ab"}', '{"x":"ab"}', TEXT),
    '{"a":1,"b":2}': ('{"a":1,"b":2}', '{"a":1,"b":2}', TWO),
    '{"x":1}, one with an escape': ('{"x":1}', '{"\\u0078":1}', ONE),
    '{"x":NaN}': ('{"x":NaN}', '{"x":NaN}', ONE),
    '{"x":1}, one with x twice': ('{"x":1}', '{"x":1,"x":2}', ONE),
    '{"x":1,"x":2}': ('{"x":1,"x":2}', '{"x":1,"x":2}', ONE),
    '{"x":1}, one of five twice': ('{"x":1,"x":2}' + 4 * ',{"x":1}', '{"x":1}', ONE),
    '{"x":1}, half of them twice': ('{"x":1},{"x":1,"x":2}', '{"x":1}', ONE),
    '{"x":{"b64":"YQ=="}}': ('{"x":{"b64":"YQ=="}}', '{"x":{"b64":"YQ=="}}', TEXT),
    '{"x":{"b64":"YQ=="}}, one twice': (
        '{"x":{"b64":"YQ=="}}',
        '{"x":{"b64":"YQ=="},"x":{"b64":"YQ=="}}',
        TEXT,
    ),
    '{"x":1}, the last {"x":NaN}': ('{"x":1}', '{"x":NaN}', ONE),
    '{"x":1}, one with x\\u0000': ('{"x":1}', '{"x\\u0000":1}', ONE),
    "1.5, one NaN": ("1.5", "NaN", ONE),
    "[1], the last ragged": ("[1]", "[1,2]", ONE),
    '{"x":[1]}, the last ragged': ('{"x":[1]}', '{"x":[1,2]}', ONE),
    '{"x":[1]},{"x":[1,2]}': ('{"x":[1]},{"x":[1,2]}', '{"x":[1]}', ONE),
    'wrong names: {"y":1}': ('{"y":1}', '{"y":1}', ONE),
    '{"x":1}, the last name wrong': ('{"x":1}', '{"y":1}', ONE),
    '{"x":{"y":1}}': ('{"x":{"y":1}}', '{"x":{"y":1}}', ONE),
    "Inf": ("Inf", "Inf", ONE),
    "1.5,-NaN": ("1.5,-NaN", "1.5", ONE),
    "1,Inf": ("1,Inf", "1", ONE),
    "[]": ("[]", "[]", ONE),
    '{"x":[[[[1]]]]}': ('{"x":[[[[1]]]]}', '{"x":[[[[1]]]]}', ONE),
    '{"x":16 lists around 1}, ragged': (
        '{"x":' + "[" * 16 + "1" + "]" * 16 + "}",
        '{"x":' + "[" * 16 + "1,2" + "]" * 16 + "}",
        ONE,
    ),
    '"ab",{"b64":""}': ('"ab",{"b64":""}', '"ab"', TEXT),
    '{"x":"\\udc00"}, the last NaN': ('{"x":"\\udc00"}', '{"x":NaN}', TEXT),
    "1, the last NaN": ("1", "NaN", ONE),
    "1e100": ("1e100", "1e100", ONE),
    "0.0e309": ("0.0e309", "0.0e309", ONE),
    "1.5, the last 1e999": ("1.5", "1e999", ONE),
    '"\\udc00"': ('"\\udc00"', '"\\udc00"', TEXT),
    '"ff", a byte that is no UTF-8': ('"\udcff"', '"\udcff"', TEXT),
    '"", the last "\\udc00"': ('""', '"\\udc00"', TEXT),
    '{"x":1}, each 1000th with x\\u0000': ('{"x\\u0000":1}' + ',{"x":1}' * 999, '{"x":1}', ONE),
    '{"":[1]}, the last {"":NaN}': ('{"":[1]}', '{"":[NaN]}', EMPTY),
    "[[[[1]]]], the last ragged": ("[[[[1]]]]", "[[[[1,2]]]]", ONE),
    "16 lists around 1, ragged": ("[" * 16 + "1" + "]" * 16, "[" * 16 + "1,2" + "]" * 16, ONE),
    '16 lists around ""': ("[" * 16 + '""' + "]" * 16, "[" * 16 + '""' + "]" * 16, TEXT),
    'example {"x":1}': ('{"x":1}', '{"x":1}', EXAMPLES),
    'example {"x":1.5}': ('{"x":1.5}', '{"x":1.5}', EXAMPLES),
    'example {"x":[1,2]}': ('{"x":[1,2]}', '{"x":[1,2]}', EXAMPLES),
    'example {"a":1,"b":2.5,"c":"x"}': ('{"a":1,"b":2.5,"c":"x"}', '{"a":1}', EXAMPLES),
    'example {"x":"ab"}, the last null': ('{"x":"ab"}', '{"x":null}', EXAMPLES),
    'example {"x":1},{"x":"a"}': ('{"x":1},{"x":"a"}', '{"x":1}', EXAMPLES),
    'example {"x":1},{"y":1.5}': ('{"x":1},{"y":1.5}', '{"x":1}', EXAMPLES),
    'example {"x":"ab"},{}': ('{"x":"ab"},{}', "{}", EXAMPLES),
    'example {"x":[]},{"x":["a"]}': ('{"x":[]},{"x":["a"]}', '{"x":[]}', EXAMPLES),
    'example {"x":{"b64":"YQ"}}': ('{"x":{"b64":"YQ"}}', '{"x":{"b64":"YQ"}}', EXAMPLES),
    "1.5, then true": ("1.5", "true", ONE),
    "1.5, cut short": ("1.5", "1.5", ONE),
    '{"x":1}, cut short': ('{"x":1}', '{"x":1', ONE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=2.0)
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=list(KINDS))
    options = parser.parse_args()
    print(f"{'instances':32} {'s for 6 MB':>10} {'ms/MB':>7} {'ratio':>6}")
    for kind in options.kinds:
        costs = [(cost(PLAIN, options.megabytes), cost(kind, options.megabytes)) for _ in range(5)]
        plain, own = (min(measured) for measured in zip(*costs, strict=True))
        print(f"{kind:32} {6 * own:10.2f} {1000 * own:7.1f} {own / plain:6.1f}", flush=True)


def cost(kind: str, megabytes: float) -> float:
    """CPU seconds for each MB of a body."""
    row, last, inputs = KINDS[kind]
    rows = [row] * int(megabytes * 1e6 / (len(row) + 1)) + [last]
    key = "examples" if inputs is EXAMPLES else "instances"
    body = (f'{{"{key}":[' + ",".join(rows) + ("" if "cut short" in kind else "]}")).encode(
        "utf-8", "surrogateescape"
    )
    began = time.process_time()
    with contextlib.suppress(ServingError):
        if inputs is EXAMPLES:
            decode_examples(body)
        else:
            decode_predict(body, lambda signature: inputs)
    return (time.process_time() - began) / len(body) * 1e6


if __name__ == "__main__":
    main()
