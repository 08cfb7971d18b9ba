"""Readers for documents of several formats. They run only in the build; the image lacks them."""
