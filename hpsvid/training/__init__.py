"""Train the networks; only the command line and tools import it."""
