"""The `puffer` command."""
