"""How the folders and files of each library are read."""
