"""Data sets, one module each; every public module here is one, named by its file.

The package is not called ``datasets``, which is the name of the Hugging Face hub's library.
"""
