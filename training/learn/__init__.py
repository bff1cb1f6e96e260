"""Optimization: pretraining, fine-tuning, distillation, and the augmentation they use."""
