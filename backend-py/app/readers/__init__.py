"""Documents of many formats, read while the image is built; their libraries stay outside it."""
