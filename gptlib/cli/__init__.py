"""The command line. Each verb is a file; its docstring is the verb's help, its function of that name runs."""
