# Everything a checkout can do. Each target prepares what it needs first, once: .venv and node_modules.
# Needed on the machine: make and Python 3.11 or newer with venv (another one: make demo PYTHON=python3.12).

SHELL = /bin/sh
.DEFAULT_GOAL := help

# Every path in here is one below the checkout.
ifeq ($(wildcard local/prepare.py),)
$(error Run make in the checkout: make -C folder)
endif

PYTHON ?= python3
# An empty one counts as none.
override PYTHON := $(or $(PYTHON),python3)
FIND_PYTHON = command -v "$(PYTHON)" > /dev/null || { \
  echo '$(PYTHON) not found. Install Python 3.11 or newer, or name yours: make demo PYTHON=python3.12' >&2; exit 1; }
STAGE ?= dev
# Which deployment to look at: a STAGE that was asked for, else the cloud that runs here.
DEPLOYMENT := $(if $(filter command environment,$(origin STAGE)),--stage="$$STAGE")
VENV_PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# These reach the commands through the environment, where they may hold any character, quotes and $ included.
VERBATIM := ADMIN API_KEY API_URL BUCKET CDK DAILY DAYS EXPIRES FILE FROM IMAGE JOB KEY_HOSTS MODELS MONTHLY NAME ONLY \
  PATCH PROMPT PROPOSE RATE SAMPLE SAVE SECONDS SEED STAGE UPGRADE WHEELS
