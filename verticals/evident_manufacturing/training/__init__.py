"""How the shipped weights are made: data, training on a GPU, export with its gates. Needs the extra ``training``."""
