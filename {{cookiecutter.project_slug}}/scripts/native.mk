.PHONY: up down clean logs shell release verify

up: certs ## Start the whole stack and wait until it serves
	$(UV) sync --locked --quiet
	$(UV) sync --locked --quiet --no-dev --project services/aws
	$(RUN) python scripts/native.py up

down: ## Stop the stack; the data stay
	$(RUN) python scripts/native.py down

clean: ## Stop the stack and delete its data
	$(RUN) python scripts/native.py clean

logs: ## Follow the logs
	$(RUN) python scripts/native.py logs

shell: ## A Django shell with the stack's settings
	$(RUN) python scripts/native.py env python manage.py shell

release: ## Run the release step again, or COMMAND='python manage.py ...' in it, as the migrator
	ROLE=release $(RUN) python scripts/native.py env $(or $(COMMAND),sh scripts/release)

verify: ## Probe every hop from every process; fails if one falls short
	ROLE=app $(RUN) python scripts/native.py env python manage.py verify_encryption
	ROLE=worker $(RUN) python scripts/native.py env python manage.py verify_encryption
	ROLE=scheduler $(RUN) python scripts/native.py env python manage.py verify_encryption
