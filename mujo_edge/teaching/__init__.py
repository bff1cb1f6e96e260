"""Label sets that a user teaches: takes of movements, the fit to them, and the guided session."""
