"""nasvit."""
