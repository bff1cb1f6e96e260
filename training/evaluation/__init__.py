"""What `training.evaluate` measures, and the pages and pictures that it makes of it."""
