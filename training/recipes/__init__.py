"""Recipes (TOML files) and data splits."""
