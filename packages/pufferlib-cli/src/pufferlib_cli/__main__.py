"""`python -m pufferlib_cli`."""

from pufferlib_cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
