"""Defenses that CLIP-Fed is compared against, one module each; every public module here is one defense."""
