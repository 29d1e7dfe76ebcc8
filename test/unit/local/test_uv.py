"""What pip is configured to means the same to uv."""

from __future__ import annotations

import pytest

from tfsd.local.uv import arguments

ALWAYS = ["--index-strategy", "unsafe-best-match", "--system-certs"]


@pytest.mark.parametrize(
    ("listed", "options"),
    [
        ("", []),
        (":env:.index-url='https://a/simple'", ["--index-url", "https://a/simple"]),
        (
            "global.extra-index-url='https://a/simple https://b/simple'",
            ["--extra-index-url", "https://a/simple", "--extra-index-url", "https://b/simple"],
        ),
        (
            "global.find-links='\\n/a\\nhttps://b/wheels'",
            ["--find-links", "/a", "--find-links", "https://b/wheels"],
        ),
        ("global.cert='/a=b.pem'", ["--cert", "/a=b.pem"]),
        ("install.trusted-host='a b'", ["--allow-insecure-host", "a", "--allow-insecure-host", "b"]),
        ("global.no-index='true'", ["--no-index"]),
        ("global.no-index='0'", []),
        ("global.timeout='60'\nglobal.no-cache-dir='true'\nlist.format='json'", []),
    ],
)
def test_settings(listed: str, options: list[str]) -> None:
    assert arguments(listed) == ALWAYS + options


def test_the_environment_counts_more_than_files() -> None:
    listed = ":env:.index-url='https://c'\nglobal.index-url='https://a'\ninstall.index-url='https://b'"
    assert arguments(listed) == [*ALWAYS, "--index-url", "https://c"]


@pytest.mark.parametrize(
    "setting", ["global.client-cert='/a'", ":env:.proxy='http://p'", "install.user='true'"]
)
def test_what_uv_has_no_word_for(setting: str) -> None:
    assert arguments(f"global.index-url='https://a'\n{setting}") is None
