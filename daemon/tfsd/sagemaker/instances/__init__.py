"""Instances: machines with a model on them. Each is a directory, a container or several, and a way to invoke them."""
