"""A fuzzer for a whole stack: `./bin/local exec python -m fuzz --seconds 60` from the directory test/."""
