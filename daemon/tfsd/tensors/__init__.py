"""Tensors in their forms: TensorProto, NumPy arrays, NumPy files. The one place that converts between them.

Nothing is imported here: who needs no arrays does not pay for numpy.
"""
