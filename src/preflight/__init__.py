"""The harness library: what a Docker Space is, how the Hub treats it, and how to say what is wrong.

`space` finds Spaces, `targets` hands them to checks, `findings` is the vocabulary of a verdict and
`report` collects verdicts. `frontmatter`, `push`, `dockerfile` and `environment` judge a folder
without an engine: pure functions that take a folder or a repository and return problems.
"""
