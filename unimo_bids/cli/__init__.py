"""Commands: arguments in, exit code out; the work is done by the library."""
