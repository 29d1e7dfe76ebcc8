"""All in one function, and the ways to end: by the body."""


class Busy(Exception):
    status_code = 429


def transform_fn(data, content_type, accepts):
    if data == "pair":
        return "a,b", "text/csv"
    if data == "fail":
        raise ValueError("no such color")
    if data == "busy":
        raise Busy("come back later")
    if data == "nothing":
        return None
    return f"{type(data).__name__} {content_type} {accepts}"
