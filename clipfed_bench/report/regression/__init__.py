"""Whether any number moved: a run against a reference."""
