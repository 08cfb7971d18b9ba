"""A Hub in a box: it receives a Space by git, builds it, starts it and serves it as the Hub does.

`preflight hub` starts it on http://127.0.0.1:8460; a test takes the fixture `hub` of tests/conftest.py.

| module       | what it does                                                             |
|--------------|--------------------------------------------------------------------------|
| `server`     | the process: state folder, address, clean-up                               |
| `api`        | the API that `huggingface_hub` calls; `git_http`: git's http-backend       |
| `receive`    | the pre-receive hook: the contract's rules, in the Hub's words           |
| `builder`    | one build: build, start, switch; `builders` gives each Space one thread    |
| `replicas`   | the containers of a Space; `logs`: its build's and theirs                |
| `repository` | the state of a Space: its git repository, its settings, its stage        |

A Hub that is started again on the same state starts each Space again.
"""

BRANCH = "refs/heads/main"
"""The branch that is built."""
