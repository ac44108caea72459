"""The ground that everything stands on: errors, files, values, provenance, messages. Nothing here imports torch."""
