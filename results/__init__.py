"""Tables that come with the package: what the paper published, and references for regression checks."""
