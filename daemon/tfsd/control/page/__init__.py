"""The status page: what control knows, for the eyes of whoever is on call, and the endpoint's API described."""
