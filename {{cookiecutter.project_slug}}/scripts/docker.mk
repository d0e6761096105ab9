.PHONY: up down clean logs shell release verify

# New certificates are used by containers made anew.
up: ## Start the whole stack and wait until it serves
	@made=$$(sh scripts/certs) && sh scripts/env && { [ -z "$$made" ] || echo "$$made"; } && \
	docker compose up --build --detach --wait $${made:+--force-recreate} || { \
		docker compose ps --all --format '{{.Service}}:{{.State}}:{{.Health}}:{{.ExitCode}}' | \
			grep -vE ':running:(healthy)?:|:exited::0$$' | cut -d: -f1 | sort -u | \
			xargs -r -n 1 docker compose logs --tail 20 --no-log-prefix; \
		echo "up: what did not start is said above. A port in use? HTTPS_PORT=... HTTP_PORT=... make up" >&2; \
		exit 1; }
	@echo "Ready at https://$$(docker compose port task 8443 | sed 's/127.0.0.1/localhost/')"

down: ## Stop the stack; the data stay
	docker compose down

clean: ## Stop the stack and delete its data
	docker compose down --volumes --remove-orphans

logs: ## Follow the logs
	docker compose logs --follow

shell: ## A Django shell in the running application
	docker compose exec app python manage.py shell

release: ## Run the release step again, or COMMAND='python manage.py ...' in it, as the migrator
	docker compose run --rm --no-deps release $(COMMAND)

verify: ## Probe every hop from every process; fails if one falls short
	docker compose exec -T app python manage.py verify_encryption
	docker compose exec -T worker python manage.py verify_encryption
	docker compose exec -T scheduler python manage.py verify_encryption
