# Everything a checkout can do. Each target prepares what it needs first, once: .venv and node_modules.
# Needed on the machine: make and Python 3.11 or newer (another one: make demo PYTHON=python3.12).

SHELL = /bin/sh
.DEFAULT_GOAL := help

PYTHON ?= python3
STAGE ?= dev
# Which deployment to look at: a STAGE that was asked for, else the cloud that runs here.
DEPLOYMENT = $(if $(filter command environment,$(origin STAGE)),--stage '$(STAGE)')
VENV_PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Variables on make's command line reach the commands through the environment; a prompt may hold any character.
override PROMPT := $(value PROMPT)
export PROMPT

.PHONY: help demo up down logs status keys doctor models-check test test-unit test-providers test-integration check \
  openapi fuzz synth clean prepare-python prepare-all

help: ## List what there is
	@awk -F ' *:.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  Variables, for demo and up (IP_LIMIT also for synth, and so on):'
	@echo '    PROMPT="a lighthouse in fog"     what demo draws'
	@echo '    OPENAI_API_KEY GEMINI_API_KEY    a provider whose key is set in the environment is really called'
	@echo '    IP_LIMIT GLOBAL_LIMIT IP_INCLUDE TRUST_BODY_IP RETENTION_DAYS LOG_LEVEL CORS_ORIGINS'
	@echo '    PROMPT_MODEL_INDEX MAX_CONCURRENCY MODERATION              settings of the stack'
	@echo '    SIMULATOR_LATENCY=0.5-4  SIMULATOR_FAULTS=gpt-image-2=throttled:2   of the simulated providers'

demo: prepare-all ## One prompt to all models, here, without an account: pictures into out/ (PROMPT="…")
	@$(VENV_PYTHON) -m local demo

up: prepare-all ## Start the cloud on this laptop, or bring it up to date, and print how to call it
	@$(VENV_PYTHON) -m local up

down: prepare-python ## Stop it; nothing stays but the logs of the last run
	@$(VENV_PYTHON) -m local down

status: prepare-python ## Say what runs, and how to call it
	@$(VENV_PYTHON) -m local status || true

logs: prepare-python ## Follow its logs (JOB=id for one job's)
	@$(VENV_PYTHON) -m local logs $(if $(JOB),--job '$(JOB)')

keys: prepare-python ## Put provider keys into the secret of your deployment on AWS, from the environment or a prompt
	@$(VENV_PYTHON) -m local keys --stage '$(STAGE)'

doctor: prepare-python ## Check keys, models and quotas of the cloud here, or of STAGE on AWS (ALL=1: of every model)
	@$(VENV_PYTHON) -m local doctor $(DEPLOYMENT) $(if $(ALL),--all)

models-check: prepare-python ## Check an overlay of the model catalogue: FILE=my-models.json (PUT=1: then upload it)
	@test -n '$(FILE)' || { echo 'Name the overlay: make models-check FILE=my-models.json' >&2; exit 1; }
	@$(VENV_PYTHON) -m local models-check '$(FILE)' $(if $(PUT),--put) $(if $(BUCKET),--bucket '$(BUCKET)') $(DEPLOYMENT)

test: prepare-all ## All tests
	$(VENV_PYTHON) -m pytest tests $(PYTEST_ARGUMENTS)

test-unit: prepare-all ## The quick tests, without the emulator
	$(VENV_PYTHON) -m pytest tests/unit $(PYTEST_ARGUMENTS)

test-providers: prepare-all ## The seven protocols over sockets, as a matrix of cases
	$(VENV_PYTHON) -m pytest tests/contract $(PYTEST_ARGUMENTS)

test-integration: prepare-all ## The tests on the emulator
	$(VENV_PYTHON) -m pytest tests/integration $(PYTEST_ARGUMENTS)

check: prepare-all ## Style, types, the state machine's definition, the API's description, the templates for AWS and for here
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy --strict functions infra local app.py
	@for definition in statemachine/*.json; do \
	  echo "asl-validator --json-path $$definition"; \
	  node node_modules/.bin/asl-validator --json-path "$$definition" || exit 1; \
	done
	@$(VENV_PYTHON) -m local openapi --check
	@$(VENV_PYTHON) -m local synth aws local

openapi: prepare-python ## Write the description of the HTTP API anew, from the code
	@$(VENV_PYTHON) -m local openapi

fuzz: prepare-all ## Send generated requests to every route of a cloud of its own, for SECONDS=60
	@$(VENV_PYTHON) -m local fuzz --seconds '$(or $(SECONDS),60)'

synth: prepare-all ## Write the CloudFormation templates for AWS and for here; needs no AWS account
	@$(VENV_PYTHON) -m local synth aws local

clean: ## Stop the cloud, remove what make has made (but not out/)
	@if [ -x $(VENV_PYTHON) ] && [ -d .local ]; then $(VENV_PYTHON) -m local down || exit 1; fi
	rm -rf .local .venv node_modules cdk.out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

prepare-python:
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo 'There is no $(PYTHON). Install Python 3.11 or newer, or name yours: make demo PYTHON=python3.12' >&2; exit 1; }
	@"$(PYTHON)" -m local.prepare python

prepare-all:
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo 'There is no $(PYTHON). Install Python 3.11 or newer, or name yours: make demo PYTHON=python3.12' >&2; exit 1; }
	@"$(PYTHON)" -m local.prepare python node
