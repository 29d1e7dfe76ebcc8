"""A model server in Python with the interface of tensorflow_model_server. Never imports the rest of tfsd."""

from tfsd.model_server import whole_tensorflow

whole_tensorflow.postpone()
