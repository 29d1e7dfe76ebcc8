"""The status page of a real stack in a real browser, and the API's description of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright

from integration.conftest import StartStack
from support.code import add_model
from support.openapi import validate
from support.stack import RunningStack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKUP = "<img src=x onerror=alert(1)>"
PATIENCE_MS = 30_000  # of a machine under load; the page itself asks every second

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


@pytest.fixture(scope="module")
def stack(models: Path, start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """Two models, one of them with a name that is markup."""
    directory = tmp_path_factory.mktemp("models")
    add_model(directory, "half_plus_two", models / "half_plus_two")
    add_model(directory, MARKUP, models / "half_plus_three")
    return start_stack(
        directory,
        SAGEMAKER_TFS_STATUS_PAGE="true",
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_two",
        SAGEMAKER_TFS_EXTRA_ARGS="--grpc_max_threads=8",
        AWS_SECRET_ACCESS_KEY="not for the page",
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, stack: RunningStack) -> Iterator[Page]:
    """The page, without an error on its console from its first line to the test's end."""
    page = browser.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(f"a dialog: {dialog.message}"))
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page.goto(stack.url("/"))
    yield page
    page.close()
    assert troubles == []


def status(stack: RunningStack) -> dict[str, Any]:
    document: dict[str, Any] = requests.get(stack.url("/status.json"), timeout=10).json()
    return document


@needs_browser
def test_the_page_shows_health_and_markup_stays_text(page: Page) -> None:
    expect(page.locator("#verdict")).to_have_text("Healthy: 2 models are served.")
    expect(page.locator("#models h3").filter(has_text=MARKUP)).to_be_visible()
    expect(page.locator("#processes")).to_contain_text("nginx")
    assert page.locator("img").count() == 0


@needs_browser
def test_try_it_answers_and_shows_the_curl_line(page: Page) -> None:
    select = page.get_by_label("Model and signature")
    expect(select).to_be_visible()
    label = select.locator("option").filter(has_text="half_plus_two / serving_default").inner_text()
    select.select_option(label=label)
    page.get_by_label("Request", exact=True).fill('{"instances": [4.0]}')
    expect(page.locator("#try-curl")).to_contain_text("""-d '{"instances": [4.0]}'""")

    page.get_by_role("button", name="Send").press("Enter")

    expect(page.locator("#try-answer")).to_contain_text("200")
    expect(page.locator("#try-answer")).to_contain_text("predictions")


@needs_browser
def test_errors_appear_with_their_id_and_text(page: Page, stack: RunningStack) -> None:
    answer = stack.invoke("{", attributes=f"tfs-model-name={MARKUP}", X_Amzn_SageMaker_Inference_Id="find-me")
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (400, "find-me")

    row = page.locator("#errors tr").filter(has_text="find-me")
    expect(row).to_contain_text("400")
    expect(row).to_contain_text(answer.json()["error"])


@needs_browser
def test_a_killed_model_server_shows(page: Page, stack: RunningStack) -> None:
    expect(page.locator("#verdict")).to_have_class("good")
    before = stack.kill("model-half_plus_two")

    row = page.locator("#processes tr").filter(has_text="model-half_plus_two")
    expect(row).to_contain_text("SIGKILL")
    expect(row).not_to_contain_text(str(before))
    stack.wait_until_healthy()
    expect(page.locator("#verdict")).to_have_class("good")


def test_the_document_hides_what_is_not_ours(stack: RunningStack) -> None:
    text = requests.get(stack.url("/status.json"), timeout=10).text
    assert "not for the page" not in text
    assert "grpc_max_threads" not in text
    by_name = {setting["variable"]: setting for setting in status(stack)["settings"]}
    assert by_name["SAGEMAKER_TFS_STATUS_PAGE"]["source"] == "variable"
    assert by_name["SAGEMAKER_TFS_MAX_BATCH_SIZE"] == {
        "variable": "SAGEMAKER_TFS_MAX_BATCH_SIZE",
        "value": "8",
        "source": "default",
        "doc": "`max_batch_size`.",
    }
    assert by_name["SAGEMAKER_TFS_NUM_BATCH_THREADS"]["source"] == "derived"


def test_traffic_reaches_the_window(stack: RunningStack) -> None:
    for _ in range(20):
        stack.invoke('{"instances": [1.0]}').raise_for_status()

    def counted() -> bool:
        window = next(m for m in status(stack)["models"] if m["name"] == "half_plus_two")["window"]
        return bool(window["requests"] >= 20 and 0 < window["p50"] <= window["p99"])

    stack.wait_for(counted, 60, "counted")


def test_without_the_variable_there_is_no_page(plain_stack: RunningStack) -> None:
    for path in ("/", "/status.json", "/status.js"):
        assert requests.get(plain_stack.url(path), timeout=10).status_code == 404


def test_the_api_is_described(plain_stack: RunningStack) -> None:
    document = requests.get(plain_stack.url("/openapi.json"), timeout=10).json()
    validate(document)
    assert "matrix.serving_default.request" in document["components"]["schemas"]
    assert "/invocations" in document["paths"]
