"""A plan becomes the mixture settings of a training framework, as text to paste or to keep as a file."""
