"""Recordings: one room writes and reads session folders, CSV and Parquet tables, and the exports of other apps."""
