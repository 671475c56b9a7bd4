"""The hybrid model: training, fine-tuning, evaluation, promotion."""
