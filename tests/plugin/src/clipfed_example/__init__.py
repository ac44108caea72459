"""An attack, a defense and a data set for clipfed-bench."""
