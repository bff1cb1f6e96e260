"""From a trained student to a bundle: label sets, quantization, parity gates, model card."""
