"""A Django application of two models with the same fields: one plain, one encrypted."""
