"""Networks and losses: the student, encoders of the other modalities, sentence embeddings."""
