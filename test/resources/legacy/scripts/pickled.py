# ruff: noqa: F401, RET504, RET505 (as the documentation has it, with its mistakes mended)
import pickle

import numpy as np


def input_fn(serialized_input, content_type):
    """An input_fn that loads a pickled object"""
    if content_type == "application/python-pickle":
        deserialized_input = pickle.loads(serialized_input)
        return deserialized_input
    else:
        # Handle other content-types here or raise an Exception
        # if the content type is not supported.
        pass


def output_fn(prediction_result, accepts):
    """An output_fn that dumps a pickled object as response"""
    if accepts == "application/python-pickle":
        return pickle.dumps(prediction_result)
    else:
        # Handle other content-types here or raise an Exception
        # if the content type is not supported.
        pass
