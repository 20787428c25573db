"""Writing tables: one module a format, and what they have in common: the rows, and the schema that they must have."""
