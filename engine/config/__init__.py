"""What a config says: its schema, how it is read and checked, the models it names, what a run of it will cost."""
