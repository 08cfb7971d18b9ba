"""A Hub in a box: it receives a Space by git, builds it, starts it and serves it as the Hub does.

`make hub` starts it on http://127.0.0.1:8460; a test takes the fixture `hub` of tests/conftest.py.

| module       | what it does                                                             |
|--------------|--------------------------------------------------------------------------|
| `api`        | what `huggingface_hub` calls; `git_http`: git's own http-backend           |
| `receive`    | the pre-receive hook: the contract's rules, in the Hub's words           |
| `builder`    | a process for each push: build, start, switch; `builders` looks after it |
| `replicas`   | the containers of a Space; `logs`: its build's and theirs                |
| `repository` | what is kept of a Space: its git repository, its settings, its stage     |

Everything that has to outlive a killed process is in the state folder and in the engine. Each lock
is held by whoever works, and falls with its process.
"""

BRANCH = "refs/heads/main"
"""The one that is built."""
