"""A fuzzer for everything that the project reads from files: each input is read, or refused in one line."""
