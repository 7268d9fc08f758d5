"""From training cells and references to a fitted generator, and from a generator to cells."""
