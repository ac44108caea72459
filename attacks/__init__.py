"""Backdoor attacks, one module each; every public module here is one attack, named by its file."""