$(foreach name,$(VERBATIM),$(if $(filter-out undefined,$(origin $(name))),\
  $(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# The message for a command that waits for this one.
export MAKECMDGOALS
# Before Python runs any of our code: what starts it may need a temporary file.
export TMPDIR ?= $(CURDIR)/.local/tmp
# They belong to another project, and would come before the packages of .venv.
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH
# A checkout that was never made ready has no cloud, and needs no packages to say so.
IDLE := $(if $(wildcard .venv/.ready .local/state.json),,echo 'Nothing is running; `make up` starts the cloud.')

.PHONY: help demo up down logs status keys key key-list key-rotate key-disable doctor models-check models-refresh deploy diff destroy \
  bootstrap smoke mark-good rollback pipeline-role test test-unit test-component test-providers test-dates test-archives test-bare test-integration test-browser \
  coverage mutants screenshots check docs lock audit openapi grants fuzz fuzz-providers bench synth clean refuse-prompt prepare-uv \
  prepare-python prepare-all check-code check-stack

help: ## Show this help
	@awk -F ' *:.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  Variables, for demo and up (IP_LIMIT also for synth, and so on):'
	@echo '    PROMPT="a lighthouse in fog"     what demo draws'
	@echo '    IMAGE=photo.jpg                  what demo edits, by the prompt'
	@echo '    OPENAI_API_KEY GEMINI_API_KEY    a provider whose key is set in the environment is really called'
	@echo '    IP_LIMIT GLOBAL_LIMIT ENHANCE_LIMIT ENHANCE_IP_LIMIT UPLOAD_LIMIT UPLOAD_IP_LIMIT'
	@echo '    IP_INCLUDE TRUST_BODY_IP RETENTION_DAYS LOG_LEVEL CORS_ORIGINS'
	@echo '    PROMPT_MODEL_INDEX MAX_CONCURRENCY MODERATION STATUS_WAIT GALLERY API_AUTH  settings of the stack'
	@echo '    KEY_HOSTS={"MY_KEY": ["my.example"]}  hosts that a key may go to, beside the provider'"'"'s own'
	@echo '    SIMULATOR_LATENCY=0.5-4  SIMULATOR_FAULTS=recraftv4_1=refused   of the simulated providers'
	@echo '    ENFORCE_IAM=1                    hold each Lambda to what its role allows'

demo: $(if $(filter undefined,$(origin PROMPT))$(strip $(PROMPT)),prepare-all,refuse-prompt) ## Send one prompt to all models, here, without an account: images into out/ (PROMPT="…", IMAGE=file to edit)
	@$(VENV_PYTHON) -m local demo

up: prepare-all ## Start the cloud and the page on this laptop, or bring them up to date; print where they are
	@$(VENV_PYTHON) -m local up

down: $(if $(IDLE),,prepare-python) ## Stop the cloud; delete everything except the logs of its last run
	@$(or $(IDLE),$(VENV_PYTHON) -m local down)

status: $(if $(IDLE),,prepare-python) ## Show what runs, and how to call it
	@$(or $(IDLE),$(VENV_PYTHON) -m local status || true)

logs: $(if $(IDLE),,prepare-python) ## Follow its logs (JOB=id for one job's)
	@$(if $(IDLE),$(IDLE) >&2; exit 1,$(VENV_PYTHON) -m local logs $(if $(JOB),--job="$$JOB"))

keys: prepare-python ## Store provider keys in the secret of STAGE on AWS: from the environment, a prompt, or FROM=secret
	@$(VENV_PYTHON) -m local keys --stage="$$STAGE" $(if $(FROM),--from="$$FROM")

# Beside the key itself, nothing may be on the standard output.
key: prepare-python ## Make an API key for a caller: NAME=web-team (DAILY= MONTHLY= RATE= MODELS=a,b EXPIRES=day ADMIN=1)
	@$(VENV_PYTHON) -m local key --name="$$NAME" $(if $(DAILY),--daily="$$DAILY") $(if $(MONTHLY),--monthly="$$MONTHLY") \
	  $(if $(RATE),--rate="$$RATE") $(if $(MODELS),--models="$$MODELS") $(if $(EXPIRES),--expires="$$EXPIRES") \
	  $(if $(ADMIN),--admin="$$ADMIN") $(DEPLOYMENT)

key-list: prepare-python ## List the API keys of the cloud here, or of STAGE on AWS, and what each allows
	@$(VENV_PYTHON) -m local key-list $(DEPLOYMENT)

key-rotate: prepare-python ## Replace the API key NAME by a new one, for the same caller
	@$(VENV_PYTHON) -m local key-rotate --name="$$NAME" $(DEPLOYMENT)

key-disable: prepare-python ## Let nobody use the API key NAME any more
	@$(VENV_PYTHON) -m local key-disable --name="$$NAME" $(DEPLOYMENT)

doctor: prepare-python ## Check keys, models and quotas of the cloud here, or of STAGE on AWS (ALL=1: of every model)
	@$(VENV_PYTHON) -m local doctor $(DEPLOYMENT) $(if $(ALL),--all)

models-check: prepare-python ## Check an overlay of the model catalogue: FILE=my-models.json (PUT=1: then upload it)
	@test -n "$$FILE" || { echo 'Name the overlay: make models-check FILE=my-models.json' >&2; exit 1; }
	@$(VENV_PYTHON) -m local models-check $(if $(PUT),--put) $(if $(BUCKET),--bucket="$$BUCKET") $(DEPLOYMENT) -- "$$FILE"

# PROPOSE is 1, or the folder of an earlier SAVE: one step of a workflow compares, another with other secrets proposes.
models-refresh: prepare-python ## Compare the catalogue with public price lists (WHEELS=folder; APPLY=1, PATCH=file, CHECK=1, PROPOSE=1: pull request)
	@$(VENV_PYTHON) -m local models-refresh $(if $(WHEELS),--wheels="$$WHEELS") $(if $(APPLY),--apply) $(if $(PATCH),--patch="$$PATCH") \
	  $(if $(CHECK),--check) $(if $(SAVE),--save="$$SAVE") $(if $(PROPOSE),--propose$(if $(filter-out 1,$(PROPOSE)),="$$PROPOSE"))

# The tests that need no emulator, and what makes them run so many days later. Node has a clock of its own, and warns of
# the end of its life.
QUICK := tests/unit/ tests/component/ tests/contract/ tests/infra/
ON_DAY = DAYS_LATER=$$days PYTHONPATH='$(CURDIR)/tests/later' NODE_OPTIONS='--require "$(CURDIR)/tests/later/date.cjs"'
PYTEST = $(VENV_PYTHON) -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGUMENTS)

# Every folder is named: what one adds to the report, it adds where it is an argument. If one half fails, the other one
# runs all the same.
test: prepare-all ## Run all tests, on two cores (DAYS=40: those without the emulator as if run so many days later)
	@case "$$DAYS" in *[!0-9]*) echo 'DAYS accepts one number of days here, such as DAYS=40.' >&2; exit 1;; esac; \
	set -x; $(PYTEST) $(filter-out $(QUICK) %/__pycache__/ %/later/,$(wildcard tests/*/)); emulator=$$?; \
	days=$$DAYS; $(if $(DAYS),$(ON_DAY)) $(PYTEST) $(QUICK) && exit $$emulator

test-unit: prepare-all ## Test the rules: no socket, no process
	$(VENV_PYTHON) -m pytest tests/unit $(PYTEST_ARGUMENTS)

test-component: prepare-all ## Test adapters, servers and commands, over sockets and in processes of their own
	$(VENV_PYTHON) -m pytest tests/component $(PYTEST_ARGUMENTS)

test-providers: prepare-all ## Test the seven protocols over sockets, as a matrix of cases
	$(VENV_PYTHON) -m pytest tests/contract $(PYTEST_ARGUMENTS)

test-archives: prepare-all ## Test the functions' archives, unpacked; an arm64 machine imports them as Lambda does
	$(VENV_PYTHON) -m pytest tests/infra/test_bundle.py $(PYTEST_ARGUMENTS)

test-dates: prepare-all ## Run the tests without the emulator as if on later days: DAYS="40 365 1826" from now
	@for days in $${DAYS:-40 365 1826}; do \
	  case $$days in *[!0-9]*) echo 'DAYS accepts numbers of days, such as DAYS="40 365".' >&2; exit 1;; esac; \
	  echo "$$days days from now"; \
	  $(ON_DAY) $(PYTEST) $(QUICK) || exit 1; \
	done

test-bare: ## Test the first minutes in new Debian roots; needs root and debootstrap (RELEASES="bookworm trixie")
	@"$(PYTHON)" tests/bare_roots.py $(RELEASES)

test-integration: prepare-all ## Run the tests on the emulator
	$(VENV_PYTHON) -m pytest tests/integration $(PYTEST_ARGUMENTS)

test-browser: prepare-all ## Test the page in a real browser; needs Chromium (BROWSER_REQUIRED=1: without it they fail)
	$(VENV_PYTHON) -m pytest tests/browser $(PYTEST_ARGUMENTS)

coverage: prepare-all ## Measure which lines and branches of functions/ the tests without the emulator run: at least 97%
	@rm -rf .local/coverage; mkdir -p .local/coverage
	$(VENV_PYTHON) -m coverage run -m pytest -n 2 --dist loadscope tests/unit/ tests/component/ tests/contract/ \
	  $(filter-out %/test_laptop_cloud.py,$(wildcard tests/security/test_*.py)) $(PYTEST_ARGUMENTS)
	@$(VENV_PYTHON) -m coverage combine -q; $(VENV_PYTHON) -m coverage report

mutants: prepare-all ## Measure how many small faults in the core rules the tests notice: at least 85% (SAMPLE=60 SEED=number)
	@$(VENV_PYTHON) tests/mutants.py

screenshots: prepare-all ## Update docs/screenshots
	SCREENSHOTS=docs/screenshots BROWSER_REQUIRED=1 $(VENV_PYTHON) -m pytest tests/browser -k 'nine_images or nine_models or gallery'

deploy: prepare-all ## Deploy STAGE=dev into your AWS account; shows what changes and asks (YES=1: without asking)
	@$(VENV_PYTHON) -m local deploy --stage="$$STAGE" $(if $(FORWARD),--forward)

diff: prepare-all ## Show what deploying STAGE would change (COMMENT=1: also at the merged pull request)
	@$(VENV_PYTHON) -m local diff --stage="$$STAGE" $(if $(COMMENT),--comment)

destroy: prepare-all ## Delete STAGE from your AWS account; shows what goes and what stays, and asks
	@$(VENV_PYTHON) -m local destroy --stage="$$STAGE"

bootstrap: prepare-all ## Prepare your AWS account for the CDK, once per account and region
	@$(VENV_PYTHON) -m local bootstrap

smoke: prepare-python ## Try out the deployment at API_URL, or of STAGE, or the cloud here (MODELS=a,b or all, API_KEY=pp_…)
	@$(VENV_PYTHON) -m local smoke $(if $(API_URL),--url="$$API_URL",$(DEPLOYMENT))

mark-good: prepare-python ## Record this commit, deployed and tested, as the last good one of STAGE
	@$(VENV_PYTHON) -m local mark-good --stage="$$STAGE"

rollback: prepare-all ## Deploy the last good commit of STAGE
	@$(VENV_PYTHON) -m local rollback --stage="$$STAGE"

pipeline-role: prepare-all ## Deploy the roles of the pipeline on GitHub, once: REPOSITORY=owner/name
	@$(VENV_PYTHON) -m local pipeline-role

# It repairs a lock that nothing can be installed from, so it needs only uv.
lock: prepare-uv ## Pin every Python package with its hashes, from the *.in files (UPGRADE="package …" or package==version)
	@$(VENV_PYTHON) -m local.requirements

audit: prepare-all ## Look up known vulnerabilities of all installed packages; needs the network
	@$(VENV_PYTHON) -m local audit

# It writes into .local only, so Python keeps no bytecode of the hooks. The variable keeps the theme from advertising.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -B -m mkdocs build --strict

check: prepare-all ## Check style, types, workflows, the API's description, the grants, cdk-nag, documentation, the templates for AWS and here
	@$(MAKE) --no-print-directory -j 2 check-code check-stack

check-code:
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy --strict functions infra local benchmarks app.py docs/hooks.py tests

check-stack:
	@for definition in statemachine/*.json; do \
	  echo "asl-validator --json-path $$definition"; \
	  node node_modules/.bin/asl-validator --json-path "$$definition" || exit 1; \
	done
	$(VENV_PYTHON) -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV_PYTHON) -m check_jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	zizmor --offline --no-progress --quiet .github
	@$(VENV_PYTHON) -m local openapi --check
	@$(VENV_PYTHON) -m local grants --check
	@$(VENV_PYTHON) -m local nag
	$(MKDOCS)
	@$(VENV_PYTHON) -m local synth aws local

docs: prepare-python ## Build the documentation as a site, into .local/site
	@$(MKDOCS)
	@echo 'The documentation: .local/site/index.html'

openapi: prepare-python ## Update the description of the HTTP API, from the code
	@$(VENV_PYTHON) -m local openapi

grants: prepare-all ## Update the table of what each role may do, from the stack
	@$(VENV_PYTHON) -m local grants

fuzz: prepare-all ## Send generated requests to every route of a cloud of its own, for SECONDS=60
	@$(VENV_PYTHON) -m local fuzz $(if $(SECONDS),--seconds="$$SECONDS")

fuzz-providers: prepare-all ## Let hostile providers return generated responses beside good ones, for SECONDS=600
	@FUZZ_SECONDS="$${SECONDS:-600}" $(VENV_PYTHON) -m pytest -q -n 0 tests/security -k as_long_as_asked

bench: prepare-all ## Measure how fast it is, under ten minutes, and write docs/explanation/benchmarks.md (ONLY=part for one)
	@$(VENV_PYTHON) -m benchmarks $(if $(ONLY),$$(printf -- '--only=%s ' $$ONLY))

synth: prepare-all ## Write the CloudFormation templates of STAGE for AWS, and for here; needs no AWS account
	@$(VENV_PYTHON) -m local synth --stage="$$STAGE" aws local

clean: ## Stop the cloud and remove what make has made (but not out/)
	@$(FIND_PYTHON)
	@exec "$(PYTHON)" -m local.clean

refuse-prompt:
	@echo 'PROMPT is blank; describe an image, such as make demo PROMPT="a lighthouse in fog".' >&2; exit 1

prepare-uv:
	@$(FIND_PYTHON)
	@exec "$(PYTHON)" -m local.prepare uv

prepare-python:
	@$(FIND_PYTHON)
	@exec "$(PYTHON)" -m local.prepare python

prepare-all:
	@$(FIND_PYTHON)
	@exec "$(PYTHON)" -m local.prepare python node
