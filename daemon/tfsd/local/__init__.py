"""The verbs of bin/local, on a laptop. Never used in a container, whose entry point is `tfsd.start.serve`."""
