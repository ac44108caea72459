"""Published numbers; README.md says where they are from."""
