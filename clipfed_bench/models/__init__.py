"""Models: a feature extractor ``features`` and a linear ``classifier`` (the paper's f and c), seeded initialization."""
