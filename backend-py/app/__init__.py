"""A Space that answers questions about a book, with citations."""

VERSION = "1.0"
