"""The helper's operations as data: the vocabulary, its encoding, and where the helper is."""
