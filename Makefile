# The template's own targets. A generated project has a Makefile of its own.
TEMPLATE := {{cookiecutter.project_slug}}
UV := sh scripts/uv
RUN := $(UV) run --locked --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test proof mutants rehearse lint lock bench

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## Generate a project with the default answers, run its whole stack, verify every hop
	@sh scripts/demo

test: lint ## Set everything up and run the tests; what this machine cannot run is skipped with its reason
	@sh scripts/packages
	$(RUN) pytest -m 'not proof and not rehearsal'

# The folder "proof" gets the report.
proof: ## Attack a project's stack in every way listed; PROJECT=path proves a copy of your own
	@sh scripts/packages
	$(RUN) pytest tests/proof --report proof $(if $(PROJECT),--project='$(PROJECT)')

mutants: ## Remove each protection in a copy; every one must be missed by a test. NAME=... for some
	$(RUN) pytest tests/proof/test_mutants.py $(if $(NAME),-k '$(NAME)') $(if $(PROJECT),--project='$(PROJECT)')

# As root, with a Docker engine; one at a time on a machine.
rehearse: ## Deploy a project to an emulated AWS, update it, break it, remove it
	@sh scripts/packages
	$(RUN) pytest tests/rehearsal -x $(if $(PROJECT),--project='$(PROJECT)')

lint: ## Lint and type-check the template as it stands
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

lock: ## Lock the newest versions, of the template and of the project
	$(UV) lock --upgrade
	$(UV) lock --upgrade --project '$(TEMPLATE)'
	$(UV) lock --upgrade --project '$(TEMPLATE)/services/aws'
	$(UV) lock --upgrade --project '$(TEMPLATE)/infra'
	$(UV) lock --upgrade --project benchmarks/fields
	$(UV) lock --upgrade --project tests/proof/tools
	$(UV) lock --upgrade --project tests/rehearsal/emulator

bench: ## Encrypted fields against plain columns; the whole stack against gunicorn without TLS
	$(RUN) python benchmarks/fields/run.py $(ROWS)
	sh benchmarks/notes_list
