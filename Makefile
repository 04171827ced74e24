# `make` alone lists what can be done here.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
STAMP := $(VENV)/.installed
PYTHON := $(VENV)/bin/python
PINS := requirements.txt requirements-dev.txt
COMPILE := $(PYTHON) -m piptools compile --quiet --no-emit-index-url --no-emit-find-links \
	--strip-extras --no-header
SUPPORTED := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))

.PHONY: help
help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '%-20s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(STAMP) ## Create .venv with everything pinned (the other targets call this)

$(STAMP): $(PINS) pyproject.toml
	@for name in python3.11 python3.12 python3 python; do \
		if "$$name" -c '$(SUPPORTED)' 2>/dev/null; then \
			echo "installing into $(VENV) with $$name; this takes some minutes"; \
			exec "$$name" -m venv $(VENV); \
		fi; \
	done; echo 'make setup needs Python 3.11 or 3.12 with its venv module' >&2; exit 1
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check $(PINS:%=-r %)
	@PYTHONWARNINGS=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

.PHONY: demo
demo: $(STAMP) ## Score the sample records under Airflow, print the result, stop everything
	@$(PYTHON) -m stack demo

.PHONY: up
up: $(STAMP) ## Start the same stack to stay, with the Airflow UI
	@$(PYTHON) -m stack up

.PHONY: down
down: $(STAMP) ## Stop what `make up` started
	@$(PYTHON) -m stack down

.PHONY: secrets
secrets: ## Write the secrets that docker-compose.yaml needs into .env, for its owner only
	@python3 -m stack.secrets .env

# Tests that share something expensive run on one worker; see tests/support/groups.py.
WORKERS := 2
TWO_AT_ONCE = $(PYTHON) -m pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

.PHONY: test
test: $(STAMP) ## Run all tests, in two processes
	@$(TWO_AT_ONCE) --durations 25

.PHONY: quick
quick: $(STAMP) ## Run the tests that need neither a database nor Airflow
	@$(TWO_AT_ONCE) --quick

.PHONY: bench-faults
bench-faults: $(STAMP) ## Kill, stop and restart at random for minutes, then recount everything
	@$(PYTHON) -m tests.faults --seed 1 --faults 200 --records 20000 \
		--baseline naive --baseline state-guard --baseline async-commit \
		--out benchmarks/results/faults.json

.PHONY: bench-fuzz
bench-fuzz: $(STAMP) ## Decode 20,000 malformed images in each tier, for minutes
	@$(PYTHON) -m tests.hostile.images --seed 1 --count 20000 --out benchmarks/results/fuzz.json

.PHONY: docs
docs: $(STAMP) ## Write docs/cli.md and docs/sources.schema.json anew from the program itself
	@$(PYTHON) -m clip_scoring.cli.reference > docs/cli.md
	@$(PYTHON) -m clip_scoring.settings.registration_file > docs/sources.schema.json

.PHONY: site
site: $(STAMP) ## Build the documentation as a site in build/site, where each warning is an error
	@$(PYTHON) -m sphinx --quiet --fail-on-warning --builder html \
		--doctree-dir build/doctrees docs build/site
	@echo 'open build/site/index.html'

.PHONY: bench-kills
bench-kills: $(STAMP) ## Kill the scoring of a file 50 times at random, then compare each output
	@$(PYTHON) -m tests.files --seed 1 --kills 50 --out benchmarks/results/kills.json

.PHONY: screenshots
screenshots: $(STAMP) ## Make the pictures of the Airflow UI in docs/images anew; needs Chromium
	@mkdir -p docs/images
	@CLIP_SCREENSHOTS=docs/images $(PYTHON) -m pytest -q tests/browser/test_pages.py

.PHONY: check
check: $(STAMP) ## Check format, lint, types, import rules, the caps on size and the links of the docs
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@PYTHONPATH=plugins $(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()'
	@$(PYTHON) -m pytest -q tests/architecture
	@$(PYTHON) -m sphinx --quiet --fail-on-warning --fresh-env --builder dummy \
		--doctree-dir build/doctrees-check docs build/check

.PHONY: bench
bench: $(STAMP) ## Measure against baselines for tens of minutes, with results in benchmarks/results
	@$(PYTHON) -m benchmarks

# A local build of torch carries a label such as +cpu, which nobody else can install.
.PHONY: lock
lock: $(STAMP) ## Pin the newest versions that requirements*.in allow
	@$(COMPILE) --upgrade --output-file requirements.txt requirements.in
	@sed -i 's/^\(torch==[^+ ]*\)+[^ ]*/\1/' requirements.txt
	@$(COMPILE) --upgrade --output-file requirements-dev.txt requirements-dev.in

.PHONY: weights
weights: $(STAMP) ## Train the embedded weights anew
	@$(PYTHON) -m clip_scoring.training.tiny.train --out clip_scoring/models/tiny

.PHONY: clean
clean: ## Stop everything; delete .stack, .venv and caches
	@if [ -x $(PYTHON) ] && [ -d .stack ]; then $(PYTHON) -m stack clean; fi
	@rm -rf .stack .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
