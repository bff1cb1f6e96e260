"""Where samples and predictions go."""
