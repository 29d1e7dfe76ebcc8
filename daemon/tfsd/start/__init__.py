"""The container's entry point: user code fetched, installed and checked, the stack prepared, supervisord started."""
