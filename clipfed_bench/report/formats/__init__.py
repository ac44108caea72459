"""A table as LaTeX, Markdown, CSV or on a terminal."""
