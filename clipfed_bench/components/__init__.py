"""Attacks, defenses and data sets by name: what packages declare, what each says of itself, and how it is made."""
