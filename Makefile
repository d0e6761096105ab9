# The template's own targets. A generated project has a Makefile of its own.
PROJECT := {{cookiecutter.project_slug}}
UV := sh scripts/uv
RUN := $(UV) run --locked --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test lint lock bench

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## Generate a project with the default answers, run its whole stack, verify every hop
	@sh scripts/demo

test: lint ## Set everything up and run all tests; what this machine cannot run is skipped with its reason
	@sh scripts/packages
	$(RUN) pytest

lint: ## Lint and type-check the template as it stands
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

lock: ## Lock the newest versions, of the template and of the project
	$(UV) lock --upgrade
	$(UV) lock --upgrade --project '$(PROJECT)'
	$(UV) lock --upgrade --project '$(PROJECT)/services/aws'
	$(UV) lock --upgrade --project benchmarks/fields

bench: ## Encrypted fields against plain columns; the whole stack against gunicorn without TLS
	$(RUN) python benchmarks/fields/run.py $(ROWS)
	sh benchmarks/notes_list
