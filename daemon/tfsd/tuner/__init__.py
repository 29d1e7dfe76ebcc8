"""`bin/local tune`: finds settings for a model on this machine by measurement, and says what they are worth.

Starts whole stacks as `serve` does, loads them from a process of its own, and draws what it has seen. Nothing of this
room is installed or imported where models are served.
"""
