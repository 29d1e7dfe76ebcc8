"""A model server in Python with the interface of tensorflow_model_server. Never imports the rest of tfsd."""
