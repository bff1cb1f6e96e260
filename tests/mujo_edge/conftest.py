"""Adds this folder to the path, so that tests in subfolders can import `fakes`."""
