"""Recipes, label vocabulary and data splits."""
