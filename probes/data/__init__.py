"""From text to the sequences of a training step: read, split, tokenize, pack, draw."""
