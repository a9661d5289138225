"""Native environments in C."""
