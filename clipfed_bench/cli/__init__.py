"""The command line: options become a call of the engine, and what it tells is shown."""
