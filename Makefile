# Everything a person types. What takes more than a few lines is in launcher/.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Python keeps what it has compiled, or every start would compile everything again.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PYTHON_BIN := .venv/bin/python
EXTRAS := tokenizer generation-cpu gateway frontend launcher test lint proto
PROTOS := $(shell find proto -name '*.proto')
# Directories too: they change when a file is removed.
PROTO_TREE := $(shell find proto -mindepth 1)

SETUP := .venv/.setup-done
STUBS := gen/.stubs-done

.PHONY: help
help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
		awk -F '\t' '{ printf "  \033[1mmake %-12s\033[0m %s\n", $$1, $$2 }'

$(SETUP): pyproject.toml constraints.txt launcher/setup.sh
	@launcher/setup.sh
	@touch $@

$(STUBS): $(PROTO_TREE) $(SETUP)
	@echo "proto         generating stubs"
	@rm -rf gen/.new && mkdir -p gen/.new
	@$(PYTHON_BIN) -m grpc_tools.protoc -I proto --python_out=gen/.new --grpc_python_out=gen/.new \
		--mypy_out=quiet:gen/.new --mypy_grpc_out=quiet:gen/.new $(PROTOS)
	@rm -rf gen/damso && mv gen/.new/damso gen/ && rmdir gen/.new
	@touch $@

.PHONY: setup proto
setup: $(STUBS) ## Make .venv, install everything, prepare the default model
	@$(PYTHON_BIN) -m launcher model

proto: $(STUBS) ## Generate Python stubs from proto/ to gen/

.PHONY: up down status logs
up: $(STUBS) ## Start everything and wait until it is ready (ARGS="postgres valkey": only these)
	@$(PYTHON_BIN) -m launcher up $(ARGS)

down: ## Stop everything
	@$(PYTHON_BIN) -m launcher down

status: ## Show what runs and how it is
	@$(PYTHON_BIN) -m launcher status

logs: ## Show logs (ARGS="gateway -f": follow one)
	@$(PYTHON_BIN) -m launcher logs $(ARGS)

.PHONY: format lint types test ci
format: $(SETUP) ## Format code and protos
	@ruff check --quiet --fix-only .
	@ruff format .
	@buf format -w

lint: $(STUBS) ## Check style, protos and import rules
	@ruff check .
	@ruff format --check .
	@buf lint
	@buf format -d --exit-code
	@lint-imports

types: $(STUBS) ## Check types
	@mypy

test: $(STUBS) ## Run the tests (ARGS="-k gateway": some of them)
	@launcher/browser.sh
	@$(PYTHON_BIN) -m launcher model
	@pytest $(ARGS)

ci: proto lint types test ## Everything that must pass

.PHONY: constraints clean
constraints: $(SETUP) ## Pin the newest versions that fit, in constraints.txt
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" uv pip compile pyproject.toml --upgrade \
		$(if $(UV_FIND_LINKS)$(PIP_FIND_LINKS),,--torch-backend=cpu) $(EXTRAS:%=--extra %) \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-package torch --quiet --output-file constraints.txt

clean: ## Remove what was made, except var/ (stop it first: make down)
	@rm -rf .venv gen .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
