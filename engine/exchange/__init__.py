"""A run's prompts in other tools' formats, and other tools' tasks and prompts as configs."""
