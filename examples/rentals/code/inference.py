"""CSV with a header in, CSV out: one column of rentals, a line for each row."""

import csv
import io
import json

from dateutil import parser

COLUMNS = ("time", "temperature", "humidity")


def input_handler(data, context):
    """The model's columns from the client's: hour and weekday come from `time`, in any form that dateutil reads."""
    if not context.request_content_type.startswith("text/csv"):
        raise Refused(415, f"Send text/csv with a header, not {context.request_content_type}.")
    rows = csv.DictReader(io.StringIO(data.read().decode()))
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise Refused(400, f"The header has no {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    inputs = {"hour": [], "weekday": [], "temperature": [], "humidity": []}
    for row in rows:
        try:
            time = parser.parse(row["time"])
            inputs["temperature"].append(float(row["temperature"]))
            inputs["humidity"].append(float(row["humidity"]))
        except (ValueError, TypeError, OverflowError) as error:
            raise Refused(400, f"Line {rows.line_num}: {error}.") from None
        inputs["hour"].append(time.hour)
        inputs["weekday"].append(time.weekday())
    return json.dumps({"inputs": inputs})


def output_handler(response, context):
    """The model's answer as CSV, or its error."""
    if response.status_code != 200:
        raise Refused(response.status_code, response.json()["error"])
    lines = ["rentals", *(f"{value:.0f}" for value in response.json()["outputs"])]
    return "\n".join(lines) + "\n", "text/csv"


class Refused(Exception):
    """An answer that is not 200: the endpoint takes the status from `status_code`."""

    def __init__(self, status_code, message):
        super().__init__(message)
        self.status_code = status_code
