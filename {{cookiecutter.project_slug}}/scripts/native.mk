.PHONY: up down clean logs shell verify

up: certs ## Start the whole stack and wait until it serves
	$(UV) sync --locked --quiet
	$(UV) sync --locked --quiet --project services/aws
	$(RUN) scripts/native.py up

down: ## Stop the stack; the data stay
	$(RUN) scripts/native.py down

clean: ## Stop the stack and delete its data
	$(RUN) scripts/native.py clean

logs: ## Follow the logs
	$(RUN) scripts/native.py logs

shell: ## A Django shell with the stack's settings
	$(RUN) scripts/native.py env python manage.py shell

verify: ## Probe every hop from every process; fails if one falls short
	ROLE=app $(RUN) scripts/native.py env python manage.py verify_encryption
	ROLE=worker $(RUN) scripts/native.py env python manage.py verify_encryption
	ROLE=scheduler $(RUN) scripts/native.py env python manage.py verify_encryption
