"""Motion capture and skeletons in their publishers' own layouts -> `Take`s with the canonical joints."""
