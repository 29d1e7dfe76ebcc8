"""The data plane in Python: the Bottle application that runs user code or the converter."""
