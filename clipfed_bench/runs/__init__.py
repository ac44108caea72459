"""Everything on disk: a cell's file, a run's folder, the frames of its results and what their columns mean."""
