"""What every process said last, and when: ping, restarts of what hangs, model states."""
