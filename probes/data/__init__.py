"""Text becomes the sequences of a training step: it is read, split, tokenized, packed and drawn from."""
