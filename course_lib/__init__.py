"""Build your own vLLM, in notebooks: the reference library behind the course."""
