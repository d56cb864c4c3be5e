"""OpenAI's chat format in both directions: requests to bodies, answers to replies."""
