"""Table catalogs on pyiceberg's clients: which talk and log in, while what is entered and swapped is decided here."""
