"""From settings and models to the processes of one stack and the files that they are run with."""
