"""Checks a Docker Space before it is pushed to Hugging Face.

Each package imports only the ones before it: `model` (a Space, its declaration, the Hub's profile), `rules` (functions from
files, logs and answers to problems), `engine` (Docker: build, start, probe), `contract` (the checks), `load` and `local_hub`,
`pytest_plugin` and `cli`.
"""
